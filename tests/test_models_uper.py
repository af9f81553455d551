"""Pools and batch statistics against cells that are cut out by hand."""

import oracle_ktda as oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rspipe.models.uper import BINS, ValidNorm, pooled
from rspipe.models.validity import valid_grid


def some(height: int, width: int, share: float = 0.3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height * 100 + width)
    cells = torch.rand(2, 1, height, width, generator=generator) > share
    cells[:, :, 0, 0] = True
    return torch.randn(2, 5, height, width, generator=generator), cells


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 11), st.integers(1, 11), st.sampled_from(BINS), st.sampled_from([0.0, 0.3, 0.9]))
def test_pools_average_the_cells_that_are_cut_out(height: int, width: int, bins: int, share: float) -> None:
    x, cells = some(height, width, share)
    expected = torch.stack([oracle.pool(x[b], cells[b, 0], bins) for b in range(2)])
    assert torch.allclose(pooled(x, cells, bins), expected, atol=1e-6)


def test_what_lies_in_an_invalid_cell_changes_no_bit() -> None:
    x, cells = some(9, 9)
    for rubbish in (1e20, float("nan"), float("inf")):
        assert torch.equal(pooled(x, cells, 3), pooled(torch.where(cells, x, rubbish), cells, 3))


@settings(max_examples=10, deadline=None)
@given(st.integers(14, 70), st.integers(14, 70), st.integers(1, 9), st.integers(1, 9))
def test_a_cell_of_any_grid_is_valid_if_a_pixel_that_it_touches_is(
    height: int, width: int, rows: int, columns: int
) -> None:
    valid = torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(rows)) > 0.97
    valid[:, :, 3, 5] = True
    found = valid_grid(valid, torch.Size((rows, columns)))
    expected = [oracle.grid_cells(mask[0], (rows, columns)) for mask in valid]
    assert torch.equal(found[:, 0], torch.stack(expected))


def test_batch_statistics_are_those_of_the_valid_cells() -> None:
    x, cells = some(6, 7)
    norm = ValidNorm(5).train()
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2.0)
        norm.bias.uniform_(-1.0, 1.0)
    found = norm(x, cells)
    kept = x.movedim(1, -1)[cells[:, 0]]
    mean, var = kept.mean(0), kept.var(0, unbiased=False)
    expected = (x.movedim(1, -1) - mean) / (var + 1e-5).sqrt() * norm.weight + norm.bias
    assert torch.allclose(found.movedim(1, -1), expected, atol=1e-5)
    assert torch.allclose(norm.running_mean, 0.1 * mean, atol=1e-6)
    assert torch.allclose(norm.running_var, 0.9 + 0.1 * kept.var(0), atol=1e-5)
    assert int(norm.num_batches_tracked) == 1


def test_without_holes_it_is_batch_normalisation() -> None:
    x, _ = some(6, 7)
    ours, theirs = ValidNorm(5), nn.BatchNorm2d(5)
    everywhere = torch.ones(2, 1, 6, 7, dtype=torch.bool)
    assert torch.allclose(ours(x, everywhere), theirs(x), atol=1e-5)
    for name, tensor in theirs.state_dict().items():
        assert torch.allclose(ours.state_dict()[name].float(), tensor.float(), atol=1e-6)
    _, cells = some(6, 7)
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours.eval()(x, cells), theirs.eval()(x))


def test_a_single_value_is_normalised_to_the_bias() -> None:
    norm = ValidNorm(5).train()
    lone = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
    lone[0, 0, 1, 1] = True
    found = norm(torch.randn(1, 5, 3, 3, generator=torch.Generator().manual_seed(0)), lone)
    assert bool(found.isfinite().all())
    assert found[0, :, 1, 1].tolist() == pytest.approx([0.0] * 5, abs=1e-6)
