"""Logits averaged over a cell: scipy's correlation, and what must vanish and what must stay."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle_d2ls import averaged
from picomodel import bicor_spec, pico_spec

from rspipe.models.build import build
from rspipe.models.decode import smoothed
from rspipe.models.specs import BiCoRSpec, D2LSSpec


@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_smoothing_is_a_weighted_mean_with_the_last_pixel_repeated(height: int, width: int, seed: int) -> None:
    logits = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(smoothed(logits), averaged(logits))


def test_what_repeats_every_cell_vanishes_and_slopes_stay() -> None:
    cell = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    slope = (3 * rows - 2 * columns).double()
    found = smoothed(cell.repeat(1, 1, 6, 8) + slope)[..., 2:-2, 2:-2]
    wanted = cell.mean(dim=(2, 3), keepdim=True) + slope[2:-2, 2:-2]
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("spec", [pico_spec(), pico_spec().model_copy(update={"dictionary": "none"}), bicor_spec()])
@pytest.mark.parametrize("training", [False, True])
def test_a_smooth_model_averages_its_logits_in_evaluation(spec: D2LSSpec | BiCoRSpec, *, training: bool) -> None:
    image = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    rough, smooth = (build(spec.model_copy(update={"smooth": value}), 3).train(training) for value in (False, True))
    with torch.no_grad():
        before, after = rough(image).logits, smooth(image).logits
    torch.testing.assert_close(after, before if training else averaged(before))
