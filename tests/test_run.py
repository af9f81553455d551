"""Whole runs, from files to GeoPackage: what comes out, what is done again and what is not."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.features
from geotiffs import NORTH_UP_30M, UTM_18N
from tinyrun import CARD, Place, Ran, TinyScene, lay_place, mtimes, tree

from rspipe.models.mlm import Familiar
from rspipe.pipeline.config import WorkflowConfig
from rspipe.pipeline.errors import EnvironmentFailedError

SCENE = TinyScene()
FIELDS = [
    "class_id", "class_name", "area_m2", "perimeter_m", "confidence_mean", "confidence_p10", "scene_id",
    "acquired_at", "model_id", "run_id",
]  # fmt: skip
"""House rule 3.9."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run that went well; not to be changed."""
    place = lay_place(tmp_path_factory.mktemp("run"), SCENE)
    assert place.run().code == 0
    return place


@pytest.fixture
def again(finished: Place, tmp_path: Path) -> Place:
    """A copy of the finished output, to be run on."""
    shutil.copytree(finished.root, tmp_path / "copy")
    return Place(tmp_path / "copy")


def tasks(ran: Ran) -> dict[str, int]:
    """Stage -> how many tasks the run had to carry out."""
    return {stage: int(count) for stage, count in re.findall(r"^(\w+): (\d+) tasks?$", ran.told, re.MULTILINE)}


def manifest(place: Place, out: Path | None = None) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(((out or place.out) / "manifest.json").read_text())
    return content


def test_rasters_on_request_are_published_with_their_scale_and_go_when_nobody_asks_any_more(tmp_path: Path) -> None:
    channels = len(CARD.legend.classes) + 64 // 16  # of the pico model's width
    triangle = tuple(tuple(float(row == column) for column in range(row + 1)) for row in range(channels))
    card = replace(CARD, familiar=Familiar(mean=(0.0,) * channels, whiten=triangle))
    place = lay_place(tmp_path, TinyScene(height_px=70, width_px=60), card=card)
    assert place.run("infer.rasters=[unfamiliarity, probabilities, margin]").code == 0
    published = place.out / "scenes" / "tiny-a"
    with rasterio.open(published / "probabilities.tif") as raster, rasterio.open(published / "classes.tif") as classes:
        assert raster.descriptions == ("clear", "thin cloud", "thick cloud", "cloud shadow")
        assert raster.scales == (1 / 254,) * 4
        stored, valid = raster.read().astype(int), classes.read(1) != 255
    assert np.abs(stored.sum(axis=0)[valid] - 254).max() <= 2
    assert "unfamiliarity_mean" in pyogrio.read_info(place.out / "tiny.gpkg", layer="tiny")["fields"]
    with rasterio.open(published / "unfamiliarity.tif") as raster:
        assert (raster.scales, raster.nodata) == ((1 / 40,), 255)
        assert "training" in raster.tags()["RSPIPE_MEANING"]
        assert raster.read(1)[valid].max() > 0
    listed = {Path(output["path"]).name for output in manifest(place)["outputs"]}
    assert {"unfamiliarity.tif", "probabilities.tif", "margin.tif"} <= listed
    assert place.run("infer.rasters=[margin]", "vectorize.max_vertices=1000").code == 0
    assert not (published / "unfamiliarity.tif").exists()
    assert (published / "margin.tif").exists()
    layer = pyogrio.read_dataframe(place.out / "tiny.gpkg", layer="tiny")
    assert layer.part_of.isna().all()
    assert "unfamiliarity_mean" not in layer


def test_the_resolved_configuration_is_saved_and_loads_again(finished: Place) -> None:
    saved = json.loads((finished.out / ".rspipe" / "workflow.json").read_text())
    assert saved["compute"]["threads"] == 1
    again = WorkflowConfig.model_validate_json(json.dumps(saved))
    assert again.resolved() == saved
    assert manifest(finished)["config"] == again.identity()


def test_the_layer_holds_the_polygons_of_the_class_raster(finished: Place) -> None:
    layer = pyogrio.read_dataframe(finished.out / "tiny.gpkg", layer="tiny")
    assert list(layer.columns) == [*FIELDS, "geometry"]
    with rasterio.open(finished.out / "scenes" / SCENE.id / "classes.tif") as raster:
        classes = raster.read(1)
        drawn = rasterio.features.rasterize(
            zip(layer.geometry, layer.class_id, strict=True),
            out_shape=raster.shape,
            transform=raster.transform,
            fill=255,
        )
    assert np.array_equal(drawn, classes)
    assert len(np.unique(classes)) >= 3
    assert layer.crs.to_epsg() == 32618
    assert set(layer.scene_id) == {SCENE.id}
    assert set(layer.run_id) == {manifest(finished)["run_id"]}


