"""The shipped cloud weights: what their card promises, on scenes they were not trained on."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from rspipe.catalogs.simulated import compute_block, patch_spec, thick_from, training_patch
from rspipe.catalogs.simulation import CHANNELS
from rspipe.models.metrics import Confusion
from rspipe.models.predictor import Predictor
from rspipe.models.registry import resolve

UNSEEN_SEED = 2_000_003
SKIES = 40
"""Fewer swing by 0.15 from sample to sample where both optional bands are missing."""
LOSSES = (("cirrus",), ("lwir11",), ("cirrus", "lwir11"))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load(resolve("cloud-thickness"))


def classes(predictor: Predictor, bands: torch.Tensor) -> np.ndarray:
    """Class ids (H, W) of bands (8, H, W) in which NaN is missing."""
    return predictor.probabilities(bands.nan_to_num(0.0)[None], ~bands.isnan()[None]).argmax(dim=1)[0].numpy()


@lru_cache(maxsize=2 * SKIES)
def simulated(index: int, pixel_m: float) -> tuple[torch.Tensor, np.ndarray]:
    """Usual drops below dry air and decks from 1200 to 8000 m, as in the exam of every release; training has more."""
    spec = patch_spec(UNSEEN_SEED, index, 128, pixel_m)
    deck_m = 1200.0 + (spec.clouds.deck_height_m - 1200.0) * (8000.0 - 1200.0) / (10_500.0 - 1200.0)
    spec = replace(spec, clouds=replace(spec.clouds, grain=1.0, dryness=1.0, deck_height_m=deck_m))
    patch = compute_block(spec, slice(0, 128), slice(0, 128))
    return torch.from_numpy(patch.bands), thick_from(patch, 3.5, 0.25)


def test_the_card_promises_what_was_asked_for(predictor: Predictor) -> None:
    card = predictor.card
    assert [band.name for band in card.bands] == list(CHANNELS)
    assert [band.name for band in card.bands if not band.required] == ["nir", "swir16", "swir22", "cirrus", "lwir11"]
    assert (card.resolution_m.min, card.resolution_m.max) == (30.0, 120.0)
    assert (resolve("cloud-thickness").parent / card.weights_name).stat().st_size < 30e6


@pytest.mark.parametrize("pixel_m", [30.0, 120.0])
@pytest.mark.parametrize("missing", [(), *(pytest.param(some, marks=pytest.mark.slow) for some in LOSSES)])
def test_unseen_simulated_skies_are_told_apart(predictor: Predictor, pixel_m: float, missing: tuple[str, ...]) -> None:
    pooled = Confusion.empty(4)
    for index in range(SKIES):
        sky, labels = simulated(index, pixel_m)
        bands = sky.clone()
        for name in missing:
            bands[CHANNELS.index(name)] = torch.nan
        pooled += Confusion.of(labels, classes(predictor, bands), 4)
    cloud = pooled.merged(np.array([0, 1, 1, 0])).iou[1]
    assert cloud > 0.7, (pooled.iou, cloud)
    assert pooled.mean_iou > 0.45, pooled.iou


@pytest.mark.parametrize("pixel_m", [30.0, 120.0])
def test_clouds_of_any_drops_below_any_vapour_are_found(predictor: Predictor, pixel_m: float) -> None:
    pooled = Confusion.empty(4)
    for index in range(SKIES):
        patch = training_patch(UNSEEN_SEED, index, 128, pixel_m)
        pooled += Confusion.of(thick_from(patch, 3.5, 0.25), classes(predictor, torch.from_numpy(patch.bands)), 4)
    assert pooled.merged(np.array([0, 1, 1, 0])).iou[1] > 0.7
    assert pooled.mean_iou > 0.45


def test_the_edge_of_a_missing_band_is_no_edge_of_classes(predictor: Predictor) -> None:
    changed, pixels = 0, 0
    for index in range(8):
        sky, _ = simulated(index, 120.0)
        bands = sky.clone()
        whole = classes(predictor, bands)
        bands[CHANNELS.index("lwir11"), :, 64:] = torch.nan
        changed += int((classes(predictor, bands) != whole).sum())
        pixels += whole.size
    assert changed / pixels < 0.1


def test_ground_of_a_real_scene_is_clear_and_its_cirrus_is_cloud(predictor: Predictor, real_data: Path) -> None:
    # Long Island, 2015-10-22: a window of the southern forks without cloud, and one inside the large cirrus shield.
    names = ["B2", "B3", "B4", "B5", "B6", "B7", "B9", "B10"]
    rows = []
    for name in names:
        with rasterio.open(next((real_data / "l8-newyork").glob(f"*_{name}.tif"))) as file:
            rows.append(file.read(1).astype(np.float32))
    bands = torch.from_numpy(np.stack(rows))
    bands[-1] += 273.15
    found = classes(predictor, bands[:, :256, :256])
    assert (found[100:200, 60:130] == 0).mean() > 0.95
    assert (found[10:60, 150:220] > 0).mean() > 0.95
    # Around it a veil: 0.03 to 0.06 in the cirrus band, where clear air has 0.01.
    assert np.isin(found[60:90, 110:190], (1, 2)).mean() > 0.6
