"""Scenes from files: folders, globs and single rasters, with or without a `scene.yaml` beside them."""

import glob
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rspipe.catalogs.described import build_described
from rspipe.catalogs.errors import SceneError, SourceError
from rspipe.catalogs.scene import Scene
from rspipe.catalogs.sceneyaml import FILE_NAME, read_scene_yaml
from rspipe.catalogs.sensors import SENSORS, Sensor, SensorBand, sensor_of
from rspipe.catalogs.trust import check_id, check_source, slug
from rspipe.catalogs.undescribed import build_multiband, build_per_band

_SUFFIXES = frozenset({".tif", ".tiff", ".jp2"})
_GLOB_SIGNS = frozenset("*[")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedScene:
    """A scene that cannot be used; the others go on."""

    id: str
    slug: str
    reason: str


SceneListing = Scene | RefusedScene


@dataclass(frozen=True, slots=True, kw_only=True)
class _Find:
    """Where a scene was found, and how to build it."""

    id: str
    place: Path
    build: Callable[[], Scene]

    def listing(self) -> SceneListing:
        try:
            check_id(self.id)
            return self.build()
        except SceneError as error:
            return RefusedScene(id=_one_line(self.id), slug=slug(self.id), reason=_one_line(str(error)))


def list_scenes(sources: Sequence[str | Path], sensor: str | None = None) -> list[SceneListing]:
    """List the scenes of folders, globs and files, sorted by id.

    A folder is one scene if it holds a `scene.yaml`; else it is searched for the sensor's per-band files (one scene
    for each common part of their names) or for multi-band rasters (one scene each), and so is each folder in it.

    Args:
        sources: at least one folder, glob or file.
        sensor: a name of `SENSORS`, for files that no `scene.yaml` describes.

    Raises:
        SourceError: a source does not exist, holds no scene or is not a local path, the sensor is unknown, or two
            scenes have one id.
    """
    table = sensor_of(sensor) if sensor is not None else None
    finds = [find for source in sources for find in _search(str(source), table)]
    if not finds:
        raise SourceError("no source of scenes is named; name at least one folder, glob or file")
    listings = [(find.listing(), find.place) for find in finds]
    _check_ids(listings)
    return sorted((listing for listing, _ in listings), key=lambda listing: listing.id)


def _check_ids(listings: Iterable[tuple[SceneListing, Path]]) -> None:
    places = defaultdict(list)
    for listing, place in listings:
        places[listing.id].append(str(place))
    for scene_id, found in sorted(places.items()):
        if len(found) > 1:
            raise SourceError(
                f"scene id {scene_id!r} is found {len(found)} times, in {' and '.join(sorted(found))}; name each scene "
                "once, or give them different ids in scene.yaml"
            )


def _search(source: str, sensor: Sensor | None) -> list[_Find]:
    check_source(source)
    path = Path(source)
    try:
        if path.is_dir():
            finds = _in_folders([path, *_folders(path)] if not _is_described(path) else [path], sensor)
        elif path.exists():
            finds = _in_files([path], sensor)
        elif _GLOB_SIGNS & set(source):
            finds = _in_glob(source, sensor)
        else:
            raise SourceError(f"source {source!r} does not exist; name a folder, a file or a glob")
    except OSError as error:
        raise SourceError(f"source {source!r} cannot be listed: {error}") from error
    if not finds:
        raise SourceError(f"source {source!r} holds no scene: neither a {FILE_NAME} nor a GeoTIFF or JPEG 2000 file")
    return finds


