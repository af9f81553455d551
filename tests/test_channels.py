"""What rasters on request say of a pixel, against numpy in float64; and that a pixel's bytes hang on nothing else."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from rspipe.pipeline.channels import Channels, entropy_bits
from rspipe.pipeline.rasters import KINDS, RasterName, arranged

ALL: tuple[RasterName, ...] = arranged(tuple(KINDS))


def chances(rows: int, columns: int, classes: int = 4, seed: int = 0) -> Tensor:
    rng = np.random.default_rng([seed, rows, columns])
    return torch.from_numpy(rng.dirichlet(np.full(classes, 0.4), (rows, columns)).transpose(2, 0, 1).astype(np.float32))


def bits(p: NDArray[np.float64]) -> NDArray[np.float64]:
    logs = np.log2(p, out=np.zeros_like(p), where=p > 0)
    return np.asarray(-(p * logs).sum(axis=0))


def seen_by_two(share: float) -> tuple[Tensor, NDArray[np.float64], Channels]:
    """Two windows blended by a share; the same in float64: Jensen and Shannon's divergence of the two."""
    channels = Channels(4, ALL)
    one, two = chances(9, 31, seed=1), chances(9, 31, seed=2)
    distance = torch.rand(2, 1, 9, 31, generator=torch.Generator().manual_seed(0)) * 8
    stacks = channels.stack(torch.stack([one, two]), distance)
    a, b = one.double().numpy(), two.double().numpy()
    divergence = bits(share * a + (1 - share) * b) - share * bits(a) - (1 - share) * bits(b)
    return stacks[0] * share + stacks[1] * (1 - share), divergence, channels


@pytest.mark.parametrize("share", [0.5, 0.25, 1.0])
def test_every_raster_is_within_a_step_of_what_it_says(share: float) -> None:
    blended, divergence, channels = seen_by_two(share)
    p = blended[:4].double().numpy()
    ordered = np.sort(p, axis=0)
    expected = {
        "probabilities": p,
        "entropy": bits(p) / 2,
        "margin": ordered[-1] - ordered[-2],
        "disagreement": divergence.clip(0, 1),
        "unfamiliarity": blended[5].double().numpy(),
    }
    for name in channels.rasters:
        found = channels.raster(name, blended, torch.ones(9, 31, dtype=torch.bool)).numpy()
        steps = KINDS[name].steps
        assert np.abs(found - (expected[name] * steps).clip(0, 254)).max() <= 0.5 + 1e-3 * steps, name
        assert found.dtype == np.uint8


def test_one_window_never_disagrees_with_itself() -> None:
    blended, _, channels = seen_by_two(1.0)
    assert not channels.raster("disagreement", blended, torch.ones(9, 31, dtype=torch.bool)).any()


def test_two_windows_that_are_sure_of_different_classes_disagree_by_one_bit() -> None:
    channels = Channels(3, ("disagreement",))
    sure = torch.eye(3)[:2].view(2, 3, 1, 1)
    blended = channels.stack(sure, None).mean(dim=0)
    assert channels.raster("disagreement", blended, torch.tensor([[True]])).item() == 254


def test_invalid_pixels_are_nodata_in_every_raster() -> None:
    blended, _, channels = seen_by_two(0.5)
    valid = torch.rand(9, 31, generator=torch.Generator().manual_seed(1)) > 0.5
    for name in channels.rasters:
        found = channels.raster(name, blended, valid)
        assert (found[..., ~valid] == 255).all()
        assert (found[..., valid] < 255).all()


@given(columns=st.integers(1, 40), start=st.integers(0, 39))
def test_a_pixels_bytes_do_not_hang_on_where_it_lies_in_a_tensor(columns: int, start: int) -> None:
    """Vector instructions and the rest behind them round logarithms differently; tasks cut tensors differently."""
    whole, _, channels = seen_by_two(0.3)
    valid = torch.ones(9, 31, dtype=torch.bool)
    cut = slice(min(start, 30), min(start, 30) + columns)
    for name in channels.rasters:
        part = channels.raster(name, whole[..., cut].contiguous(), valid[:, cut])
        assert torch.equal(channels.raster(name, whole, valid)[..., cut], part)
    assert torch.equal(entropy_bits(whole[:4])[:, cut], entropy_bits(whole[:4, :, cut].contiguous()))


def test_what_is_not_asked_for_costs_no_channel() -> None:
    assert [Channels(4, rasters).count for rasters in ((), ("entropy", "margin"), ("disagreement",), ALL)] == [
        4, 4, 5, 6,
    ]  # fmt: skip
    assert Channels.of(6, ALL) == Channels(4, ALL)
    probabilities = chances(3, 3)[None]
    assert Channels(4, ("entropy",)).stack(probabilities, None) is probabilities
