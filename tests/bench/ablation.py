"""The table of results/ablation.md, from the lines of results/ablation.jsonl: `python -m bench.ablation`, in tests/."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rspipe.models.metrics import Confusion

LINES = Path(__file__).parent / "results" / "ablation.jsonl"
CLOUD = np.array([0, 1, 1, 0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One thing that was tried: what it scored on the folds that it was tried on."""

    model: str
    changed: str
    folds: dict[str, list[list[int]]]
    """Fold -> confusion, rows are labels: clear, thin cloud, thick cloud, cloud shadow."""
    kept: str

    @property
    def row(self) -> str:
        """The row of the table."""
        each = [Confusion(np.array(counts, dtype=np.int64)) for counts in self.folds.values()]
        total = Confusion(sum((fold.counts for fold in each), start=np.zeros((4, 4), dtype=np.int64)))
        means = [fold.mean_iou for fold in each]
        cells = [
            self.model, self.changed, " ".join(sorted(self.folds)), f"{total.mean_iou:.3f}",
            f"{min(means):.2f} to {max(means):.2f}", *(f"{iou:.2f}" for iou in total.iou),
            f"{total.merged(CLOUD).iou[1]:.3f}", self.kept,
        ]  # fmt: skip
        return f"| {' | '.join(cells)} |"


def table() -> str:
    """Return all trials as a table in Markdown."""
    names = ["model", "what", "folds", "mIoU", "over folds", "clear", "thin", "thick", "shadow", "cloud", "kept"]
    rows = [Trial(**json.loads(line)).row for line in LINES.read_text(encoding="utf-8").splitlines()]
    return "\n".join([f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}", *rows])


if __name__ == "__main__":
    print(table())
