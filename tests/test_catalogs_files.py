"""Listing scenes: hand-made folders first, real ones after."""

import os
from collections.abc import Iterator
from errno import EACCES
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from geotiffs import NORTH_UP_30M, ramp, write_geotiff

from rspipe.catalogs.errors import SourceError
from rspipe.catalogs.files import RefusedScene, SceneListing, list_scenes
from rspipe.catalogs.pixels import open_band
from rspipe.catalogs.scene import Linear, Scene


def scene_of(listing: SceneListing) -> Scene:
    assert isinstance(listing, Scene), listing
    return listing


def only_scene(*sources: Path | str, sensor: str | None = None) -> Scene:
    (listing,) = list_scenes(sources, sensor)
    return scene_of(listing)


def only_reason(*sources: Path | str, sensor: str | None = None) -> str:
    (listing,) = list_scenes(sources, sensor)
    assert isinstance(listing, RefusedScene), listing
    return listing.reason


def describe(folder: Path, *files: str, head: str = "sensor: landsat8\nsun_elevation_deg: 30\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"  {file}\n" for file in files)
    (folder / "scene.yaml").write_text(f"id: {folder.name}\n{head}files:\n{lines}")
    return folder


def test_a_described_folder_is_one_scene(tmp_path: Path) -> None:
    folder = describe(tmp_path / "s", "'*_B4.tif': {band: red, unit: dn, fill: 65535}")
    write_geotiff(folder / "x_B4.tif", ramp(4, 4), nodata=9)
    write_geotiff(folder / "label.tif", ramp(4, 4))
    scene = only_scene(folder)
    (red,) = scene.bands
    assert (scene.id, scene.slug, scene.sensor, scene.kind) == ("s", "s", "landsat8", "files")
    # LSDS-1574 5.3: sin(30 degrees) = 0.5 doubles 2e-5 and -0.1.
    assert isinstance(red.conversion, Linear)
    assert (red.conversion.scale, red.conversion.offset) == pytest.approx((4e-5, -0.2))
    assert red.fills == (0.0, 9.0, 65535.0)
    with open_band(red) as reader:
        np.testing.assert_array_equal(reader.read(slice(0, 4), slice(0, 4)), ramp(4, 4))


def test_a_name_that_is_no_text_is_refused_by_a_name_that_is(tmp_path: Path) -> None:
    write_geotiff(tmp_path / "whole.tif", ramp(4, 4), descriptions=("red",), scales=(1e-4,), units=("reflectance",))
    (tmp_path / "whole.tif").rename(tmp_path / os.fsdecode(b"r\xf6d.tif"))
    (refused,) = list_scenes([tmp_path], "landsat8-l2")
    assert isinstance(refused, RefusedScene)
    assert refused.id == "r\\udcf6d"
    (refused.id + refused.reason).encode()


@pytest.mark.parametrize("letter", ["\\x00", "\\e", "\\r", "\\x07"])
def test_an_id_that_outputs_cannot_hold_is_refused(tmp_path: Path, letter: str) -> None:
    folder = describe(tmp_path / "s", "x.tif: {band: red, unit: dn}")
    write_geotiff(folder / "x.tif", ramp(4, 4))
    text = (folder / "scene.yaml").read_text()
    (folder / "scene.yaml").write_text(text.replace("id: s", f'id: "a{letter}b"'))
    assert "give it another in scene.yaml" in only_reason(folder)


def test_a_folder_that_cannot_be_listed_is_one_refused_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_geotiff(describe(tmp_path / "a", "x.tif: {band: red, unit: dn}") / "x.tif", ramp(4, 4))
    (tmp_path / "shut").mkdir()
    plain = Path.iterdir

    def closed(folder: Path) -> Iterator[Path]:
        if folder.name == "shut":  # tests may run as root, to whom nothing is shut
            raise PermissionError(EACCES, "Permission denied", str(folder))
        return plain(folder)

    monkeypatch.setattr(Path, "iterdir", closed)
    whole, refused = list_scenes([tmp_path])
    assert scene_of(whole).id == "a"
    assert isinstance(refused, RefusedScene)
    assert (refused.id, "Permission denied; mend its permissions" in refused.reason) == ("shut", True)


def test_file_order_and_folder_order_change_nothing(tmp_path: Path) -> None:
    names = [f"s{number}" for number in (4, 0, 5, 2, 1, 3)]
    for name in names:
        write_geotiff(describe(tmp_path / name, "x.tif: {band: red, unit: dn}") / "x.tif", ramp(4, 4))
    whole = list_scenes([tmp_path])
    assert [listing.id for listing in whole] == sorted(names)
    assert list_scenes([tmp_path / name for name in names]) == whole
    assert list_scenes([f"{tmp_path}/s*"]) == whole
    assert list_scenes([f"{tmp_path}/s*/*.tif"]) == whole


def test_per_band_files_of_a_sensor_are_grouped_by_the_rest_of_their_names(tmp_path: Path) -> None:
    for name in ("p_SR_B4.TIF", "p_SR_B2.TIF", "q_SR_B2.TIF", "p_QA_PIXEL.TIF"):
        write_geotiff(tmp_path / name, ramp(4, 4))
    first, second = list_scenes([tmp_path], "landsat8-l2")
    assert (first.id, {band.name for band in scene_of(first).bands}) == ("p", {"red", "blue"})
    assert (second.id, {band.name for band in scene_of(second).bands}) == ("q", {"blue"})


def test_per_band_files_need_a_sensor(tmp_path: Path) -> None:
    write_geotiff(tmp_path / "B2.tif", ramp(4, 4))
    reason = only_reason(tmp_path)
    assert "B2.tif" in reason
    assert "--sensor" in reason


def test_a_multi_band_file_is_named_by_descriptions_and_its_other_bands_left_out(tmp_path: Path) -> None:
    stack = np.stack([ramp(4, 4), ramp(4, 4), ramp(4, 4)])
    path = write_geotiff(tmp_path / "a.tif", stack, descriptions=("SR_B4", "blue", "quality"))
    scene = only_scene(path, sensor="landsat8-l2")
    assert [(band.name, band.origin.index) for band in scene.bands] == [("red", 1), ("blue", 2)]  # type: ignore[union-attr]


def test_a_multi_band_file_is_named_by_the_sensors_order(tmp_path: Path) -> None:
    path = write_geotiff(tmp_path / "a.tif", np.stack([ramp(4, 4)] * 8))
    names = [band.name for band in only_scene(path, sensor="landsat8-l2").bands]
    assert names == ["coastal", "blue", "green", "red", "nir", "swir16", "swir22", "lwir11"]
    reason = only_reason(path, sensor="sentinel2-l2a")
    assert "8 bands" in reason
    assert "sentinel2-l2a has 12" in reason
    assert "names no band" in only_reason(path)


def test_colours_name_bands_whatever_their_order(tmp_path: Path) -> None:
    path = write_geotiff(tmp_path / "a.tif", np.ones((3, 4, 4), np.uint8), photometric="RGB", scales=(0.004,) * 3)
    scene = only_scene(path, sensor="rgb")
    assert [band.name for band in scene.bands] == ["red", "green", "blue"]
    assert scene.bands[0].conversion == Linear(scale=0.004, offset=0.0)


def test_scene_yaml_names_the_bands_of_a_multi_band_file(tmp_path: Path) -> None:
    folder = describe(
        tmp_path / "s",
        "a.tif: [{bands: [red, nir], unit: reflectance, scale: 0.0001}]",
        "b.tif: [{band: lwir11, index: 2, unit: celsius}, {band: green, index: 1, unit: reflectance}]",
        head="",
    )
    write_geotiff(folder / "a.tif", np.stack([ramp(4, 4)] * 2))
    write_geotiff(folder / "b.tif", np.stack([ramp(4, 4, "float32")] * 2))
    scene = only_scene(folder)
    assert scene.sensor == "unknown"
    assert [band.name for band in scene.bands] == ["red", "nir", "lwir11", "green"]
    assert scene.band("nir").conversion == Linear(scale=0.0001, offset=0.0)
    assert scene.band("lwir11").conversion == Linear(scale=1.0, offset=273.15)
    assert scene.band("lwir11").origin.index == 2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("entry", "tags", "words"),
    [
        ("{bands: [red, nir], unit: reflectance}", {"descriptions": ("nir", "red")}, "the file that it is nir and"),
        ("{band: red, index: 1, unit: reflectance}", {"descriptions": ("nir", "red")}, "band 2 is red"),
        ("{band: red, index: 1, unit: reflectance}", {"units": ("kelvin", "")}, "reflectance, the file's tag kelvin"),
    ],
)  # fmt: skip
def test_a_file_that_says_otherwise_of_itself_is_refused(
    tmp_path: Path, entry: str, tags: dict[str, tuple[str, str]], words: str
) -> None:
    folder = describe(tmp_path / "s", f"a.tif: [{entry}]", head="")
    write_geotiff(folder / "a.tif", np.stack([ramp(4, 4, "float32")] * 2), **tags)
    assert words in only_reason(folder)


