"""Whether probabilities mean what they say, and the temperature under which they do.

Everything is a sum over pixels: what several pictures or folds gave is added, and read off at the end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rspipe.models.errors import DataError
from rspipe.models.mlm import ReliabilityBin

BINS = 15
"""Of equal width, as in Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017)."""
TEMPERATURES = tuple(round(0.5 * 1.04**power, 4) for power in range(60))
"""0.5 to 5.06 in steps of 4 %: the likelihood is so flat around its best temperature that no finer step is of use."""

_TINY = torch.finfo(torch.float32).tiny

type Sums = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """How often the chosen class was right, by the probability that it was given."""

    sums: Sums
    """(3, BINS): pixels; their probabilities, summed; how many were right. Bin i holds i < p * BINS <= i + 1."""

    def __post_init__(self) -> None:
        if self.sums.shape != (3, BINS):
            raise DataError(f"a reliability table is (3, {BINS}), found {self.sums.shape}")

    @classmethod
    def empty(cls) -> Self:
        """Return the table of no pixel."""
        return cls(np.zeros((3, BINS)))

    @classmethod
    def of(cls, probabilities: Tensor, labels: Tensor) -> Self:
        """Sort the labelled pixels of one picture into bins.

        Args:
            probabilities: (N, ...) class probabilities.
            labels: (...) uint8 class ids; pixels labelled N or more are left out.
        """
        known = labels < len(probabilities)
        return cls(_binned(probabilities[:, known], labels[known]))

    def __add__(self, other: "Reliability") -> "Reliability":
        return Reliability(self.sums + other.sums)

    @property
    def expected_error(self) -> float:
        """Expected calibration error: |accuracy - mean probability| of the bins, weighted by pixels; NaN for none."""
        count, confidence, right = self.sums
        total = count.sum()
        return float(np.abs(right - confidence).sum() / total) if total else float("nan")

    @property
    def bins(self) -> tuple[ReliabilityBin, ...]:
        """The bins that hold a pixel, as a card has them; rounded, for people read them."""
        return tuple(
            ReliabilityBin(
                low=round(place / BINS, 4),
                high=round((place + 1) / BINS, 4),
                pixels=int(count),
                confidence=round(float(confidence / count), 4),
                accuracy=round(float(right / count), 4),
            )
            for place, (count, confidence, right) in enumerate(self.sums.T)
            if count
        )


@dataclass(frozen=True, slots=True, eq=False)
class TemperatureScan:
    """What labels and probabilities say of every temperature of `TEMPERATURES`."""

    surprise: Sums
    """(temperatures,): the sum of -log p(label)."""
    reliability: Sums
    """(temperatures, 3, BINS), see `Reliability`."""

    @classmethod
    def empty(cls) -> Self:
        """Return the scan of no pixel."""
        return cls(np.zeros(len(TEMPERATURES)), np.zeros((len(TEMPERATURES), 3, BINS)))

    @classmethod
    def of(cls, probabilities: Callable[[float], Tensor], labels: Tensor) -> Self:
        """Scan one picture.

        Args:
            probabilities: temperature -> (N, H, W) probabilities under it, blended where windows overlap.
            labels: (H, W) uint8 class ids; pixels labelled N or more are left out.
        """
        surprise, tables = [], []
        for temperature in TEMPERATURES:
            given = probabilities(temperature)
            known = labels < len(given)
            given, asked = given[:, known], labels[known]
            surprise.append(-given.gather(0, asked.long()[None]).clamp_min(_TINY).log().sum(dtype=torch.float64).item())
            tables.append(_binned(given, asked))
        return cls(np.array(surprise), np.stack(tables))

    def __add__(self, other: "TemperatureScan") -> "TemperatureScan":
        return TemperatureScan(self.surprise + other.surprise, self.reliability + other.reliability)

    @property
    def temperature(self) -> float:
        """The temperature under which the labels are likeliest, hence the one of least logarithmic loss."""
        return TEMPERATURES[self._best]

    @property
    def calibrated(self) -> Reliability:
        """The reliability under that temperature."""
        return Reliability(self.reliability[self._best])

    @property
    def _best(self) -> int:
        return int(self.surprise.argmin())


def _binned(probabilities: Tensor, labels: Tensor) -> Sums:
    """Return the (3, BINS) sums of (N, pixels) probabilities and their (pixels,) labels."""
    confidence, chosen = probabilities.max(dim=0)
    place = ((confidence.double() * BINS).ceil().long() - 1).clamp(0, BINS - 1)
    weights = (None, confidence.double(), (chosen == labels).double())
    return np.stack([torch.bincount(place, weight, minlength=BINS).double().numpy() for weight in weights])
