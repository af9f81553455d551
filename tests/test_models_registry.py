from dataclasses import replace
from pathlib import Path

import pytest
from picomodel import PICO_CARD

from rspipe.models.errors import CardError
from rspipe.models.registry import resolve, shipped


def test_shipped_cards_are_listed_by_id(tmp_path: Path) -> None:
    for name in ("zebra", "ant"):
        replace(PICO_CARD, model_id=name).write(tmp_path / f"card-{name}.json")
    assert list(shipped(tmp_path)) == ["ant", "zebra"]
    assert resolve("ant", tmp_path) == tmp_path / "card-ant.json"


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    PICO_CARD.write(tmp_path / "mine.json")
    assert resolve(str(tmp_path / "mine.json")) == tmp_path / "mine.json"
    with pytest.raises(CardError, match="no model card is there"):
        resolve(str(tmp_path / "other.json"))


def test_unknown_model_lists_the_known_ones(tmp_path: Path) -> None:
    PICO_CARD.write(tmp_path / "a.json")
    with pytest.raises(CardError, match="no model is called 'cluods'; shipped: pico-clouds"):
        resolve("cluods", tmp_path)


def test_one_id_twice_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        PICO_CARD.write(tmp_path / f"{name}.json")
    with pytest.raises(CardError, match=r"a\.json and b\.json both"):
        shipped(tmp_path)
