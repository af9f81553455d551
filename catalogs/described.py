"""The scene that a `scene.yaml` describes."""

from pathlib import Path

from rspipe.catalogs.bands import PHYSICAL_UNIT, Unit, unit_of_tag
from rspipe.catalogs.errors import SceneError
from rspipe.catalogs.filescene import BandFile, FileScene, build_scene
from rspipe.catalogs.rasters import RasterHeader, read_header
from rspipe.catalogs.scene import Linear, Scene
from rspipe.catalogs.sceneyaml import FILE_NAME, FileEntry, SceneDescription
from rspipe.catalogs.sensors import SENSORS, Sensor


def build_described(folder: Path, description: SceneDescription, sensor: Sensor | None) -> Scene:
    """Build the scene of one `scene.yaml`.

    Args:
        folder: where the `scene.yaml` lies.
        description: what it says.
        sensor: what the command line says; it must not contradict.

    Raises:
        SceneError: a pattern that matches no file or several, a band count or a sensor that contradicts, or what
            `read_header` and `build_scene` refuse.
    """
    own = SENSORS[description.sensor] if description.sensor else sensor
    if sensor and own and own.name != sensor.name:
        raise SceneError(
            f"{folder / FILE_NAME} says sensor {own.name}, --sensor says {sensor.name}; leave out --sensor"
        )
    headers: dict[Path, RasterHeader] = {}
    bands: list[BandFile] = []
    for pattern, entries in description.files.items():
        path = _only_match(folder, pattern)
        header = headers[path] = headers.get(path) or read_header(path, description.crs)
        bands += [band for entry in entries for band in _declared_bands(header, entry)]
    return build_scene(
        FileScene(
            id=description.id,
            sensor=own,
            acquired_at=description.acquired_at,
            circumstances=description.circumstances,
            bands=tuple(bands),
        )
    )


def _only_match(folder: Path, pattern: str) -> Path:
    matches = sorted(path for path in folder.glob(pattern, case_sensitive=True) if path.is_file())
    if len(matches) != 1:
        found = ", ".join(path.name for path in matches[:5]) or "none"
        raise SceneError(
            f"{folder / FILE_NAME}: pattern {pattern!r} must match one file, {len(matches)} found: {found}"
        )
    return matches[0]


def _declared_bands(header: RasterHeader, entry: FileEntry) -> list[BandFile]:
    """Return the bands that one entry of `files:` declares."""
    count = len(header.bands)
    names = entry.bands if entry.bands is not None else (entry.band or "",)
    first = entry.index or 1
    if entry.index is None and len(names) != count:
        raise SceneError(
            f"{header.path}: has {count} bands, scene.yaml names {len(names)}; give bands: with {count} names, or "
            "band: with index:"
        )
    if first > count:
        raise SceneError(f"{header.path}: has {count} bands, scene.yaml asks for index {first}")
    for at, name in enumerate(names, start=first - 1):
        _check_spoken(header, at, name, Unit(entry.unit))
    packed = entry.scale is not None or entry.offset is not None
    packing = Linear(scale=1.0 if entry.scale is None else entry.scale, offset=entry.offset or 0.0) if packed else None
    return [
        BandFile(name=name, unit=Unit(entry.unit), file=header, header=band, fill=entry.fill, packing=packing)
        for name, band in zip(names, header.bands[first - 1 :], strict=False)
    ]


def _check_spoken(header: RasterHeader, at: int, name: str, unit: Unit) -> None:
    """See that a file does not say of itself that its bands lie in another order, or are of another unit."""
    spoken = [band.description.strip().lower() for band in header.bands]
    if spoken[at] != name and spoken[at] in PHYSICAL_UNIT and name in spoken:
        raise SceneError(
            f"{header.path}: scene.yaml says that band {at + 1} is {name}, the file that it is {spoken[at]} and "
            f"band {spoken.index(name) + 1} is {name}; mend the order in scene.yaml"
        )
    tagged = unit_of_tag(header.bands[at].unit)
    if tagged is not None and tagged != unit:
        found = f"scene.yaml says unit {unit.value}, the file's tag {tagged.value}"
        raise SceneError(f"{header.path}, band {at + 1}: {found}; mend unit: there")
