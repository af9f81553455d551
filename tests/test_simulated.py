import subprocess
import sys
import tracemalloc
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from math import atan, degrees

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rspipe.catalogs.errors import SceneError, SourceError
from rspipe.catalogs.legends import LEGENDS
from rspipe.catalogs.radiation import THICK_ID, decay, transmission
from rspipe.catalogs.simulated import (
    Polar,
    SimulatedBlock,
    SimulatedReader,
    compute_block,
    frozen,
    patch_spec,
    scene,
    stored,
    thick_from,
    training_patch,
)
from rspipe.catalogs.simulation import CHANNELS, Clouds, Land, SimulationSpec

SIDE_PX = 160
SPEC = SimulationSpec(seed=11, height_px=SIDE_PX, width_px=SIDE_PX, clouds=Clouds(cumulus_size_m=900.0))
CLEAR = Clouds(haze=0.0, cumulus=0.0, deck=0.0, cirrus=0.0)


def whole(spec: SimulationSpec) -> SimulatedBlock:
    return compute_block(spec, slice(0, spec.height_px), slice(0, spec.width_px))


@pytest.fixture(scope="module")
def block() -> SimulatedBlock:
    return whole(SPEC)


part = st.tuples(st.integers(0, SIDE_PX - 1), st.integers(1, SIDE_PX)).map(
    lambda pair: slice(pair[0], min(SIDE_PX, pair[0] + pair[1]))
)


@settings(max_examples=60, deadline=None)
@given(rows=part, cols=part)
def test_any_sub_block_equals_that_part_of_the_whole(block: SimulatedBlock, rows: slice, cols: slice) -> None:
    found = compute_block(SPEC, rows, cols)
    assert found.bands.tobytes() == block.bands[:, rows, cols].tobytes()
    assert found.thickness.tobytes() == block.thickness[rows, cols].tobytes()
    assert found.labels.tobytes() == block.labels[rows, cols].tobytes()


@pytest.mark.parametrize("corner", [(99_990, 99_983), (70_001, 31)])
def test_the_far_end_of_a_huge_scene_costs_its_block_only(corner: tuple[int, int]) -> None:
    spec = replace(SPEC, height_px=100_000, width_px=100_000, wedge=False)
    row, col = corner
    compute_block(spec, slice(0, 1), slice(0, 1))
    tracemalloc.start()
    found = compute_block(spec, slice(row, row + 7), slice(col, col + 13))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 100_000
    single = compute_block(spec, slice(row + 5, row + 6), slice(col + 11, col + 12))
    assert np.array_equal(single.bands[:, 0, 0], found.bands[:, 5, 11])


def test_another_process_computes_the_same_bytes(block: SimulatedBlock) -> None:
    code = """
from hashlib import sha256
from rspipe.catalogs.simulated import compute_block
from rspipe.catalogs.simulation import Clouds, SimulationSpec
spec = SimulationSpec(seed=11, height_px=160, width_px=160, clouds=Clouds(cumulus_size_m=900.0))
print(sha256(compute_block(spec, slice(0, 160), slice(0, 160)).bands.tobytes()).hexdigest())
"""
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == sha256(block.bands.tobytes()).hexdigest()


def test_another_seed_is_another_scene(block: SimulatedBlock) -> None:
    other = whole(replace(SPEC, seed=12))
    assert np.mean(other.bands[0] == block.bands[0]) < 0.01


@pytest.mark.parametrize(
    ("azimuth_deg", "towards_rows", "towards_cols"), [(0.0, -1, 0), (90.0, 0, 1), (180.0, 1, 0), (270.0, 0, -1)]
)
@pytest.mark.parametrize("cotangent", [1, 2])
def test_shadow_lies_at_height_over_tan_elevation_away_from_the_sun(
    azimuth_deg: float, towards_rows: int, towards_cols: int, cotangent: int
) -> None:
    height_m, pixel_m = 1500.0, 30.0
    spec = SimulationSpec(
        seed=4,
        height_px=320,
        width_px=320,
        pixel_size_m=pixel_m,
        wedge=False,
        sun_azimuth_deg=azimuth_deg,
        sun_elevation_deg=degrees(atan(1 / cotangent)),
        clouds=replace(CLEAR, cumulus=0.15, cumulus_height_m=height_m, cumulus_size_m=1500.0),
    )
    found = whole(spec)
    reach_px = round(height_m * cotangent / pixel_m)
    rows, cols = (np.clip(np.arange(320) + reach_px * way, 0, 319) for way in (towards_rows, towards_cols))
    inside = np.ix_(
        np.arange(320) + reach_px * towards_rows == rows,
        np.arange(320) + reach_px * towards_cols == cols,
    )
    cloud = found.thickness[np.ix_(rows, cols)][inside]
    expected = (cloud >= 4.0) & (found.thickness[inside] < 0.7)
    shadow = found.labels[inside] == 3
    assert expected.any()
    assert np.mean(shadow != expected) < 1e-4
    clear = found.labels[inside] == 0
    nir = found.bands[CHANNELS.index("nir")][inside]
    assert nir[shadow].mean() < 0.7 * nir[clear].mean()


