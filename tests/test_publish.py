import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from workingstate import CLOUDS, LEGEND, Made, blobs, failed, grid_of, make, polygons, request_of

from rspipe.pipeline import atomic, geopackage, manifest
from rspipe.pipeline.errors import ConfigError, EnvironmentFailedError, SceneFailedError
from rspipe.pipeline.layout import Layout
from rspipe.pipeline.publish import SCENE_FILES, publish_run, publish_scene

FILE_NAMES = ["classes.tif", "classes.tif.aux.xml", "confidence.tif", "polygons.parquet", "quicklook.png"]


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".rspipe" not in path.parts
    }


def publish(root: Path, *made: Made) -> manifest.Manifest:
    for scene in made:
        publish_scene(scene.job)
    return publish_run(request_of(root, *(scene.outcome() for scene in made)))


def test_a_run_delivers_what_the_house_lists(tmp_path: Path) -> None:
    made = make(tmp_path, blobs(300, 420))
    receipt = publish_scene(made.job)
    result = publish_run(request_of(tmp_path, made.outcome()))
    expected = [f"scenes/scene-a/{name}" for name in FILE_NAMES]
    assert sorted(digests(tmp_path)) == sorted(["cloud_thickness.gpkg", "manifest.json", *expected])
    assert [path.name for path in receipt.outputs] == list(SCENE_FILES)
    assert receipt.counts["valid_px"] == np.count_nonzero(made.classes != 255)
    assert receipt.counts["polygons"] == len(polygons(made.classes, made.job.grid, "x"))
    assert list(result.unmet(tmp_path)) == []


def test_polygons_in_the_geopackage_are_those_of_the_scenes(tmp_path: Path) -> None:
    made = [make(tmp_path, blobs(200, 240, seed), slug=f"scene-{seed}", grid=grid_of(200, 240)) for seed in (1, 2)]
    publish(tmp_path, *reversed(made))
    frame = pyogrio.read_dataframe(tmp_path / "cloud_thickness.gpkg", layer="cloud_thickness")
    expected = [polygons(scene.classes, scene.job.grid, scene.job.scene_id) for scene in made]
    assert len(frame) == sum(len(part) for part in expected)
    assert list(frame["scene_id"].unique()) == ["scene-1 true id", "scene-2 true id"]
    assert set(frame.geom_type) == {"MultiPolygon"}
    for part in expected:
        mine = frame[frame["scene_id"] == part["scene_id"].iloc[0]]
        assert mine["class_id"].tolist() == part["class_id"].tolist()
        assert mine["class_name"].tolist() == part["class_name"].tolist()
        assert mine["area_m2"].tolist() == part["area_m2"].tolist()
        assert shapely.equals(mine.geometry.to_numpy(), part.geometry.to_numpy()).all()
    assert frame["run_id"].unique().tolist() == ["f" * 64]
    assert str(frame["acquired_at"].iloc[0]) == "2015-10-22 15:40:12+00:00"
    assert frame.crs.to_epsg() == 32618


def test_further_formats_hold_the_same_polygons(tmp_path: Path) -> None:
    made = [make(tmp_path, blobs(90, 70, seed), slug=f"scene-{seed}", grid=grid_of(90, 70)) for seed in (1, 2)]
    for scene in made:
        publish_scene(scene.job)
    request = request_of(tmp_path, *(scene.outcome() for scene in made))
    publish_run(replace(request, formats=("flatgeobuf", "geoparquet")))
    first = digests(tmp_path)
    layer = pyogrio.read_dataframe(tmp_path / "cloud_thickness.gpkg", layer="cloud_thickness")
    parquet = geopandas.read_parquet(tmp_path / "cloud_thickness.parquet")
    flat = pyogrio.read_dataframe(tmp_path / "cloud_thickness.fgb")
    assert parquet.drop(columns="geometry").equals(layer.drop(columns="geometry"))
    assert (parquet.geometry == layer.geometry).all()
    assert parquet.crs == layer.crs == flat.crs
    assert sorted(flat.columns) == sorted(layer.columns)
    key = ["scene_id", "class_id", "area_m2", "perimeter_m", "confidence_mean"]
    assert flat[key].sort_values(key).to_numpy().tolist() == layer[key].sort_values(key).to_numpy().tolist()
    left, bottom, right, top = layer.total_bounds
    middle = (left, bottom, (left + right) / 2, (bottom + top) / 2)
    assert len(geopandas.read_parquet(tmp_path / "cloud_thickness.parquet", bbox=middle)) < len(layer)
    publish_run(replace(request, formats=("flatgeobuf", "geoparquet")))
    assert digests(tmp_path) == first
    publish_run(request)
    assert not list(tmp_path.glob("cloud_thickness.fgb")) + list(tmp_path.glob("cloud_thickness.parquet"))


