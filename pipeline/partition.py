"""What a check of seams asks and finds: ways of cutting a scene into tasks, and what hangs on them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isnan

from rspipe.pipeline.lines import LineRates


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One way of cutting a scene into tasks."""

    workers: int
    band_rows: int
    last_first: bool
    """Tasks are handed out from the scene's bottom."""

    def __str__(self) -> str:
        order = "last first" if self.last_first else "first first"
        return f"{self.workers} workers, bands of {self.band_rows} window rows, {order}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One partition against the first one."""

    partition: Partition
    changed_px: int
    largest_dp: float
    """Of the stored confidence, whose step is 1 / 254."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSeams:
    """What was found for one scene."""

    scene_id: str
    pixels: int
    differences: tuple[Difference, ...]
    lines: LineRates
    shifted_share: float
    """Share of the pixels whose class changes when the window grid moves by half a stride; NaN for a small scene."""

    @property
    def changed_px(self) -> int:
        """Pixels that hang on the partition; anything but 0 is a fault."""
        return max((difference.changed_px for difference in self.differences), default=0)

    def as_json(self) -> dict[str, object]:
        """Return it as a JSON object."""
        return {
            "scene": self.scene_id,
            "pixels": self.pixels,
            "partitions": [
                {**asdict(each.partition), "changed_px": each.changed_px, "largest_dp": each.largest_dp}
                for each in self.differences
            ],
            "line_rate_ratio": None if isnan(self.lines.ratio) else self.lines.ratio,
            "cell_rate_ratio": None if isnan(self.lines.cell_ratio) else self.lines.cell_ratio,
            "lines": asdict(self.lines),
            "shifted_share": None if isnan(self.shifted_share) else self.shifted_share,
        }

    def __str__(self) -> str:
        lines = [f"{self.scene_id}: {self.pixels} pixels"]
        lines += [
            f"  {each.partition}: {each.changed_px} pixels changed, max |dp| {each.largest_dp:.4f}"
            for each in self.differences
        ]
        begin, cells = _times(self.lines.ratio), _times(self.lines.cell_ratio)
        moved = "not known, the scene is too small" if isnan(self.shifted_share) else f"{self.shifted_share:.2%}"
        lines += [
            f"  class changes where windows begin, beside other lines between the model's cells: {begin}",
            f"  class changes between the model's cells, beside the inside of them: {cells}",
            f"  classes that change when the windows move by half a stride: {moved}",
        ]
        return "\n".join(lines)


def _times(ratio: float) -> str:
    return "not known, too few classes change" if isnan(ratio) else f"{ratio:.3f} times as often"


def partitions(workers: Sequence[int], band_rows: Sequence[int]) -> tuple[Partition, ...]:
    """Return every pair of both, with the order of the tasks turned round from one to the next."""
    pairs = [(count, rows) for count in workers for rows in band_rows]
    return tuple(
        Partition(workers=count, band_rows=rows, last_first=bool(index % 2))
        for index, (count, rows) in enumerate(pairs)
    )
