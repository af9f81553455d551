"""Ingest against rasterio and closed forms: what comes in is what the source says, whatever the blocks."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - registers the accessor
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.warp import Resampling, reproject

from rspipe.catalogs import warp
from rspipe.catalogs.bands import Unit
from rspipe.catalogs.pixels import physical
from rspipe.catalogs.scene import Band, Grid, Linear, Planck, RasterBand
from rspipe.pipeline import ingest, store
from rspipe.pipeline.errors import SceneFailedError
from rspipe.pipeline.ledger import Signature
from rspipe.pipeline.rowblocks import SHARD_PX, block_rows_px, row_blocks
from rspipe.pipeline.warp import resampled

WKT = CRS.from_epsg(32618).to_wkt()


def _grid(height: int, width: int, pixel: float = 30.0) -> Grid:
    return Grid(
        crs_wkt=WKT, transform=Affine(pixel, 0, 500_000, 0, -pixel, 4_500_000), height_px=height, width_px=width
    )


def _write(path: Path, numbers: NDArray[np.generic], grid: Grid, *, block: int | None = None) -> RasterBand:
    layout = {"tiled": True, "blockxsize": block, "blockysize": block} if block else {"tiled": False, "blockysize": 16}
    with rasterio.open(
        path, "w", driver="GTiff", height=grid.height_px, width=grid.width_px, count=1, dtype=numbers.dtype,
        crs=grid.crs_wkt, transform=grid.transform, compress="deflate", **layout,
    ) as file:  # fmt: skip
        file.write(numbers, 1)
    with rasterio.open(path) as file:
        height, width = file.block_shapes[0]
    return RasterBand(path=path, index=1, block_height_px=height, block_width_px=width)


def _band(name: str, origin: RasterBand, grid: Grid, **changes: Any) -> Band:  # noqa: ANN401 - any field of a band
    band = Band(
        name=name, origin=origin, dtype="uint16", unit=Unit.DN, conversion=Linear(scale=1e-4, offset=0.0), fills=(0.0,),
        grid=grid,
    )  # fmt: skip
    return replace(band, **changes)


def _ingest(
    path: Path, bands: tuple[Band, ...], grid: Grid, rows_px: int | None = None
) -> list[dict[str, int | float]]:
    ingest.create(path, bands, grid)
    signatures = tuple(Signature.of(band.origin.path) for band in bands if isinstance(band.origin, RasterBand))
    counts = []
    for rows in row_blocks(grid.height_px, rows_px or ingest.rows_per_task_px(bands, grid)):
        job = ingest.IngestJob(
            scene_id="s",
            bands=bands,
            signatures=signatures,
            grid=grid,
            first_row=rows.start,
            stop_row=rows.stop,
            path=path,
        )
        receipt = ingest.run_ingest(job)
        assert all(file.is_file() for file in receipt.outputs)
        counts.append(dict(receipt.counts))
    return counts


def _stored(path: Path, name: str) -> NDArray[Any]:
    return np.asarray(store.open_array(path, name)[:])


def _numbers(height: int, width: int) -> NDArray[np.uint16]:
    return np.random.default_rng(3).integers(0, 9000, (height, width), dtype=np.uint16)


@pytest.mark.parametrize("block", [None, 256])
def test_an_aligned_band_keeps_its_numbers_and_its_validity(tmp_path: Path, block: int | None) -> None:
    grid, numbers = _grid(1300, 700), _numbers(1300, 700)
    bands = (_band("blue", _write(tmp_path / "b.tif", numbers, grid, block=block), grid),)
    counts = _ingest(tmp_path / "bands.zarr", bands, grid)
    assert np.array_equal(_stored(tmp_path / "bands.zarr", "blue"), numbers)
    assert np.array_equal(_stored(tmp_path / "bands.zarr", store.VALIDITY), (numbers != 0).astype(np.uint8))
    assert sum(count["valid_blue_px"] for count in counts) == int((numbers != 0).sum())


def test_xarray_and_rioxarray_read_the_store_as_physical_units(tmp_path: Path) -> None:
    grid, numbers = _grid(40, 50), _numbers(40, 50)
    _ingest(tmp_path / "z", (_band("blue", _write(tmp_path / "b.tif", numbers, grid), grid),), grid)
    with xr.open_zarr(tmp_path / "z") as dataset:
        assert dataset.rio.crs.to_epsg() == 32618
        assert dataset.rio.transform() == grid.transform
        np.testing.assert_allclose(dataset.blue.values, numbers * 1e-4, rtol=1e-6)
        assert dataset.blue.attrs["units"] == "1"


def test_temperatures_become_hundredths_of_a_kelvin(tmp_path: Path) -> None:
    grid = _grid(2, 3)
    celsius = np.array([[-40.0, 0.0, np.nan], [25.5, np.inf, 60.0]], dtype=np.float32)
    origin = _write(tmp_path / "t.tif", celsius, grid)
    band = _band(
        "lwir11", origin, grid, dtype="float32", unit=Unit.CELSIUS, conversion=Linear(scale=1, offset=273.15), fills=()
    )
    _ingest(tmp_path / "z", (band,), grid)
    assert _stored(tmp_path / "z", "lwir11").tolist() == [[23315, 27315, 0], [29865, 0, 33315]]
    assert _stored(tmp_path / "z", store.VALIDITY).tolist() == [[1, 1, 0], [1, 0, 1]]


def test_thermal_digital_numbers_follow_planck() -> None:
    """USGS handbook: L = 3.342e-4 * 25000 + 0.1 = 8.455; T = 1321.0789 / ln(774.8853 / 8.455 + 1) = 291.9 K."""
    planck = Planck(gain=3.342e-4, offset=0.1, k1=774.8853, k2=1321.0789)
    kelvin = physical(np.array([25000]), planck)
    assert kelvin[0] == pytest.approx(1321.0789 / math.log(774.8853 / 8.455 + 1), rel=1e-12)
    assert 291 < kelvin[0] < 293


def test_a_coarser_band_is_interpolated_onto_the_fine_grid_as_gdal_does_at_once(tmp_path: Path) -> None:
    fine, coarse = _grid(1100, 1060, 10.0), _grid(550, 530, 20.0)
    numbers = np.random.default_rng(1).integers(1, 9000, (550, 530), dtype=np.uint16)
    bands = (
        _band("blue", _write(tmp_path / "b.tif", _numbers(1100, 1060), fine, block=256), fine),
        _band("swir16", _write(tmp_path / "s.tif", numbers, coarse, block=128), coarse),
    )
    _ingest(tmp_path / "z", bands, fine)
    expected = np.zeros((1100, 1060), dtype=np.float32)
    reproject(
        numbers.astype(np.float32), expected, src_transform=coarse.transform, dst_transform=fine.transform, src_crs=WKT,
        dst_crs=WKT, resampling=Resampling.bilinear,
    )  # fmt: skip
    found = _stored(tmp_path / "z", "swir16")
    assert np.abs(found.astype(float) - expected).max() <= 0.5 + 1e-3
    assert (_stored(tmp_path / "z", store.VALIDITY) >> 1).all()


def test_resampling_to_a_coarser_grid_averages_only_valid_pixels(tmp_path: Path) -> None:
    fine = _grid(6, 6, 10.0)
    numbers = np.full((6, 6), 100, dtype=np.uint16)
    numbers[0, 0] = 0
    numbers[0, 1] = 500
    numbers[3:, 3:] = 0
    target = resampled(fine, 30.0)
    _ingest(tmp_path / "z", (_band("blue", _write(tmp_path / "b.tif", numbers, fine), fine),), target)
    assert _stored(tmp_path / "z", "blue").tolist() == [[150, 100], [100, 0]]
    assert _stored(tmp_path / "z", store.VALIDITY).tolist() == [[1, 1], [1, 0]]


@pytest.mark.parametrize("pixel_m", [30.0, 7.0])
def test_a_warped_block_does_not_depend_on_the_blocks(pixel_m: float) -> None:
    zone17 = CRS.from_epsg(32617)
    target = Grid(
        crs_wkt=WKT, transform=Affine(pixel_m, 0, 503_000, 0, -pixel_m, 4_514_000), height_px=150, width_px=140
    )
    left, top = Transformer.from_crs(32618, 32617, always_xy=True).transform(503_000, 4_514_000)
    source = Grid(
        crs_wkt=zone17.to_wkt(), transform=Affine(10, 0, left - 500, 0, -10, top + 500), height_px=700, width_px=700
    )
    values = np.random.default_rng(0).random((700, 700), dtype=np.float32)
    values[100:140, 120:160] = np.nan
    wholes = [_warped_in_cuts(values, source, target, cuts) for cuts in ((150,), (64, 150), (1, 50, 149, 150))]
    assert np.isfinite(wholes[0]).any()
    assert np.isnan(wholes[0]).any()
    for whole in wholes[1:]:
        np.testing.assert_array_equal(whole, wholes[0])


def _warped_in_cuts(
    values: NDArray[np.float32], source: Grid, target: Grid, cuts: tuple[int, ...]
) -> NDArray[np.float32]:
    parts, first = [], 0
    for stop in cuts:
        block = warp.subgrid(target, slice(first, stop), slice(0, target.width_px))
        window = warp.source_window(source, block)
        assert window is not None
        parts.append(warp.warp(values[window], warp.subgrid(source, *window), block))
        first = stop
    return np.concatenate(parts)


@given(st.lists(st.integers(1, 2048), max_size=4), st.integers(1, 9000))
def test_every_source_block_lies_in_one_row_block(blocks_px: list[int], height_px: int) -> None:
    step = block_rows_px(blocks_px)
    covered = [row for rows in row_blocks(height_px, step) for row in range(rows.start, rows.stop)]
    assert covered == list(range(height_px))
    assert step % SHARD_PX == 0
    if math.lcm(SHARD_PX, *blocks_px) == step:
        assert all(step % block_px == 0 for block_px in blocks_px)


@settings(max_examples=5, deadline=None)
@given(st.sampled_from([0, 65535, 12345]))
def test_what_lies_under_nodata_is_gone_after_ingest(tmp_path_factory: pytest.TempPathFactory, under: int) -> None:
    folder = tmp_path_factory.mktemp("under")
    grid, numbers = _grid(30, 30), np.full((30, 30), 77, dtype=np.uint16)
    numbers[5:9, 5:9] = under
    band = _band("blue", _write(folder / "b.tif", numbers, grid), grid, fills=(float(under),))
    _ingest(folder / "z", (band,), grid)
    found = _stored(folder / "z", "blue")
    assert (found[5:9, 5:9] == 0).all()
    assert int((found == 77).sum()) == 900 - 16


def test_a_cut_file_is_refused_with_band_and_rows(tmp_path: Path) -> None:
    grid = _grid(600, 600)
    origin = _write(tmp_path / "b.tif", _numbers(600, 600), grid, block=256)
    whole = origin.path.read_bytes()
    origin.path.write_bytes(whole[: len(whole) * 7 // 10])
    with pytest.raises(SceneFailedError, match=r"band 'blue'.*rows 0\.\.600"):
        _ingest(tmp_path / "z", (_band("blue", origin, grid),), grid)


def test_a_block_that_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    """Bits that only change a number go unseen, as without compression: GDAL does not ask for the stream's checksum."""
    grid = _grid(96, 96)
    origin = _write(tmp_path / "b.tif", _numbers(96, 96), grid, block=96)
    with rasterio.open(origin.path) as file:
        start, length = (int(file.get_tag_item(f"BLOCK_{what}_0_0", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
    whole, draw, reasons = origin.path.read_bytes(), np.random.default_rng(0), []
    for number in range(20):
        damaged = bytearray(whole)
        damaged[start + draw.integers(length)] ^= 1 << draw.integers(8)
        origin.path.write_bytes(damaged)
        try:
            _ingest(tmp_path / f"z{number}", (_band("blue", origin, grid),), grid)
        except SceneFailedError as error:
            reasons.append(str(error))
    assert len(reasons) >= 15
    for words in ("band 'blue'", "rows 0..96", str(origin.path)):
        assert all(words in reason for reason in reasons)


def test_a_file_that_changes_while_it_is_read_fails_the_scene(tmp_path: Path) -> None:
    grid = _grid(20, 20)
    origin = _write(tmp_path / "b.tif", _numbers(20, 20), grid)
    band = _band("blue", origin, grid)
    planned = Signature.of(origin.path)
    shutil.copy(origin.path, tmp_path / "copy.tif")
    shutil.copy(tmp_path / "copy.tif", origin.path)
    ingest.create(tmp_path / "z", (band,), grid)
    job = ingest.IngestJob(
        scene_id="s", bands=(band,), signatures=(planned,), grid=grid, first_row=0, stop_row=20, path=tmp_path / "z"
    )
    with pytest.raises(SceneFailedError, match="changed or taken away while"):
        ingest.run_ingest(job)


def test_numbers_that_cannot_be_reflectances_are_refused_with_both_sides(tmp_path: Path) -> None:
    grid = _grid(20, 20)
    numbers = np.full((20, 20), 8000.0, dtype=np.float32)
    band = _band(
        "blue", _write(tmp_path / "b.tif", numbers, grid), grid, dtype="float32", unit=Unit.REFLECTANCE,
        conversion=Linear(scale=1, offset=0),
    )  # fmt: skip
    with pytest.raises(SceneFailedError, match=r"declared reflectance.*median 8000"):
        _ingest(tmp_path / "z", (band,), grid)
