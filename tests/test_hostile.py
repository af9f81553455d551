"""What comes from outside, and would have a run write, read or fetch what nobody meant."""

import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pyogrio
import pytest
import rasterio
from tinyrun import TinyScene, environment, lay_place, told, tree
from typer.testing import CliRunner

from rspipe.pipeline.cli import app, main

SCENE = TinyScene(height_px=70, width_px=60)


def test_nothing_that_the_command_line_names_is_fetched(tmp_path: Path) -> None:
    place = lay_place(tmp_path, SCENE)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        server.settimeout(0.1)
        for given in (f"http://u:s3cret@127.0.0.1:{port}/a.tif?sig=T0KEN", f"/vsicurl/http://127.0.0.1:{port}/a.tif"):
            code, stderr = told(place, "--scenes", given)
            assert stderr.startswith("rspipe: command line: source ")
            assert (code, "s3cret" in stderr, "T0KEN" in stderr) == (2, False, False), stderr
        code, stderr = told(place, "--set", f"models=[http://127.0.0.1:{port}/card.json]")
        assert code == 2, stderr
        with pytest.raises(TimeoutError):
            server.accept()


HOSTILE = (
    "../../x", "/etc/x", "C:\\x", "a\nrspipe: forged", "a\tb", "\u202egpj", "x" * 300, "-rf", "%2e%2e",
    "<script>alert(1)</script>", "'; DROP TABLE scenes; --", "A.tif", "a.tif",
)  # fmt: skip


def test_whatever_a_scene_is_called_is_text_and_never_a_path(tmp_path: Path) -> None:
    place = lay_place(tmp_path, SCENE)
    shutil.rmtree(tmp_path / "scenes")
    for number, name in enumerate(HOSTILE):
        replace(SCENE, id=name, height_px=4, width_px=5, seed=number).write(tmp_path / "scenes" / str(number))
    before = tree(tmp_path)
    ran = place.run()
    assert ran.code == 0, ran.told
    scenes = pyogrio.read_dataframe(place.out / "tiny.gpkg", layer="scenes")
    assert sorted(scenes.scene_id) == sorted(HOSTILE)
    assert len({folder.name.lower() for folder in (place.out / "scenes").iterdir()}) == len(HOSTILE)
    for folder in scenes.folder:
        with rasterio.open(place.out / folder / "classes.tif") as dataset:
            assert dataset.tags()["RSPIPE_SCENE_ID"] in HOSTILE
    outside = {path: digest for path, digest in tree(tmp_path).items() if not path.startswith("out/")}
    assert outside == before
    (tmp_path / "scenes" / "3" / "red.tif").unlink()
    with environment():
        shown = CliRunner().invoke(app, ["validate", str(place.workflow), "--output", str(place.out)])
    assert shown.exit_code == 3
    assert not any(line.startswith("rspipe: forged") for line in (shown.stdout + shown.stderr).splitlines())


def test_a_working_folder_that_is_a_link_is_refused_before_anything_is_deleted(tmp_path: Path) -> None:
    place = lay_place(tmp_path, SCENE)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("x")
    place.out.mkdir()
    (place.out / ".rspipe").symlink_to(tmp_path / "precious")
    code, stderr = told(place, "--fresh")
    assert code == 2
    assert "remove the link" in stderr
    assert [path.name for path in (tmp_path / "precious").iterdir()] == ["thesis.txt"]


def test_the_command_line_lets_no_coordinate_hang_on_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROJ_NETWORK", "ON")
    monkeypatch.setattr("sys.argv", ["rspipe", "schema"])
    with pytest.raises(SystemExit):
        main()
    assert os.environ["PROJ_NETWORK"] == "OFF"
