import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pystac
import pytest
from picomodel import PICO_CARD

from rspipe.models.card import ModelCard
from rspipe.models.errors import CardError
from rspipe.models.mlm import Calibration, ReliabilityBin

Json = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    PICO_CARD.write(tmp_path / "card.json")
    return tmp_path / "card.json"


def change(path: Path, edit: Callable[[Json], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_round_trip(path: Path) -> None:
    card = ModelCard.read(path)
    assert card == PICO_CARD
    assert card.digest == PICO_CARD.digest
    first = path.read_bytes()
    card.write(path)
    assert path.read_bytes() == first


def test_a_calibration_goes_round_and_a_card_without_one_has_no_trace_of_it(path: Path) -> None:
    assert "rspipe:calibration" not in path.read_text()
    bins = (ReliabilityBin(low=0.9333, high=1.0, pixels=10, confidence=0.97, accuracy=0.9),)
    found = Calibration(scenes=3, window_px=256, overlap_px=128, expected_error=0.07, bins=bins)
    card = replace(PICO_CARD, calibration=found)
    card.write(path)
    assert ModelCard.read(path) == card
    assert json.loads(path.read_text())["properties"]["rspipe:calibration"]["bins"][0]["accuracy"] == 0.9
    assert card.digest != PICO_CARD.digest


def test_digest_moves_with_every_part() -> None:
    others = [replace(PICO_CARD, temperature=1.6), replace(PICO_CARD, weights_sha256="1" * 64)]
    assert len({card.digest for card in [PICO_CARD, *others]}) == 3


def test_card_is_a_stac_item_in_mlm_terms(path: Path) -> None:
    item = pystac.Item.from_dict(json.loads(path.read_text()))
    found = item.properties
    assert item.datetime == PICO_CARD.made_at
    assert item.geometry is None
    assert "https://stac-extensions.github.io/mlm/v1.4.0/schema.json" in item.stac_extensions
    (taken,), (given,) = found["mlm:input"], found["mlm:output"]
    assert taken["bands"] == ["red", "nir", "lwir11"]
    assert taken["input"]["shape"] == [-1, 3, 128, 128]
    assert taken["value_scaling"][2] == {"type": "z-score", "mean": 285.0, "stddev": 12.0}
    assert given["classification:classes"][1] == {"value": 1, "name": "thin cloud", "color_hint": "FBFF29"}
    asset = item.assets["weights"]
    assert asset.roles == ["mlm:model", "mlm:weights"]
    assert asset.extra_fields["file:checksum"] == "1220" + "0" * 64


def props(content: Json) -> Json:
    found: Json = content["properties"]
    return found


EDITS: dict[str, tuple[Callable[[Json], object], str]] = {
    "unknown key": (lambda c: props(c).update(extra=1), "properties.extra"),
    "missing key": (lambda c: props(c).pop("rspipe:temperature"), "properties.rspipe:temperature"),
    "wrong type": (lambda c: props(c).update({"rspipe:temperature": "1.5"}), "properties.rspipe:temperature"),
    "path in the file name": (lambda c: c["assets"]["weights"].update(href="../x.safetensors"), "assets.weights.href"),
    "address as file name": (lambda c: c["assets"]["weights"].update(href="https://a/x.safetensors"), "weights.href"),
    "a pickle": (lambda c: c["assets"]["weights"].update(href="./model.pt"), "assets.weights.href"),
    "short digest": (lambda c: c["assets"]["weights"].update({"file:checksum": "1220ab"}), "file:checksum"),
    "unknown architecture": (lambda c: props(c)["mlm:hyperparameters"].update(name="unet"), "mlm:hyperparameters"),
    "unknown size": (lambda c: props(c)["mlm:hyperparameters"]["pyramid"].update(size="huge"), "pyramid.size"),
    "unknown band": (lambda c: props(c)["bands"][0].update(name="purple"), "'purple'"),
    "celsius": (lambda c: props(c)["bands"][2].update(unit="celsius"), "celsius"),
    "nan": (lambda c: props(c)["mlm:input"][0]["value_scaling"][0].update(mean=float("nan")), "mean"),
    "no spread": (lambda c: props(c)["mlm:input"][0]["value_scaling"][0].update(stddev=0.0), "stddev"),
    "two orders of bands": (lambda c: props(c)["mlm:input"][0]["bands"].reverse(), "contradicts itself in mlm:input"),
    "gap in the legend": (
        lambda c: props(c)["mlm:output"][0]["classification:classes"][1].update(value=9),
        "ids must run",
    ),
    "id": (lambda c: c.update(id="other"), "contradicts itself in id"),
    "window": (lambda c: props(c)["mlm:input"][0]["input"].update(shape=[-1, 3, 100, 100]), "multiples of 32"),
    "overlap": (lambda c: props(c).update({"rspipe:overlap_px": 96}), "above half"),
    "resolution": (lambda c: props(c).update({"rspipe:resolution_m": {"min": 2.0, "max": 1.0}}), "rspipe:resolution_m"),
    "no required band": (
        lambda c: [b.update({"rspipe:required": False}) for b in props(c)["bands"]],
        "one be required",
    ),
    "fewer bands": (lambda c: props(c)["bands"].pop(), "2 bands, the model takes 3"),
}


@pytest.mark.parametrize("name", EDITS)
def test_other_cards_are_refused_by_name(path: Path, name: str) -> None:
    edit, named = EDITS[name]
    change(path, edit)
    with pytest.raises(CardError) as caught:
        ModelCard.read(path)
    assert named in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b" " * (2**20 + 1)])
def test_other_files_are_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(CardError, match=r"card\.json"):
        ModelCard.read(path)


def test_missing_card_is_named(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"absent\.json: cannot be read"):
        ModelCard.read(tmp_path / "absent.json")


def test_reading_a_card_does_not_load_torch() -> None:
    code = "import sys, rspipe.models.card, rspipe.models.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
