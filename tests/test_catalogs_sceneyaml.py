from datetime import UTC, datetime
from pathlib import Path

import pytest

from rspipe.catalogs.errors import SceneError
from rspipe.catalogs.sceneyaml import SceneDescription, read_scene_yaml

HEAD = "id: a\nfiles:\n"


def described(folder: Path, text: str) -> SceneDescription:
    path = folder / "scene.yaml"
    path.write_text(text)
    return read_scene_yaml(path)


def test_the_documented_example_is_read(tmp_path: Path) -> None:
    scene = described(
        tmp_path,
        "id: LC80130312015295LGN00\n"
        "sensor: landsat8\n"
        "acquired_at: 2015-10-22\n"
        "sun_elevation_deg: 34.0          # needed for Landsat digital numbers only\n"
        'processing_baseline: "02.14"     # Sentinel-2 only\n'
        "files:\n"
        '  "*_B2.tif":  {band: blue,  unit: reflectance, fill: 0}\n'
        '  "*_B10.tif": {band: lwir11, unit: celsius}\n',
    )
    assert (scene.id, scene.sensor, scene.acquired_at) == ("LC80130312015295LGN00", "landsat8", datetime(2015, 10, 22))  # noqa: DTZ001  a date has no zone
    assert (scene.circumstances.sun_elevation_deg, scene.circumstances.processing_baseline) == (34.0, "02.14")
    (blue,), (lwir11,) = scene.files.values()
    assert (blue.band, blue.unit, blue.fill) == ("blue", "reflectance", 0)
    assert (lwir11.band, lwir11.unit, lwir11.fill) == ("lwir11", "celsius", None)


def test_a_moment_keeps_its_zone(tmp_path: Path) -> None:
    scene = described(tmp_path, f"{HEAD}  x.tif: {{band: red, unit: dn}}\nacquired_at: 2015-10-22T15:33:10Z\n")
    assert scene.acquired_at == datetime(2015, 10, 22, 15, 33, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id: a\nsensor: landsat88\nfiles:\n  x.tif: {band: red, unit: dn}", [":2:", "'landsat88'", "'landsat8'"]),
        (f"{HEAD}  x.tif: {{band: bleu, unit: dn}}", [":3:", "'bleu'", "did you mean 'blue'?"]),
        (f"{HEAD}  x.tif: {{band: red, unit: percent}}", ["'percent'", "dn, reflectance, kelvin, celsius"]),
        (f"{HEAD}  x.tif: {{band: red, unit: dn, fil: 0}}", ["unknown key", "did you mean 'fill'?"]),
        ("id: a\nsun_elevation: 3\nfiles:\n  x.tif: {band: red, unit: dn}", [":2:", "mean 'sun_elevation_deg'?"]),
        (f"{HEAD}  x.tif: {{band: red}}", ["unit: missing"]),
        ("id: 7\nfiles:\n  x.tif: {band: red, unit: dn}", [":1:", "id:", "'7' (int)"]),
        (f"{HEAD}  x.tif: {{band: red, unit: dn}}\nprocessing_baseline: 2.14", ["processing_baseline", "2.14"]),
        (f"{HEAD}  x.tif: {{band: red, unit: dn}}\nsun_elevation_deg: true", ["sun_elevation_deg", "True"]),
        (f"{HEAD}  x.tif: {{band: red, unit: dn}}\nacquired_at: 2015-13-01", ["acquired_at", "month"]),
        (f"{HEAD}  x.tif: {{unit: dn}}", ["band: NAME"]),
        (f"{HEAD}  x.tif: {{band: red, bands: [red], unit: dn}}", ["either"]),
        (f"{HEAD}  x.tif: {{bands: [red], index: 1, unit: dn}}", ["index:"]),
        (f"{HEAD}  x.tif: {{band: red, unit: dn, scale: 2}}", ["scale:", "dn"]),
        (f"{HEAD}  x.tif: {{band: red, unit: dn, index: 0}}", ["index", "1"]),
        (f"{HEAD}  ../x.tif: {{band: red, unit: dn}}", ["'../x.tif'", "own folder"]),
        (f"{HEAD}  /etc/x.tif: {{band: red, unit: dn}}", ["own folder"]),
        (f"{HEAD}  '**/x.tif': {{band: red, unit: dn}}", ["own folder"]),
        ("id: a\nfiles: {}", ["files"]),
        ("id: a\nid: b\nfiles:\n  x.tif: {band: red, unit: dn}", [":2:", "id"]),
        ("- a", ["mapping"]),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_place(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(SceneError) as caught:
        described(tmp_path, text)
    for word in ["scene.yaml", *words]:
        assert word in str(caught.value)


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"(?s)bleu.*filez"):
        described(tmp_path, f"{HEAD}  x.tif: {{band: bleu, unit: dn}}\nfilez: 1")