def test_what_a_file_calls_its_bands_may_be_called_otherwise(tmp_path: Path) -> None:
    folder = describe(tmp_path / "s", "a.tif: [{bands: [red, nir08], unit: reflectance}]", head="")
    tags = {"descriptions": ("Band 4", "nir"), "units": ("reflectance", "1")}
    write_geotiff(folder / "a.tif", np.stack([ramp(4, 4, "float32")] * 2), **tags)
    assert [band.name for band in only_scene(folder).bands] == ["red", "nir08"]


def test_bands_keep_their_own_grids_and_the_scene_takes_the_finest(tmp_path: Path) -> None:
    head = 'sensor: sentinel2\nprocessing_baseline: "04.00"\n'
    files = ("B05.tif: {band: rededge071, unit: dn}", "B02.tif: {band: blue, unit: dn}")
    folder = describe(tmp_path / "s", *files, head=head)
    write_geotiff(folder / "B02.tif", ramp(6, 6), transform=NORTH_UP_30M @ Affine.scale(1 / 3))
    write_geotiff(folder / "B05.tif", ramp(3, 3), transform=NORTH_UP_30M @ Affine.scale(2 / 3))
    scene = only_scene(folder)
    assert scene.grid == scene.band("blue").grid
    assert (scene.band("rededge071").grid.height_px, scene.band("rededge071").grid.transform.a) == (3, 20.0)


