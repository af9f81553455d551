from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from picomodel import PICO_CARD, bicor_spec, pico_spec, write_pico
from test_models_ktda import ktda_spec
from torch import Tensor

from rspipe.models.errors import CardError, InputError, WeightsError
from rspipe.models.normalise import Normaliser
from rspipe.models.predictor import Predictor, reflected
from rspipe.models.specs import ModelSpec


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor.load(write_pico(tmp_path_factory.mktemp("pico")))


def scene(height: int = 64, width: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, height, width, generator=generator)
    mean = torch.tensor([band.mean for band in PICO_CARD.bands]).view(-1, 1, 1)
    stddev = torch.tensor([band.stddev for band in PICO_CARD.bands]).view(-1, 1, 1)
    present = torch.rand(2, 3, height, width, generator=generator) > 0.1
    present[0, 0, :40] = False
    return scores * stddev + mean, present


def test_probabilities_sum_to_one(predictor: Predictor) -> None:
    found = predictor.probabilities(*scene())
    assert found.shape == (2, 4, 64, 64)
    assert found.dtype == torch.float32
    assert torch.allclose(found.sum(1), torch.ones(1), atol=1e-6)
    assert not found.requires_grad


@pytest.mark.parametrize("rubbish", [0.0, -9999.0, 1e20, float("nan"), float("inf")])
def test_what_lies_under_nodata_changes_no_bit(predictor: Predictor, rubbish: float) -> None:
    numbers, present = scene()
    expected = predictor.probabilities(numbers, present)
    found = predictor.probabilities(torch.where(present, numbers, rubbish), present)
    assert torch.equal(found, expected)


def test_other_bands_of_an_invalid_pixel_change_no_bit(predictor: Predictor) -> None:
    numbers, present = scene()
    invalid = ~present[:, :2].all(1, keepdim=True)
    expected = predictor.probabilities(numbers, present)
    assert torch.equal(predictor.probabilities(torch.where(invalid, 7.0, numbers), present), expected)


@pytest.mark.parametrize("rubbish", [-9999.0, float("nan"), float("inf")])
def test_nodata_changes_no_bit_of_a_model_that_compresses(tmp_path: Path, rubbish: float) -> None:
    spec = pico_spec()
    compressing = spec.model_copy(update={"pyramid": spec.pyramid.model_copy(update={"compress": True})})
    predictor = Predictor.load(write_pico(tmp_path, replace(PICO_CARD, spec=compressing)))
    numbers, present = scene()
    expected = predictor.probabilities(numbers, present)
    assert not torch.equal(expected, Predictor.load(write_pico(tmp_path)).probabilities(numbers, present))
    assert torch.equal(predictor.probabilities(torch.where(present, numbers, rubbish), present), expected)


def test_windows_with_nothing_missing_are_normalised_as_beside_one_with_holes() -> None:
    """The first takes the short way, the second, holed, the way with masks; numpy says what both must give."""
    numbers = (
        torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        * torch.tensor([0.5, 0.8, 300.0])[:, None, None]
    )
    present = torch.ones_like(numbers, dtype=torch.bool)
    present[1, 0, :8], present[1, 2, 8:16] = False, False
    normalise = Normaliser.of(PICO_CARD.bands, torch.device("cpu"))
    short, masked = normalise(numbers[:1], present[:1]), normalise(numbers, present)
    assert torch.equal(short.image[0], masked.image[0])
    assert short.valid.all()
    assert masked.valid[0].all()
    means, deviations = (np.array([getattr(band, name) for band in PICO_CARD.bands]) for name in ("mean", "stddev"))
    scores = (numbers.numpy().astype(np.float64) - means[:, None, None]) / deviations[:, None, None]
    scores[1, :, :8], scores[1, 2, 8:16] = 0, 0
    np.testing.assert_allclose(masked.image.numpy(), scores, atol=1e-5)
    assert torch.equal(masked.valid[1, 0], present[1, 0])


def test_missing_optional_band_is_its_mean(predictor: Predictor) -> None:
    numbers, present = scene()
    present[:, 2] = False
    filled, everywhere = numbers.clone(), present.clone()
    filled[:, 2], everywhere[:, 2] = PICO_CARD.bands[2].mean, True
    assert torch.equal(predictor.probabilities(numbers, present), predictor.probabilities(filled, everywhere))


def test_wholly_invalid_window_is_finite(predictor: Predictor) -> None:
    numbers, present = scene()
    assert bool(predictor.probabilities(numbers, torch.zeros_like(present)).isfinite().all())


def test_temperature_divides_the_logits(tmp_path: Path, predictor: Predictor) -> None:
    numbers, _ = scene()
    everywhere = torch.ones(2, 3, 64, 64, dtype=torch.bool)
    soft = predictor.probabilities(numbers, everywhere).log()
    cold = Predictor.load(write_pico(tmp_path)).probabilities(numbers, everywhere).log()
    assert torch.equal(soft, cold)
    logits = predictor._model(_z_scores(numbers)).logits
    expected = (logits / 1.5).exp() / (logits / 1.5).exp().sum(1, keepdim=True)
    assert torch.allclose(soft.exp(), expected, atol=1e-5)


def _z_scores(numbers: Tensor) -> Tensor:
    return torch.stack([(numbers[:, i] - band.mean) / band.stddev for i, band in enumerate(PICO_CARD.bands)], dim=1)


@pytest.mark.parametrize("size", [(1, 1), (33, 70), (2, 40)])
def test_any_size_comes_back(predictor: Predictor, size: tuple[int, int]) -> None:
    assert predictor.probabilities(*scene(*size)).shape == (2, 4, *size)


@pytest.mark.parametrize("size", [(1, 1), (33, 70)])
@pytest.mark.parametrize("spec", [bicor_spec(), ktda_spec()], ids=["bicor", "ktda"])
def test_any_size_comes_back_from_the_other_models(tmp_path: Path, spec: ModelSpec, size: tuple[int, int]) -> None:
    other = Predictor.load(write_pico(tmp_path, replace(PICO_CARD, spec=spec)))
    assert other.probabilities(*scene(*size)).shape == (2, 4, *size)


@pytest.mark.parametrize("size", [1, 2, 5, 31, 32, 33])
def test_overhang_reflects_about_the_last_pixel(size: int) -> None:
    column = torch.arange(size, dtype=torch.float32).view(1, 1, size, 1).expand(1, 1, size, 32)
    found = reflected(column)[0, 0, :, 0].tolist()
    rows = [min(i % (2 * size - 2), 2 * size - 2 - i % (2 * size - 2)) if size > 1 else 0 for i in range(len(found))]
    assert len(found) % 32 == 0
    assert found == rows


def test_bfloat16_stays_near(tmp_path: Path, predictor: Predictor) -> None:
    near = Predictor.load(write_pico(tmp_path), precision="bfloat16").probabilities(*scene())
    assert near.dtype == torch.float32
    assert torch.allclose(near, predictor.probabilities(*scene()), atol=0.05)


def test_other_shapes_and_types_are_refused(predictor: Predictor) -> None:
    numbers, present = scene()
    with pytest.raises(InputError, match=r"must both be \(B, 3, H, W\)"):
        predictor.probabilities(numbers[:, :2], present[:, :2])
    with pytest.raises(InputError, match="float32"):
        predictor.probabilities(numbers.double(), present)


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    path = write_pico(tmp_path)
    with (tmp_path / PICO_CARD.weights_name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(WeightsError, match="SHA-256"):
        Predictor.load(path)


def test_missing_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="cannot be read"):
        Predictor.load(tmp_path / "absent.json")
