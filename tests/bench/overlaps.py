"""What windows and overlaps cost and bring on simulated scenes: time, visible windows, how right the classes are.

    OMP_NUM_THREADS=1 python -m bench.overlaps 256,128 256,64 512,128    # in tests/; window,overlap in pixels

Every pair goes over the same scenes, whose truth is known, with the shipped model; the first pair is what the others
are compared with. Printed are means over the scenes with their standard errors. Visible windows: how often the class
changes across lines where windows begin, over how often it does across the other lines between the model's cells, and
over all other pairs of neighbours. The model was trained on simulations of other seeds.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch

import rspipe.models
from rspipe.catalogs.legends import NODATA_ID
from rspipe.catalogs.simulated import compute_block, thick_from
from rspipe.catalogs.simulation import CHANNELS, SimulationSpec
from rspipe.models.data import Patch
from rspipe.models.metrics import Confusion
from rspipe.models.predictor import Predictor
from rspipe.models.pyramid import FINEST_STRIDE_PX
from rspipe.pipeline.lines import LineRates
from rspipe.pipeline.slide import slide

CARD = Path(rspipe.models.__file__).parent / "cloud_thickness.json"
FIRST_SEED = 1000
THICK_FROM, UNSURE = 3.5, 0.25
"""What `workflows/train_cloud_thickness.yaml` calls thick."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one pair of window and overlap came to on one scene."""

    cpu_s: float
    mean_iou: float
    overall: float
    lines: LineRates

    @property
    def beside_all(self) -> float:
        """Rate of change across window lines over that of all other pairs."""
        lines = self.lines
        rest = (lines.cell_changes + lines.other_changes) / (lines.cell_pairs + lines.other_pairs)
        return lines.line_changes / lines.line_pairs / rest


def simulated(seed: int, side_px: int, names: Sequence[str]) -> Patch:
    """Return a scene with its truth, the bands in the order of the names."""
    spec = SimulationSpec(seed=seed, height_px=side_px, width_px=side_px)
    block = compute_block(spec, slice(0, side_px), slice(0, side_px))
    bands = block.bands[[CHANNELS.index(name) for name in names]]
    labels = thick_from(block, THICK_FROM, UNSURE)
    return Patch(f"simulated-{seed}", torch.from_numpy(bands), torch.from_numpy(labels), spec.pixel_size_m)


def found(model: Predictor, scene: Patch, window_px: int, overlap_px: int) -> Found:
    """Run one pair over a scene."""
    began_s = time.process_time()
    blended = slide(model, scene, window_px, overlap_px, torch.device("cpu"))
    cpu_s = time.process_time() - began_s
    classes = blended.probabilities.argmax(dim=0).numpy().astype(np.uint8)
    classes[~blended.valid.numpy()] = NODATA_ID
    confusion = Confusion.of(scene.labels.numpy(), classes, len(model.card.legend.classes))
    below_nothing = np.concatenate([np.full_like(classes[:1], NODATA_ID), classes])
    lines = LineRates.of(below_nothing, -1, window_px - overlap_px, FINEST_STRIDE_PX)
    return Found(cpu_s, confusion.mean_iou, confusion.overall_accuracy, lines)


def in_words(numbers: Sequence[float], digits: int = 3) -> str:
    """Return a mean with its standard error."""
    error = stdev(numbers) / len(numbers) ** 0.5 if len(numbers) > 1 else float("nan")
    return f"{mean(numbers):.{digits}f} ± {error:.{digits}f}"


def row(pair: tuple[int, int], some: Sequence[Found], first: Sequence[Found]) -> str:
    """Return one line of the table."""
    both = list(zip(some, first, strict=True))
    cells = [
        "{} / {}".format(*pair),
        f"{mean(one.cpu_s / other.cpu_s for one, other in both):.2f}",
        in_words([one.lines.ratio for one in some]),
        in_words([one.beside_all for one in some]),
        in_words([one.mean_iou - other.mean_iou for one, other in both], 4),
        in_words([one.overall - other.overall for one, other in both], 4),
    ]
    return f"| {' | '.join(cells)} |"


def pair_of(text: str) -> tuple[int, int]:
    """Read `window,overlap`."""
    window_px, overlap_px = text.split(",")
    return int(window_px), int(overlap_px)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=pair_of, nargs="+", metavar="WINDOW,OVERLAP")
    parser.add_argument("--side", type=int, default=2048, help="of the scenes, in pixels")
    parser.add_argument("--seeds", type=int, default=10, help="how many scenes")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = Predictor.load(CARD)
    names = [band.name for band in model.card.bands]
    results: dict[tuple[int, int], list[Found]] = {pair: [] for pair in given.pairs}
    for seed in range(FIRST_SEED, FIRST_SEED + given.seeds):
        scene = simulated(seed, given.side, names)
        for pair, some in results.items():
            some.append(found(model, scene, *pair))
    print("| window / overlap | CPU | beside cells | beside all | mIoU | accuracy |")
    print("| --- | --- | --- | --- | --- | --- |")
    for pair, some in results.items():
        print(row(pair, some, results[given.pairs[0]]))


if __name__ == "__main__":
    main()
