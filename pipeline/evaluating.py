"""The settings of an evaluation, as the command line gives them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from types import MappingProxyType

from rspipe.models.boundary import TOLERANCE_PX
from rspipe.models.card import ModelCard
from rspipe.models.views import LARGEST_SCALE, SMALLEST_SCALE, SYMMETRIES, Symmetry
from rspipe.pipeline.errors import ConfigError
from rspipe.pipeline.grid import WINDOW_MULTIPLE_PX, WindowGrid


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSettings:
    """How pictures are predicted and compared."""

    windows: tuple[int, int] | None = None
    """Side and overlap in pixels; None predicts every picture in one piece."""
    symmetry: Symmetry = "none"
    scales: tuple[float, ...] = (1.0,)
    dropped: tuple[str, ...] = ()
    """Optional bands that are left out."""
    meanings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What the masks' numbers mean: a class, several joined by `|`, or nothing; empty: they are class ids."""
    tolerance_px: float = TOLERANCE_PX
    seed: int = 0
    """Of the bootstrap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Options as they were typed."""

    windows: bool
    window_px: int | None
    overlap_px: int | None
    views: str
    scales: str

    def settings(self, card_path: Path, dropped: Sequence[str], labels: Sequence[str]) -> EvaluateSettings:
        """Check the options against the model's card.

        Raises:
            CardError: the card is refused.
            ConfigError: an option is wrong.
        """
        card = ModelCard.read(card_path)
        return EvaluateSettings(
            windows=self._windows(card),
            symmetry=self._symmetry(),
            scales=self._scales(),
            dropped=tuple(dropped),
            meanings=MappingProxyType(dict(_meaning(text) for text in labels)),
        )

    def _windows(self, card: ModelCard) -> tuple[int, int] | None:
        if not self.windows and self.window_px is None and self.overlap_px is None:
            return None
        window_px = card.window_px if self.window_px is None else self.window_px
        half_px = window_px // 2 // WINDOW_MULTIPLE_PX * WINDOW_MULTIPLE_PX
        overlap_px = min(card.overlap_px, half_px) if self.overlap_px is None else self.overlap_px
        # The grid itself says what is wrong with a window, here before anything is read.
        grid = WindowGrid(height_px=1, width_px=1, window_px=window_px, overlap_px=overlap_px)
        return grid.window_px, grid.overlap_px

    def _symmetry(self) -> Symmetry:
        for symmetry in SYMMETRIES:
            if symmetry == self.views:
                return symmetry
        raise ConfigError(f"--views {self.views}: there are {', '.join(SYMMETRIES)}")

    def _scales(self) -> tuple[float, ...]:
        try:
            scales = tuple(float(text) for text in self.scales.split(","))
        except ValueError:
            scales = (float("nan"),)
        if not all(isfinite(scale) and SMALLEST_SCALE <= scale <= LARGEST_SCALE for scale in scales):
            raise ConfigError(
                f"--scales {self.scales}: give numbers from {SMALLEST_SCALE:g} to {LARGEST_SCALE:g}, "
                "for instance 0.75,1,1.25"
            )
        return scales


def _meaning(text: str) -> tuple[str, str]:
    number, equals, meaning = (part.strip() for part in text.partition("="))
    if not equals or not number:
        raise ConfigError(f'--label {text}: must read NUMBER=CLASS, for instance "4=thin cloud|thick cloud"')
    return number, meaning
