"""The simulator is the oracle: a cloudless scene below its own sky must be the cloudy scene."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rspipe.catalogs.bands import PHYSICAL_UNIT
from rspipe.catalogs.simulated import compute_block
from rspipe.catalogs.simulation import CHANNELS, Clouds, Land, SimulationSpec
from rspipe.catalogs.skies import SkyBlock, sky_block, training_sky
from rspipe.models.card import CardBand
from rspipe.models.crops import CropSpec, Cutter
from rspipe.models.data import Patch
from rspipe.models.errors import DataError
from rspipe.models.feed import Feed, FeedSpec
from rspipe.models.labels import IGNORE_ID, LabelSet
from rspipe.models.weather import Light, Overcast, Weather, WeatherSpec, relabelled, veiled

SIDE_PX = 96
LABELS = LabelSet(("clear", "thin", "thick", "shadow"), {"cloud": (1, 2), "no cloud": (0, 3)})
CLOUD, NO_CLOUD = 4, 5


def entry(name: str) -> CardBand:
    return CardBand(name=name, unit=PHYSICAL_UNIT[name], required=True, mean=0.0, stddev=1.0)


CARD = tuple(entry(name) for name in CHANNELS)
ALL = WeatherSpec(share=1.0)
SPEC = SimulationSpec(
    seed=5,
    height_px=SIDE_PX,
    width_px=SIDE_PX,
    pixel_size_m=90.0,
    wedge=False,
    land=Land(water=0.3, dry=0.3, snow=0.2),
    clouds=Clouds(haze=0.5, cumulus=0.4, deck=0.3, cirrus=0.5),
)
CLOUDLESS = replace(SPEC, clouds=replace(SPEC.clouds, haze=0.0, cumulus=0.0, deck=0.0, cirrus=0.0))


def block(spec: SimulationSpec) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    found = compute_block(spec, slice(0, SIDE_PX), slice(0, SIDE_PX))
    return found.bands, found.thickness, found.labels


def flat_sky(thickness: float, shade: float, side_px: int = 8) -> SkyBlock:
    layers = np.zeros((4, side_px, side_px), np.float32)
    layers[1] = thickness
    plane = np.ones((side_px, side_px), np.float32)
    return SkyBlock(
        thickness=layers, shade=shade * plane, light=plane, height_m=(800.0, 1500.0, 3000.0, 9000.0), pixel_m=30.0
    )


def ground_patch(side_px: int = 64, pixel_m: float = 30.0) -> Patch:
    bands = torch.full((8, side_px, side_px), 0.2)
    bands[7] = 290.0
    return Patch("ground", bands, torch.zeros((side_px, side_px), dtype=torch.uint8), pixel_m)


@pytest.fixture(scope="module")
def skies() -> list[SkyBlock]:
    return [training_sky(3, index, SIDE_PX, 30.0 * (1 + index)) for index in range(4)]


@pytest.mark.parametrize(("grain", "dryness"), [(1.0, 1.0), (0.5, 1.0), (1.2, 0.3)])
def test_ground_below_its_own_sky_is_the_cloudy_scene(grain: float, dryness: float) -> None:
    ground, thickness, _ = block(CLOUDLESS)
    cloudy, total, labels = block(replace(SPEC, clouds=replace(SPEC.clouds, grain=grain, dryness=dryness)))
    assert thickness.max() == 0.0
    assert (np.bincount(labels.ravel(), minlength=4) > 50).all()
    sky = sky_block(SPEC)
    everywhere = np.ones((SIDE_PX, SIDE_PX), np.bool_)
    found = veiled(ground, everywhere, sky, Light(SPEC.land.temperature_k, grain=grain, dryness=dryness))
    np.testing.assert_allclose(sky.thickness.sum(axis=0), total, rtol=1e-5, atol=1e-5)
    # the two were measured with different noise: 0.0012 (0.2 + R), the ground's own carried through
    np.testing.assert_allclose(found[:7], cloudy[:7], atol=0.012)
    np.testing.assert_allclose(found[7], cloudy[7], atol=0.6)
    dark = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    exact = WeatherSpec(thin_from=0.7, thick_from=6.0, shadow_from=4.0, unsure=0.0)
    assert np.array_equal(relabelled(dark, everywhere, sky, exact), labels)


@pytest.mark.parametrize(
    ("before", "thickness", "shade", "after"),
    [
        (0, 0.0, 0.0, 0), (0, 0.0, 9.0, 3), (0, 0.0, 4.0, IGNORE_ID), (0, 0.5, 0.0, IGNORE_ID), (0, 1.0, 9.0, 1),
        (0, 3.5, 0.0, IGNORE_ID), (0, 9.0, 9.0, 2),
        (1, 0.0, 9.0, 1), (1, 1.0, 0.0, IGNORE_ID), (1, 9.0, 0.0, 2),
        (2, 0.0, 9.0, 2), (2, 1.0, 0.0, 2), (2, 9.0, 0.0, 2),
        (3, 0.0, 0.0, 3), (3, 0.0, 9.0, 3), (3, 1.0, 0.0, 1), (3, 9.0, 0.0, 2),
        (CLOUD, 0.0, 9.0, CLOUD), (CLOUD, 1.0, 0.0, IGNORE_ID), (CLOUD, 9.0, 0.0, 2),
        (NO_CLOUD, 0.0, 0.0, NO_CLOUD), (NO_CLOUD, 0.0, 9.0, 3), (NO_CLOUD, 1.0, 0.0, 1),
        (IGNORE_ID, 0.0, 9.0, IGNORE_ID), (IGNORE_ID, 9.0, 0.0, IGNORE_ID),
    ],
)  # fmt: skip
def test_a_label_below_a_cloud(before: int, thickness: float, shade: float, after: int) -> None:
    labels = np.full((8, 8), before, np.uint8)
    ground = np.isin(labels, (0, 3, NO_CLOUD))
    assert np.unique(relabelled(labels, ground, flat_sky(thickness, shade), ALL)).tolist() == [after]


def test_missing_bands_stay_missing_and_cloud_takes_no_shadow() -> None:
    bands = np.full((8, 8, 8), 0.4, np.float32)
    bands[6:] = np.nan
    bands[0, 2, 3] = np.nan
    sky = flat_sky(0.0, 9.0)
    found = veiled(bands, np.zeros((8, 8), np.bool_), sky, Light(290.0))
    np.testing.assert_allclose(found, bands, rtol=1e-6)
    shaded = veiled(bands, np.ones((8, 8), np.bool_), sky, Light(290.0))
    assert np.array_equal(np.isnan(shaded), np.isnan(bands))
    known = ~np.isnan(bands)
    assert (shaded[known] < 0.85 * bands[known]).all()


def test_the_same_chance_is_the_same_weather_and_the_crop_itself_is_left_alone(skies: list[SkyBlock]) -> None:
    weather, patch = Weather(skies, CARD, LABELS, ALL), ground_patch()
    kept = patch.bands.clone()
    one, two = (weather.laid(patch, np.random.default_rng(8)) for _ in range(2))
    other = weather.laid(patch, np.random.default_rng(9))
    assert torch.equal(one.bands, two.bands)
    assert torch.equal(one.labels, two.labels)
    assert not torch.equal(one.bands, other.bands)
    assert torch.equal(patch.bands, kept)
    assert not bool(patch.labels.any())


def test_bands_are_taken_in_the_order_of_the_card(skies: list[SkyBlock]) -> None:
    patch = ground_patch()
    turned = replace(patch, bands=patch.bands.flip(0))
    straight = Weather(skies, CARD, LABELS, ALL).laid(patch, np.random.default_rng(1))
    backwards = Weather(skies, CARD[::-1], LABELS, ALL).laid(turned, np.random.default_rng(1))
    assert torch.equal(straight.bands, backwards.bands.flip(0))


def test_skies_are_of_about_the_pixel_size_of_the_crop(skies: list[SkyBlock]) -> None:
    # skies of 30, 60, 90 and 120 m; the nearest third of four is two
    thick = [replace(sky, thickness=np.full_like(sky.thickness, index)) for index, sky in enumerate(skies)]
    weather = Weather(thick, CARD, LABELS, ALL.model_copy(update={"thin_from": 100.0}))
    drawn = [weather._drawn((32, 32), 100.0, np.random.default_rng(seed)).pixel_m for seed in range(30)]
    assert set(drawn) == {90.0, 120.0}


def test_weather_without_a_sky_or_with_a_band_that_no_sky_has_is_refused(skies: list[SkyBlock]) -> None:
    with pytest.raises(DataError, match="found no sky"):
        Weather([], CARD, LABELS, ALL)
    with pytest.raises(DataError, match="found bands coastal"):
        Weather(skies, [entry("coastal")], LABELS, ALL)


def test_a_crop_larger_than_the_skies_is_refused(skies: list[SkyBlock]) -> None:
    weather, patch = Weather(skies, CARD, LABELS, ALL), ground_patch(side_px=SIDE_PX + 1)
    with pytest.raises(DataError, match="larger than the skies"):
        weather.laid(patch, np.random.default_rng(0))


def cloud_patch() -> Patch:
    patch = ground_patch()
    labels = torch.full_like(patch.labels, 2)
    labels[:10] = 0
    return replace(patch, name="cloud", labels=labels)


def test_skies_are_laid_over_patches_that_show_ground_alone() -> None:
    spec = WeatherSpec(share=1.0, skies=3, size_px=64)
    crop = CropSpec(size_px=32, coarsest_m=40.0)
    display = replace(ground_patch(), name="display", display=True)
    over = Overcast.over([ground_patch(), cloud_patch(), display], crop, CARD, LABELS, spec)
    assert [patch.name for patch in over.cutter.patches] == ["ground"]
    labels = torch.stack([over.cut(np.random.default_rng(seed)).labels for seed in range(20)])
    assert {0, 1, 2, 3, IGNORE_ID} == set(labels.ravel().tolist())
    with pytest.raises(DataError, match="no patch shows ground on 30% of its pixels"):
        Overcast.over([cloud_patch(), display], crop, CARD, LABELS, spec)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_feed_lays_skies_over_that_share_of_the_crops(share: float) -> None:
    weather, crop = WeatherSpec(share=share, skies=3, size_px=64), CropSpec(size_px=32, coarsest_m=40.0)
    spec, patches = FeedSpec(batch=4, simulated_share=0.0, crop=crop, weather=weather), [ground_patch()]
    over = Overcast.over(patches, crop, CARD, LABELS, weather)
    feed = Feed(spec, CARD, 1, Cutter(patches, crop), None, over)
    drawn = [feed._cutter(0, np.random.default_rng(seed)) is over for seed in range(300)]
    assert np.mean(drawn) == pytest.approx(share, abs=0.08 if 0 < share < 1 else 0)
    assert set(feed.batch(0).labels.ravel().tolist()) <= {0, 1, 2, 3, IGNORE_ID}
