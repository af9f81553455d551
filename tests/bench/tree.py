"""The peer that small data favours: gradient boosting on multi-scale pixel features, on the same folds."""

from collections.abc import Sequence

import numpy as np
from bench.features import features
from bench.folds import Split
from bench.learned import Outcome
from numpy.typing import NDArray

from rspipe.models.data import Patch
from rspipe.models.labels import IGNORE_ID
from rspipe.models.metrics import Confusion

PIXELS_PER_PATCH = 2000
ITERATIONS = 120


def grow_and_score(names: Sequence[str], classes: int, parts: Split, seed: int) -> Outcome:
    """Fit on pixels drawn from every patch, then predict every pixel of the others.

    Args:
        names: of the bands, in the order of the patches'.
        classes: how many there are.
        parts: patches to fit on, and patches to predict.
        seed: draws the pixels.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(seed)
    drawn = [_drawn(names, patch, rng) for patch in parts.learned]
    seen, labels = (np.concatenate(part) for part in zip(*drawn, strict=True))
    tree = HistGradientBoostingClassifier(
        max_iter=ITERATIONS, learning_rate=0.08, max_leaf_nodes=15, min_samples_leaf=60, l2_regularization=1.0,
        max_features=0.2, early_stopping=False, random_state=seed,
    )  # fmt: skip
    # The root of the inverse share: thin cloud and shadow count, yet do not drown the rest. Drawn, not weighted: with
    # weights scikit-learn takes a minute to find its bins.
    weights = (1 / np.sqrt(np.bincount(labels, minlength=classes).clip(1)))[labels]
    taken = rng.choice(labels.size, labels.size, p=weights / weights.sum())
    tree.fit(seen[taken], labels[taken])
    patches = {}
    for patch in parts.scored:
        flat = _features(names, patch).reshape(-1, seen.shape[1])
        guess = tree.predict(flat).reshape(patch.labels.shape)
        patches[patch.name] = Confusion.of(patch.labels.numpy(), guess, classes)
    return Outcome(patches, ITERATIONS, 0)


def _features(names: Sequence[str], patch: Patch) -> NDArray[np.float32]:
    return features(dict(zip(names, patch.bands.numpy(), strict=True)))


def _drawn(
    names: Sequence[str], patch: Patch, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    flat = patch.labels.numpy().ravel()
    known = np.flatnonzero(flat != IGNORE_ID)
    chosen = rng.choice(known, min(PIXELS_PER_PATCH, known.size), replace=False)
    seen = _features(names, patch).reshape(flat.size, -1)
    return seen[chosen], flat[chosen]
