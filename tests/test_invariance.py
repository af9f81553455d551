"""The heart of the product: any number of workers, any bands, any order, a lost worker: the same bytes."""

import io
import os
import signal
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from test_run_killed import end, records, start, wait_for, workers
from tinyrun import TinyScene, environment, lay_place, tree

from rspipe.pipeline.check import check_seams
from rspipe.pipeline.partition import Partition
from rspipe.pipeline.progress import Progress
from rspipe.pipeline.workflow import Overrides, load_workflow

pytestmark = pytest.mark.slow

EVERY = [
    Partition(workers=workers, band_rows=band_rows, last_first=last_first)
    for workers, band_rows, last_first in product((1, 2, 4), (1, 3, 7), (False, True))
]
FEW = [EVERY[0], EVERY[9], EVERY[17]]
"""One worker, one row; two workers, three rows, backwards; four workers, seven rows, backwards. All 18 by
`rspipe check seams WORKFLOW --workers 1 --workers 2 --workers 4 --bands 1 --bands 3 --bands 7`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holed(TinyScene):
    """With nodata in the middle and a lonely valid pixel in it, beside the slanted corner."""

    def invalid(self) -> NDArray[np.bool_]:
        rows, cols = np.mgrid[: self.height_px, : self.width_px]
        row, col = self.height_px // 2, self.width_px // 2
        hole = np.maximum(abs(rows - row), abs(cols - col)) < min(self.height_px, self.width_px) // 5
        return np.asarray(TinyScene.invalid(self) | (hole & ~((rows == row) & (cols == col))))


@pytest.mark.parametrize(
    ("height_px", "width_px", "partitions", "processes"),
    [(331, 277, FEW, True), (263, 97, EVERY, False), (449, 131, FEW, False)],
)
def test_no_byte_hangs_on_workers_bands_or_order(
    tmp_path: Path, height_px: int, width_px: int, partitions: list[Partition], *, processes: bool
) -> None:
    scene = Holed(height_px=height_px, width_px=width_px)
    place = lay_place(tmp_path, scene, infer={"rasters": ["probabilities", "disagreement"]})
    config = load_workflow(place.workflow, Overrides(output=place.out))
    with environment(), Progress(io.StringIO()) as progress:
        (found,) = check_seams(config, partitions, progress, processes=processes)
    assert len(found.differences) == len(partitions)
    assert found.changed_px == 0


def test_a_worker_killed_in_the_middle_leaves_no_trace(tmp_path: Path) -> None:
    scene = Holed(height_px=449, width_px=331)
    undisturbed = lay_place(tmp_path / "one", scene)
    assert undisturbed.run("infer.band_rows=3").code == 0
    place = lay_place(tmp_path / "two", scene)
    process = start(place, "--workers", "2")
    wait_for(lambda: records(place) >= 4 or process.poll() is not None)
    assert process.poll() is None, "it was over before anybody could be killed"
    os.kill(workers(process.pid)[0], signal.SIGKILL)
    code, stderr = end(process)
    assert code == 0, stderr
    assert tree(place.out) == tree(undisturbed.out)
