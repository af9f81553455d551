"""Settings of any kind: a YAML document, changes laid over it, and every mistake told with its place."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import is_dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeAliasType, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rspipe.catalogs.yamlfile import Document, Yaml, YamlPath, describe, dotted, parse_yaml
from rspipe.pipeline.errors import ConfigError

type Tree = dict[str, Yaml]


def assignment(text: str, example: str) -> Tree:
    """Return what `--set a.b=value` sets, the value being YAML.

    Raises:
        ConfigError: it does not read so; the message gives the example.
        YamlError: the value is no YAML.
    """
    path, equals, value = text.partition("=")
    steps = path.strip().split(".")
    if not equals or not all(steps):
        raise ConfigError(f"--set {text}: must read a.b=value, for instance {example}")
    below = parse_yaml(value, f"--set {path}")
    *parents, last = steps
    setting: Tree = {last: below}
    for step in reversed(parents):
        setting = {step: setting}
    return setting


def merged(base: Tree, change: Tree) -> Tree:
    """Return `base` with `change` laid over it, section by section; neither is altered."""
    laid = dict(base)
    for key, value in change.items():
        below = laid.get(key)
        laid[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return laid


def checked[Settings: BaseModel](
    kind: type[Settings], document: Document, settings: Tree, changes: Sequence[Tree] = ()
) -> Settings:
    """Return settings as their model.

    Args:
        kind: the model.
        document: the file that they come from, which knows the place of each.
        settings: its content, changes and all.
        changes: what the command line said, to tell whose mistake it is.

    Raises:
        ConfigError: one line per problem: where, what was found, and the rule or the nearest known key.
    """
    try:
        return kind.model_validate_json(json.dumps(settings))
    except ValidationError as error:
        problems = error.errors(include_url=False)
        lines = dict.fromkeys(_line(kind, problem, document, changes) for problem in problems)
        raise ConfigError("\n".join(lines)) from error


def _line(kind: type[BaseModel], problem: ErrorDetails, document: Document, changes: Sequence[Tree]) -> str:
    path, text = _found(kind, problem)
    where = "command line" if any(_holds(change, path) for change in changes) else document.where(path)
    return ": ".join(filter(None, (where, dotted(path), text)))


def _found(kind: type[BaseModel], problem: ErrorDetails) -> tuple[YamlPath, str]:
    """Return where a problem stands, and what it is in words."""
    *above, last = problem["loc"] or ("",)
    path, sections = _located(kind, problem["loc"])
    text, found = problem["msg"].removeprefix("Value error, "), describe(problem["input"])
    match problem["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            path, sections = _located(kind, above)
            return (*path, last), f"unknown key{_nearest(str(last), sections)}"
        case "missing":
            return path, "missing; it must be given"
        case "value_error":
            # A message that begins with the name of a setting stands at that setting.
            key, _, rest = text.partition(": ")
            steps = key.split(".")
            named = any(steps[0] in _fields(section) for section in sections)
            return ((*path, *steps), rest) if named else (path, text)
        case "string_pattern_mismatch":
            return path, f"found {found}; {_description(_located(kind, above)[1], str(last)) or text}"
        case "too_long" | "too_short":
            return path, f"found {found}; {text.partition(' after validation')[0]}"
    return path, f"found {found}; {text.removeprefix('Input ')}"


def _holds(change: Tree, path: YamlPath) -> bool:
    """Return whether a change sets something at or below `path`, or the value that `path` lies in."""
    value: Yaml = change
    for step in path:
        if not isinstance(value, dict):
            return True
        if step not in value:
            return False
        value = value[str(step)]
    return bool(path)


def _nearest(key: str, sections: Iterable[type]) -> str:
    known = list(dict.fromkeys(name for section in sections for name in _fields(section)))
    near = get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(known)}"


def _description(sections: Iterable[type], key: str) -> str | None:
    described = (section.model_fields[key].description for section in sections if issubclass(section, BaseModel))
    return next(described, None)


def _located(kind: type, location: Iterable[str | int]) -> tuple[YamlPath, list[type]]:
    """Return where a problem stands in the file, and the classes of what may stand there.

    pydantic puts the names of union members between the keys of the file: these are left out.
    """
    path: list[str | int] = []
    sections, free = [kind], False
    for step in location:
        below = [fields[str(step)] for section in sections if step in (fields := _fields(section))]
        if below:
            path.append(step)
            sections = [section for annotation in below for section in _sections(annotation)]
            free = any("Mapping" in str(annotation) for annotation in below)
        elif isinstance(step, int) or free:
            path.append(step)
        else:
            sections = [section for section in sections if _is_called(section, step)] or sections
    return tuple(path), sections


def _sections(annotation: object) -> Iterator[type]:
    """Yield the classes with settings that a type is made of."""
    if isinstance(annotation, TypeAliasType):
        annotation = annotation.__value__
    if isinstance(annotation, type) and _fields(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from _sections(part)


def _is_called(section: type, name: str) -> bool:
    """Tell whether pydantic calls a union's member so: by its class, or by the value of its discriminator."""
    literals = (annotation for annotation in _fields(section).values() if get_origin(annotation) is Literal)
    return section.__name__ == name or any(name in get_args(annotation) for annotation in literals)


def _fields(section: type) -> dict[str, Any]:
    """Return the keys of a section and the type of each; none for what is no section."""
    if issubclass(section, BaseModel):
        return {name: field.annotation for name, field in section.model_fields.items()}
    return get_type_hints(section) if is_dataclass(section) else {}
