"""How far a score may be trusted: the pictures are drawn again, with replacement, and the score is taken again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rspipe.models.metrics import Confusion, Scores

LEVEL = 0.95
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    """The middle `LEVEL` of what resampling gave; NaN where a score cannot be told, as for a single picture."""

    low: float
    high: float


def intervals(
    pictures: Sequence[Confusion], score: Callable[[Confusion], Scores], seed: int = 0, resamples: int = RESAMPLES
) -> list[Interval]:
    """Return the percentile interval (Efron and Tibshirani 1993, chapter 13) of every number that `score` gives.

    A resample draws as many pictures as there are and pools their confusion matrices. Resamples in which a number is
    NaN (no pixel of that class was drawn) do not count for it.

    Args:
        pictures: one matrix each; pixels of one picture are never drawn apart, they are not independent.
        score: from a pooled matrix to numbers (K,).
        seed: the same seed draws the same pictures.
        resamples: how often.
    """
    count = len(pictures)
    if count < 2:
        lacking = float("nan")
        return [Interval(lacking, lacking) for picture in pictures for _ in score(picture)]
    stack = np.stack([picture.counts for picture in pictures])
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    found = np.array([score(Confusion(np.tensordot(drawn, stack, axes=1))) for drawn in times])
    return [_interval(column[~np.isnan(column)]) for column in found.T]


def _interval(values: Scores) -> Interval:
    if not values.size:
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
