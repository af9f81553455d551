"""Rasters on request: what each one says of a pixel, and in which steps it is stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

RasterName = Literal["probabilities", "entropy", "margin", "disagreement", "unfamiliarity"]
LARGEST_STEP = 254
"""255 is nodata."""
CONFIDENCE_SCALE = 254
"""Stored confidence = round(254 * p); 255 is nodata."""


@dataclass(frozen=True, slots=True)
class RasterKind:
    """Stored = round(steps * value), at most 254; 255 is nodata."""

    steps: int
    meaning: str

    @property
    def scale(self) -> float:
        """Value = stored * scale."""
        return 1 / self.steps


KINDS: Mapping[RasterName, RasterKind] = {
    "probabilities": RasterKind(254, "blended probability of each class"),
    "entropy": RasterKind(254, "entropy of the blended probabilities, 1 where all classes are equally likely"),
    "margin": RasterKind(254, "largest blended probability minus the second largest"),
    "disagreement": RasterKind(254, "Jensen-Shannon divergence of what overlapping windows say, in bits, at most 1"),
    "unfamiliarity": RasterKind(40, "distance from the training's pixels; few like them lie beyond 1"),
}


def channel_count(classes: int, asked: tuple[RasterName, ...]) -> int:
    """Return how many numbers of a pixel are blended: probabilities of the classes, and what no raster tells later."""
    return classes + ("disagreement" in asked) + ("unfamiliarity" in asked)


def arranged(asked: tuple[RasterName, ...]) -> tuple[RasterName, ...]:
    """Return the rasters in the order of `KINDS`."""
    return tuple(name for name in KINDS if name in asked)
