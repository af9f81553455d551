"""Real scenes through the shipped model."""

import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.features
from numpy.typing import NDArray
from rasterio.vrt import WarpedVRT
from test_cli import WORKFLOW, rspipe

pytestmark = pytest.mark.slow
STRIDE_PX = 256 - 64
"""Of the shipped model's windows."""


def run_on(scenes: Path, out: Path, *settings: str) -> tuple[int, str]:
    more = [part for setting in settings for part in ("--set", setting)]
    done = rspipe("run", WORKFLOW, "--scenes", scenes, "--output", out, "--workers", "1", *more, cwd=out.parent)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def rate_of_change(classes: NDArray[np.uint8], lines: range) -> float:
    """Return the share of pairs of valid pixels across these rows' and columns' upper and left edges that differ."""
    differ, there = 0, 0
    for raster in (classes, classes.T):
        for line in lines:
            for one, other in zip(raster[line - 1], raster[line], strict=True) if line < len(raster) else ():
                differ += int(one != other and 255 not in (one, other))
                there += int(255 not in (one, other))
    return differ / there


def refusal(scenes: Path, out: Path) -> str:
    """Run a scene that the model cannot take; return the reason, and check that nothing of it is published."""
    code, stderr = run_on(scenes, out)
    assert code == 3, stderr
    (scene,) = json.loads((out / "manifest.json").read_text())["scenes"]
    assert scene["reason"] in stderr
    assert not (out / "scenes").exists()
    return str(scene["reason"])


def test_new_york_is_published_and_nothing_lies_outside_the_swath(real_data: Path, tmp_path: Path) -> None:
    code, stderr = run_on(real_data / "l8-newyork", tmp_path / "out")
    assert code == 0, stderr
    (source,) = (real_data / "l8-newyork").glob("*_B2.tif")
    with rasterio.open(source) as band:
        outside, grid = band.read(1) == 0, band.transform
    layer = pyogrio.read_dataframe(tmp_path / "out" / "cloud_thickness.gpkg", layer="cloud_thickness")
    assert set(layer.class_name) <= {"thin cloud", "thick cloud", "cloud shadow"}
    assert len(layer) > 10
    drawn = rasterio.features.rasterize(layer.geometry, out_shape=outside.shape, transform=grid)
    assert outside.any()
    assert not (drawn.astype(bool) & outside).any()
    (raster,) = (tmp_path / "out" / "scenes").glob("*/classes.tif")
    with rasterio.open(raster) as file:
        classes = file.read(1)
    assert np.all(classes[outside] == 255)
    longest_px = max(classes.shape)
    where_windows_begin = rate_of_change(classes, range(STRIDE_PX, longest_px, STRIDE_PX))
    assert where_windows_begin <= 1.05 * rate_of_change(classes, range(1, longest_px))


def test_paraguay_is_refused_for_want_of_the_sun(real_data: Path, tmp_path: Path) -> None:
    reason = refusal(real_data / "l8-paraguay", tmp_path / "out")
    for word in ("landsat8 digital numbers", "no sun elevation", "sun_elevation_deg:"):
        assert word in reason


def test_pixels_of_ten_metres_are_refused_with_both_sides_named(real_data: Path, tmp_path: Path) -> None:
    reason = refusal(real_data / "s2-cloud-chips" / "chip1", tmp_path / "out")
    for word in ("10 m", "30 .. 120 m", "cloud-thickness", "grid.resolution_m=30"):
        assert word in reason


def test_four_bands_of_a_sensor_that_was_not_learned_from_find_its_clouds(real_data: Path, tmp_path: Path) -> None:
    chip = real_data / "s2-cloud-chips" / "chip2"
    code, stderr = run_on(chip, tmp_path / "out", "grid.resolution_m=30")
    assert code == 0, stderr
    (raster,) = (tmp_path / "out" / "scenes").glob("*/classes.tif")
    with rasterio.open(chip / "label.tif") as file:
        drawn, fine = file.read(1), file.transform
    with rasterio.open(raster) as file, WarpedVRT(file, transform=fine, width=512, height=512) as onto:
        found = np.isin(onto.read(1), (1, 2))
    # Labels are drawn generously around clouds: what is found lies in them, and is a third of them at least.
    assert (drawn[found] == 1).mean() > 0.9
    assert found[drawn == 1].mean() > 1 / 3


def test_a_picture_of_three_bands_is_refused(real_data: Path, tmp_path: Path) -> None:
    reason = refusal(real_data / "l7-bahamas" / "RGB.byte.tif", tmp_path / "out")
    for word in ("RGB.byte.tif", "unknown sensor", "--sensor NAME"):
        assert word in reason
