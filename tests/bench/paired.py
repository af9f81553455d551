"""How likely one variant is better than another: both on the same patches, which are drawn again and again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from rspipe.models.metrics import Confusion

DRAWS = 10_000

type Stack = NDArray[np.int64]
"""(patches, N, N): one confusion per patch."""
type Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Paired:
    """What the paired bootstrap found."""

    patches: int
    better: float
    """Share of the draws in which the first one scores higher; ties count half."""
    difference: float
    """Of the scores on all patches, first minus second."""
    low: float
    """2.5 % quantile of the difference over the draws."""
    high: float
    """97.5 % quantile."""


def mean_ious(pooled: Stack) -> Scores:
    """Return the mean IoU of each of many confusion matrices, over the classes that were labelled or predicted."""
    hits = np.diagonal(pooled, axis1=1, axis2=2).astype(np.float64)
    whole = pooled.sum(axis=1) + pooled.sum(axis=2) - hits
    known = whole > 0
    ratio = np.divide(hits, whole, out=np.zeros_like(hits), where=known)
    return np.asarray(ratio.sum(axis=1) / known.sum(axis=1))


def united(groups: Sequence[int]) -> Callable[[Stack], Scores]:
    """Return the IoU of class 1 after class n became class `groups[n]` of 0 and 1."""
    one = np.array(groups) == 1

    def score(pooled: Stack) -> Scores:
        hits = pooled[:, one][:, :, one].sum(axis=(1, 2))
        whole = pooled[:, one].sum(axis=(1, 2)) + pooled[:, :, one].sum(axis=(1, 2)) - hits
        return np.asarray(hits / np.maximum(whole, 1))

    return score


def paired(
    first: Mapping[str, Confusion],
    second: Mapping[str, Confusion],
    draws: Iterator[NDArray[np.int64]],
    score: Callable[[Stack], Scores] = mean_ious,
) -> Paired:
    """Compare two variants on the patches that both have scored.

    Each draw takes as many patches as there are, with replacement, the same ones for both, and pools their confusion.

    Args:
        first: patch -> confusion.
        second: likewise.
        draws: (draws, patches) each: how often every patch is taken; `drawn` or `every_draw`.
        score: what is compared.
    """
    names = sorted(first.keys() & second.keys())
    stacks = [np.stack([some[name].counts for name in names]) for some in (first, second)]
    gains = np.concatenate(
        [score(np.tensordot(times, stacks[0], 1)) - score(np.tensordot(times, stacks[1], 1)) for times in draws]
    )
    once = np.ones((1, len(names)), dtype=np.int64)
    whole = score(np.tensordot(once, stacks[0], 1)) - score(np.tensordot(once, stacks[1], 1))
    low, high = np.quantile(gains, [0.025, 0.975])
    better = float((gains > 0).mean() + 0.5 * (gains == 0).mean())
    return Paired(len(names), better, float(whole[0]), float(low), float(high))


def drawn(patches: int, seed: int = 0) -> Iterator[NDArray[np.int64]]:
    """Yield one block of `DRAWS` draws."""
    yield np.random.default_rng(seed).multinomial(patches, np.full(patches, 1 / patches), size=DRAWS)


def every_draw(patches: int) -> Iterator[NDArray[np.int64]]:
    """Yield all draws that there are: exact, for a handful of patches."""
    yield np.array([np.bincount(taken, minlength=patches) for taken in product(range(patches), repeat=patches)])
