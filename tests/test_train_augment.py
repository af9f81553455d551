"""Augmentation: what it may change, how far, and that a seed repeats it."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from labelled import BANDS, random_patch
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter

from rspipe.models.augment import AugmentSpec, BandSet, augmented, behind_line, blurred, relit, with_sand, without_air
from rspipe.models.errors import DataError
from rspipe.models.labels import IGNORE_ID

STILL = AugmentSpec(gain=0, band_gain=0, haze=0, warming_k=0, blur_px=0, noise=0, band_loss=0, hole=0)


def generators(count: int = 40) -> Iterator[np.random.Generator]:
    return (np.random.default_rng(seed) for seed in range(count))


def test_zero_everywhere_changes_nothing() -> None:
    patch = random_patch(0)
    for rng in generators():
        found = augmented(patch, BANDS, STILL, rng)
        torch.testing.assert_close(found.bands, patch.bands, rtol=1e-6, atol=1e-6)
        assert torch.equal(found.labels, patch.labels)


def test_a_seed_repeats_every_change() -> None:
    patch = random_patch(0)
    for seed in range(10):
        one, other = (augmented(patch, BANDS, AugmentSpec(), np.random.default_rng(seed)) for _ in range(2))
        assert torch.equal(one.bands.nan_to_num(-1), other.bands.nan_to_num(-1))
        assert torch.equal(one.labels, other.labels)


def test_labels_change_only_to_ignore_and_only_where_all_bands_are_gone() -> None:
    patch = random_patch(0)
    holes = 0
    for rng in generators():
        found = augmented(patch, BANDS, AugmentSpec(hole=0.5), rng)
        changed = found.labels != patch.labels
        assert (found.labels[changed] == IGNORE_ID).all()
        assert found.bands[:, changed].isnan().all()
        holes += bool(changed.any())
    assert 8 < holes < 32


def test_required_bands_are_never_dropped_alone() -> None:
    patch = random_patch(0)
    lost = np.zeros(len(BANDS))
    for rng in generators():
        found = augmented(patch, BANDS, AugmentSpec(hole=0, band_loss=0.5), rng)
        lost += found.bands.isnan().flatten(1).any(dim=1).numpy()
    assert lost[:2].tolist() == [0, 0]
    assert (lost[2:] > 8).all()


def test_numbers_stay_physical() -> None:
    patch = random_patch(0)
    spec = AugmentSpec(hole=0, band_loss=0)
    for rng in generators():
        bands = augmented(patch, BANDS, spec, rng).bands
        assert bands[:3].min() > -0.05
        assert bands[:3].max() < 1.6
        assert bands[3].min() > 220
        assert bands[3].max() < 330


def test_haze_is_an_affine_lift_that_falls_with_wavelength() -> None:
    only_haze = STILL.model_copy(update={"haze": 0.2})
    dark, white = torch.zeros(4, 2, 2), torch.ones(4, 2, 2)
    for seed in range(20):
        lifted = relit(dark, BANDS, only_haze, np.random.default_rng(seed))[:, 0, 0]
        kept = relit(white, BANDS, only_haze, np.random.default_rng(seed))[:3, 0, 0]
        assert lifted[1].item() == pytest.approx(lifted[0].item() * (0.482 / 0.865) ** 1.3, rel=1e-4)
        assert -0.06 <= lifted[0] <= 0.2
        assert lifted[2:].tolist() == [0, 0]
        torch.testing.assert_close(kept, torch.ones(3))


def test_air_is_taken_from_what_it_was_added_to() -> None:
    ground = torch.rand(4, 8, 8)
    air = torch.tensor([0.083, 0.011, 0.0, 0.0])[:, None, None] * 0.7
    seen = air + (1 - air) * ground
    torch.testing.assert_close(without_air(seen, BANDS, 0.7), ground)
    black = without_air(torch.zeros(4, 2, 2), BANDS, 1.0)
    assert black.tolist() == torch.zeros(4, 2, 2).tolist()
    holed = without_air(torch.full((4, 1, 1), torch.nan), BANDS, 1.0)
    assert holed.isnan().all()


def test_air_is_taken_as_often_as_asked() -> None:
    patch, surface = random_patch(0), STILL.model_copy(update={"surface": 0.25})
    darker = [augmented(patch, BANDS, surface, rng).bands.sub(patch.bands).mean(dim=(1, 2)) for rng in generators(200)]
    blue, nir, cirrus, warmth = torch.stack(darker).T
    assert (blue < -0.01).float().mean().item() == pytest.approx(0.25, abs=0.08)
    assert torch.equal(blue < -0.01, nir < -1e-4)
    assert max(cirrus.abs().max(), warmth.abs().max()) < 1e-4


def test_warming_moves_only_temperatures_and_all_alike() -> None:
    patch = random_patch(0)
    moved = (
        relit(patch.bands, BANDS, STILL.model_copy(update={"warming_k": 5.0}), np.random.default_rng(3)) - patch.bands
    )
    assert moved[:3].abs().max() < 1e-6
    assert moved[3].std() < 1e-4
    assert abs(moved[3].mean()) > 0.1


def test_blur_is_gaussian_and_missing_numbers_stay_missing() -> None:
    bands = random_patch(0).bands
    found = blurred(bands, 0.7).numpy()
    expected = np.stack([gaussian_filter(band.numpy().astype(float), 0.7, radius=3) for band in bands])
    np.testing.assert_allclose(found[:, 4:-4, 4:-4], expected[:, 4:-4, 4:-4], rtol=1e-4, atol=1e-4)
    holed = torch.full((1, 9, 9), 3.0)
    holed[0, 4, 4:] = torch.nan
    again = blurred(holed, 0.7)
    assert torch.equal(again.isnan(), holed.isnan())
    torch.testing.assert_close(again[~again.isnan()], torch.full((76,), 3.0))


def test_a_line_has_two_sides() -> None:
    for rng in generators():
        hidden = behind_line((32, 48), rng)
        assert 0.05 < hidden.mean() < 0.95


def test_sand_lies_on_clear_pixels_only_and_leaves_cirrus_and_heat() -> None:
    patch = random_patch(0)
    covered = 0
    for rng in generators():
        found = with_sand(patch.bands, patch.labels, BANDS, rng)
        changed = (found - patch.bands).abs() > 1e-6
        assert not changed[2:].any()
        assert (patch.labels[changed[0]] == 0).all()
        assert found[:2].max() < 1.0
        covered += int(changed[0].sum())
    assert 0 < covered / 40 < 0.1 * patch.labels.numel()


def lost_together(spec: AugmentSpec, draws: int) -> Counter[tuple[str, ...]]:
    """Count which bands were wholly missing together."""
    patch, found = random_patch(0), Counter[tuple[str, ...]]()
    for rng in generators(draws):
        missing = augmented(patch, BANDS, spec, rng).bands.isnan().flatten(1).all(dim=1)
        found[tuple(band.name for band, gone in zip(BANDS, missing, strict=True) if gone)] += 1
    return found


def test_sets_of_bands_go_together_as_often_as_asked() -> None:
    sets = (BandSet(drop=("lwir11",), probability=0.3), BandSet(keep=("blue",), probability=0.5))
    found = lost_together(STILL.model_copy(update={"band_sets": sets}), 400)
    assert set(found) == {(), ("lwir11",), ("cirrus", "lwir11")}
    assert found["lwir11",] / 400 == pytest.approx(0.3, abs=0.08)
    assert found["cirrus", "lwir11"] / 400 == pytest.approx(0.5, abs=0.08)


def test_sets_of_bands_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValidationError, match="one of the two"):
        BandSet(probability=0.5)
    half = BandSet(drop=("cirrus",), probability=0.6)
    with pytest.raises(ValidationError, match=r"add up to 1\.2"):
        AugmentSpec(band_sets=(half, half))
    for name, words in (("blue", "required"), ("swir16", "no bands of the model")):
        with pytest.raises(DataError, match=words):
            AugmentSpec(band_sets=(BandSet(drop=(name,), probability=0.1),)).check_bands(BANDS)
