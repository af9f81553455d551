"""Laying out groups: what is whole stays with all that was written into it, what is damaged is laid out anew."""

from pathlib import Path

import numpy as np
import pytest
from workingstate import grid_of
from zarr.errors import ChunkNotFoundError

from rspipe.pipeline import store

PLAN = store.ArrayPlan(
    name="some",
    shape=(64, 96),
    dtype="uint16",
    shard_px=(32, 32),
    chunk_px=(32, 32),
    fill=7,
    attributes={"scale_factor": 0.25},
)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A group into which a first shard was written."""
    path = tmp_path / "group.zarr"
    store.create(path, grid_of(64, 96), [PLAN])
    store.open_array(path, "some", write=True)[:32, :32] = np.uint16(9)
    return path


def laid_out_again(path: Path) -> bool:
    """Lay out once more; tell whether what was written is gone."""
    store.create(path, grid_of(64, 96), [PLAN])
    return not (path / "some" / "c" / "0" / "0").exists()


def test_a_whole_group_stays_with_what_was_written(written: Path) -> None:
    assert not laid_out_again(written)
    assert np.asarray(store.open_array(written, "some")[:32, :32]).min() == 9


@pytest.mark.parametrize("name", ["zarr.json", "some/zarr.json", "x/c/0", "y/zarr.json", "spatial_ref/zarr.json"])
@pytest.mark.parametrize("how", ["flipped", "lost"])
def test_a_group_whose_layout_is_damaged_is_laid_out_anew(written: Path, name: str, how: str) -> None:
    path = written / name
    content = bytearray(path.read_bytes())
    if how == "lost":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    assert laid_out_again(written)
    assert store.open_array(written, "some").attrs["scale_factor"] == 0.25


def test_another_layout_replaces_what_is_there(written: Path) -> None:
    store.create(written, grid_of(64, 96, left=0.0), [PLAN])
    assert not list(written.glob("some/c/*/*"))


def test_every_flipped_bit_of_a_shard_is_an_error(written: Path) -> None:
    store.open_array(written, "some", write=True)[:32, :32] = np.random.default_rng(0).integers(0, 2**16, (32, 32))
    shard = written / "some" / "c" / "0" / "0"
    whole, draw = shard.read_bytes(), np.random.default_rng(1)
    for bit in draw.choice(8 * len(whole), 60, replace=False):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        shard.write_bytes(damaged)
        with pytest.raises((ValueError, RuntimeError, IndexError, OSError)):
            store.open_array(written, "some")[:32, :32]


def test_a_shard_of_fill_values_is_written_and_a_lost_one_is_an_error(written: Path) -> None:
    store.open_array(written, "some", write=True)[:32, :32] = np.uint16(PLAN.fill)
    shard = written / "some" / "c" / "0" / "0"
    assert shard.is_file()
    shard.unlink()
    with pytest.raises(ChunkNotFoundError):
        store.open_array(written, "some")[:32, :32]
