"""Crops: labels stay with their pixels, areas are averaged exactly, chance comes from the generator alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from labelled import CLASSES, random_patch

from rspipe.models.crops import CropSpec, Cutter, Size, shrunk, turned
from rspipe.models.data import Patch
from rspipe.models.display import DisplaySpec, unstretched
from rspipe.models.errors import DataError
from rspipe.models.labels import IGNORE_ID


def numbered(height: int, width: int) -> Patch:
    """Each pixel's one band is its own number, and its label is a function of that."""
    numbers = torch.arange(height * width, dtype=torch.float32).reshape(1, height, width)
    return Patch("numbered", numbers, (numbers[0] % CLASSES).to(torch.uint8), 30.0)


@given(face=st.integers(0, 7), height=st.integers(1, 6), width=st.integers(1, 6))
def test_labels_turn_with_their_pixels(face: int, height: int, width: int) -> None:
    patch = turned(numbered(height, width), face)
    assert torch.equal((patch.bands[0] % CLASSES).to(torch.uint8), patch.labels)
    assert sorted(patch.bands.flatten().tolist()) == list(range(height * width))


def test_the_eight_faces_are_those_of_a_square() -> None:
    square = np.arange(9).reshape(3, 3)
    expected = {np.rot90(side, quarter).tobytes() for side in (square, square.T) for quarter in range(4)}
    found = {turned(numbered(3, 3), face).bands[0].long().numpy().tobytes() for face in range(8)}
    assert found == expected


