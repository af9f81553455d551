"""A recipe: its own legend and groups, the weights it starts from, and a digest that tells of each."""

import json
from pathlib import Path

import pytest
import torch
from labelled import random_patch
from pydantic import ValidationError
from safetensors.torch import save_file

from rspipe.models.pyramid import Pyramid
from rspipe.models.recipe import Recipe
from rspipe.models.specs import PyramidSpec

BANDS = [
    {"name": "blue", "required": True, "mean": 0.2, "stddev": 0.1},
    {"name": "nir", "required": True, "mean": 0.3, "stddev": 0.2},
    {"name": "cirrus", "required": False, "mean": 0.01, "stddev": 0.02},
    {"name": "lwir11", "required": False, "mean": 280.0, "stddev": 15.0},
]
CLASSES = [{"id": n, "name": f"c{n}", "colour": f"#00000{n}"} for n in range(4)]
OWN = {"name": "ponds", "classes": CLASSES}


def recipe(**said: object) -> Recipe:
    content: dict[str, object] = {
        "model": {"name": "d2ls", "pyramid": {"size": "pico", "in_bands": 4}, "classes": 4, "width": 32, "stages": 1},
        "bands": BANDS,
        "legend": "cloud-thickness",
        "feed": {"batch": 1, "simulated_share": 0.0, "crop": {"size_px": 32}},
        "optimiser": {"steps": 1, "warmup_steps": 1},
    }
    return Recipe.model_validate_json(json.dumps(content | said))


def test_a_recipe_brings_its_own_legend_and_groups() -> None:
    found = recipe(legend=OWN, groups={"wet": ["c3", "c1"]})
    assert found.legend_classes.name == "ponds"
    assert [(entry.id, entry.name, entry.colour) for entry in found.legend_classes.classes] == [
        (n, f"c{n}", f"#00000{n}") for n in range(4)
    ]
    assert found.label_set.members == ((0,), (1,), (2,), (3,), (3, 1))


def test_a_legend_that_does_not_fit_is_refused() -> None:
    gap = {"name": "ponds", "classes": [entry | {"id": n + n // 2} for n, entry in enumerate(CLASSES)]}
    for legend, message in (
        (gap, "legend: .*ids must run 0, 1, 2"),
        ({"name": "ponds", "classes": CLASSES[:3]}, "the legend has 3 classes, the model 4"),
        ("cloud-thicknes", "did you mean 'cloud-thickness'"),
    ):
        with pytest.raises(ValidationError, match=message):
            recipe(legend=legend)


def test_the_encoder_starts_from_pretrained_weights(tmp_path: Path) -> None:
    torch.manual_seed(3)
    body = Pyramid(PyramidSpec(size="pico", in_bands=4)).body.state_dict()
    save_file(body, tmp_path / "w.safetensors")
    bands = [str(band["name"]) for band in BANDS]
    found = recipe(pretrained={"source": "file", "path": str(tmp_path / "w.safetensors"), "bands": bands})
    started = found.trainer([random_patch(0)], []).model.state_dict()
    for name, tensor in body.items():
        torch.testing.assert_close(started[f"pyramid.body.{name}"], tensor)


def test_the_digest_tells_of_the_weights_but_not_of_where_they_lie(tmp_path: Path) -> None:
    for name, number in (("a", 1.0), ("b", 1.0), ("c", 2.0)):
        save_file({"x": torch.full((2,), number)}, tmp_path / f"{name}.safetensors")
    one, same, other = (
        recipe(pretrained={"source": "file", "path": str(tmp_path / f"{name}.safetensors"), "bands": ["blue"]}).digest
        for name in "abc"
    )
    assert one == same
    assert len({one, other, recipe().digest}) == 3
