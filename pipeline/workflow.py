"""From a workflow file plus the command line to one checked configuration."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rspipe.catalogs.errors import CatalogError, YamlError
from rspipe.catalogs.yamlfile import Document, Yaml, YamlPath, describe, dotted, parse_yaml, read_document
from rspipe.pipeline.config import WorkflowConfig
from rspipe.pipeline.errors import ConfigError

type Tree = dict[str, Yaml]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the command line says; it wins over the file, and its paths are relative to the current folder."""

    settings: tuple[str, ...] = ()
    """`a.b=value`, the value in YAML."""
    scenes: tuple[Path, ...] = ()
    """Replaces the whole `scenes` section."""
    sensor: str | None = None
    output: Path | None = None
    workers: int | None = None


def load_workflow(path: Path, overrides: Overrides | None = None) -> WorkflowConfig:
    """Read a workflow file.

    Args:
        path: the YAML file.
        overrides: the command line's part.

    Raises:
        ConfigError: the file or an override is wrong. One line per problem: where, what was found, and the rule or the
            nearest known key.
    """
    overrides = overrides or Overrides()
    try:
        document = read_document(path)
        changes = _changes(overrides)
    except YamlError as error:
        raise ConfigError(str(error)) from error
    settings = _anchored(document.content, path.absolute().parent)
    if overrides.scenes:
        settings.pop("scenes", None)
    for change in changes:
        settings = _merged(settings, _anchored(change, Path.cwd()))
    try:
        return WorkflowConfig.model_validate_json(json.dumps(settings))
    except ValidationError as error:
        problems = error.errors(include_url=False)
        raise ConfigError("\n".join(_problem(document, problem, changes) for problem in problems)) from error
    except CatalogError as error:
        raise ConfigError(f"{document.where(('scenes', 'simulated'))}: scenes.simulated: {error}") from error


def _changes(overrides: Overrides) -> list[Tree]:
    """Return the overrides as settings, in the order in which they win."""
    changes = [_assignment(text) for text in overrides.settings]
    if overrides.scenes:
        changes.append({"scenes": {"paths": [str(path) for path in overrides.scenes]}})
    if overrides.sensor is not None:
        changes.append({"scenes": {"sensor": overrides.sensor}})
    if overrides.output is not None:
        changes.append({"output": {"folder": str(overrides.output)}})
    if overrides.workers is not None:
        changes.append({"compute": {"workers": overrides.workers}})
    return changes


def _assignment(text: str) -> Tree:
    path, equals, value = text.partition("=")
    steps = path.strip().split(".")
    if not equals or not all(steps):
        raise ConfigError(f"--set {text}: must read a.b=value, for instance infer.window_px=512")
    setting = parse_yaml(value, f"--set {path}")
    for step in reversed(steps):
        setting = {step: setting}
    if not isinstance(setting, dict):
        raise ConfigError(f"--set {text}: must read a.b=value")
    return setting


def _merged(base: Tree, change: Tree) -> Tree:
    """Return `base` with `change` laid over it, section by section; neither is altered."""
    merged = dict(base)
    for key, value in change.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _anchored(settings: Tree, folder: Path) -> Tree:
    """Return the settings with their relative paths made absolute; what is no path or has a wrong type stays."""
    anchored = dict(settings)
    scenes, output, models = (settings.get(key) for key in ("scenes", "output", "models"))
    if isinstance(scenes, dict) and isinstance(paths := scenes.get("paths"), list):
        anchored["scenes"] = {**scenes, "paths": [_absolute(entry, folder) for entry in paths]}
    if isinstance(output, dict) and "folder" in output:
        anchored["output"] = {**output, "folder": _absolute(output["folder"], folder)}
    if isinstance(models, list):
        anchored["models"] = [_absolute(entry, folder) if _is_card(entry) else entry for entry in models]
    return anchored


def _is_card(entry: Yaml) -> bool:
    """A model is named by a word; anything with a folder or an ending is the path of its card."""
    return isinstance(entry, str) and ("/" in entry or entry.endswith(".json"))


def _absolute(entry: Yaml, folder: Path) -> Yaml:
    return str(folder / entry) if isinstance(entry, str) and entry else entry


def _problem(document: Document, problem: ErrorDetails, changes: Sequence[Tree]) -> str:
    """Return one problem as a line for the user."""
    path: YamlPath = problem["loc"]
    text = problem["msg"].removeprefix("Value error, ")
    match problem["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            text = f"unknown key{_nearest(path)}"
        case "missing":
            text = "missing; the workflow needs it"
        case "value_error":
            key, _, rest = text.partition(": ")
            path, text = ((*path, key), rest) if key in _fields(_section(path)) else (path, text)
        case "string_pattern_mismatch":
            text = f"found {describe(problem['input'])}; {_description(path)}"
        case "too_long" | "too_short":
            text = f"found {describe(problem['input'])}; {text.partition(' after validation')[0]}"
        case _:
            text = f"found {describe(problem['input'])}; {text.removeprefix('Input ')}"
    where = "command line" if any(_holds(change, path) for change in changes) else document.where(path)
    return f"{where}: {dotted(path) or 'workflow'}: {text}"


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


def _nearest(path: YamlPath) -> str:
    known = list(_fields(_section(path[:-1])))
    near = get_close_matches(str(path[-1]), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(known)}"


def _description(path: YamlPath) -> str:
    section = _section(path[:-1])
    return (issubclass(section, BaseModel) and section.model_fields[str(path[-1])].description) or "not of this form"


def _section(path: YamlPath) -> type:
    """Return the class that describes the section at `path`."""
    section: type = WorkflowConfig
    for step in path:
        annotation = _fields(section)[str(step)]
        section = next(part for part in (annotation, *get_args(annotation)) if isinstance(part, type) and _fields(part))
    return section


def _fields(section: type) -> dict[str, Any]:
    """Return the keys of a section and the type of each; none for what is no section."""
    if issubclass(section, BaseModel):
        return {name: field.annotation for name, field in section.model_fields.items()}
    return get_type_hints(section) if is_dataclass(section) else {}
