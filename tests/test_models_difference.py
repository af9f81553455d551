"""What two looks at one place tell: cloud, shadow and clear ground of a closed form come out as what they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rspipe.models.difference import TOLD, told
from rspipe.models.labels import IGNORE_ID

FOREST = np.array([0.08, 0.07, 0.05, 0.28, 0.15], np.float32)
SOIL = np.array([0.12, 0.13, 0.17, 0.27, 0.33], np.float32)
WATER = np.array([0.09, 0.06, 0.04, 0.02, 0.01], np.float32)
SNOW = np.array([0.75, 0.72, 0.73, 0.70, 0.05], np.float32)
SHADE = np.array([0.8, 0.7, 0.65, 0.45, 0.4], np.float32)
SIDE_PX = 24
grounds = st.sampled_from([FOREST, SOIL])


def spread(spectrum: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.repeat(spectrum, SIDE_PX * SIDE_PX).reshape(5, SIDE_PX, SIDE_PX)


def under_cloud(ground: NDArray[np.float32], reflectance: float) -> NDArray[np.float32]:
    """Return what is seen through a layer that absorbs nothing, lit once more by what it throws back."""
    return np.asarray(reflectance + (1 - reflectance) ** 2 * ground / (1 - reflectance * ground), np.float32)


def names(cloudy: NDArray[np.float32], clear: NDArray[np.float32], pixel_m: float = 10.0) -> set[str | None]:
    found = np.unique(told(cloudy, clear, pixel_m))
    return {None if number == IGNORE_ID else TOLD[number] for number in found}


@given(ground=grounds, reflectance=st.floats(0.08, 0.13))
def test_a_veil_is_thin_cloud(ground: NDArray[np.float32], reflectance: float) -> None:
    assert names(spread(under_cloud(ground, reflectance)), spread(ground)) == {"thin cloud"}


@given(ground=grounds, reflectance=st.floats(0.36, 0.9))
def test_what_hides_the_ground_is_thick_cloud(ground: NDArray[np.float32], reflectance: float) -> None:
    assert names(spread(under_cloud(ground, reflectance)), spread(ground)) == {"thick cloud"}


def test_between_them_is_a_cloud_of_unknown_thickness_and_below_them_nothing_is_told() -> None:
    assert names(spread(under_cloud(FOREST, 0.04)), spread(FOREST)) == {None}
    assert names(spread(under_cloud(FOREST, 0.21)), spread(FOREST)) == {"cloud"}


@given(ground=grounds, light=st.floats(0.85, 1.1))
def test_what_takes_light_and_leaves_the_skys_blue_is_shadow(ground: NDArray[np.float32], light: float) -> None:
    assert names(spread(ground * SHADE * np.float32(light)), spread(ground)) == {"cloud shadow"}


@given(ground=st.sampled_from([FOREST, SOIL, WATER, SNOW]), change=st.floats(-0.01, 0.01))
def test_the_same_ground_is_clear(ground: NDArray[np.float32], change: float) -> None:
    assert names(spread(ground + np.float32(change)), spread(ground)) == {"clear"}


def test_nothing_is_told_where_ground_changed() -> None:
    assert names(spread(FOREST), spread(SNOW)) == {None}
    mown = FOREST + np.array([0.0, 0.005, 0.01, -0.06, 0.06], np.float32)
    assert names(spread(mown), spread(FOREST)) == {None}
    flooded, wet, cleared, withered = WATER, SOIL * np.float32(0.5), SOIL.copy(), FOREST + np.float32(0.05)
    cleared[3], withered[3] = 0.35, 0.25
    assert names(spread(flooded), spread(SOIL)) == {None}
    assert names(spread(wet), spread(SOIL)) == {None}
    assert names(spread(cleared), spread(FOREST)) == {None}
    assert names(spread(withered), spread(FOREST)) == {None}


def test_water_has_no_shadow_to_tell() -> None:
    assert "cloud shadow" not in names(spread(WATER * SHADE), spread(WATER))


@pytest.mark.parametrize(("pixel_m", "told_px"), [(10.0, 0), (30.0, 0), (120.0, 9)])
def test_a_cloud_must_be_larger_than_what_moves_between_two_looks(pixel_m: float, told_px: int) -> None:
    cloudy = spread(FOREST)
    cloudy[:, 10:13, 10:13] = under_cloud(FOREST, 0.6)[:, None, None]
    found = told(cloudy, spread(FOREST), pixel_m)
    assert np.count_nonzero(found == TOLD.index("thick cloud")) == told_px


def test_a_border_lies_where_it_lies() -> None:
    cloudy = spread(FOREST)
    cloudy[:, :, 12:] = under_cloud(FOREST, 0.6)[:, None, None]
    found = told(cloudy, spread(FOREST), 10.0)
    assert (found[:, :11] == TOLD.index("clear")).all()
    assert (found[:, 13:] == TOLD.index("thick cloud")).all()


def test_nothing_is_told_where_a_number_is_missing() -> None:
    cloudy, clear = spread(under_cloud(FOREST, 0.6)), spread(FOREST)
    cloudy[4, :4] = np.nan
    clear[0, 20:] = np.nan
    found = told(cloudy, clear, 30.0)
    assert (found[:4] == IGNORE_ID).all()
    assert (found[20:] == IGNORE_ID).all()
    assert (found[4:20] == TOLD.index("thick cloud")).all()
