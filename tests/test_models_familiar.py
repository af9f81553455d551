"""Distances from what training showed, against inverse matrices and loops over cells."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from rspipe.models.distances import Distances
from rspipe.models.familiar import Yardstick, familiar_of, in_units_of
from rspipe.models.mlm import Familiar

CPU = torch.device("cpu")


def seen(count: int = 6) -> tuple[list[Tensor], list[Tensor]]:
    """Training profiles of three channels that go together and differ in size, and their valid cells."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.5, 0.0], [30.0, -20.0, 50.0]])
    noise = torch.randn(count, 3, 12, 10, generator=generator)
    valid = torch.rand(count, 1, 12, 10, generator=generator) > 0.2
    return list(torch.einsum("kc,bchw->bkhw", mix, noise) + 5.0), list(valid)


def naive(profiles: list[Tensor], valid: list[Tensor], cells: Tensor, mask: Tensor) -> np.ndarray:
    """Unscaled distances of one image (K, h, w)."""
    rows = np.concatenate([p[:, m[0]].T.double().numpy() for p, m in zip(profiles, valid, strict=True)])
    covariance = np.cov(rows.T)
    covariance += 1e-3 * np.diag(np.diag(covariance))
    precision, mean = np.linalg.inv(covariance), rows.mean(0)
    _, height, width = cells.shape
    found = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            lengths = []
            for k in range(max(0, i - 2), min(height, i + 3)):
                for m in range(max(0, j - 2), min(width, j + 3)):
                    if mask[0, k, m]:
                        off = cells[:, k, m].double().numpy() - mean
                        lengths.append(np.sqrt(off @ precision @ off))
            found[i, j] = np.mean(lengths)
    return found


def test_distance_is_mahalanobis_averaged_over_valid_neighbours_in_units_of_the_usual() -> None:
    profiles, valid = seen()
    measure = Yardstick.of(familiar_of(profiles, valid), CPU)
    strange = profiles[0].flip(0) * 2
    usual = np.concatenate([naive(profiles, valid, p, m)[m[0].numpy()] for p, m in zip(profiles, valid, strict=True)])
    expected = naive(profiles, valid, strange, valid[1]) / np.quantile(usual, 0.99)
    found = measure(strange[None], valid[1][None])[0, 0].numpy()
    assert np.allclose(found, expected, rtol=2e-3)


def test_one_training_cell_in_a_hundred_is_beyond_one() -> None:
    profiles, valid = seen(40)
    measure = Yardstick.of(familiar_of(profiles, valid), CPU)
    found = torch.cat([measure(p[None], m[None])[0, 0][m[0]] for p, m in zip(profiles, valid, strict=True)])
    assert (found > 1).float().mean().item() == pytest.approx(0.01, abs=0.002)


def test_with_held_out_cells_one_in_twenty_of_them_is_beyond_one() -> None:
    profiles, valid = seen(40)
    familiar = familiar_of(profiles, valid)
    before = Yardstick.of(familiar, CPU)
    held = [3 * p.flip(0) for p in profiles]
    lengths = torch.cat([before(p[None], m[None])[0][m] for p, m in zip(held, valid, strict=True)])
    told = in_units_of(Distances.of(lengths.numpy(), scenes=40), familiar)
    after = Yardstick.of(told, CPU)
    found = torch.cat([after(p[None], m[None])[0][m] for p, m in zip(held, valid, strict=True)])
    assert told.scenes == 40
    assert (found > 1).float().mean().item() == pytest.approx(0.05, abs=0.005)
    assert torch.allclose(found * torch.quantile(lengths, 0.95), lengths, rtol=0.011)


def test_the_unit_of_a_channel_does_not_matter() -> None:
    profiles, valid = seen()
    scale = torch.tensor([100.0, 0.01, 7.0]).view(3, 1, 1)
    one = Yardstick.of(familiar_of(profiles, valid), CPU)(profiles[0][None] + 1, valid[0][None])
    other = familiar_of([scale * p for p in profiles], valid)
    found = Yardstick.of(other, CPU)(scale * (profiles[0][None] + 1), valid[0][None])
    assert torch.allclose(found, one, rtol=1e-3)


def test_invalid_cells_count_for_nothing() -> None:
    profiles, valid = seen()
    measure = Yardstick.of(familiar_of(profiles, valid), CPU)
    other = profiles[0].where(valid[0], 1e6)
    assert torch.equal(measure(profiles[0][None], valid[0][None]), measure(other[None], valid[0][None]))
    assert bool((measure(profiles[0][None], torch.zeros_like(valid[0])[None]) == 0).all())


def test_a_channel_that_never_varies_is_no_division_by_zero() -> None:
    profiles, valid = seen()
    still = [torch.cat([p, torch.ones(1, 12, 10)]) for p in profiles]
    found = Yardstick.of(familiar_of(still, valid), CPU)(still[0][None], valid[0][None])
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("whiten", [((1.0, 0.0), (0.0, 1.0)), ((1.0,),), ((1.0,), (0.0, 1.0), (0.0, 0.0, 1.0))])
def test_what_is_no_triangle_is_refused(whiten: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(ValidationError, match=r"as many rows, of 1, 2, \.\.\. 2 numbers"):
        Familiar(mean=(0.0, 0.0), whiten=whiten)
