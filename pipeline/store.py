"""The only place that opens Zarr: every array of the working state is created, opened and checked here."""

import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec
from zarr.core.array_spec import ArrayConfigParams
from zarr.errors import ZarrUserWarning

from rspipe.catalogs.scene import Grid
from rspipe.pipeline import sealed
from rspipe.pipeline.ledger import file_digest

GRID_MAPPING = "spatial_ref"
ARRAY_CONFIG: ArrayConfigParams = {"write_empty_chunks": True}
CODECS = (BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), Crc32cCodec())
"""crc32c stands last: without it 60 of 60 flipped bits went unseen. On Landsat bands lz4 takes 7 % more room than zstd,
and a quarter to a third of its time both ways."""

zarr.config.set(
    {
        # zarr's usual way changes threads for every chunk: 1.7 times the CPU time for our swaths
        "codec_pipeline.path": "zarr.core.codec_pipeline.FusedCodecPipeline",
        "codec_pipeline.max_workers": 1,  # cores belong to workers
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayPlan:
    """Shape and layout of one array; a task may only ever write whole shards.

    `shard_px` and `chunk_px` are (rows, columns) for the last two axes; leading axes are kept whole in one chunk.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    shard_px: tuple[int, int]
    chunk_px: tuple[int, int]
    fill: float
    attributes: Mapping[str, Any]


def _create(group: zarr.Group, plan: ArrayPlan, georeference: Mapping[str, str]) -> None:
    leading = plan.shape[:-2]
    dimensions = ("y", "x") if len(plan.shape) == 2 else ("class", "y", "x")
    group.create_array(
        plan.name,
        shape=plan.shape,
        dtype=plan.dtype,
        chunks=(*leading, *plan.chunk_px),
        shards=(*leading, *plan.shard_px),
        filters=[],
        serializer=BytesCodec(),
        compressors=CODECS,
        fill_value=plan.fill,
        attributes={**plan.attributes, **georeference},
        dimension_names=dimensions,
        config=ARRAY_CONFIG,
        overwrite=True,
    )


def _axis(group: zarr.Group, name: str, values: NDArray[np.floating[Any]], attributes: Mapping[str, str]) -> None:
    array = group.create_array(
        name, data=values, chunks=values.shape, compressors=CODECS, dimension_names=(name,), overwrite=True
    )
    array.attrs.update({**attributes, "axis": name.upper()})


def _create_coordinates(group: zarr.Group, grid: Grid) -> None:
    from pyproj import CRS  # noqa: PLC0415 - a run's first use; `rspipe --help` must not pay for it

    transform = grid.transform
    crs = CRS.from_wkt(grid.crs_wkt)
    attributes = {str(axis["axis"]).lower(): axis for axis in crs.cs_to_cf()}
    _axis(group, "x", transform.c + transform.a * (np.arange(grid.width_px) + 0.5), attributes["x"])
    _axis(group, "y", transform.f + transform.e * (np.arange(grid.height_px) + 0.5), attributes["y"])
    reference = group.create_array(GRID_MAPPING, shape=(), dtype="int64", compressors=CODECS, overwrite=True)
    reference.attrs.update(crs.to_cf())
    reference.attrs["GeoTransform"] = f"{transform.c} {transform.a} 0.0 {transform.f} 0.0 {transform.e}"


VALIDITY = "validity"
"""Name of the array beside the bands: bit i is set where band i (in the order of `flag_meanings`) is valid."""


def validity_attributes(bands: Sequence[str]) -> dict[str, Any]:
    """Return the CF flag attributes (CF 1.11, section 3.5) of a validity array over these bands, bit 0 first."""
    masks = [1 << bit for bit in range(len(bands))]
    return {"flag_masks": masks, "flag_meanings": " ".join(bands), "long_name": "valid bands at each pixel"}


def create(path: Path, grid: Grid, arrays: Sequence[ArrayPlan]) -> None:
    """Create a Zarr v3 group on `grid` that `xarray.open_zarr` and rioxarray understand.

    A finished group with the same layout is left as it is, with all that was written into it; any other is replaced.
    What the layout consists of, metadata and coordinates, is vouched for by a file beside the group, written last.

    Args:
        path: folder of the group.
        grid: georeferencing of every array's last two axes.
        arrays: the arrays to lay out; nothing is written into them.
    """
    layout, vouching = repr((grid, list(arrays))), _vouching(path)
    if _is_laid_out(path, layout, sealed.read(vouching)):
        return
    vouching.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
    group = zarr.open_group(path, mode="w", zarr_format=3)
    _create_coordinates(group, grid)
    for plan in arrays:
        _create(group, plan, {"grid_mapping": GRID_MAPPING, "coordinates": GRID_MAPPING})
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ZarrUserWarning
        )  # says only that other readers may ignore the consolidated copy
        zarr.consolidate_metadata(path, zarr_format=3)
    files = {file.relative_to(path).as_posix(): file_digest(file) for file in path.rglob("*") if file.is_file()}
    sealed.write(vouching, {"layout": layout, "files": files})


def _vouching(path: Path) -> Path:
    return path.with_name(f"{path.name}.layout.json")


def _is_laid_out(path: Path, layout: str, vouched: Mapping[str, Any] | None) -> bool:
    """Tell whether a group is there, finished and undamaged; any other is as good as none."""
    if vouched is None or vouched["layout"] != layout:
        return False
    try:
        return all(file_digest(path / name) == digest for name, digest in vouched["files"].items())
    except OSError:
        return False


def clear(path: Path, names: Sequence[str], rows: slice) -> None:
    """Delete the shards that a task is about to write.

    zarr reads what it finds in a shard at the array's edge before it writes there, and would stumble over a damaged
    one for ever.

    Args:
        path: folder of the group.
        names: the arrays.
        rows: see `shard_files`.
    """
    for name in names:
        for shard in shard_files(path, name, rows):
            shard.unlink(missing_ok=True)


def create_bare(path: Path, plan: ArrayPlan) -> None:
    """Create a group of one array without georeferencing, for numbers that only tasks read; replaces what is there.

    Args:
        path: folder of the group.
        plan: the array to lay out; nothing is written into it.
    """
    shutil.rmtree(path, ignore_errors=True)
    _create(zarr.open_group(path, mode="w", zarr_format=3), plan, {})


def open_array(path: Path, name: str, *, write: bool = False) -> zarr.Array[Any]:
    """Open one array of a group so that a missing chunk is an error, never fill values.

    Args:
        path: folder of the group.
        name: the array's name.
        write: open for writing; whole shards only.
    """
    array = zarr.open_array(path / name, mode="r+" if write else "r", zarr_format=3)
    return array.with_config({"read_missing_chunks": False, "write_empty_chunks": True})


def written_files(path: Path, names: Sequence[str], rows: slice) -> tuple[Path, ...]:
    """Return what a task that wrote these rows of these arrays answers for: the shard files, and what is laid out.

    All that is: what is damaged is laid out anew, and then nobody's shards are there any more.

    Args:
        path: folder of the group.
        names: the arrays.
        rows: see `shard_files`.
    """
    vouching = _vouching(path)
    laid_out = sealed.read(vouching)
    if laid_out is None:  # a bare group
        files = [path / "zarr.json", *(path / name / "zarr.json" for name in names)]
    else:
        files = [vouching, *(path / name for name in laid_out["files"])]
    return (*files, *(shard for name in names for shard in shard_files(path, name, rows)))


def shard_files(path: Path, name: str, rows: slice) -> list[Path]:
    """Return the shard files of one array that hold the given pixel rows, sorted.

    Args:
        path: folder of the group.
        name: the array's name.
        rows: half-open pixel rows; must begin and end on shard edges (or the array's end).
    """
    array = zarr.open_array(path / name, mode="r", zarr_format=3)
    shards = array.shards or array.chunks
    first, last = rows.start // shards[-2], -(-rows.stop // shards[-2])
    columns = -(-array.shape[-1] // shards[-1])
    leading = ["0"] * (len(array.shape) - 2)
    folder = path / name / "c"
    return [folder.joinpath(*leading, str(r), str(c)) for r in range(first, last) for c in range(columns)]