def test_the_class_raster_lies_on_the_scene_and_is_nodata_where_the_scene_is(finished: Place) -> None:
    for name in ("classes.tif", "confidence.tif"):
        with rasterio.open(finished.out / "scenes" / SCENE.id / name) as raster:
            assert raster.crs == UTM_18N
            assert raster.transform == NORTH_UP_30M
            assert raster.nodata == 255
            assert np.array_equal(raster.read(1) == 255, SCENE.invalid())


def test_the_layer_scenes_tells_what_became_of_each(finished: Place) -> None:
    scenes = pyogrio.read_dataframe(finished.out / "tiny.gpkg", layer="scenes")
    assert list(scenes.scene_id) == [SCENE.id]
    assert list(scenes.status) == ["published"]
    assert scenes.valid_share[0] == pytest.approx(1 - SCENE.invalid().mean(), abs=1e-12)
    shares = [name for name in scenes.columns if name.startswith("share_")]
    assert scenes[shares].sum(axis=1)[0] == pytest.approx(1, abs=1e-9)


def test_the_manifest_vouches_for_every_published_file_but_itself(finished: Place) -> None:
    said = {output["path"]: output["sha256"] for output in manifest(finished)["outputs"]}
    assert said == {name: digest for name, digest in tree(finished.out).items() if name != "manifest.json"}
    (scene,) = manifest(finished)["scenes"]
    inputs = {band: sha256((finished.root / "scenes" / SCENE.id / f"{band}.tif").read_bytes()) for band in SCENE.bands}
    assert scene["inputs"] == {band: digest.hexdigest() for band, digest in inputs.items()}


