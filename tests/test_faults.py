"""Bad input and a bad place to work: each has its exit code and one clear message, and nothing else is touched."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyogrio
import pytest
import rasterio
from affine import Affine
from safetensors.torch import load_file, save_file
from tinyrun import CARD, Place, TinyScene, lay_place, told, tree

from rspipe.models.card import ModelCard
from rspipe.models.mlm import GroundResolution
from rspipe.pipeline import ingest
from rspipe.pipeline.lock import locked
from rspipe.pipeline.task import Receipt

SCENE = TinyScene(height_px=70, width_px=60)


def refused_scene(place: Place) -> str:
    """Run a place whose scenes are all refused; return the one reason that the manifest gives."""
    code, stderr = told(place)
    assert code == 3
    (scene,) = json.loads((place.out / "manifest.json").read_text())["scenes"]
    assert scene["status"] == "failed"
    assert scene["reason"] in stderr
    assert str(place.root) not in scene["reason"]
    assert not (place.out / "scenes").exists()
    return str(scene["reason"])


def no_file(place: Place) -> None:
    place.workflow.write_text(place.workflow.read_text().replace("- scenes", "- scenes/absent.tif"))


def no_scene(place: Place) -> None:
    (place.root / "empty").mkdir()
    place.workflow.write_text(place.workflow.read_text().replace("- scenes", "- empty"))


def line_of(text: str) -> Callable[[Place], None]:
    def add(place: Place) -> None:
        place.workflow.write_text(place.workflow.read_text() + text)

    return add


def two_crs(place: Place) -> None:
    replace(SCENE, id="west", crs="EPSG:32617").write(place.root / "scenes" / "west")


def named(word: str, url: str) -> Callable[[Place], None]:
    def name(place: Place) -> None:
        place.workflow.write_text(place.workflow.read_text().replace(f"- {word}", f"- '{url}'"))

    return name


CONFIGURATIONS = {
    "missing file": (no_file, ("absent.tif", "does not exist")),
    "no scene": (no_scene, ("empty", "holds no scene")),
    "URL of a scene": (named("scenes", "https://user:s3cret@127.0.0.1:1/x?sig=T0KEN"), ("127.0.0.1:1/x", "is a URL")),
    "virtual path": (named("scenes", "/vsicurl/http://u:s3cret@127.0.0.1:1/x"), ("GDAL virtual path",)),
    "URL of a model": (named("pico-clouds.json", "https://u:s3cret@127.0.0.1:1/a.json"), ("https: found",)),
    "URL of the output": (line_of("output: {folder: 's3://u:s3cret@bucket'}\n"), ("s3: found where a path",)),
    "unknown key": (line_of("infer: {overlap: 32}\n"), ("tiny.yaml", "infer.overlap", "unknown key", "overlap_px")),
    "wrong type": (line_of("infer: {window_px: wide}\n"), ("tiny.yaml", "infer.window_px", "'wide'", "integer")),
    "overlap": (line_of("infer: {window_px: 64, overlap_px: 64}\n"), ("infer.overlap_px", "64", "half a window")),
    "overlap of the card's window": (line_of("infer: {overlap_px: 64}\n"), ("infer.overlap_px", "64", "half")),
    "nothing familiar": (
        line_of("infer: {rasters: [unfamiliarity]}\n"),
        ("infer.rasters", "'pico-clouds'", "does not say what is familiar", "leave unfamiliarity out"),
    ),
    "no probabilities": (
        line_of("vectorize: {into: most probable}\n"),
        ("vectorize.into", "infer.rasters: [probabilities]", "longest border"),
    ),
    "unknown class with an area": (
        line_of("vectorize: {class_minimum_area_m2: {thin clod: 5}}\n"),
        ("vectorize.class_minimum_area_m2", "thin clod", "thin cloud"),
    ),
    "unknown class": (line_of("vectorize: {classes: [thin clod]}\n"), ("vectorize.classes", "thin clod", "thin cloud")),
    "unknown CRS": (line_of("output: {crs: 'EPSG:999999'}\n"), ("output.crs", "EPSG:999999")),
    "several CRSs": (two_crs, ("output.crs", "EPSG:32617", "EPSG:32618", "west", "tiny-a", "--set output.crs=")),
    "unknown device": (line_of("compute: {device: tpu}\n"), ("compute.device", "tpu", "cpu")),
}


@pytest.mark.parametrize("case", CONFIGURATIONS)
def test_a_wrong_configuration_is_exit_2_and_touches_nothing(tmp_path: Path, case: str) -> None:
    spoil, words = CONFIGURATIONS[case]
    place = lay_place(tmp_path, SCENE)
    spoil(place)
    code, stderr = told(place)
    assert code == 2, stderr
    (line,) = stderr.splitlines()
    for word in words:
        assert word in line
    assert "s3cret" not in line
    assert "T0KEN" not in line
    assert not place.out.exists()


def test_scenes_in_two_crs_go_into_the_one_that_is_named(tmp_path: Path) -> None:
    place = lay_place(tmp_path, SCENE)
    two_crs(place)
    assert place.run("output.crs=EPSG:4326").code == 0
    layer = pyogrio.read_dataframe(place.out / "tiny.gpkg", layer="tiny")
    assert layer.crs.to_epsg() == 4326
    assert set(layer.scene_id) == {"tiny-a", "west"}


def no_red(place: Place) -> None:
    replace(SCENE, bands=("nir", "lwir11")).write(place.root / "scenes" / SCENE.id)


def no_crs(place: Place) -> None:
    replace(SCENE, crs=None).write(place.root / "scenes" / SCENE.id)


def rotated(place: Place) -> None:
    turned = Affine.translation(600_000, 4_500_000) @ Affine.rotation(30) @ Affine.scale(30, -30)
    replace(SCENE, transform=turned).write(place.root / "scenes" / SCENE.id)


def coarse(place: Place) -> None:
    wide = Affine(300.0, 0.0, 600_000.0, 0.0, -300.0, 4_500_000.0)
    replace(SCENE, transform=wide).write(place.root / "scenes" / SCENE.id)


def no_tiff(place: Place) -> None:
    (place.root / "scenes" / SCENE.id / "nir.tif").write_bytes(b"<html>404 not found</html>")


def bad_description(place: Place) -> None:
    path = place.root / "scenes" / SCENE.id / "scene.yaml"
    path.write_text(path.read_text().replace("kelvin", "fahrenheit"))


def elsewhere(place: Place) -> None:
    """A quarter of the globe from the middle of UTM zone 18, where transverse Mercator ends."""
    far = Affine(30.0, 0.0, 499_000.0, 0.0, -30.0, 1_000.0)
    replace(SCENE, crs="EPSG:32633", transform=far).write(place.root / "scenes" / SCENE.id)
    line_of("output: {crs: 'EPSG:32618'}\n")(place)


def pointing(at: str, kind: str = "") -> Callable[[Place], None]:
    """A file that only says where pixels are: in another file, or on the network."""
    text = (
        f'<VRTDataset rasterXSize="8" rasterYSize="1"><VRTRasterBand dataType="Byte" band="1" {kind}>'
        f"<SourceFilename>{at}</SourceFilename></VRTRasterBand></VRTDataset>"
    )

    def point(place: Place) -> None:
        (place.root / "canary").write_text("s3cret")
        (place.root / "scenes" / SCENE.id / "nir.tif").write_text(text.replace("CANARY", str(place.root / "canary")))

    return point


REFUSED = {
    "VRT": (pointing("CANARY"), ("nir.tif", "neither GeoTIFF nor JPEG 2000")),
    "raw VRT": (pointing("CANARY", 'subClass="VRTRawRasterBand"'), ("nir.tif", "neither GeoTIFF nor JPEG 2000")),
    "VRT of a URL": (pointing("/vsicurl/http://127.0.0.1:1/x"), ("nir.tif", "neither GeoTIFF nor JPEG 2000")),
    "out of the CRS": (elsewhere, ("output.crs", "UTM zone 18N has no coordinates", "UTM zone 33N", "choose one")),
    "missing band": (no_red, ("lacks red", "it has lwir11, nir", "pico-clouds", "requires red, nir")),
    "no CRS": (no_crs, ("scenes/tiny-a/lwir11.tif: no CRS", "crs: in scene.yaml")),
    "rotated": (rotated, ("lwir11.tif", "turned by", "30.00 degrees", "gdalwarp")),
    "resolution": (coarse, ("300 m", "10 .. 60 m", "--set grid.resolution_m=60")),
    "no raster": (no_tiff, ("nir.tif", "neither GeoTIFF nor JPEG 2000")),
    "unknown unit": (bad_description, ("scene.yaml", "fahrenheit", "kelvin")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_scene_that_cannot_be_used_is_exit_3_with_both_sides_named(tmp_path: Path, case: str) -> None:
    spoil, words = REFUSED[case]
    place = lay_place(tmp_path, SCENE)
    spoil(place)
    reason = refused_scene(place)
    for word in words:
        assert word in reason
    assert pyogrio.read_info(place.out / "tiny.gpkg", layer="tiny")["features"] == 0
    scenes = pyogrio.read_dataframe(place.out / "tiny.gpkg", layer="scenes")
    assert list(scenes.status) == ["failed"]


def test_a_file_that_is_gone_when_it_is_to_be_read_is_one_failed_scene_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(SCENE, id="other", seed=2)
    place = lay_place(tmp_path, SCENE, other)
    path = tmp_path / "scenes" / "other" / "nir.tif"
    plain = ingest.run_ingest

    def late(job: ingest.IngestJob) -> Receipt:
        if job.scene_id == "other":
            path.rename(tmp_path / "away.tif")
        return plain(job)

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "run_ingest", late)
        ran = place.run()
    assert ran.code == 3
    assert f"{path} was changed or taken away" in ran.told
    assert [scene["status"] for scene in scenes_of(place)] == ["failed", "published"]
    (tmp_path / "away.tif").rename(path)
    assert place.run().code == 0


def scenes_of(place: Place) -> list[dict[str, Any]]:
    return list(json.loads((place.out / "manifest.json").read_text())["scenes"])


def test_a_scene_that_is_too_fine_runs_when_it_is_resampled(tmp_path: Path) -> None:
    card = replace(CARD, resolution_m=GroundResolution(min=60.0, max=90.0))
    place = lay_place(tmp_path, TinyScene(), card=card)
    assert "--set grid.resolution_m=60" in refused_scene(place)
    assert place.run("grid.resolution_m=60").code == 0
    with rasterio.open(place.out / "scenes" / "tiny-a" / "classes.tif") as raster:
        assert raster.res == (60.0, 60.0)
        assert raster.shape == (75, 65)


def unknown_model(place: Place) -> None:
    place.workflow.write_text(place.workflow.read_text().replace("pico-clouds.json", "cloud-thikness"))


def absent_card(place: Place) -> None:
    (place.root / "pico-clouds.json").unlink()


def absent_weights(place: Place) -> None:
    (place.root / CARD.weights_name).unlink()


def truncated_weights(place: Place) -> None:
    path = place.root / CARD.weights_name
    path.write_bytes(path.read_bytes()[:-100])


def other_weights(place: Place) -> None:
    path = place.root / CARD.weights_name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def vouch(place: Place, card: ModelCard) -> None:
    """Write a card that names the weights as they lie there."""
    digest = hashlib.sha256((place.root / card.weights_name).read_bytes()).hexdigest()
    replace(card, weights_sha256=digest).write(place.root / f"{card.model_id}.json")


def pickled_weights(place: Place) -> None:
    """A pickle that would make a file when it is loaded, under the right name and with the right digest."""
    payload = f"cposix\nsystem\n(S'touch {place.root}/canary'\ntR."
    (place.root / CARD.weights_name).write_bytes(payload.encode())
    vouch(place, CARD)


def cut_weights(place: Place) -> None:
    truncated_weights(place)
    vouch(place, CARD)


def narrow_card(place: Place) -> None:
    """The card speaks of a model with other shapes than the weights."""
    vouch(place, replace(CARD, spec=CARD.spec.model_copy(update={"width": 32})))


def weights_with_nan(place: Place) -> None:
    path = place.root / CARD.weights_name
    tensors = load_file(path)
    tensors["table"][0, 0] = float("nan")
    save_file(tensors, path)
    vouch(place, CARD)


MODELS = {
    "unknown model": (unknown_model, ("cloud-thikness", "cloud-thickness", "(.json)")),
    "absent card": (absent_card, ("pico-clouds.json", "no model card")),
    "absent weights": (absent_weights, ("pico-clouds.safetensors", "cannot be read")),
    "truncated weights": (truncated_weights, ("pico-clouds.safetensors", "SHA-256", "card says")),
    "other weights": (other_weights, ("pico-clouds.safetensors", "SHA-256", "card says")),
    "pickle": (pickled_weights, ("pico-clouds.safetensors", "not a whole safetensors file")),
    "truncated weights of that digest": (cut_weights, ("pico-clouds.safetensors", "not a whole safetensors file")),
    "NaN": (weights_with_nan, ("pico-clouds.safetensors", "1 differences: table: holds NaN or infinity")),
    "another model's card": (narrow_card, ("pico-clouds.safetensors", "differences", "the model has")),
}


@pytest.mark.parametrize("case", MODELS)
def test_a_model_that_is_refused_is_exit_5_before_any_scene_is_read(tmp_path: Path, case: str) -> None:
    spoil, words = MODELS[case]
    place = lay_place(tmp_path, SCENE)
    spoil(place)
    (place.root / "scenes" / SCENE.id / "scene.yaml").write_text("not: even: yaml")
    code, stderr = told(place)
    assert code == 5, stderr
    (line,) = stderr.splitlines()
    for word in words:
        assert word in line
    assert not place.out.exists()
    assert not (place.root / "canary").exists()


def test_a_scene_of_nodata_only_gives_an_empty_layer(tmp_path: Path) -> None:
    class Empty(TinyScene):
        def invalid(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
            return super().invalid() | True

    place = lay_place(tmp_path, Empty(height_px=70, width_px=60))
    assert place.run().code == 0
    info = pyogrio.read_info(place.out / "tiny.gpkg", layer="tiny")
    assert info["features"] == 0
    assert "class_name" in info["fields"]
    scenes = pyogrio.read_dataframe(place.out / "tiny.gpkg", layer="scenes")
    assert list(scenes.valid_share) == [0.0]
    with rasterio.open(place.out / "scenes" / "tiny-a" / "classes.tif") as raster:
        assert (raster.read(1) == 255).all()


@pytest.mark.parametrize(
    ("height_px", "width_px"), [(1, 1), *(pytest.param(*sides, marks=pytest.mark.slow) for sides in ((1, 90), (65, 1)))]
)
def test_the_smallest_scenes_run(tmp_path: Path, height_px: int, width_px: int) -> None:
    place = lay_place(tmp_path, TinyScene(height_px=height_px, width_px=width_px))
    assert place.run("vectorize.minimum_area_m2=0").code == 0
    with rasterio.open(place.out / "scenes" / "tiny-a" / "classes.tif") as raster:
        assert raster.shape == (height_px, width_px)


def test_an_output_folder_that_is_a_file_is_exit_4(tmp_path: Path) -> None:
    place = lay_place(tmp_path, SCENE)
    place.out.write_text("in the way")
    code, stderr = told(place)
    assert code == 4, stderr
    assert str(place.out) in stderr
    assert "--output" in stderr
    assert place.out.read_text() == "in the way"


def test_a_second_run_beside_the_first_is_exit_4(tmp_path: Path) -> None:
    place = lay_place(tmp_path, SCENE)
    with locked(place.out / ".rspipe" / "lock"):
        code, stderr = told(place)
    assert code == 4
    for word in ("another run is at work", "pid ", "--output"):
        assert word in stderr
    assert tree(place.out) == {}
