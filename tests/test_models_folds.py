"""Folds: every patch in one, scenes whole, sizes even, the same for the same seed."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspipe.models.errors import DataError
from rspipe.models.folds import dealt_to_folds

FOLDS = 5


@given(st.lists(st.integers(0, 30).map(str), max_size=120), st.integers(0, 9))
def test_scenes_are_never_split_and_dealt_evenly(scenes: list[str], seed: int) -> None:
    scenes = [*map(str, range(FOLDS)), *scenes]
    dealt = dealt_to_folds(scenes, FOLDS, seed)
    homes = defaultdict(set)
    for scene, fold in zip(scenes, dealt.tolist(), strict=True):
        homes[scene].add(fold)
    assert all(len(folds) == 1 for folds in homes.values())
    sizes = np.bincount([next(iter(folds)) for folds in homes.values()], minlength=FOLDS)
    assert sizes.max() - sizes.min() <= 1
    assert dealt_to_folds(scenes, FOLDS, seed).tolist() == dealt.tolist()


def test_where_every_patch_is_a_scene_the_deck_is_that_of_patches() -> None:
    place = np.random.default_rng(3).permutation(29)
    dealt = dealt_to_folds([f"patch-{number}" for number in range(29)], FOLDS, seed=3)
    assert [dealt[card] for card in place] == [number % FOLDS for number in range(29)]


def test_too_few_scenes_are_refused() -> None:
    with pytest.raises(DataError, match="5 folds need as many scenes, 2 are found in 6 patches"):
        dealt_to_folds(["a", "b"] * 3, FOLDS, 0)
