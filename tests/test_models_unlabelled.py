"""Labels that leave a class out: what is learned from them, against a loop over pixels; and what is refused."""

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rspipe.catalogs.legends import legend_of
from rspipe.models.data import Patch
from rspipe.models.errors import DataError
from rspipe.models.labels import LabelSet
from rspipe.models.recipe import Recipe
from rspipe.models.unlabelled import Unlabelled, told

CLEAR, THIN, THICK, SHADOW, CLOUD, OPEN, NOTHING = 0, 1, 2, 3, 4, 5, 255
GROUPS = {"cloud": ["thin cloud", "thick cloud"], "open": ["clear", "cloud shadow"]}
LABELS = LabelSet.of(legend_of("cloud-thickness"), GROUPS)
RULE = {"name": "cloud shadow", "beside": ["thin cloud", "thick cloud"], "among": "clear", "group": "open"}
SHADOWS = Unlabelled.model_validate_json(json.dumps(RULE))


def patch_of(labels: list[int]) -> Patch:
    numbers = torch.tensor(labels, dtype=torch.uint8).view(10, -1)
    return Patch("one", torch.zeros((1, *numbers.shape)), numbers, 30.0)


def learned(labels: list[int]) -> list[int]:
    found: list[int] = told(patch_of(labels), [SHADOWS], LABELS).labels.flatten().tolist()
    return found


@given(st.lists(st.sampled_from([CLEAR, THIN, THICK, SHADOW, CLOUD, OPEN, NOTHING]), min_size=10, max_size=10))
def test_clear_ground_may_be_shadow_where_there_is_cloud_and_no_shadow(some: list[int]) -> None:
    doubtful = bool({THIN, THICK} & set(some)) and SHADOW not in some
    expected = [OPEN if doubtful and label == CLEAR else label for label in some]
    assert learned(some) == expected


@pytest.mark.parametrize(("clouds", "kept"), [(9, True), (10, False)])
def test_a_trace_of_cloud_gives_nothing_away(clouds: int, kept: bool) -> None:  # noqa: FBT001
    """Of 1000 labelled pixels ten are one in a hundred; what is not labelled does not count."""
    labels = [THIN] * clouds + [CLEAR] * (1000 - clouds) + [NOTHING] * 1000
    assert (learned(labels) == labels) is kept


def test_a_patch_of_nothing_stays_as_it_is() -> None:
    assert learned([NOTHING] * 20) == [NOTHING] * 20


def test_without_a_rule_and_beside_the_labels_nothing_changes() -> None:
    patch = patch_of([CLEAR] * 5 + [THICK] * 5)
    assert told(patch, [], LABELS) is patch
    found = told(patch, [SHADOWS], LABELS)
    assert found.bands is patch.bands
    assert (found.name, found.weight, found.scene) == (patch.name, patch.weight, patch.scene)
    assert patch.labels.flatten().tolist() == [CLEAR] * 5 + [THICK] * 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "shadow"}, "'shadow' is no class; there are clear, thin cloud"),
        ({"among": "open"}, "'open' is no class"),
        ({"beside": ["cloud"]}, "'cloud' is no class"),
        ({"group": "cloud"}, "'cloud' must hold cloud shadow and clear, it holds thick cloud, thin cloud"),
        ({"group": "ajar"}, "it holds nothing"),
    ],
)
def test_names_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    rule = Unlabelled.model_validate_json(json.dumps(RULE | change))
    with pytest.raises(DataError, match=message):
        rule.check(LABELS)


@pytest.mark.parametrize("change", [{"among": "cloud shadow"}, {"beside": ["clear"]}, {"beside": []}])
def test_a_rule_that_means_nothing_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"different classes|at least 1 item"):
        Unlabelled.model_validate_json(json.dumps(RULE | change))


def recipe(**said: object) -> Recipe:
    content: dict[str, object] = {
        "model": {"name": "d2ls", "pyramid": {"size": "pico", "in_bands": 1}, "classes": 4, "width": 32, "stages": 1},
        "bands": [{"name": "blue", "required": True, "mean": 0.2, "stddev": 0.1}],
        "legend": "cloud-thickness",
        "groups": GROUPS,
        "feed": {"batch": 1, "simulated_share": 0.0, "crop": {"size_px": 32, "mosaic": 0.0, "coarsest_m": 30.0}},
        "optimiser": {"steps": 1, "warmup_steps": 1},
    }
    return Recipe.model_validate_json(json.dumps(content | said))


def test_a_training_learns_from_what_the_rule_leaves() -> None:
    """Half cloud, half clear: batches hold groups instead of clear ground, and without the rule clear ground."""
    labels = torch.tensor(np.repeat([CLEAR, THICK], 32).astype(np.uint8)).expand(64, 64)
    patch = Patch("one", torch.rand((1, 64, 64)), labels.contiguous(), 30.0)
    seen = {}
    for name, rules in (("with", [RULE]), ("without", [])):
        trainer = recipe(unlabelled=rules).trainer([patch], [])
        batches = [trainer.feed.batch(step).labels.flatten().tolist() for step in range(8)]
        seen[name] = set(itertools.chain(*batches)) - {NOTHING}
    assert seen == {"with": {THICK, OPEN}, "without": {THICK, CLEAR}}


def test_a_recipe_refuses_a_rule_with_other_names_and_tells_of_it_in_its_digest() -> None:
    with pytest.raises(ValidationError, match="unlabelled: 'haze' is no class"):
        recipe(unlabelled=[RULE | {"name": "haze"}])
    assert recipe(unlabelled=[RULE]).digest != recipe().digest