def test_a_float_fill_is_what_the_file_can_hold(tmp_path: Path) -> None:
    folder = describe(tmp_path / "s", "x.tif: {band: red, unit: reflectance, fill: 1.0e20}")
    write_geotiff(folder / "x.tif", ramp(4, 4, "float32"), nodata=float("nan"))
    (red,) = only_scene(folder).bands
    assert red.fills == (float(np.float32(1e20)),)


@pytest.mark.parametrize(
    ("files", "profile", "words"),
    [
        (["'*.tif': {band: red, unit: dn}"], {}, ["'*.tif'", "2 found: x.tif, y.tif"]),
        (["z.tif: {band: red, unit: dn}"], {}, ["'z.tif'", "0 found"]),
        (["X.tif: {band: red, unit: dn}"], {}, ["'X.tif'", "0 found"]),
        (["x.tif: {band: red, unit: reflectance}"], {}, ["uint16", "reflectance", "scale:"]),
        (["x.tif: {band: red, unit: dn, fill: -9999}"], {}, ["-9999", "uint16"]),
        (["x.tif: {band: red, unit: dn}", "y.tif: {band: red, unit: dn}"], {}, ["'red' is found 2 times"]),
        (["x.tif: {band: rededge071, unit: dn}"], {}, ["landsat8 has no band"]),
        (["x.tif: {bands: [red, blue], unit: dn}"], {}, ["has 1 bands", "names 2"]),
        (["x.tif: {band: red, index: 2, unit: dn}"], {}, ["has 1 bands", "index 2"]),
        (["x.tif: {band: red, unit: dn}", "y.tif: {band: blue, unit: dn}"], {"crs": "EPSG:32619"}, ["another CRS"]),
        (
            ["x.tif: {band: red, unit: dn}", "y.tif: {band: blue, unit: dn}"],
            {"transform": NORTH_UP_30M @ Affine.translation(4, 0)},
            ["do not overlap"],
        ),
        (["y.tif: {band: red, unit: dn}"], {"scales": (2.75e-5,), "offsets": (-0.2,)}, ["2.75e-05", "sensor"]),
        (["y.tif: {band: red, unit: reflectance, scale: 0.1}"], {"scales": (0.2,)}, ["0.2", "0.1", "scene.yaml"]),
    ],
)
def test_contradictions_are_refused_with_both_sides(
    tmp_path: Path, files: list[str], profile: dict[str, object], words: list[str]
) -> None:
    folder = describe(tmp_path / "s", *files)
    write_geotiff(folder / "x.tif", ramp(4, 4))
    write_geotiff(folder / "y.tif", ramp(4, 4), **profile)
    reason = only_reason(folder)
    for word in words:
        assert word in reason