def test_thicker_cloud_over_dark_water_is_brighter_and_colder() -> None:
    spec = replace(SPEC, wedge=False, land=Land(water=1.0), clouds=replace(CLEAR, cumulus=0.7, cumulus_size_m=2500.0))
    found = whole(spec)
    steps = np.array([0.0, 0.5, 2.0, 6.0, 15.0, 40.0])
    for channel, sign in (("blue", 1), ("nir", 1), ("swir16", 1), ("lwir11", -1)):
        band = found.bands[CHANNELS.index(channel)]
        means = [band[(found.thickness >= low) & (found.thickness < high)].mean() for low, high in pairwise(steps)]
        assert (np.diff(means) * sign > 0).all(), channel


def test_cirrus_alone_shows_in_the_cirrus_band() -> None:
    clear, haze, cirrus = (
        whole(replace(SPEC, wedge=False, clouds=sky))
        for sky in (CLEAR, replace(CLEAR, haze=0.9), replace(CLEAR, cirrus=0.9))
    )
    band = CHANNELS.index("cirrus")
    ground = clear.bands[band].mean()
    assert cirrus.bands[band][cirrus.labels == 1].mean() > 5 * ground
    assert haze.bands[band][haze.labels == 1].mean() < 2 * ground
    kelvin = CHANNELS.index("lwir11")
    assert cirrus.bands[kelvin].mean() < haze.bands[kelvin].mean() - 10


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pixel_size_m", [30.0, 120.0])
def test_physical_ranges(seed: int, pixel_size_m: float) -> None:
    patch = training_patch(seed, 5, 96, pixel_size_m)
    bands, labels = patch.bands, patch.labels
    assert np.isfinite(bands).all()
    assert bands.dtype == np.float32
    assert bands.shape == (8, 96, 96)
    assert bands[:7].min() > -0.02
    assert bands[:7].max() < 1.4
    assert 190 < bands[7].min() <= bands[7].max() < 340
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) <= set(range(len(LEGENDS["cloud-thickness"].classes)))


def test_the_cirrus_band_sees_snow_the_better_the_colder_the_air() -> None:
    band, seen = CHANNELS.index("cirrus"), []
    for temperature_k in (273.0, 255.0, 220.0):
        land = Land(water=0.0, dry=0.0, town=0.0, snow=1.0, temperature_k=temperature_k)
        seen.append(float(whole(replace(SPEC, wedge=False, clouds=CLEAR, land=land)).bands[band].mean()))
    warm, cold, coldest = seen
    assert warm < 0.02 < cold < 0.06
    assert 0.1 < coldest < 0.35


def test_fine_grained_snow_is_brighter_in_the_shortwave_infrared_alone() -> None:
    land = Land(water=0.0, dry=0.0, town=0.0, snow=1.0, temperature_k=250.0)
    coarse, fine = (
        whole(replace(SPEC, wedge=False, clouds=CLEAR, land=replace(land, snow_grain=grain))).bands.mean(axis=(1, 2))
        for grain in (1.0, 2.5)
    )
    np.testing.assert_allclose(fine[:4], coarse[:4], atol=1e-4)
    assert (fine[4:6] > 2 * coarse[4:6]).all()
    np.testing.assert_allclose(fine[6:], coarse[6:], rtol=1e-4)


