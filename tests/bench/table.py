"""The tables of the README, built from the committed lines alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from bench.lines import RESULTS, Line, pooled, read_lines, valid
from bench.protocol import Cell, Protocol

from rspipe.models.metrics import Confusion

README = Path(__file__).parents[2] / "README.md"
BEGIN = "<!-- comparison: begin (python -m bench.compare table --write) -->"
END = "<!-- comparison: end -->"
CLOUDS = {"thin cloud", "thick cloud"}


def tables(protocol: Protocol, lines: Sequence[Line]) -> str:
    """Return one table per data set, and under each what is missing."""
    known = valid(lines, protocol)
    return "\n\n".join(_table(protocol, dataset, known) for dataset in protocol.datasets)


def _table(protocol: Protocol, dataset: str, known: Mapping[Cell, Line]) -> str:
    classes = protocol.classes(dataset)
    cloudy = bool(CLOUDS & set(classes))
    heads = [dataset, "runs", "mIoU pooled", "over the runs", *classes, *(["cloud"] if cloudy else [])]
    rows, made, wanted = [], 0, 0
    for variant in protocol.variants(dataset):
        cells = [cell for cell in protocol.cells(dataset) if cell.variant == variant]
        done = [known[cell] for cell in cells if cell in known]
        rows.append([protocol.title(variant), f"{len(done)}/{len(cells)}", *_scores(protocol, variant, done, classes)])
        made, wanted = made + len(done), wanted + len(cells)
    text = "\n".join("| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows))
    if made == wanted:
        return text
    return f"{text}\n\n{wanted - made} of {wanted} runs are missing; a row that lacks some pools the folds that it has."


def _scores(protocol: Protocol, variant: str, done: Sequence[Line], classes: Sequence[str]) -> list[str]:
    cloudy = bool(CLOUDS & set(classes))
    if not done:
        return ["-"] * (2 + len(classes) + cloudy)
    total, scope = pooled(done), protocol.scope(variant) or classes
    ious = [_told(iou) if name in scope else "-" for name, iou in zip(classes, total.iou, strict=True)]
    cloud = [_told(cloud_iou(total, classes))] if cloudy else []
    each = [line.pooled.mean_iou for line in done]
    spread = f"{np.mean(each):.3f} ± {np.std(each, ddof=1):.3f}" if len(each) > 1 else f"{each[0]:.3f}"
    means = [f"{total.mean_iou:.3f}", spread] if set(classes) <= set(scope) else ["-", "-"]
    return [*means, *ious, *cloud]


def cloud_iou(confusion: Confusion, classes: Sequence[str]) -> float:
    """Return the IoU of cloud of any thickness against the rest."""
    groups = np.array([int(name in CLOUDS) for name in classes])
    return float(confusion.merged(groups).iou[1])


def _told(score: float) -> str:
    return "-" if np.isnan(score) else f"{score:.2f}"


def section(protocol: Protocol, lines: Sequence[Line]) -> str:
    """Return what stands between the markers of the README."""
    return f"{BEGIN}\n\n{tables(protocol, lines)}\n\n{END}"


def replaced(text: str, new: str) -> str:
    """Return a text with what stands between its markers replaced."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"the README lacks the lines {BEGIN!r} and {END!r}")
    return head + new + tail


def write(protocol: Protocol, readme: Path = README, results: Path = RESULTS) -> None:
    """Write the tables into the README."""
    readme.write_text(replaced(readme.read_text("utf-8"), section(protocol, read_lines(results))), "utf-8")
