"""Sinks: what is written behind is what was given, whatever comes in meanwhile."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rspipe.pipeline import store
from rspipe.pipeline.behind import Behind
from rspipe.pipeline.sink import ShardSink


class _Slow:
    """An array whose writing takes a while, as on a busy disk."""

    def __init__(self, array: Any) -> None:  # noqa: ANN401 - stands in for any zarr array
        self._array = array

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - passes on what the array has
        return getattr(self._array, name)

    def __setitem__(self, place: Any, block: NDArray[np.uint8]) -> None:  # noqa: ANN401 - zarr's own signature
        time.sleep(0.05)
        self._array[place] = block


def test_what_comes_in_while_a_shard_is_written_stays_out_of_it(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0, 255, (64, 150), dtype=np.uint8)
    plan = store.ArrayPlan(
        name="some", shape=(64, 150), dtype="uint8", shard_px=(32, 32), chunk_px=(32, 32), fill=255, attributes={}
    )
    store.create_bare(tmp_path / "z", plan)
    array: Any = _Slow(store.open_array(tmp_path / "z", "some", write=True))
    with Behind() as behind:
        sink = ShardSink(array, slice(32, 64), behind)
        for start in range(0, 150, 20):
            sink.append(numbers[32:, start : start + 20])
    assert np.array_equal(np.asarray(store.open_array(tmp_path / "z", "some")[32:64, :]), numbers[32:])