def test_the_manifest_counts_each_thing_once(finished: Place) -> None:
    (scene,) = manifest(finished)["scenes"]
    layer = pyogrio.read_info(finished.out / "tiny.gpkg", layer="tiny")
    counts = scene["counts"]
    assert counts["vectorize.polygons"] == counts["publish.polygons"] == layer["features"]
    assert counts["publish.valid_px"] == counts["ingest.valid_red_px"] == int((~SCENE.invalid()).sum())
    rows, cols = (-(-(side - 32) // 32) for side in (SCENE.height_px, SCENE.width_px))
    assert counts["infer.windows"] == rows * cols


def test_a_second_run_does_nothing_and_says_so(again: Place) -> None:
    before = mtimes(again.out)
    ran = again.run()
    assert ran.code == 0
    assert "nothing to do" in ran.told
    assert mtimes(again.out) == before


def test_a_second_run_without_the_working_state_does_nothing_and_says_so(again: Place) -> None:
    shutil.rmtree(again.out / ".rspipe")
    before = mtimes(again.out)
    ran = again.run()
    assert ran.code == 0
    assert "nothing to do" in ran.told
    assert mtimes(again.out) == before


def test_fresh_forgets_and_gives_the_same_bytes(again: Place) -> None:
    before = tree(again.out)
    ran = again.run(fresh=True)
    assert set(tasks(ran)) == {"ingest", "infer", "seam", "vectorize", "publish"}
    assert tree(again.out) == before


def test_another_minimum_area_vectorizes_and_publishes_only(again: Place) -> None:
    ran = again.run("vectorize.minimum_area_m2=0")
    assert ran.code == 0
    assert tasks(ran) == {"vectorize": 4, "publish": 1}
    few = pyogrio.read_info(again.out / "tiny.gpkg", layer="tiny")["features"]
    assert few > 100


@pytest.mark.parametrize("name", ["tiny.gpkg", "manifest.json"])
def test_a_lost_run_file_is_written_again_without_any_task(again: Place, name: str) -> None:
    before = tree(again.out)
    (again.out / name).unlink()
    ran = again.run()
    assert ran.code == 0
    assert tasks(ran) == {}
    assert tree(again.out) == before


@pytest.mark.parametrize("name", ["classes.tif", "polygons.parquet"])
def test_a_damaged_scene_file_is_published_again(again: Place, name: str) -> None:
    before = tree(again.out)
    path = again.out / "scenes" / SCENE.id / name
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    ran = again.run()
    assert ran.code == 0
    assert tasks(ran) == {"publish": 1}
    assert tree(again.out) == before


WORKING_FILES = [
    "ledger/*/*.json",
    "scenes/*/bands.zarr/validity/zarr.json",
    "scenes/*/bands.zarr.layout.json",
    "scenes/*/*/inferred.zarr/y/c/0",
    "scenes/*/*/inferred.zarr/classes/c/4/0",
    "scenes/*/*/inferred.zarr/zarr.json",
    "scenes/*/*/vectors/sieved.zarr/classes/c/4/0",
    "scenes/*/*/vectors/polygons.parquet",
]


@pytest.mark.parametrize(
    ("pattern", "fate"),
    [
        ("scenes/*/bands.zarr/red/c/0/0", "flipped"),
        ("scenes/*/bands.zarr/x/c/0", "flipped"),
        *(
            pytest.param(pattern, fate, marks=pytest.mark.slow)
            for pattern in WORKING_FILES
            for fate in ("lost", "flipped", "cut")
        ),
    ],
)
def test_damage_in_the_working_state_is_found_and_mended(again: Place, pattern: str, fate: str) -> None:
    before = tree(again.out)
    shutil.rmtree(again.out / "scenes")
    (path, *_) = sorted((again.out / ".rspipe").glob(pattern))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content if fate == "flipped" else content[:-3])
    if fate == "lost":
        path.unlink()
    ran = again.run()
    assert ran.code == 0, ran.told
    assert tree(again.out) == before


def test_a_new_scene_leaves_the_first_one_alone(again: Place) -> None:
    before = mtimes(again.out / "scenes" / SCENE.id)
    TinyScene(id="tiny-b", seed=3).write(again.root / "scenes" / "tiny-b")
    ran = again.run()
    assert ran.code == 0
    assert tasks(ran)["publish"] == 1
    assert mtimes(again.out / "scenes" / SCENE.id) == before
    layer = pyogrio.read_dataframe(again.out / "tiny.gpkg", layer="tiny")
    assert set(layer.scene_id) == {"tiny-a", "tiny-b"}
    assert set(layer.run_id) == {manifest(again)["run_id"]}


@pytest.mark.slow
def test_a_scene_that_is_gone_is_not_published_any_more(again: Place) -> None:
    TinyScene(id="tiny-b", seed=3).write(again.root / "scenes" / "tiny-b")
    again.run()
    shutil.rmtree(again.root / "scenes" / "tiny-a")
    ran = again.run()
    assert ran.code == 0
    assert tasks(ran) == {}
    assert not (again.out / "scenes" / "tiny-a").exists()
    assert set(pyogrio.read_dataframe(again.out / "tiny.gpkg", layer="tiny").scene_id) == {"tiny-b"}


@pytest.mark.slow
def test_a_changed_band_is_noticed(again: Place) -> None:
    before = manifest(again)
    replace(SCENE, seed=5).write(again.root / "scenes" / SCENE.id)
    ran = again.run()
    assert tasks(ran)["ingest"] == 1
    assert manifest(again)["run_id"] != before["run_id"]


def test_other_weights_are_another_run(again: Place) -> None:
    before = manifest(again)
    again.write_model(seed=2)
    ran = again.run()
    assert "ingest" not in tasks(ran)
    assert tasks(ran)["infer"] > 0
    assert manifest(again)["run_id"] != before["run_id"]


@pytest.mark.parametrize("band_rows", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_rows_per_task_change_no_byte_of_the_whole_tree(finished: Place, tmp_path: Path, band_rows: int) -> None:
    ran = finished.run(f"infer.band_rows={band_rows}", out=tmp_path / "out")
    windows_down = -(-(SCENE.height_px - CARD.overlap_px) // (CARD.window_px - CARD.overlap_px))
    assert tasks(ran)["infer"] == -(-windows_down // band_rows)
    assert tree(tmp_path / "out") == tree(finished.out)


def test_another_folder_gets_the_same_bytes(finished: Place, tmp_path: Path) -> None:
    elsewhere = lay_place(tmp_path / "a folder with spaces", SCENE)
    elsewhere.run(out=tmp_path / "elsewhere")
    assert tree(tmp_path / "elsewhere") == tree(finished.out)


@pytest.mark.parametrize("fill", [1e20, *(pytest.param(fill, marks=pytest.mark.slow) for fill in (0.0, float("nan")))])
def test_what_lies_under_nodata_changes_no_byte(finished: Place, tmp_path: Path, fill: float) -> None:
    other = lay_place(tmp_path, replace(SCENE, fill=fill))
    assert other.run().code == 0
    assert scene_files(other) == scene_files(finished)
    one, two = (pyogrio.read_dataframe(place.out / "tiny.gpkg", layer="tiny") for place in (finished, other))
    assert one.drop(columns="run_id").equals(two.drop(columns="run_id"))
    assert without_inputs(other) == without_inputs(finished)


def test_what_other_bands_hold_where_a_required_band_is_nodata_decides_nothing(finished: Place, tmp_path: Path) -> None:
    class Junk(TinyScene):
        def pixels(self) -> dict[str, Any]:
            bands = super().pixels()
            bands["nir"][self.invalid()] = 3.5
            bands["lwir11"][self.invalid()] = 199.0
            return bands

    other = lay_place(tmp_path, Junk())
    assert other.run().code == 0
    named = {f"scenes/{SCENE.id}/{name}" for name in ("classes.tif", "confidence.tif", "polygons.parquet")}
    assert {name: tree(other.out)[name] for name in named} == {name: tree(finished.out)[name] for name in named}


def test_a_truncated_scene_fails_and_the_other_is_published(tmp_path: Path) -> None:
    place = lay_place(tmp_path, SCENE, TinyScene(id="tiny-b", seed=3))
    broken = tmp_path / "scenes" / "tiny-b" / "nir.tif"
    broken.write_bytes(broken.read_bytes()[:20_000])
    ran = place.run()
    assert ran.code == 3
    status = {scene["id"]: scene for scene in manifest(place)["scenes"]}
    assert status["tiny-a"]["status"] == "published"
    assert status["tiny-b"]["status"] == "failed"
    for word in ("tiny-b", "nir.tif", "rows", "ingest"):
        assert word in status["tiny-b"]["reason"]
    scenes = pyogrio.read_dataframe(place.out / "tiny.gpkg", layer="scenes").set_index("scene_id")
    assert scenes.status.to_dict() == {"tiny-a": "published", "tiny-b": "failed"}
    assert scenes.reason["tiny-b"] == status["tiny-b"]["reason"]
    assert not (place.out / "scenes" / "tiny-b").exists()
    assert set(pyogrio.read_dataframe(place.out / "tiny.gpkg", layer="tiny").scene_id) == {"tiny-a"}


def test_a_failed_scene_is_tried_again_only_when_asked_or_mended(tmp_path: Path) -> None:
    place = lay_place(tmp_path, SCENE)
    nir = tmp_path / "scenes" / SCENE.id / "nir.tif"
    whole = nir.read_bytes()
    nir.write_bytes(whole[:20_000])
    assert place.run().code == 3
    settled = place.run()
    assert (settled.code, tasks(settled)) == (3, {})
    assert "failed (before; --retry-failed tries it again)" in settled.told
    asked = place.run(retry_failed=True)
    assert (asked.code, tasks(asked)["ingest"]) == (3, 1)
    nir.write_bytes(whole)
    assert place.run().code == 0
    assert set(tree(place.out)) >= {f"scenes/{SCENE.id}/classes.tif", "tiny.gpkg"}


@pytest.mark.slow
def test_polygons_of_chosen_classes_only(again: Place) -> None:
    ran = again.run("vectorize.classes=[thick cloud, clear]", "vectorize.minimum_area_m2=0")
    assert tasks(ran) == {"vectorize": 4, "publish": 1}
    layer = pyogrio.read_dataframe(again.out / "tiny.gpkg", layer="tiny")
    assert set(layer.class_name) == {"clear", "thick cloud"}


def scene_files(place: Place) -> Mapping[str, str]:
    return {name: digest for name, digest in tree(place.out).items() if name.startswith("scenes/")}


def without_inputs(place: Place) -> dict[str, Any]:
    """The manifest apart from what names the input's own bytes: digests, and the key, id and layer that hold them."""
    content = manifest(place)
    del content["run_id"]
    content["outputs"] = [output for output in content["outputs"] if output["path"] != "tiny.gpkg"]
    for scene in content["scenes"]:
        del scene["key"], scene["inputs"]
    return content


def test_a_layout_that_a_task_makes_anew_takes_nothing_from_those_who_wrote_into_it(again: Place) -> None:
    before = tree(again.out)
    shutil.rmtree(again.out / "scenes")
    vectors = next((again.out / ".rspipe").glob("scenes/*/*/vectors"))
    record = next(
        path
        for path in (again.out / ".rspipe" / "ledger").glob("*/*.json")
        if json.loads(path.read_text())["counts"].keys() >= {"sieved_faces"}
    )
    record.unlink()
    coordinate = vectors / "sieved.zarr" / "x" / "c" / "0"
    coordinate.write_bytes(coordinate.read_bytes()[:-3])
    ran = again.run()
    assert ran.code == 0, ran.told
    assert tree(again.out) == before


def test_a_run_that_is_refused_leaves_the_working_state_as_it_was(again: Place) -> None:
    scenes = again.out / ".rspipe" / "scenes"
    before = {path: path.read_bytes() for path in scenes.rglob("*") if path.is_file()}
    with pytest.raises(EnvironmentFailedError, match="a worker needs some"):
        again.run("infer.rasters=[entropy]", "compute.memory_per_worker=1 MiB")
    assert {path: path.read_bytes() for path in scenes.rglob("*") if path.is_file()} == before