@given(factor=st.integers(1, 5), height=st.integers(1, 5), width=st.integers(1, 5))
def test_whole_factors_average_blocks(factor: int, height: int, width: int) -> None:
    rng = np.random.default_rng(factor * 100 + height * 10 + width)
    bands = rng.normal(size=(2, height * factor, width * factor)).astype(np.float32)
    labels = rng.integers(0, CLASSES, bands.shape[1:]).astype(np.uint8)
    found = shrunk(Patch("p", torch.from_numpy(bands), torch.from_numpy(labels), 30.0), Size(height, width))
    blocks = bands.reshape(2, height, factor, width, factor).mean(axis=(2, 4))
    np.testing.assert_allclose(found.bands.numpy(), blocks, atol=1e-5)
    for row, column in np.ndindex(height, width):
        block = labels[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
        counts = np.bincount(block.ravel(), minlength=CLASSES)
        assert counts[found.labels[row, column]] == counts.max()
    assert found.pixel_m == pytest.approx(30.0 * factor)


@given(fine=st.integers(1, 12), coarse=st.integers(1, 12))
def test_broken_factors_keep_the_mean(fine: int, coarse: int) -> None:
    coarse = min(fine, coarse)
    patch = numbered(fine, fine)
    found = shrunk(patch, Size(coarse, coarse))
    assert found.bands.mean().item() == pytest.approx(patch.bands.mean().item(), rel=1e-5)
    assert found.bands.min() >= patch.bands.min()


def test_missing_numbers_and_ignored_labels_lend_nothing() -> None:
    bands = torch.tensor([[[1.0, torch.nan, torch.nan, torch.nan], [3.0, torch.nan, 5.0, torch.nan]]])
    labels = torch.tensor([[1, 255, 255, 255], [1, 2, 255, 3]], dtype=torch.uint8)
    found = shrunk(Patch("p", bands, labels, 30.0), Size(1, 2))
    assert found.bands[0, 0, 0] == 2.0
    assert found.bands[0, 0, 1].isnan()
    assert found.labels.tolist() == [[1, IGNORE_ID]]


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_crops_have_the_size_asked_for_and_repeat_by_seed(mosaic: float) -> None:
    cutter = Cutter([random_patch(0), random_patch(1, 96)], CropSpec(size_px=32, mosaic=mosaic))
    for seed in range(20):
        crop, again = (cutter.cut(np.random.default_rng(seed)) for _ in range(2))
        assert crop.labels.shape == (32, 32)
        assert torch.equal(crop.bands, again.bands)
        assert torch.equal(crop.labels, again.labels)


def test_without_shrinking_every_pixel_keeps_its_label() -> None:
    patches = [numbered(64, 64)]
    cutter = Cutter(patches, CropSpec(size_px=32, coarsest_m=30.0, mosaic=0.5))
    for seed in range(20):
        crop = cutter.cut(np.random.default_rng(seed))
        assert torch.equal((crop.bands[0] % CLASSES).to(torch.uint8), crop.labels)


def test_balanced_crops_show_a_rare_class_far_more_often() -> None:
    labels = torch.zeros(256, 256, dtype=torch.uint8)
    labels[3, 3] = 3
    patch = Patch("p", torch.zeros(1, 256, 256), labels, 30.0)

    def share(balanced: float) -> float:
        cutter = Cutter([patch], CropSpec(size_px=32, coarsest_m=30.0, mosaic=0.0, balanced=balanced))
        return sum(int((cutter.cut(np.random.default_rng(seed)).labels == 3).any()) for seed in range(200)) / 200

    assert share(1.0) > 0.4
    assert share(0.0) < 0.1


def test_no_patches_are_refused() -> None:
    with pytest.raises(DataError, match="no patch"):
        Cutter([], CropSpec())


def test_groups_survive_shrinking_and_mosaics() -> None:
    labels = torch.tensor([[4, 4, 1, 255], [4, 1, 1, 5]], dtype=torch.uint8)
    found = shrunk(Patch("p", torch.zeros(1, 2, 4), labels, 30.0), Size(1, 2))
    assert found.labels.tolist() == [[4, 1]]
    patch = Patch("p", torch.zeros(1, 64, 64), torch.full((64, 64), 5, dtype=torch.uint8), 30.0)
    for mosaic in (0.0, 1.0):
        cutter = Cutter([patch], CropSpec(size_px=32, mosaic=mosaic))
        assert (cutter.cut(np.random.default_rng(0)).labels == 5).all()


def test_patches_are_drawn_by_weight_and_labels_by_the_heaviest_that_holds_them() -> None:
    def named(name: str, label: int, weight: float) -> Patch:
        labels = torch.full((64, 64), label, dtype=torch.uint8)
        return Patch(name, torch.zeros(1, 64, 64), labels, 30.0, weight=weight)

    def shares(patches: list[Patch], balanced: float) -> dict[str, float]:
        cutter = Cutter(patches, CropSpec(size_px=32, coarsest_m=30.0, mosaic=0.0, balanced=balanced))
        drawn = [cutter.cut(np.random.default_rng(seed)).name for seed in range(600)]
        return {patch.name: drawn.count(patch.name) / 600 for patch in patches}

    patches = [named("a", 0, 1.0), named("b", 0, 3.0), named("c", 1, 1.0)]
    assert shares(patches, 0.0) == pytest.approx({"a": 0.2, "b": 0.6, "c": 0.2}, abs=0.06)
    # Label 0 is drawn three times as often as label 1, and found in b three times as often as in a.
    assert shares(patches, 1.0) == pytest.approx({"a": 3 / 16, "b": 9 / 16, "c": 0.25}, abs=0.06)


def test_smart_crops_are_varied_where_the_patch_allows_it() -> None:
    labels = torch.zeros(256, 256, dtype=torch.uint8)
    labels[:40, :40] = 2
    labels[200:, :] = 255
    patch = Patch("p", torch.zeros(1, 256, 256), labels, 30.0)

    def varied(max_ratio: float | None) -> float:
        spec = CropSpec(size_px=64, coarsest_m=30.0, mosaic=0.0, balanced=0.0, max_ratio=max_ratio)
        crops = [Cutter([patch], spec).cut(np.random.default_rng(seed)).labels for seed in range(100)]
        counts = [np.bincount(crop.numpy().ravel(), minlength=256)[:255] for crop in crops]
        return sum(int((count > 0).sum() > 1 and count.max() < 0.9 * count.sum()) for count in counts) / 100

    assert varied(0.9) > 2.5 * varied(None)
    empty = Patch("q", torch.zeros(1, 64, 64), torch.full((64, 64), 255, dtype=torch.uint8), 30.0)
    cutter = Cutter([empty], CropSpec(size_px=32, max_ratio=0.5))
    assert (cutter.cut(np.random.default_rng(0)).labels == 255).all()


def test_each_patch_is_averaged_down_from_its_own_pixel_size() -> None:
    for own_m, coarsest_m in ((10.0, 50.0), (60.0, 110.0), (200.0, 200.0)):
        cutter = Cutter([random_patch(0, 256, own_m)], CropSpec(size_px=32, mosaic=0.0))
        sizes = [cutter.cut(np.random.default_rng(seed)).pixel_m for seed in range(40)]
        assert own_m * 0.99 <= min(sizes) < 1.2 * own_m
        assert coarsest_m <= max(sizes) <= max(120.0, own_m) * 1.02


def test_crops_of_fine_patches_are_averaged_down_to_the_finest_size_at_least() -> None:
    spec = CropSpec(size_px=32, mosaic=0.0, finest_m=30.0)
    for own_m, finest_m in ((10.0, 30.0), (60.0, 60.0)):
        cutter = Cutter([random_patch(0, 512, own_m)], spec)
        sizes = [cutter.cut(np.random.default_rng(seed)).pixel_m for seed in range(40)]
        assert finest_m * 0.98 <= min(sizes) < 1.2 * finest_m
        assert 105 < max(sizes) <= 122


def test_display_pictures_become_reflectances_of_a_new_stretch_each_time() -> None:
    spec = DisplaySpec(black_max=0.1, span_min=0.4, span_max=0.8, band_spread=0.0)
    numbers = torch.tensor([0.0, 0.2, 1.0, torch.nan]).expand(3, 1, 4)
    patch = Patch("p", numbers, torch.zeros(1, 4, dtype=torch.uint8), 30.0, display=True)
    blacks, spans = [], []
    for seed in range(200):
        found = unstretched(patch, spec, np.random.default_rng(seed))
        assert not found.display
        assert found.bands[..., 3].isnan().all()
        low, fifth, high = found.bands[0, 0, :3].tolist()
        assert fifth == pytest.approx(low + (high - low) / 5, abs=1e-6)
        blacks.append(low)
        spans.append(high - low)
    assert 0 <= min(blacks) < 0.01
    assert 0.09 < max(blacks) <= 0.1
    assert 0.4 <= min(spans) < 0.42
    assert 0.76 < max(spans) <= 0.801
    still = Patch("q", numbers, patch.labels, 30.0)
    assert unstretched(still, spec, np.random.default_rng(0)) is still


def test_crops_that_no_patch_can_fill_are_refused() -> None:
    with pytest.raises(DataError, match="64 x 64 px, crops of 128 px need 96"):
        Cutter([random_patch(0)], CropSpec(size_px=128))
