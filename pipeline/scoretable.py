"""An assessment as people read it."""

from collections.abc import Sequence
from math import isnan

from rspipe.models.bootstrap import LEVEL, RESAMPLES
from rspipe.models.calibration import BINS
from rspipe.pipeline.assessment import Assessment

_FEW_PICTURES = 20


def score_table(found: Assessment) -> str:
    """Return the whole assessment as text."""
    return "\n".join(
        [
            *_head(found),
            "",
            *_classes(found),
            "",
            *_totals(found),
            "",
            *_confusion(found),
            *_groups(found),
            *_notes(found),
        ]
    )


def _head(found: Assessment) -> list[str]:
    card, left_out = found.card, found.pixels - found.scored_pixels
    why = f"; {left_out:,} are ignored, partly labelled, or lack a required band" if left_out else ""
    return [
        f"{card.model_id} {card.version} on {_counted(len(found.pictures), 'picture')} of {found.folder}",
        f"{found.scored_pixels:,} of {found.pixels:,} pixels are scored{why}",
        _how(found),
    ]


def _how(found: Assessment) -> str:
    settings = found.settings
    parts = ["pictures in one piece"]
    if settings.windows:
        parts = ["windows of {} px, overlapping by {} px, blended".format(*settings.windows)]
    if settings.symmetry != "none" or settings.scales != (1.0,):
        scales = ", ".join(f"{scale:g}" for scale in settings.scales)
        parts.append(f"views: {settings.symmetry} at scales {scales}")
    if settings.dropped:
        parts.append(f"without {', '.join(settings.dropped)}")
    return "; ".join(parts)


def _classes(found: Assessment) -> list[str]:
    confusion, boundary = found.confusion, found.boundary
    labelled = confusion.counts.sum(axis=1)
    mean, *of_classes = found.intervals
    rows = [["", "labelled", "IoU", f"{LEVEL:.0%} interval", "F1", "precision", "recall", "boundary F1"]]
    for number, (name, interval) in enumerate(zip(found.labels.names, of_classes, strict=True)):
        scores = (confusion.f1, confusion.precision, confusion.recall, boundary.f1)
        rows.append(
            [
                name,
                f"{labelled[number] / max(found.scored_pixels, 1):.1%}",
                _two(confusion.iou[number]),
                _range(interval.low, interval.high),
                *(_two(score[number]) for score in scores),
            ]
        )
    values = (found.mean_f1, None, None, boundary.mean_f1)
    numbers = ["" if value is None else _two(value) for value in values]
    rows.append(["mean", "", f"{confusion.mean_iou:.3f}", _range(mean.low, mean.high), *numbers])
    return _aligned(rows)


def _totals(found: Assessment) -> list[str]:
    error = found.reliability.expected_error
    return [
        f"overall accuracy            {_two(found.confusion.overall_accuracy)}",
        f"expected calibration error  {_two(error)}  (mean gap between stated and true probability, {BINS} bins)",
    ]


def _confusion(found: Assessment) -> list[str]:
    counts, names = found.confusion.counts, found.labels.names
    rows = [["labelled \\ predicted", *names, "pixels"]]
    for name, row in zip(names, counts, strict=True):
        total = row.sum()
        shares = [f"{count / total:.1%}" if total else "-" for count in row]
        rows.append([name, *shares, f"{total:,}"])
    return _aligned(rows)


def _groups(found: Assessment) -> list[str]:
    if not found.groups:
        return []
    rows = [["partly labelled", "pixels", "given one of these"]]
    for name, pixels, hits in found.groups:
        rows.append([name.replace("|", " or "), f"{pixels:,}", f"{hits / pixels:.1%}" if pixels else "-"])
    return ["", *_aligned(rows)]


def _notes(found: Assessment) -> list[str]:
    count, tolerance_px = len(found.pictures), found.settings.tolerance_px
    few = " With so few pictures they are rough." if 1 < count < _FEW_PICTURES else ""
    drawn = f"{RESAMPLES} times {count} pictures drawn with replacement.{few}"
    lacking = "none: one picture tells nothing of others."
    return [
        "",
        f"Intervals: {drawn if count > 1 else lacking}",
        f"Boundaries match within {tolerance_px:g} px. Scores pool the pixels of all pictures; - cannot be told.",
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return lines


def _range(low: float, high: float) -> str:
    return "-" if isnan(low) else f"{low:.2f} to {high:.2f}"


def _two(score: float) -> str:
    return "-" if isnan(score) else f"{score:.2f}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
