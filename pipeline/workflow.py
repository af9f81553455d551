"""From a workflow file plus the command line to one checked configuration."""

from dataclasses import dataclass
from pathlib import Path

from rspipe.catalogs.errors import CatalogError, SourceError, YamlError
from rspipe.catalogs.trust import check_source, is_url
from rspipe.catalogs.yamlfile import Yaml, read_document
from rspipe.pipeline.config import WorkflowConfig
from rspipe.pipeline.errors import ConfigError
from rspipe.pipeline.settings import Tree, assignment, checked, merged


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
    settings = _trusted(document.content, path.absolute().parent, str(path))
    if overrides.scenes:
        settings.pop("scenes", None)
    for change in changes:
        settings = merged(settings, _trusted(change, Path.cwd(), "command line"))
    try:
        return checked(WorkflowConfig, document, settings, changes)
    except CatalogError as error:
        raise ConfigError(f"{document.where(('scenes', 'simulated'))}: scenes.simulated: {error}") from error


def _changes(overrides: Overrides) -> list[Tree]:
    """Return the overrides as settings, in the order in which they win."""
    changes = [assignment(text, "infer.window_px=512") for text in overrides.settings]
    if overrides.scenes:
        changes.append({"scenes": {"paths": [str(path) for path in overrides.scenes]}})
    if overrides.sensor is not None:
        changes.append({"scenes": {"sensor": overrides.sensor}})
    if overrides.output is not None:
        changes.append({"output": {"folder": str(overrides.output)}})
    if overrides.workers is not None:
        changes.append({"compute": {"workers": overrides.workers}})
    return changes


def _trusted(settings: Tree, folder: Path, said_by: str) -> Tree:
    try:
        return _anchored(settings, folder)
    except SourceError as error:
        raise ConfigError(f"{said_by}: {error}") from error


def _anchored(settings: Tree, folder: Path) -> Tree:
    """Return the settings with their relative paths made absolute; what is no path or has a wrong type stays.

    Raises:
        SourceError: a URL, or another form of a path that is not trusted: behind a folder it would pass for one.
    """
    anchored = dict(settings)
    scenes, output, models = (settings.get(key) for key in ("scenes", "output", "models"))
    if isinstance(scenes, dict) and isinstance(paths := scenes.get("paths"), list):
        for entry in paths:
            if isinstance(entry, str) and entry:
                check_source(entry)
        anchored["scenes"] = {**scenes, "paths": [_absolute(entry, folder) for entry in paths]}
    if isinstance(output, dict) and "folder" in output:
        anchored["output"] = {**output, "folder": _absolute(output["folder"], folder)}
    compute = settings.get("compute")
    if isinstance(compute, dict) and isinstance(cluster := compute.get("cluster"), dict):
        files = {key: _absolute(entry, folder) for key, entry in cluster.items() if key in {"ca", "cert", "key"}}
        anchored["compute"] = {**compute, "cluster": {**cluster, **files}}
    if isinstance(models, list):
        anchored["models"] = [_absolute(entry, folder) if _is_card(entry) else entry for entry in models]
    return anchored


def _is_card(entry: Yaml) -> bool:
    """A model is named by a word; anything with a folder or an ending is the path of its card."""
    return isinstance(entry, str) and ("/" in entry or entry.endswith(".json"))


def _absolute(entry: Yaml, folder: Path) -> Yaml:
    if not isinstance(entry, str) or not entry:
        return entry
    if is_url(entry):
        raise SourceError(f"{entry.split(':')[0]}: found where a path is needed; files lie on this machine")
    return str(folder / entry)
