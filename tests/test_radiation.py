"""What the simulator makes of sun, air, snow and cloud, against closed forms and what is known of each."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rspipe.catalogs.radiation import absorbing
from rspipe.catalogs.simulated import Polar, SimulatedBlock, compute_block, frozen, patch_spec
from rspipe.catalogs.simulation import Clouds, Land, SimulationSpec

SIDE_PX = 160
CLEAR = Clouds(haze=0.0, cumulus=0.0, deck=0.0, cirrus=0.0)
SPEC = SimulationSpec(seed=11, height_px=SIDE_PX, width_px=SIDE_PX, wedge=False, clouds=CLEAR)


def whole(spec: SimulationSpec) -> SimulatedBlock:
    return compute_block(spec, slice(0, spec.height_px), slice(0, spec.width_px))


def test_an_ice_sheet_is_smooth_cold_snow_and_nothing_else() -> None:
    specs = [patch_spec(1, index, 64, 30.0) for index in range(200)]
    mixed = [frozen(spec, Polar(ice_sheet=0.4)) for spec in specs]
    sheets = [one for one in mixed if one.land.snow == 1.0]
    assert 0.3 < len(sheets) / len(mixed) < 0.5
    for sheet in sheets[:10]:
        assert sheet.sun_elevation_deg <= 35.0
        bands = whole(replace(sheet, clouds=CLEAR)).bands.astype(np.float64)
        assert (bands[3] > 0.5).all()  # bright in the near infrared, as only snow is
        assert 205.0 < bands[7].mean() < 260.0
        assert (bands[:4].std(axis=(1, 2)) / bands[:4].mean(axis=(1, 2))).max() < 0.03


def test_woods_stand_out_of_the_snow_by_that_share() -> None:
    """Forest and snow are one pixel's two parts: what it turns back lies between them in proportion."""
    land = Land(water=0.0, dry=0.0, town=0.0, snow=1.0, temperature_k=280.0)
    bare, half, full = (
        whole(replace(SPEC, land=replace(land, woods=share))).bands[2].astype(np.float64) for share in (0.0, 0.5, 1.0)
    )
    assert (bare - full).max() > 0.5
    wooded = bare - full > 0.3
    assert wooded.mean() > 0.1
    # within 0.1: shades of the ground weigh less the more snow there is
    np.testing.assert_allclose((bare - half)[wooded] / (bare - full)[wooded], 0.5, atol=0.1)


@pytest.mark.parametrize("layer", ["cumulus", "deck"])
def test_dense_clouds_are_thicker_by_that_factor(layer: str) -> None:
    plain, dense = (
        whole(replace(SPEC, clouds=replace(CLEAR, density=factor, **{layer: 0.6}))) for factor in (1.0, 2.5)
    )
    assert plain.thickness.max() > 5.0
    np.testing.assert_allclose(dense.thickness, 2.5 * plain.thickness, rtol=1e-6)


def seen_under(elevation_deg: float, land: Land) -> NDArray[np.float64]:
    """Return the mean of every band (8,) of cloudless ground."""
    spec = replace(SPEC, sun_elevation_deg=elevation_deg, land=land)
    return whole(spec).bands.astype(np.float64).mean(axis=(1, 2))


def test_under_a_low_sun_the_air_is_brighter_the_more_the_bluer() -> None:
    """The way is twice as long: twice the light of thin air, less than that of the denser one in blue."""
    usual, low = (seen_under(elevation_deg, Land(water=1.0)) for elevation_deg in (45.0, 20.7))
    gain = (low - usual)[:4]
    assert gain[0] > gain[1] > gain[2] > gain[3] > 0.005
    assert 0.05 < gain[0] < 0.083
    np.testing.assert_allclose(low[6:], usual[6:], rtol=1e-3)


def test_ozone_takes_green_and_red_on_a_long_way() -> None:
    """Beer's law over the whole way of the sun, with the optical depth of the Chappuis band."""
    land = Land(water=0.0, dry=0.0, town=0.0, snow=1.0, snow_relief=0.0, temperature_k=250.0)
    usual, low = (seen_under(elevation_deg, land) for elevation_deg in (45.0, 12.0))
    longer = 1 / np.sin(np.radians(12.0)) - 1 / np.sin(np.radians(45.0))
    # air adds 3 % at the red end and takes as much from the ground: within 0.03 of ozone alone
    assert (low / usual)[2] == pytest.approx(np.exp(-0.018 * longer), abs=0.03)
    assert (low / usual)[3] == pytest.approx(1.0, abs=0.02)


def test_thin_cloud_over_snow_is_as_bright_as_the_snow() -> None:
    """Light goes to and fro between cloud and snow: where neither absorbs, little is lost."""
    land = Land(water=0.0, dry=0.0, town=0.0, snow=1.0, snow_relief=0.0, temperature_k=250.0)
    sky = replace(CLEAR, haze=0.95)
    bare, hazy = (whole(replace(SPEC, land=land, clouds=clouds)) for clouds in (CLEAR, sky))
    veil = (hazy.thickness > 1.0) & (hazy.thickness < 4.0)
    assert veil.mean() > 0.1
    assert abs(float((hazy.bands[3] - bare.bands[3])[veil].mean())) < 0.05
    assert float((hazy.bands[4] - bare.bands[4])[veil].min()) > 0.03  # where snow is dark, cloud is seen


@settings(max_examples=100, deadline=None)
@given(deep=st.floats(0.05, 0.98), thickness=st.floats(0.0, 60.0))
def test_two_halves_of_an_absorbing_layer_make_the_whole(deep: float, thickness: float) -> None:
    """Adding two layers (Stokes 1862): R + T R T / (1 - R R), T T / (1 - R R)."""
    back, passed = absorbing(deep, thickness)
    half_back, half_passed = absorbing(deep, thickness / 2)
    again = 1 / (1 - half_back * half_back)
    assert back == pytest.approx(half_back + half_passed**2 * half_back * again, abs=0.004)
    assert passed == pytest.approx(half_passed**2 * again, abs=0.004)
    assert 0.0 <= back + passed <= 1.0 + 1e-9


def test_an_absorbing_layer_has_the_limits_of_the_closed_forms() -> None:
    assert absorbing(0.999, 20.0) == pytest.approx((0.6, 0.4), abs=0.005)  # conservative: 1.5 / 2.5
    assert absorbing(0.25, 1000.0) == pytest.approx((0.25, 0.0), abs=1e-6)
    assert absorbing(0.25, 0.0) == (0.0, 1.0)
