"""Settings as files hold them: what a mistake is called where pydantic's own words lead astray."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from rspipe.catalogs.yamlfile import read_document
from rspipe.pipeline.errors import ConfigError
from rspipe.pipeline.settings import Tree, assignment, checked, merged


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Cat(Strict):
    kind: Literal["cat"] = "cat"
    lives: int = Field(default=9, ge=1)


class Dog(Strict):
    kind: Literal["dog", "hound"]
    name: str


class Home(Strict):
    street: str


class House(Strict):
    pets: tuple[Annotated[Cat | Dog, Field(discriminator="kind")], ...] = ()
    at: Literal["nowhere"] | Home = "nowhere"
    rooms: Mapping[str, int] = {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pets: [{kind: cat, lives: no}]", "1:20: pets[0].lives: found 'no'; should be a valid integer"),
        ("pets: [{kind: cat}, {kind: hound, nme: x, name: y}]", "1:35: pets[1].nme: unknown key; did you mean 'name'?"),
        ("pets: [{kind: dog}]", "1:8: pets[0].name: missing; it must be given"),
        ("at: {street: 3}", "1:6: at.street: found 3; should be a valid string"),
        ("at: {streat: x, street: y}", "1:6: at.streat: unknown key; did you mean 'street'?"),
        ("rooms:\n  attic: one", "2:3: rooms.attic: found 'one'; should be a valid integer"),
    ],
)
def test_the_names_of_union_members_are_no_part_of_a_path(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "house.yaml"
    path.write_text(text, encoding="utf-8")
    document = read_document(path)
    with pytest.raises(ConfigError) as caught:
        checked(House, document, document.content)
    assert f"{path}:{told}" in str(caught.value).splitlines()


def test_changes_are_laid_over_section_by_section() -> None:
    base: Tree = {"a": {"b": 1, "c": [1]}, "d": None}
    assert merged(merged(base, assignment("a.b=2", "")), assignment("d={e: 3}", "")) == {
        "a": {"b": 2, "c": [1]},
        "d": {"e": 3},
    }
    assert base == {"a": {"b": 1, "c": [1]}, "d": None}
