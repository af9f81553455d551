"""The scene of files that no `scene.yaml` describes: bands and units by tags, file names and the sensor."""

from collections.abc import Sequence
from pathlib import Path

from rspipe.catalogs.bands import PHYSICAL_UNIT, Unit, unit_of_tag
from rspipe.catalogs.errors import SceneError
from rspipe.catalogs.filescene import BandFile, FileScene, build_scene
from rspipe.catalogs.rasters import BandHeader, RasterHeader, read_header
from rspipe.catalogs.scene import Scene
from rspipe.catalogs.sceneyaml import FILE_NAME
from rspipe.catalogs.sensors import Circumstances, Sensor, SensorBand

_COLOURS = frozenset({"red", "green", "blue"})


def build_per_band(scene_id: str, members: Sequence[tuple[Path, SensorBand]], sensor: Sensor) -> Scene:
    """Build a scene of one file per band, named as the sensor's files are.

    Raises:
        SceneError: a file with several bands, or what `read_header` and `build_scene` refuse.
    """
    bands: list[BandFile] = []
    for path, band in members:
        header = read_header(path)
        if len(header.bands) != 1:
            raise SceneError(f"{path}: has {len(header.bands)} bands, its name says that it is {band.native} only")
        bands.append(_undeclared(header, header.bands[0], band.name))
    return _build_undescribed(scene_id, bands, sensor)


def build_multiband(path: Path, sensor: Sensor | None) -> Scene:
    """Build a scene of one file with all bands; its id is the file's name without ending.

    Raises:
        SceneError: bands that cannot be named, numbers of unsaid unit, or what `read_header` and `build_scene` refuse.
    """
    header = read_header(path)
    names = _names(header, sensor)
    bands = [_undeclared(header, band, name) for band, name in zip(header.bands, names, strict=True) if name]
    return _build_undescribed(path.stem, bands, sensor)


def _build_undescribed(scene_id: str, bands: Sequence[BandFile], sensor: Sensor | None) -> Scene:
    source = FileScene(id=scene_id, sensor=sensor, acquired_at=None, circumstances=Circumstances(), bands=tuple(bands))
    return build_scene(source)


def _undeclared(header: RasterHeader, band: BandHeader, name: str) -> BandFile:
    """Take the unit from the file's tag; without one, whole numbers are the sensor's digital numbers."""
    unit = unit_of_tag(band.unit)
    if unit is None and band.dtype.startswith("float"):
        raise SceneError(
            f"{header.path}, band {band.index}: {band.dtype} numbers with unit {band.unit or 'unsaid'!r}; declare "
            f"unit: (reflectance, kelvin or celsius) in a {FILE_NAME} beside the file"
        )
    return BandFile(name=name, unit=unit or Unit.DN, file=header, header=band)


def _names(header: RasterHeader, sensor: Sensor | None) -> list[str | None]:
    """Name a file's bands by their descriptions, else by their colours, else by the sensor's order.

    Bands whose description names something else (a quality band) have no name and are left out.
    """
    labels = [band.description for band in header.bands]
    names = [_name_of(label, sensor) for label in labels]
    if any(names) and all(labels):
        return names
    if {band.colour for band in header.bands} == _COLOURS and len(labels) == len(_COLOURS):
        return [band.colour for band in header.bands]
    if sensor and len(sensor.bands) == len(labels):
        return [band.name for band in sensor.bands]
    found = f"{header.path}: has {len(labels)} bands described as {labels}"
    if sensor:
        order = ", ".join(band.name for band in sensor.bands)
        raise SceneError(f"{found}; sensor {sensor.name} has {len(sensor.bands)}: {order}; name them in a {FILE_NAME}")
    raise SceneError(f"{found}, which names no band; say --sensor NAME, or name them in a {FILE_NAME}")


def _name_of(label: str, sensor: Sensor | None) -> str | None:
    common = label.strip().lower()
    if common in PHYSICAL_UNIT:
        return common
    band = sensor.band_of_label(label) if sensor else None
    return band.name if band else None
