"""Crops: labels stay with their pixels, areas are averaged exactly, chance comes from the generator alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from labelled import CLASSES, random_patch

from rspipe.models.crops import CropSpec, Cutter, Size, shrunk, turned
from rspipe.models.data import Patch
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
