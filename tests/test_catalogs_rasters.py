"""Headers and pixels of raster files; rasterio on the plain north-up file is the oracle."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from geotiffs import NORTH_UP_30M, UTM_18N, ramp, write_geotiff
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from rspipe.catalogs import trust
from rspipe.catalogs.bands import Unit
from rspipe.catalogs.errors import SceneError
from rspipe.catalogs.pixels import open_band, plausible_range
from rspipe.catalogs.rasters import read_header
from rspipe.catalogs.scene import Band, Linear, RasterBand

SOUTH_UP_30M = Affine(30.0, 0.0, 600_000.0, 0.0, 30.0, 4_500_000.0 - 30.0 * 7)
"""The ground of `NORTH_UP_30M` for seven rows, from the south."""


def band_of(path: Path, index: int = 1) -> Band:
    header = read_header(path)
    stated = header.bands[index - 1]
    origin = RasterBand(
        path=path,
        index=index,
        block_height_px=stated.block_height_px,
        block_width_px=stated.block_width_px,
        south_up=header.south_up,
    )
    return Band(
        name="red",
        origin=origin,
        dtype=stated.dtype,
        unit=Unit.REFLECTANCE,
        conversion=Linear(scale=1.0, offset=0.0),
        fills=(),
        grid=header.grid,
    )


def test_a_header_is_what_was_written(tmp_path: Path) -> None:
    path = write_geotiff(
        tmp_path / "a.tif",
        np.stack([ramp(40, 33), ramp(40, 33)]),
        nodata=7,
        tiled=True,
        blockxsize=32,
        blockysize=16,
        descriptions=("blue", "red"),
        units=("dn", ""),
        scales=(0.5, 1.0),
        offsets=(-2.0, 0.0),
    )
    header = read_header(path)
    assert (header.grid.height_px, header.grid.width_px) == (40, 33)
    assert header.grid.transform == NORTH_UP_30M
    assert CRS.from_wkt(header.grid.crs_wkt) == CRS.from_epsg(32618)
    assert not header.south_up
    blue, red = header.bands
    assert (blue.index, blue.dtype, blue.nodata) == (1, "uint16", 7.0)
    assert (blue.block_height_px, blue.block_width_px) == (16, 32)
    assert (blue.description, blue.unit, blue.scale, blue.offset, blue.is_scaled) == ("blue", "dn", 0.5, -2.0, True)
    assert (red.description, red.unit, red.is_scaled) == ("red", "", False)


def test_a_south_up_file_reads_as_its_north_up_twin(tmp_path: Path) -> None:
    pixels = ramp(7, 5)
    twin = band_of(write_geotiff(tmp_path / "north.tif", pixels))
    flipped = band_of(write_geotiff(tmp_path / "south.tif", pixels[::-1], transform=SOUTH_UP_30M))
    assert flipped.grid == twin.grid
    with open_band(twin) as north, open_band(flipped) as south:
        for first in range(7):
            for stop in range(first + 1, 8):
                rows, cols = slice(first, stop), slice(1, 4)
                np.testing.assert_array_equal(south.read(rows, cols), pixels[rows, cols])
                np.testing.assert_array_equal(north.read(rows, cols), pixels[rows, cols])


def test_jpeg_2000_is_read_too(tmp_path: Path) -> None:
    write_geotiff(tmp_path / "a.tif", ramp(40, 50))
    with rasterio.open(tmp_path / "a.tif") as source:
        rasterio.shutil.copy(source, tmp_path / "a.jp2", driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    with open_band(band_of(tmp_path / "a.jp2")) as red:
        np.testing.assert_array_equal(red.read(slice(3, 40), slice(0, 50)), ramp(40, 50)[3:])


def test_pixel_is_point_is_taken_as_gdal_takes_it(tmp_path: Path) -> None:
    path = write_geotiff(tmp_path / "point.tif", ramp(3, 3))
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(AREA_OR_POINT="Point")
    with rasterio.open(path) as dataset:
        assert read_header(path).grid.transform == dataset.transform


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({"crs": None}, ["no CRS found", "crs:"]),
        ({"transform": NORTH_UP_30M @ Affine.rotation(30)}, ["30.00 degrees"]),
        ({"transform": NORTH_UP_30M @ Affine.rotation(-90)}, ["90.00 degrees"]),
        ({"transform": NORTH_UP_30M @ Affine.shear(20, 0)}, ["degrees"]),
        ({"transform": NORTH_UP_30M @ Affine.scale(-1, 1)}, ["180.00 degrees"]),
        ({"transform": Affine.identity()}, ["no georeference", "gdalwarp"]),
        ({"crs": 'LOCAL_CS["site",UNIT["metre",1]]'}, ["not tied to the Earth"]),
    ],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_grids_without_a_place_on_earth_are_refused(tmp_path: Path, profile: dict[str, Any], words: list[str]) -> None:
    path = write_geotiff(tmp_path / "a.tif", ramp(4, 4), **profile)
    with pytest.raises(SceneError) as caught:
        read_header(path)
    for word in ["a.tif", *words]:
        assert word in str(caught.value)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_ground_control_points_alone_are_refused(tmp_path: Path) -> None:
    corners = [(0, 0), (0, 4), (4, 0), (4, 4)]
    points = [GroundControlPoint(row=row, col=col, x=float(col), y=float(-row)) for row, col in corners]
    path = write_geotiff(tmp_path / "a.tif", ramp(4, 4), gcps=points, crs=UTM_18N, transform=None)
    with pytest.raises(SceneError, match="only 4 ground control points"):
        read_header(path)


def test_a_declared_crs_serves_files_without_one_only(tmp_path: Path) -> None:
    bare = write_geotiff(tmp_path / "bare.tif", ramp(4, 4), crs=None)
    assert CRS.from_wkt(read_header(bare, UTM_18N).grid.crs_wkt) == CRS.from_epsg(32618)
    placed = write_geotiff(tmp_path / "placed.tif", ramp(4, 4))
    assert read_header(placed, UTM_18N).grid == read_header(placed).grid
    with pytest.raises(SceneError, match=r"EPSG:32618.*EPSG:32619"):
        read_header(placed, "EPSG:32619")


@pytest.mark.parametrize("crs", ["https://127.0.0.1:9/crs", "/etc/hostname", "+proj=utm +zone=18", "EPSG:999999", "x"])
def test_a_crs_is_a_code_or_wkt_and_never_fetched(tmp_path: Path, crs: str) -> None:
    bare = write_geotiff(tmp_path / "bare.tif", ramp(4, 4), crs=None)
    with pytest.raises(SceneError, match="EPSG:32618"):
        read_header(bare, crs)


def test_masks_and_alpha_and_complex_numbers_are_refused(tmp_path: Path) -> None:
    alpha = write_geotiff(tmp_path / "alpha.tif", np.ones((4, 4, 4), np.uint8), photometric="RGB", alpha="YES")
    masked = write_geotiff(tmp_path / "masked.tif", ramp(4, 4))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(masked, "r+") as dataset:
        dataset.write_mask(np.ones((4, 4), bool))
    for path in (alpha, masked):
        with pytest.raises(SceneError, match="alpha band or a mask"):
            read_header(path)
    with pytest.raises(SceneError, match="complex64"):
        read_header(write_geotiff(tmp_path / "complex.tif", np.ones((4, 4), np.complex64)))
    radar = tmp_path / "radar.tif"
    with rasterio.open(radar, "w", "GTiff", 4, 4, 1, UTM_18N, NORTH_UP_30M, "complex_int16"):
        pass
    with pytest.raises(SceneError, match="band 1: numbers are complex_int16"):
        read_header(radar)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # rasterio cannot log what is no text
def test_a_damaged_header_is_read_or_refused(tmp_path: Path) -> None:
    whole = write_geotiff(tmp_path / "a.tif", ramp(40, 40), descriptions=("red",)).read_bytes()
    reasons = []
    for seed in range(700):
        damaged, draw = bytearray(whole), np.random.default_rng(seed)
        for _ in range(draw.integers(1, 5)):
            damaged[draw.integers(8, len(damaged))] = draw.integers(256)
        (tmp_path / "a.tif").write_bytes(damaged)
        try:
            read_header(tmp_path / "a.tif")
        except SceneError as error:
            reasons.append(str(error))
    assert all(reason.startswith(str(tmp_path / "a.tif")) for reason in reasons)
    assert any("its header is damaged" in reason for reason in reasons)


def test_a_sparse_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=100_000, height=100_000, count=4, dtype="float32", sparse_ok=True, tiled=True,
        blockxsize=1024, blockysize=1024, crs=UTM_18N, transform=NORTH_UP_30M, BIGTIFF="YES",
    ):  # fmt: skip
        pass
    assert path.stat().st_size < 2_000_000
    with pytest.raises(SceneError, match="MAX_EXPANSION"):
        read_header(path)


def test_a_block_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = write_geotiff(
        tmp_path / "block.tif",
        np.zeros((8192, 8192), np.uint8),
        tiled=True,
        blockxsize=8192,
        blockysize=8192,
        compress="deflate",
    )
    with pytest.raises(SceneError, match="MAX_BLOCK_BYTES"):
        read_header(path)


def test_bands_interleaved_by_pixel_share_the_block_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "MAX_BLOCK_BYTES", 16 * 16 * 2)
    pixels = np.stack([ramp(16, 16), ramp(16, 16)])
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    read_header(write_geotiff(tmp_path / "band.tif", pixels, interleave="band", **tiles))
    with pytest.raises(SceneError, match="MAX_BLOCK_BYTES"):
        read_header(write_geotiff(tmp_path / "pixel.tif", pixels, interleave="pixel", **tiles))


@pytest.mark.parametrize(("limit", "shape"), [("MAX_PIXELS", (1, 5, 5)), ("MAX_BANDS", (3, 2, 2))])
def test_pixels_and_bands_are_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, shape: tuple[int, int, int]
) -> None:
    path = write_geotiff(tmp_path / "a.tif", np.ones(shape, np.uint8))
    read_header(path)
    monkeypatch.setattr(trust, limit, 2)
    with pytest.raises(SceneError, match=limit):
        read_header(path)


def test_a_file_that_only_points_elsewhere_is_refused(tmp_path: Path) -> None:
    secret = write_geotiff(tmp_path / "secret.tif", ramp(4, 4))
    disguised = tmp_path / "a.tif"
    disguised.write_text(
        '<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
        f"<SourceFilename>{secret}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(SceneError, match="neither GeoTIFF nor JPEG 2000"):
        read_header(disguised)


def test_files_beside_a_raster_are_not_read(tmp_path: Path) -> None:
    path = write_geotiff(tmp_path / "a.tif", ramp(4, 4))
    aux = "<PAMDataset><PAMRasterBand band='1'><NoDataValue>3</NoDataValue></PAMRasterBand></PAMDataset>"
    (tmp_path / "a.tif.aux.xml").write_text(aux)
    assert read_header(path).bands[0].nodata is None


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_a_truncated_file_fails_with_its_place(tmp_path: Path, keep: float) -> None:
    noise = np.random.default_rng(0).integers(0, 60_000, (256, 256), np.uint16)
    path = write_geotiff(tmp_path / "a.tif", noise, compress="deflate", tiled=True, blockxsize=64, blockysize=64)
    band = band_of(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with (
        pytest.raises(SceneError, match=r"a\.tif.*band 1, rows 192 to 256, columns 192 to 256"),
        open_band(band) as red,
    ):
        red.read(slice(192, 256), slice(192, 256))


def test_a_file_that_changed_since_it_was_listed_is_refused(tmp_path: Path) -> None:
    path = write_geotiff(tmp_path / "a.tif", ramp(4, 4))
    band = band_of(path)
    write_geotiff(path, ramp(4, 4, "float32"))
    with pytest.raises(SceneError, match=r"float32.*uint16.*has changed"), open_band(band):
        pass


@pytest.mark.parametrize(("rows", "cols"), [((0, 5), (0, 1)), ((-1, 1), (0, 1)), ((2, 2), (0, 1)), ((0, 1), (3, 9))])
def test_ranges_outside_the_grid_are_a_mistake(tmp_path: Path, rows: tuple[int, int], cols: tuple[int, int]) -> None:
    band = band_of(write_geotiff(tmp_path / "a.tif", ramp(4, 4)))
    with open_band(band) as red, pytest.raises(ValueError, match="inside 4 x 4"):
        red.read(slice(*rows), slice(*cols))


def test_plausible_ranges_tell_units_apart() -> None:
    low, high = plausible_range(Unit.REFLECTANCE)
    assert low < -0.1
    assert 65535 * 1e-4 < high < 100.0
    low, high = plausible_range(Unit.KELVIN)
    assert 40.0 < low < 180.0
    assert 340.0 < high < 273.15 + 250.0
    with pytest.raises(ValueError, match="dn"):
        plausible_range(Unit.DN)
