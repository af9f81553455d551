"""Fewer bits: used where some windows of the scenes get the same classes; told either way."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tinyrun import CARD, TinyScene, lay_place

from rspipe.models.predictor import Predictor
from rspipe.pipeline import parity
from rspipe.pipeline.arithmetic import compare
from rspipe.pipeline.checkup import PlannedModel
from rspipe.pipeline.fingerprint import Fingerprint
from rspipe.pipeline.plan import RunPlan, decide_arithmetic, plan_run
from rspipe.pipeline.workflow import Overrides, load_workflow

SCENE = TinyScene()


def decided(root: Path, *settings: str) -> RunPlan:
    place = lay_place(root, SCENE)
    return decide_arithmetic(plan_run(load_workflow(place.workflow, Overrides(settings=settings, output=place.out))))


def test_every_other_window_of_sixteen_is_compared(tmp_path: Path) -> None:
    """150 x 130 pixels are 4 x 4 windows of 64 px at multiples of 32; eight of them are the odd ones."""
    found = decided(tmp_path, "infer.precision=bfloat16").parity
    planes = SCENE.pixels()
    scene = np.stack([planes[band.name] for band in CARD.bands])
    scene[:, SCENE.invalid()] = np.nan
    models = [Predictor.load(tmp_path / f"{CARD.model_id}.json", precision=p) for p in ("float32", "bfloat16")]
    pixels = agreeing = 0
    for number in range(1, 16, 2):
        row, column = 32 * (number // 4), 32 * (number % 4)
        tile = scene[:, row : row + 64, column : column + 64]
        window = torch.full((1, len(scene), 64, 64), torch.nan)
        window[0, :, : tile.shape[1], : tile.shape[2]] = torch.from_numpy(tile)
        one, other = (model.probabilities(window, ~window.isnan()).argmax(dim=1)[0].numpy() for model in models)
        valid = ~window[0, 0].isnan().numpy()
        pixels, agreeing = pixels + valid.sum(), agreeing + (valid & (one == other)).sum()
    assert found == parity.Parity(precision="bfloat16", pixels=pixels, agreeing=agreeing)
    assert 0 < agreeing < pixels


def test_float32_is_not_looked_at(tmp_path: Path) -> None:
    plan = decided(tmp_path)
    assert plan.parity is None
    assert plan.fingerprint.precision == "float32"


def test_nothing_to_look_at_is_no_agreement(tmp_path: Path) -> None:
    lay_place(tmp_path, SCENE)
    model = PlannedModel(card=CARD, path=tmp_path / f"{CARD.model_id}.json")
    found = compare(model, Fingerprint.here("cpu", 1).using("bfloat16", "eager"), [])
    assert (found.share, found.holds) == (0.0, False)


@pytest.mark.parametrize(("least", "used"), [(0.0, "bfloat16"), (1.01, "float32")])
def test_a_run_says_what_was_asked_for_and_what_was_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: float, used: str
) -> None:
    place = lay_place(tmp_path, SCENE)
    monkeypatch.setattr(parity, "LEAST_SHARE", least)
    ran = place.run("infer.precision=bfloat16")
    assert ran.code == 0
    used_pair = "these are used" if used == "bfloat16" else "float32 and eager are used"
    assert f"class that float32 and eager give them; {used_pair}" in ran.told
    assert ran.told.startswith("warning: ") == (used == "float32")
    (model,) = json.loads((place.out / "manifest.json").read_text())["models"]
    assert model["precision"] == used
    assert 0.5 < model["agreement"] < 1
    assert place.run(out=tmp_path / "plain").code == 0
    tifs = [next(folder.glob("scenes/*/confidence.tif")).read_bytes() for folder in (place.out, tmp_path / "plain")]
    assert (tifs[0] == tifs[1]) == (used == "float32")
    plain = json.loads((tmp_path / "plain" / "manifest.json").read_text())["models"][0]
    assert (plain["precision"], plain["agreement"]) == ("float32", None)


def test_windows_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    place = lay_place(tmp_path, SCENE)
    band = tmp_path / "scenes" / SCENE.id / "nir.tif"
    whole = band.read_bytes()
    band.write_bytes(whole[: len(whole) // 2])
    ran = place.run("infer.precision=bfloat16")
    assert ran.code == 3
    assert " windows could not be read" in ran.told
