import re
from pathlib import Path

import numpy as np
import pytest
from geotiffs import write_geotiff
from hypothesis import given
from hypothesis import strategies as st

from rspipe.catalogs.errors import SceneError, SourceError
from rspipe.catalogs.trust import check_source, driver_of, slug

HOSTILE = [
    "../x", "/etc/passwd", "C:\\x", "a\x00b", "a\nb", "x" * 300, "-rf", "%2e%2e", "<script>", "'; DROP", "", ".", "..",
    "con", "NUL.txt", "a.", "\ud800", "~", "é", "e\u0301", "A", "a",
]  # fmt: skip


def test_plain_ids_stay() -> None:
    for scene_id in ("s2-cloud-chip-1", "a", "2020_01.b"):
        assert slug(scene_id) == scene_id


def test_hostile_ids_become_distinct_file_names() -> None:
    slugs = [slug(scene_id) for scene_id in HOSTILE]
    for name in slugs:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name)
        assert not name.endswith(".")
        assert Path("run", name).resolve().parent == Path("run").resolve()
    assert len({name.lower() for name in slugs}) == len(HOSTILE)


@given(st.lists(st.text(max_size=80), min_size=2, max_size=6, unique=True))
def test_different_ids_never_share_a_file_name(ids: list[str]) -> None:
    assert len({slug(scene_id).lower() for scene_id in ids}) == len(ids)


def test_an_id_cannot_imitate_the_digest_of_another() -> None:
    imitation = slug("a b")
    assert imitation == imitation.lower()
    assert slug(imitation) != imitation


@pytest.mark.parametrize(
    "source",
    ["/vsicurl/http://127.0.0.1/x.tif", "/vsizip/a.zip", "https://example.org/a", "s3://b/a", "a.tif?x=1", "", "a\x00"],
)  # fmt: skip
def test_sources_that_are_no_local_path_are_refused(source: str) -> None:
    with pytest.raises(SourceError):
        check_source(source)


def test_a_url_is_shown_without_its_secrets() -> None:
    with pytest.raises(SourceError) as caught:
        check_source("https://user:word@example.org/a.tif?token=t0p")
    assert "example.org/a.tif" in str(caught.value)
    assert not {"word", "t0p"} & set(re.split(r"\W", str(caught.value)))


def test_the_driver_follows_the_content_not_the_name(tmp_path: Path) -> None:
    real = write_geotiff(tmp_path / "real.jp2", np.ones((2, 2), np.uint8))
    assert driver_of(real) == "GTiff"
    disguised = tmp_path / "disguised.tif"
    disguised.write_text("<VRTDataset rasterXSize='1' rasterYSize='1'/>")
    with pytest.raises(SceneError, match="neither GeoTIFF nor JPEG 2000"):
        driver_of(disguised)