def test_the_areas_layer_tells_what_each_class_covers(tmp_path: Path) -> None:
    made = make(tmp_path, blobs(128, 100))
    publish_scene(made.job)
    counts = {f"vectorize.class_{entry.id}_m2": 900.5 * entry.id for entry in LEGEND.classes}
    publish_run(request_of(tmp_path, replace(made.outcome(), counts=counts), failed("gone", "lost", None)))
    table = pyogrio.read_dataframe(tmp_path / "cloud_thickness.gpkg", layer="areas")
    assert table["class_name"].tolist() == [entry.name for entry in LEGEND.classes]
    pixels = [int((made.classes == entry.id).sum()) for entry in LEGEND.classes]
    assert table["pixels"].tolist() == pixels
    np.testing.assert_allclose(table["share"], np.array(pixels) / sum(pixels))
    assert table["area_m2"].tolist() == [900.5 * entry.id for entry in LEGEND.classes]
    assert set(table["run_id"]) == {"f" * 64}


def test_the_scenes_layer_tells_shares_and_failures(tmp_path: Path) -> None:
    made = make(tmp_path, blobs(128, 128))
    publish_scene(made.job)
    bad = failed("scene-b", "band 'red' is missing", grid_of(64, 32))
    lost = failed("scene-c", "cannot be opened", None)
    publish_run(request_of(tmp_path, lost, bad, made.outcome()))
    frame = pyogrio.read_dataframe(tmp_path / "cloud_thickness.gpkg", layer="scenes")
    assert frame["status"].tolist() == ["published", "failed", "failed"]
    assert frame["reason"].tolist()[1:] == ["band 'red' is missing", "cannot be opened"]
    valid = made.classes != 255
    assert frame["valid_share"][0] == pytest.approx(valid.mean())
    assert frame["share_thin_cloud"][0] == pytest.approx((made.classes[valid] == 1).mean())
    assert frame["share_cloud_shadow_haze"][0] == pytest.approx((made.classes[valid] == 3).mean())
    assert frame.geometry[1].equals(shapely.box(300_000, 4_500_000 - 64 * 30, 300_000 + 32 * 30, 4_500_000))
    assert frame.geometry[2] is None
    assert frame["folder"][0] == "scenes/scene-a"


def test_published_twice_the_bytes_are_equal(tmp_path: Path) -> None:
    trees = []
    for name in ("one", "two"):
        root = tmp_path / name
        publish(root, make(root, blobs(300, 420)), make(root, blobs(150, 90, 5), slug="scene-b"))
        trees.append(digests(root))
    assert trees[0] == trees[1]
    assert len(trees[0]) == 12


ELSEWHERE = """
import sys
from pathlib import Path
from test_publish import publish, digests
from workingstate import blobs, make
root = Path(sys.argv[1])
publish(root, make(root, blobs(300, 420)))
print(sorted(digests(root).items()))
"""