def _one_line(text: str) -> str:
    r"""Return text that any file can hold and any terminal show, with escapes for the rest.

    Names of files may have bytes that are no UTF-8 (\udcff), or begin a line of their own (\n).
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _in_glob(pattern: str, sensor: Sensor | None) -> list[_Find]:
    matches = [Path(match) for match in sorted(glob.glob(pattern))]  # noqa: PTH207  patterns may be absolute
    files = [match for match in matches if match.suffix.lower() in _SUFFIXES and match.is_file()]
    return _in_folders([match for match in matches if match.is_dir()], sensor) + _in_files(files, sensor)


def _in_folders(folders: Iterable[Path], sensor: Sensor | None) -> list[_Find]:
    finds: list[_Find] = []
    for folder in folders:
        try:
            finds += [_described(folder, sensor)] if _is_described(folder) else _loose(folder, _rasters(folder), sensor)
        except OSError as error:
            reason = f"{folder}: cannot be listed: {error.strerror}; mend its permissions, or leave it out"
            finds.append(_refusal(folder, reason))
    return finds


def _in_files(files: Iterable[Path], sensor: Sensor | None) -> list[_Find]:
    """Take files for the scenes that they belong to: a file that a `scene.yaml` beside it describes stands for that."""
    by_folder = defaultdict(list)
    for file in files:
        by_folder[file.parent].append(file)
    finds: list[_Find] = []
    for folder, members in sorted(by_folder.items()):
        covered = _covered(folder) if _is_described(folder) else set()
        if covered & set(members):
            finds.append(_described(folder, sensor))
        finds += _loose(folder, [file for file in members if file not in covered], sensor)
    return finds


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir())


def _rasters(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.suffix.lower() in _SUFFIXES and child.is_file())


def _is_described(folder: Path) -> bool:
    return (folder / FILE_NAME).is_file()


def _covered(folder: Path) -> set[Path]:
    """Return the files that a `scene.yaml` speaks of; all of them if it cannot be read, so that this comes to light."""
    own = folder / FILE_NAME
    try:
        patterns = list(read_scene_yaml(own).files)
    except SceneError:
        patterns = ["*"]
    return {own} | {file for pattern in patterns for file in folder.glob(pattern, case_sensitive=True)}


def _described(folder: Path, sensor: Sensor | None) -> _Find:
    place = folder / FILE_NAME
    try:
        description = read_scene_yaml(place)
    except SceneError as error:
        return _refusal(folder, str(error))
    return _Find(id=description.id, place=place, build=partial(build_described, folder, description, sensor))


def _refusal(folder: Path, reason: str) -> _Find:
    def refuse() -> Scene:
        raise SceneError(reason)

    return _Find(id=folder.resolve().name, place=folder, build=refuse)


def _loose(folder: Path, files: Sequence[Path], sensor: Sensor | None) -> list[_Find]:
    """Return the scenes of files that no `scene.yaml` describes."""
    groups: dict[str, list[tuple[Path, SensorBand]]] = defaultdict(list)
    for file in files:
        found = sensor.band_of_file(file.name) if sensor else None
        if found:
            groups[found[0]].append((file, found[1]))
    if groups and sensor:
        return [_per_band(folder, part, members, sensor) for part, members in sorted(groups.items())]
    named = [file.name for file in files if not sensor and _is_named_like_a_band(file.name)]
    if named:
        reason = (
            f"{folder}: holds per-band files ({', '.join(named[:3])}, ...) of an unsaid sensor; say --sensor NAME, or "
            f"describe them in a {FILE_NAME}"
        )
        return [_refusal(folder, reason)]
    return [_Find(id=file.stem, place=file, build=partial(build_multiband, file, sensor)) for file in files]


def _per_band(folder: Path, part: str, members: Sequence[tuple[Path, SensorBand]], sensor: Sensor) -> _Find:
    """Take the common part of the files' names as the scene's id, the folder's name if they have none."""
    scene_id = part or folder.resolve().name
    return _Find(id=scene_id, place=folder, build=partial(build_per_band, scene_id, members, sensor))


def _is_named_like_a_band(file_name: str) -> bool:
    return any(sensor.band_of_file(file_name) for sensor in SENSORS.values() if not sensor.name.startswith("rgb"))
