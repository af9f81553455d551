"""What the tree sees, against loops; and that a crop is found again where it was cut, and only there."""

import numpy as np
import pytest
from bench.features import SCALES_PX, features, ratios
from bench.matches import best_correlation, displayed, prepared

RNG = np.random.default_rng(5)
BANDS = {name: RNG.random((20, 24)).astype(np.float32) for name in ("blue", "green", "red", "nir", "swir16", "swir22")}


def test_local_means_and_deviations_are_those_of_a_loop() -> None:
    found = features(BANDS)
    side = SCALES_PX[0]
    window = BANDS["blue"][7 - side // 2 : 8 + side // 2, 9 - side // 2 : 10 + side // 2].astype(np.float64)
    assert found[7, 9, :3] == pytest.approx([BANDS["blue"][7, 9], window.mean(), window.std()], abs=1e-3)
    assert found.shape == (20, 24, (len(BANDS) + len(ratios(BANDS))) * (1 + 2 * len(SCALES_PX)))


def test_ratios_are_made_of_the_bands_that_there_are() -> None:
    found = ratios({name: BANDS[name] for name in ("blue", "green", "red")})
    assert sorted(found) == ["blue-red", "bright", "green-red", "grey"]
    blue, red = BANDS["blue"][0, 0], BANDS["red"][0, 0]
    assert found["blue-red"][0, 0] == pytest.approx((blue - red) / (blue + red + 0.01), rel=1e-5)


def test_a_missing_number_leaves_its_surroundings_finite() -> None:
    holed = {**BANDS, "blue": BANDS["blue"].copy()}
    holed["blue"][3, 3] = np.nan
    found = features(holed)
    assert np.isnan(found[3, 3, 0])
    assert np.isfinite(found[4, 4]).all()


def picture(seed: int) -> np.ndarray:
    """Structures of many sizes, as on the ground."""
    rng = np.random.default_rng(seed)
    planes = [np.kron(rng.random((3, 256 // size, 256 // size)), np.ones((size, size))) for size in (2, 4, 8, 16, 32)]
    return np.asarray(np.sum(planes, axis=0) ** 3)


def test_a_stretched_and_clipped_piece_is_found_in_its_patch() -> None:
    patch = picture(0)
    piece = displayed(patch, 5, 90)[:, 100:, 60:]
    assert best_correlation(prepared(patch), prepared(piece)) > 0.8


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_another_place_is_not(seed: int) -> None:
    assert best_correlation(prepared(picture(0)), prepared(displayed(picture(seed), 5, 90))) < 0.5


def test_an_overlap_is_found_where_two_pictures_only_touch() -> None:
    wide = np.concatenate([picture(0), picture(1)], axis=2)
    assert best_correlation(prepared(wide[:, :, :256]), prepared(wide[:, :, 150:406])) > 0.8