def test_large_drops_are_darker_in_the_shortwave_infrared_alone() -> None:
    """Over a lake, black there, half the reflectance of a cloud is half of what is seen, but for 2 % of noise."""
    lake, sky = Land(water=1.0, dry=0.0, town=0.0, snow=0.0), Clouds(haze=0.0, cumulus=0.0, deck=1.0, cirrus=0.0)
    fine = whole(SimulationSpec(seed=3, height_px=64, width_px=64, wedge=False, land=lake, clouds=sky))
    coarse = whole(
        SimulationSpec(seed=3, height_px=64, width_px=64, wedge=False, land=lake, clouds=replace(sky, grain=0.5))
    )
    assert fine.bands[[0, 1, 2, 3, 6, 7]].tobytes() == coarse.bands[[0, 1, 2, 3, 6, 7]].tobytes()
    thick = fine.labels == THICK_ID
    assert thick.mean() > 0.1
    for band in (4, 5):
        ratio = coarse.bands[band][thick] / fine.bands[band][thick]
        assert np.abs(ratio - 0.5).max() < 0.03


def test_vapour_above_dims_clouds_in_the_cirrus_band_alone() -> None:
    """What is seen beyond the glow of the vapour below is in proportion to how dry the air above is."""
    sky = Clouds(haze=0.0, cumulus=0.0, deck=0.0, cirrus=1.0)
    none, half, all_of_it = (
        whole(SimulationSpec(seed=3, height_px=64, width_px=64, wedge=False, clouds=replace(sky, dryness=dryness)))
        for dryness in (0.0, 0.5, 1.0)
    )
    others = [0, 1, 2, 3, 4, 5, 7]
    assert none.bands[others].tobytes() == half.bands[others].tobytes() == all_of_it.bands[others].tobytes()
    seen = all_of_it.bands[6] - none.bands[6]
    assert seen.max() > 0.05
    np.testing.assert_allclose(half.bands[6] - none.bands[6], seen / 2, atol=0.002)


def test_training_patches_differ_in_drops_and_vapour() -> None:
    found = [patch_spec(7, index, 64, 30.0).clouds for index in range(300)]
    grains, dryness = np.array([[one.grain, one.dryness] for one in found]).T
    assert (grains.min(), grains.max()) == (0.45, 1.25)
    assert 0.7 < np.median(grains) < 0.95
    assert 0.2 <= dryness.min() < 0.25
    assert 0.95 < dryness.max() <= 1.0


def test_a_polar_patch_has_the_sky_of_the_other_one_over_snow() -> None:
    spec = patch_spec(1, 2, 64, 30.0)
    polar = frozen(spec, Polar())
    assert polar.clouds == spec.clouds
    assert polar.land.snow >= 0.4
    assert polar.land.temperature_k <= 275.0
    assert frozen(spec, Polar()) == polar
    patch, block = training_patch(1, 2, 64, 30.0, Polar()), whole(polar)
    assert patch.bands.tobytes() == block.bands.tobytes()
    assert patch.labels.tobytes() == block.labels.tobytes()


def test_grey_ice_takes_the_place_of_snow_and_changes_nothing_else() -> None:
    specs = [patch_spec(1, index, 64, 30.0) for index in range(200)]
    white, mixed = ([frozen(spec, Polar(grey_ice=share)) for spec in specs] for share in (0.0, 0.4))
    factors = np.array([one.land.snow_whiteness for one in mixed])
    assert 0.3 < (factors < 1.0).mean() < 0.5
    assert 0.3 <= factors.min() < 0.35
    assert all(one.land.snow_whiteness == 1.0 for one in white)
    assert [replace(one, land=replace(one.land, snow_whiteness=1.0)) for one in mixed] == white


def test_grey_ice_turns_back_that_share_of_what_snow_does() -> None:
    land = Land(water=0.0, dry=0.0, town=0.0, snow=1.0, temperature_k=250.0)
    plain = SimulationSpec(height_px=64, width_px=64, wedge=False, land=land, clouds=CLEAR)
    light, grey, dark = (
        whole(replace(plain, land=replace(land, snow_whiteness=factor))).bands.astype(np.float64)
        for factor in (0.6, 0.4, 0.2)
    )
    # The light of the air is the same over all three: what lies between two of them is the ground's own.
    np.testing.assert_allclose((light - grey)[:6], (grey - dark)[:6], rtol=0.001, atol=1e-5)
    assert (light - grey)[:4].min() > 0.1
    assert (light - grey)[4:6].min() > 0.005  # snow is dark there
    assert np.array_equal(light[7], dark[7])


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_of_grey_ice_is_a_share(share: float) -> None:
    with pytest.raises(SceneError, match="grey_ice is"):
        Polar(grey_ice=share)