def test_the_sensors_own_scale_tags_are_no_contradiction(tmp_path: Path) -> None:
    folder = describe(tmp_path / "s", "x.tif: {band: red, unit: dn}")
    write_geotiff(folder / "x.tif", ramp(4, 4), scales=(2e-5,), offsets=(-0.1,))
    assert only_scene(folder).bands[0].conversion == Linear(scale=pytest.approx(4e-5), offset=pytest.approx(-0.2))  # type: ignore[arg-type]


def test_scale_tags_serve_numbers_of_an_unknown_sensor(tmp_path: Path) -> None:
    profile = {"descriptions": ("red", "lwir11"), "units": ("", "degC"), "scales": (1e-4, 0.1), "offsets": (0, -50)}
    path = write_geotiff(tmp_path / "a.tif", np.stack([ramp(4, 4)] * 2), **profile)
    red, lwir11 = only_scene(path).bands
    assert red.conversion == Linear(scale=1e-4, offset=0.0)
    assert lwir11.conversion == Linear(scale=0.1, offset=-50.0 + 273.15)


def test_float_numbers_without_a_unit_are_refused(tmp_path: Path) -> None:
    path = write_geotiff(tmp_path / "a.tif", ramp(4, 4, "float32"), descriptions=("red",))
    assert "unit:" in only_reason(path)


def test_one_bad_scene_does_not_stop_the_others(tmp_path: Path) -> None:
    write_geotiff(describe(tmp_path / "good", "x.tif: {band: red, unit: dn}") / "x.tif", ramp(4, 4))
    describe(tmp_path / "empty", "x.tif: {band: red, unit: dn}")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "scene.yaml").write_text("id: [")
    (tmp_path / "torn.tif").write_bytes(b"II*\x00")
    listings = list_scenes([tmp_path])
    assert [(listing.id, isinstance(listing, Scene)) for listing in listings] == [
        ("broken", False),
        ("empty", False),
        ("good", True),
        ("torn", False),
    ]


def test_the_command_lines_sensor_must_not_contradict(tmp_path: Path) -> None:
    folder = describe(tmp_path / "s", "x.tif: {band: red, unit: dn}")
    write_geotiff(folder / "x.tif", ramp(4, 4))
    reason = only_reason(folder, sensor="landsat9")
    assert "landsat8" in reason
    assert "landsat9" in reason


