"""YAML as data: the one loader of workflow and scene files, strict about what a file may hold."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml

from rspipe.catalogs.errors import YamlError

MAX_BYTES = 1_000_000
MAX_DEPTH = 16
MAX_VALUES = 20_000
"""Bounds the time: PyYAML reads some 20 000 values in a second."""

type Yaml = dict[str, Yaml] | list[Yaml] | str | int | float | bool | None
type YamlPath = tuple[str | int, ...]

# Plain scalars follow the core schema of YAML 1.2.2, section 10.3.2, so `no` and `on` are words and `010` is ten.
# Infinities and NaN stay words: no setting takes them. So do dates: the model that wants one parses it.
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_TAB_INDENT = re.compile(r"^ *\t(?=[^\n]*[^\s])", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in a file; both count from 1, as editors do."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds, and where each part of it stands."""

    source: str
    """How messages name the file."""
    content: dict[str, Yaml]
    places: Mapping[YamlPath, Place]

    def where(self, path: YamlPath) -> str:
        """Return `source:line:column` of `path`, or of its nearest parent that the file has."""
        while path and path not in self.places:
            path = path[:-1]
        place = self.places.get(path, Place(1, 1))
        return f"{self.source}:{place.line}:{place.column}"


def dotted(path: YamlPath) -> str:
    """Return a path as people write it: `scenes.paths[2]`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def parse_yaml(text: str, source: str) -> Yaml:
    """Return what YAML text means, be it a mapping, a list or one word.

    Args:
        text: one YAML document.
        source: how messages name it.

    Raises:
        YamlError: see `read_document`.
    """
    return _Builder(source).build(text)


def read_document(path: Path) -> Document:
    """Read a YAML file whose top is a mapping.

    Raises:
        YamlError: the file cannot be read, is larger than `MAX_BYTES`, is not UTF-8 text, is not well formed, or holds
            what data does not need: duplicate keys, anchors, aliases, merge keys, tags, several documents, keys that
            are no words. The message starts with file, line and column.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise YamlError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise YamlError(f"{path}: larger than {MAX_BYTES} bytes; a workflow or scene file is a page of text")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _place_of(data[: error.start].decode("utf-8", errors="replace"))
        raise YamlError(f"{path}:{place}: byte 0x{data[error.start]:02x} is not UTF-8 text") from error
    builder = _Builder(str(path))
    content = builder.build(text)
    if not isinstance(content, dict):
        raise YamlError(f"{path}:1:1: the file must hold a mapping (key: value), found {describe(content)}")
    return Document(str(path), content, builder.places)


def describe(value: object) -> str:
    """Return a short account of a value for a message."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _place_of(text_before: str) -> str:
    lines = text_before.split("\n")
    return f"{len(lines)}:{len(lines[-1]) + 1}"


def _scalar(event: yaml.ScalarEvent) -> Yaml:
    """Return what a scalar means; only a plain one (no quotes, no block) can be anything but a string."""
    text: str = event.value
    if event.style is not None:
        return text
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


class _Mark(Protocol):
    """PyYAML's place of an event; counts from 0."""

    line: int
    column: int


class _Builder:
    """Builds plain data from PyYAML's events: whatever is refused is refused before it is expanded."""

    def __init__(self, source: str) -> None:
        self.places: dict[YamlPath, Place] = {}
        self._source = source
        self._events: Iterator[yaml.Event] = iter(())

    def build(self, text: str) -> Yaml:
        tab = _TAB_INDENT.search(text)
        if tab:
            place = _place_of(text[: tab.end() - 1])
            raise YamlError(f"{self._source}:{place}: a tab indents this line; YAML takes spaces only")
        try:
            self._events = iter(yaml.parse(text, Loader=yaml.SafeLoader))
            return self._document()
        except yaml.MarkedYAMLError as error:
            problem = error.problem or "it ends too early"
            raise self._error(error.problem_mark or error.context_mark, f"not well-formed YAML: {problem}") from error
        except yaml.reader.ReaderError as error:
            place = _place_of(text[: error.position])
            raise YamlError(f"{self._source}:{place}: not a character of a text file: {error.reason}") from error

    def _document(self) -> Yaml:
        content: Yaml = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if self.places:
                    raise self._error(event.start_mark, "a second document starts here; a file holds one")
                content = self._node(next(self._events), ())
        return content

    def _node(self, event: yaml.Event, path: YamlPath) -> Yaml:
        self._refuse(event)
        if len(path) > MAX_DEPTH:
            raise self._error(event.start_mark, f"nested deeper than {MAX_DEPTH} levels")
        self.places.setdefault(path, self._place(event.start_mark))
        if len(self.places) > MAX_VALUES:
            raise self._error(event.start_mark, f"more than {MAX_VALUES} values")
        match event:
            case yaml.MappingStartEvent():
                return self._mapping(path)
            case yaml.SequenceStartEvent():
                return self._sequence(path)
            case yaml.ScalarEvent():
                return _scalar(event)
        raise self._error(event.start_mark, f"not well-formed YAML: {event}")

    def _sequence(self, path: YamlPath) -> list[Yaml]:
        items: list[Yaml] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: YamlPath) -> dict[str, Yaml]:
        items: dict[str, Yaml] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event)
            here = (*path, key)
            if key in items:
                first = self.places[here]
                raise self._error(event.start_mark, f"key {dotted(here)!r} was already given in line {first.line}")
            self.places[here] = self._place(event.start_mark)
            items[key] = self._node(next(self._events), here)
        return items

    def _key(self, event: yaml.Event) -> str:
        self._refuse(event)
        if not isinstance(event, yaml.ScalarEvent):
            raise self._error(event.start_mark, "a key must be a word, found a list or a mapping")
        key = _scalar(event)
        if not isinstance(key, str):
            raise self._error(event.start_mark, f"a key must be a word, found {event.value!r}; quote it")
        if key == "<<":
            raise self._error(event.start_mark, "merge keys (<<) are refused; write the settings out")
        return key

    def _refuse(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            raise self._error(
                event.start_mark, f"aliases (*{event.anchor}) are refused; quote the text or write it out"
            )
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            raise self._error(event.start_mark, f"anchors (&{event.anchor}) are refused; write the value out")
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
            raise self._error(event.start_mark, f"tags ({event.tag}) are refused; plain values only")

    def _place(self, mark: _Mark | None) -> Place:
        return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)

    def _error(self, mark: _Mark | None, problem: str) -> YamlError:
        place = self._place(mark)
        return YamlError(f"{self._source}:{place.line}:{place.column}: {problem}")