def test_time_zone_locale_and_environment_leave_no_trace(tmp_path: Path) -> None:
    publish(tmp_path / "here", make(tmp_path / "here", blobs(300, 420)))
    strange = {"TZ": "Pacific/Kiritimati", "LC_ALL": "tr_TR.UTF-8", "GDAL_NUM_THREADS": "4", "GDAL_SKIP": "VRT,GTI"}
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    ended = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path / "there")],
        env={**os.environ, **strange, "PYTHONPATH": paths, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.strip() == str(sorted(digests(tmp_path / "here").items()))


def test_the_second_of_writing_leaves_no_trace(tmp_path: Path) -> None:
    made = make(tmp_path, blobs(64, 64))
    publish(tmp_path, made)
    before = digests(tmp_path)
    time.sleep(1.1)
    publish(tmp_path, made)
    assert digests(tmp_path) == before


def test_a_scene_of_nodata_gives_an_empty_layer_with_its_schema(tmp_path: Path) -> None:
    made = make(tmp_path, np.full((40, 70), 255, dtype=np.uint8))
    result = publish(tmp_path, made)
    info = pyogrio.read_info(tmp_path / "cloud_thickness.gpkg", layer="cloud_thickness")
    assert info["features"] == 0
    assert info["geometry_type"] == "MultiPolygon"
    assert list(info["fields"]) == [
        "class_id", "class_name", "area_m2", "perimeter_m", "confidence_mean", "confidence_p10", "scene_id",
        "acquired_at", "model_id", "run_id",
    ]  # fmt: skip
    assert result.scenes[0].valid_share == 0
    scenes = pyogrio.read_dataframe(tmp_path / "cloud_thickness.gpkg", layer="scenes")
    assert scenes.geometry[0].bounds == (300_000, 4_500_000 - 1200, 300_000 + 2100, 4_500_000)


@pytest.mark.parametrize("class_id", [0, 2, 255])
def test_a_scene_of_one_pixel_is_published(tmp_path: Path, class_id: int) -> None:
    made = make(tmp_path, np.full((1, 1), class_id, dtype=np.uint8))
    result = publish(tmp_path, made)
    assert result.scenes[0].status == "published"
    with rasterio.open(tmp_path / "scenes" / "scene-a" / "classes.tif") as dataset:
        assert dataset.read(1).tolist() == [[class_id]]
    features = pyogrio.read_info(tmp_path / "cloud_thickness.gpkg", layer="cloud_thickness")["features"]
    assert features == (class_id in CLOUDS)


def test_a_run_of_failures_only_still_says_so(tmp_path: Path) -> None:
    result = publish_run(request_of(tmp_path, failed("scene-a", "no CRS", None)))
    assert [scene.status for scene in result.scenes] == ["failed"]
    assert pyogrio.read_info(tmp_path / "cloud_thickness.gpkg", layer="scenes")["features"] == 1


def test_scenes_that_left_the_run_are_removed_and_strange_files_are_not(tmp_path: Path) -> None:
    first, second = make(tmp_path, blobs(64, 64)), make(tmp_path, blobs(64, 64), slug="scene-b")
    publish(tmp_path, first, second)
    (tmp_path / "scenes" / "mine").mkdir()
    (tmp_path / "scenes" / "mine" / "notes.txt").write_text("keep")
    (tmp_path / "scenes" / "outside").symlink_to(tmp_path / "scenes" / "scene-a")
    publish_run(request_of(tmp_path, first.outcome()))
    assert not (tmp_path / "scenes" / "scene-b").exists()
    assert (tmp_path / "scenes" / "mine" / "notes.txt").exists()
    assert (tmp_path / "scenes" / "scene-a" / "classes.tif").exists()
    publish_run(request_of(tmp_path, failed("scene-a", "now it fails", first.job.grid)))
    assert not (tmp_path / "scenes" / "scene-a").exists()


def test_the_layer_of_an_earlier_workflow_is_removed(tmp_path: Path) -> None:
    made = make(tmp_path, blobs(64, 64))
    publish(tmp_path, made)
    (tmp_path / "mine.gpkg").write_bytes(b"keep")
    publish_run(replace(request_of(tmp_path, made.outcome()), workflow="clouds"))
    assert sorted(path.name for path in tmp_path.glob("*.gpkg")) == ["clouds.gpkg", "mine.gpkg"]


def test_several_crs_without_output_crs_are_refused(tmp_path: Path) -> None:
    zone19 = grid_of(64, 64, crs_wkt=str(rasterio.crs.CRS.from_epsg(32619).to_wkt()))
    made = [make(tmp_path, blobs(64, 64)), make(tmp_path, blobs(64, 64), slug="scene-b", grid=zone19)]
    with pytest.raises(ConfigError, match=r"output\.crs.*zone 18N.*zone 19N"):
        publish(tmp_path, *made)
    assert not (tmp_path / "manifest.json").exists()
    result = publish_run(request_of(tmp_path, *(scene.outcome() for scene in made), output_crs="EPSG:4326"))
    assert len(result.scenes) == 2
    info = pyogrio.read_info(tmp_path / "cloud_thickness.gpkg", layer="cloud_thickness")
    assert info["crs"] == "EPSG:4326"


def test_a_failing_write_leaves_the_earlier_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(tmp_path, blobs(64, 64))
    publish(tmp_path, made)
    before = digests(tmp_path)

    def refuse(*_: object) -> None:
        raise EnvironmentFailedError("did not read back as written")

    monkeypatch.setattr(geopackage, "check", refuse)
    with pytest.raises(EnvironmentFailedError):
        publish_run(replace(request_of(tmp_path, made.outcome()), run_id="e" * 64))
    assert digests(tmp_path) == before


def test_damaged_polygons_are_named(tmp_path: Path) -> None:
    made = make(tmp_path, blobs(64, 64))
    publish_scene(made.job)
    path = Layout(tmp_path).published("scene-a") / "polygons.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SceneFailedError, match=r"polygons\.parquet.*run again"):
        publish_run(request_of(tmp_path, made.outcome()))


def test_leftovers_of_a_killed_run_are_swept(tmp_path: Path) -> None:
    made = make(tmp_path, blobs(64, 64))
    left = tmp_path / "scenes" / "scene-a" / f"{atomic.ROOM_PREFIX}0123"
    left.mkdir(parents=True)
    (left / "classes.tif").write_bytes(b"half")
    publish(tmp_path, made)
    assert not left.exists()


def test_every_class_of_the_legend_has_a_column_of_its_own() -> None:
    twins = replace(LEGEND, classes=tuple(replace(entry, name="Wald!") for entry in LEGEND.classes))
    shares = [name for name in geopackage.scene_fields(twins).names if name.startswith("share_")]
    assert shares == ["share_wald_0", "share_wald_1", "share_wald_2", "share_wald_3"]