def test_one_id_twice_is_the_users_mistake(tmp_path: Path) -> None:
    for name in ("a.tif", "a.tiff"):
        write_geotiff(tmp_path / name, ramp(4, 4))
    with pytest.raises(SourceError, match=r"a\.tif and .*a\.tiff"):
        list_scenes([tmp_path])
    with pytest.raises(SourceError, match="found 2 times"):
        list_scenes([tmp_path / "a.tif", tmp_path / "a.tif"])


def test_ids_that_differ_by_case_are_both_kept(tmp_path: Path) -> None:
    for name in ("a.tif", "A.tif"):
        write_geotiff(tmp_path / name, ramp(4, 4), descriptions=("red",), scales=(0.1,))
    upper, lower = list_scenes([tmp_path])
    assert (upper.id, lower.id) == ("A", "a")
    assert upper.slug.lower() != lower.slug.lower()


def test_sources_without_a_scene_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no scene")
    for source in (tmp_path, tmp_path / "absent", f"{tmp_path}/*.jp2"):
        with pytest.raises(SourceError, match=str(source).replace("*", r"\*")):
            list_scenes([source])
    with pytest.raises(SourceError, match="no source"):
        list_scenes([])
    with pytest.raises(SourceError, match="unknown sensor"):
        list_scenes([tmp_path], "landsat88")


def test_real_landsat_reflectance_and_celsius(real_data: Path) -> None:
    scene = only_scene(real_data / "l8-newyork")
    assert len(scene.bands) == 10
    assert (scene.grid.height_px, scene.grid.width_px) == (458, 508)
    assert scene.band("blue").fills == (0.0,)
    assert scene.band("lwir11").conversion == Linear(scale=1.0, offset=273.15)


@pytest.mark.parametrize(
    ("place", "sensor", "words"),
    [
        ("l8-paraguay", None, ["sun elevation", "sun_elevation_deg:"]),
        ("l7-bahamas/RGB.byte.tif", None, ["unknown sensor", "--sensor"]),
        ("l7-bahamas/RGB.byte.tif", "rgb", ["no physical meaning", "unit: reflectance"]),
        ("l7-bahamas/RGB.byte.tif", "landsat8", ["sun elevation"]),
        ("zion/nlcd.tif", None, ["names no band"]),
    ],
)
def test_real_scenes_that_say_too_little_are_refused(
    real_data: Path, place: str, sensor: str | None, words: list[str]
) -> None:
    reason = only_reason(real_data / place, sensor=sensor)
    for word in words:
        assert word in reason


def test_real_sentinel_2_before_baseline_4(real_data: Path) -> None:
    scene = only_scene(real_data / "s2-cloud-chips" / "chip1")
    assert [band.name for band in scene.bands] == ["blue", "green", "red", "nir"]
    assert scene.band("nir").conversion == Linear(scale=1e-4, offset=0.0)


def test_real_landsat_numbers_with_a_sun(real_data: Path) -> None:
    nir = only_scene(real_data / "zion").band("nir")
    # sin(58.8 degrees) = 0.855365; 2e-5 / 0.855365 = 2.33819e-5, -0.1 / 0.855365 = -0.116909
    assert isinstance(nir.conversion, Linear)
    assert (nir.conversion.scale, nir.conversion.offset) == pytest.approx((2.33819e-5, -0.116909), rel=1e-5)
    assert nir.fills == (0.0, 65535.0)


def test_real_scenes_of_two_resolutions_and_two_zones(real_data: Path) -> None:
    first, second = list_scenes([real_data / "s2-redclover"])
    scene = scene_of(first)
    assert scene.grid.transform.a == 10.0
    assert {band.grid.transform.a for band in scene.bands} == {10.0, 20.0}
    assert scene.grid.crs_wkt != scene_of(second).grid.crs_wkt