def test_cloud_may_count_as_thick_from_another_thickness(block: SimulatedBlock) -> None:
    labels = thick_from(block, 3.0, 0.25)
    cloud = np.isin(block.labels, (1, 2))
    assert np.array_equal(labels[~cloud], block.labels[~cloud])
    for label, low, high in ((1, 0.0, 2.25), (255, 2.25, 3.75), (2, 3.75, np.inf)):
        here = cloud & (block.thickness >= low) & (block.thickness < high)
        assert here.any()
        assert (labels[here] == label).all()


def test_labels_follow_from_the_thickness(block: SimulatedBlock) -> None:
    inside = block.labels != 255
    assert np.array_equal(block.labels[inside] == 2, block.thickness[inside] >= 6.0)
    thin = (block.thickness[inside] >= 0.7) & (block.thickness[inside] < 6.0)
    assert np.array_equal(block.labels[inside] == 1, thin)


def test_no_clouds_means_no_shadow_and_no_thickness() -> None:
    found = whole(replace(SPEC, wedge=False, clouds=CLEAR))
    assert not found.labels.any()
    assert not found.thickness.any()


def test_wedge_has_no_data_in_any_band(block: SimulatedBlock) -> None:
    outside = block.labels == 255
    assert outside[0, 0]
    assert outside[-1, -1]
    assert not outside[-1, 0]
    assert 0.05 < outside.mean() < 0.3
    assert np.array_equal(np.isnan(block.thickness), outside)
    for channel, band in zip(CHANNELS, block.bands, strict=True):
        assert np.array_equal(np.isnan(band), outside)
        assert np.array_equal(stored(channel, band) == 0, outside)


def test_readers_give_the_numbers_of_the_block(block: SimulatedBlock) -> None:
    described = scene(SPEC)
    assert described.grid.transform.a == SPEC.pixel_size_m
    rows, cols = slice(3, 77), slice(50, 151)
    for index, channel in enumerate(CHANNELS):
        band = described.band(channel)
        with SimulatedReader(band) as reader:
            numbers = reader.read(rows, cols)
        assert numbers.dtype == np.dtype(band.dtype)
        physical = numbers * band.conversion.scale + band.conversion.offset  # type: ignore[union-attr]
        expected = block.bands[index, rows, cols]
        valid = numbers != 0
        assert np.abs(physical[valid] - expected[valid]).max() <= band.conversion.scale  # type: ignore[union-attr]


@pytest.mark.parametrize("rows", [slice(0, 0), slice(-1, 4), slice(100, 161), slice(0, 10, 2)])
def test_blocks_outside_the_scene_are_refused(rows: slice) -> None:
    with pytest.raises(SceneError, match="rows"):
        compute_block(SPEC, rows, slice(0, 1))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"height_px": 0}, "height_px"),
        ({"width_px": 2.5}, "width_px"),
        ({"seed": -1}, "seed"),
        ({"pixel_size_m": float("nan")}, "pixel_size_m"),
        ({"sun_elevation_deg": 91.0}, "sun_elevation_deg"),
    ],
)
def test_wrong_numbers_are_named(wrong: dict[str, float], named: str) -> None:
    with pytest.raises(SourceError, match=named):
        replace(SPEC, **wrong)  # type: ignore[arg-type]


def test_patches_differ_by_index_and_repeat_by_seed() -> None:
    assert patch_spec(1, 2, 64, 30.0) == patch_spec(1, 2, 64, 30.0)
    assert patch_spec(1, 2, 64, 30.0) != patch_spec(1, 3, 64, 30.0)


@settings(max_examples=50, deadline=None)
@given(thickness=st.floats(0, 200))
def test_light_is_lost_by_the_closed_forms(thickness: float) -> None:
    assert transmission(thickness) == pytest.approx(1 / (1 + 0.075 * thickness))
    assert decay(thickness) == pytest.approx(np.exp(-thickness), abs=0.002)
