"""What a model's card asks of a scene: bands by name, and pixels of a size on the ground."""

import math

import pytest
from affine import Affine
from picomodel import PICO_CARD
from pyproj import CRS

from rspipe.catalogs.scene import Grid, Scene
from rspipe.catalogs.simulated import scene as simulated_scene
from rspipe.catalogs.simulation import SimulationSpec
from rspipe.pipeline.contract import ingested_bytes, match, pixel_size_m
from rspipe.pipeline.errors import SceneFailedError


def scene_of(*bands: str, pixel_size_m: float = 30.0) -> Scene:
    """A simulated scene with some of its bands only."""
    whole = simulated_scene(SimulationSpec(height_px=50, width_px=40, pixel_size_m=pixel_size_m))
    kept = tuple(band for band in whole.bands if band.name in bands)
    return Scene(id="tiny", slug="tiny", sensor="none", acquired_at=None, bands=kept, grid=whole.grid, kind="simulated")


def grid_of(code: int, width: float, height: float, *, left: float = 0.0, top: float = 0.0) -> Grid:
    transform = Affine(width, 0.0, left, 0.0, -height, top)
    return Grid(crs_wkt=CRS.from_epsg(code).to_wkt(), transform=transform, height_px=100, width_px=100)


def test_a_scene_with_all_bands_is_taken_on_its_own_grid() -> None:
    scene = scene_of("red", "nir", "lwir11", "swir16")
    found = match(PICO_CARD, scene, None)
    assert {band.name for band in found.bands} == {"red", "nir", "lwir11"}
    assert found.grid == scene.grid
    assert found.missing == ()


def test_bands_for_the_picture_are_taken_too_and_optional_ones_may_lack() -> None:
    found = match(PICO_CARD, scene_of("blue", "green", "red", "nir", "cirrus"), None)
    assert {band.name for band in found.bands} == {"blue", "green", "red", "nir"}
    assert found.missing == ("lwir11",)


def test_every_required_band_that_lacks_is_named_beside_what_there_is() -> None:
    with pytest.raises(
        SceneFailedError, match=r"lacks red, nir: it has blue, lwir11, .*'pico-clouds' requires red, nir"
    ):
        match(PICO_CARD, scene_of("blue", "lwir11"), None)


@pytest.mark.parametrize(("pixel_m", "advised"), [(100.0, "60"), (61.3, "60")])
def test_pixels_outside_of_the_range_are_refused_with_the_way_out(pixel_m: float, advised: str) -> None:
    scene = scene_of("red", "nir", pixel_size_m=pixel_m)
    with pytest.raises(SceneFailedError, match=rf"10 \.\. 60 m; .*--set grid.resolution_m={advised}$"):
        match(PICO_CARD, scene, None)


@pytest.mark.parametrize("pixel_m", [10.0, 30.0, 60.0, 60.9])
def test_pixels_inside_of_the_range_are_taken_nominal_sizes_with_some_slack(pixel_m: float) -> None:
    match(PICO_CARD, scene_of("red", "nir", pixel_size_m=pixel_m), None)


def test_a_resolution_that_is_asked_for_decides() -> None:
    scene = scene_of("red", "nir", pixel_size_m=100.0)
    found = match(PICO_CARD, scene, 50.0)
    assert (found.grid.height_px, found.grid.width_px) == (100, 80)
    with pytest.raises(SceneFailedError, match="200 m"):
        match(PICO_CARD, scene, 200.0)


def test_the_pixel_size_of_a_projected_grid_is_in_metres_whatever_its_unit() -> None:
    assert pixel_size_m(grid_of(32618, 20.0, 45.0)) == pytest.approx(30.0)
    us_feet = 1200 / 3937
    assert pixel_size_m(grid_of(2263, 100.0, 100.0)) == pytest.approx(100 * us_feet, rel=1e-9)


@pytest.mark.parametrize("latitude_deg", [0.0, 45.0, -70.0])
def test_the_pixel_size_in_degrees_follows_the_ellipsoid(latitude_deg: float) -> None:
    """Radii of curvature of WGS 84 in closed form: M = a (1 - e2) / (1 - e2 sin2)^1.5, N = a / (1 - e2 sin2)^0.5."""
    step = 1e-4
    grid = grid_of(4326, step, step, left=10.0 - 50 * step, top=latitude_deg + 50 * step)
    a, f = 6_378_137.0, 1 / 298.257223563
    e2, phi = f * (2 - f), math.radians(latitude_deg)
    bent = 1 - e2 * math.sin(phi) ** 2
    side = math.radians(step) * math.sqrt(a * (1 - e2) / bent**1.5 * a / bent**0.5 * math.cos(phi))
    assert pixel_size_m(grid) == pytest.approx(side, rel=1e-5)


def test_ingested_bytes_count_each_band_by_its_type() -> None:
    scene = scene_of("red", "nir")
    per_px = sum({"uint16": 2, "float32": 4}[band.dtype] for band in scene.bands)
    assert ingested_bytes(scene.bands, scene.grid) == 50 * 40 * per_px
