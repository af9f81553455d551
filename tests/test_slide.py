"""Pictures in memory take the way of a run: against the dumb oracle, the run itself, and the whole picture at once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from inferscene import Constant, Moody, Stored, random_scene, run
from picomodel import PICO_CARD, pico_spec

from rspipe.models.build import build
from rspipe.models.data import Patch
from rspipe.models.predictor import Predictor
from rspipe.pipeline.errors import ConfigError, SceneFailedError
from rspipe.pipeline.slide import slide

CPU = torch.device("cpu")
SIDES = [(32, 0), (64, 32), (96, 32), (128, 64)]


def picture(scene: Stored) -> Patch:
    """Missing numbers as NaN, as labelled data has them."""
    numbers = torch.from_numpy(np.where(scene.present, scene.physical, np.nan).astype(np.float32))
    return Patch("picture", numbers, torch.zeros(scene.valid.shape, dtype=torch.uint8), 30.0)


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("size", [(1, 1), (65, 64), (193, 130)])
def test_blended_probabilities_equal_the_oracles(tmp_path: Path, size: tuple[int, int], sides: tuple[int, int]) -> None:
    scene, model = random_scene(tmp_path, *size, holes=size != (1, 1)), Moody()

    def said(numbers: np.ndarray, present: np.ndarray) -> np.ndarray:
        return np.asarray(model.probabilities(torch.from_numpy(numbers)[None], torch.from_numpy(present)[None])[0])

    expected = oracle.blend(scene.physical, scene.present, scene.valid, said, sides)
    found = slide(model, picture(scene), *sides, CPU)
    np.testing.assert_array_equal(found.valid.numpy(), scene.valid)
    at = scene.valid
    np.testing.assert_allclose(found.probabilities.numpy()[:, at], expected.probabilities[:, at], atol=1e-5)


def test_classes_and_confidence_are_those_of_a_run(tmp_path: Path) -> None:
    scene = random_scene(tmp_path, 200, 170)
    ran = run(scene, tmp_path / "out", Moody(), scene.windows(64, 32), 2)
    found = slide(Moody(), picture(scene), 64, 32, CPU)
    classes = np.where(scene.valid, found.probabilities.argmax(dim=0).numpy(), 255)
    confidence = np.where(scene.valid, (found.probabilities.amax(dim=0) * 254).round().numpy(), 255)
    np.testing.assert_array_equal(classes, ran.classes)
    np.testing.assert_array_equal(confidence, ran.confidence)


@pytest.mark.parametrize("overlap_px", [0, 32])
def test_a_window_that_covers_the_picture_gives_the_whole_picture_bit_for_bit(overlap_px: int) -> None:
    card = replace(PICO_CARD, temperature=1.3)
    predictor = Predictor(build(pico_spec(), seed=1), card, CPU, "float32")
    numbers = torch.randn((3, 64, 64), generator=torch.Generator().manual_seed(0))
    numbers[1, 5:20, 7:30] = torch.nan
    numbers[2, 40:] = torch.nan
    patch = Patch("picture", numbers, torch.zeros((64, 64), dtype=torch.uint8), 30.0)
    expected = predictor.probabilities(numbers[None], ~numbers[None].isnan())[0]
    found = slide(predictor, patch, 64, overlap_px, CPU)
    assert torch.equal(found.probabilities, expected)
    assert torch.equal(found.valid, ~numbers[:2].isnan().any(dim=0))


def test_a_picture_without_a_valid_pixel_is_zero(tmp_path: Path) -> None:
    patch = picture(random_scene(tmp_path, 40, 40, holes=False))
    patch.bands[0] = torch.nan
    found = slide(Moody(), patch, 32, 0, CPU)
    assert not found.valid.any()
    assert not found.probabilities.any()


def test_no_probabilities_and_no_window_grid_are_refused(tmp_path: Path) -> None:
    patch = picture(random_scene(tmp_path, 40, 40, holes=False))
    with pytest.raises(SceneFailedError, match=r"'picture'.*no probabilities"):
        slide(Constant((0.5, 0.1)), patch, 32, 0, CPU)
    with pytest.raises(ConfigError, match="window_px"):
        slide(Moody(), patch, 33, 0, CPU)
