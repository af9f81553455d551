"""Architectures as they stand in cards and training configs."""

import json
import re

import pytest
from pydantic import TypeAdapter, ValidationError

from rspipe.models.criterion import PUBLISHED
from rspipe.models.recipe import Recipe
from rspipe.models.specs import AttentionSpec, BiCoRSpec, D2LSSpec, ModelSpec, SynergySpec

MODEL: TypeAdapter[ModelSpec] = TypeAdapter(ModelSpec)
PYRAMID = {"size": "pico", "in_bands": 3}


def parsed(**entries: object) -> ModelSpec:
    return MODEL.validate_json(json.dumps({"pyramid": PYRAMID, "classes": 4, **entries}))


def recipe(**entries: object) -> Recipe:
    return Recipe.model_validate_json(
        json.dumps(
            {
                "legend": "cloud-thickness",
                "bands": [
                    {"name": name, "required": True, "mean": 0.2, "stddev": 0.1} for name in ("blue", "green", "red")
                ],
                "feed": {"batch": 2, "simulated_share": 0.0, "crop": {"size_px": 32}},
                "optimiser": {"steps": 12},
                **entries,
            }
        )
    )


def test_the_name_chooses_the_architecture() -> None:
    assert isinstance(parsed(name="d2ls"), D2LSSpec)
    assert isinstance(parsed(name="bicor"), BiCoRSpec)
    with pytest.raises(ValidationError, match="'d2ls', 'bicor'"):
        parsed(name="unet")


def test_either_exchange_serves_either_model() -> None:
    synergy = parsed(name="d2ls", exchange={"name": "synergy", "ratio": 1.0})
    attention = parsed(name="bicor", exchange={"name": "attention", "heads": 4})
    assert isinstance(synergy, D2LSSpec)
    assert isinstance(attention, BiCoRSpec)
    assert synergy.exchange == SynergySpec(ratio=1.0)
    assert attention.exchange == AttentionSpec(heads=4)


def test_cards_that_name_the_heads_beside_the_stages_are_still_read() -> None:
    assert parsed(name="d2ls", heads=4) == parsed(name="d2ls", exchange={"name": "attention", "heads": 4})
    with pytest.raises(ValidationError, match="heads"):
        parsed(name="d2ls", heads=4, exchange={"name": "attention", "heads": 4})


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"name": "d2ls", "width": 40}, "width 40 must be a multiple of 16"),
        ({"name": "bicor", "width": 40}, "width 40 must be a multiple of 16"),
        ({"name": "d2ls", "width": 48, "exchange": {"name": "attention", "heads": 5}}, "multiple of heads 5"),
    ],
)
def test_widths_that_do_not_divide_are_refused(entries: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        parsed(**entries)


def test_weights_of_the_loss_are_as_published_unless_given() -> None:
    bicor = {"name": "bicor", "pyramid": PYRAMID, "classes": 4}
    assert recipe(model={**bicor, "name": "d2ls"}).criterion == PUBLISHED["d2ls"]
    assert recipe(model=bicor).criterion == PUBLISHED["bicor"]
    changed = recipe(model=bicor, criterion={"class_weights": [1.0, 2.0, 1.0, 3.0], "heat": 0.2}).criterion
    assert (changed.scatter, changed.heat, changed.class_weights) == (0.1, 0.2, (1.0, 2.0, 1.0, 3.0))


def test_published_weights() -> None:
    d2ls, bicor = PUBLISHED["d2ls"], PUBLISHED["bicor"]
    assert (d2ls.dice, d2ls.aux, d2ls.aux_dice, d2ls.scatter, d2ls.scatter_floor) == (1.0, 0.4, 0.0, 1.0, 0.0)
    assert (bicor.dice, bicor.aux, bicor.heat, bicor.scatter, bicor.scatter_floor) == (1.0, 0.4, 0.1, 0.1, 1e-4)
