import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rspipe.pipeline import manifest
from rspipe.pipeline.ledger import Vouched
from rspipe.pipeline.manifest import Manifest, ManifestDamagedError, PublishedModel, PublishedScene


def example(root: Path) -> Manifest:
    (root / "a.gpkg").write_bytes(b"abc")
    scene = PublishedScene(
        id="LC8 é", slug="lc8", key="4" * 64, status="published", reason="",
        acquired_at=datetime(2015, 10, 22, tzinfo=UTC),
        inputs={"B2.tif": "0" * 64}, counts={"windows": 9, "share": 0.1}, valid_share=0.5, class_share={"clear": 1.0},
    )  # fmt: skip
    return Manifest(
        workflow="clouds", run_id="1" * 64, config={"b": [1, None], "a": {"x": True}}, versions={"numpy": "2"},
        models=(PublishedModel(id="pico", sha256="2" * 64),), scenes=(scene,),
        outputs=(Vouched.of(root / "a.gpkg", root),),
    )  # fmt: skip


def test_what_is_written_is_read(tmp_path: Path) -> None:
    manifest.write(tmp_path / "manifest.json", example(tmp_path))
    assert manifest.read(tmp_path / "manifest.json") == example(tmp_path)


def test_the_text_is_canonical(tmp_path: Path) -> None:
    manifest.write(tmp_path / "manifest.json", example(tmp_path))
    text = (tmp_path / "manifest.json").read_text()
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=1) + "\n"
    assert json.loads(text)["outputs"] == [
        {
            "path": "a.gpkg",
            "size_bytes": 3,
            "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        }
    ]


def test_no_manifest_is_none(tmp_path: Path) -> None:
    assert manifest.read(tmp_path / "manifest.json") is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": 2}', b"\xff\xfe", b'{"format": 1, "strange": 0}'])
def test_a_damaged_manifest_is_named_with_the_way_out(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(damage)
    with pytest.raises(ManifestDamagedError, match=r"manifest\.json.*delete it"):
        manifest.read(path)


def test_unmet_outputs_are_those_gone_or_changed(tmp_path: Path) -> None:
    found = example(tmp_path)
    assert list(found.unmet(tmp_path)) == []
    (tmp_path / "a.gpkg").write_bytes(b"abd")
    assert list(found.unmet(tmp_path)) == ["a.gpkg"]
    (tmp_path / "a.gpkg").unlink()
    assert list(found.unmet(tmp_path)) == ["a.gpkg"]


def test_versions_name_this_package() -> None:
    assert {"rspipe", "numpy", "rasterio"} <= set(manifest.installed_versions())
