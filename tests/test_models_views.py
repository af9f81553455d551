"""Test-time views: turns undo themselves, equal answers stay, and the merge equals numpy's own turning."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from picomodel import PICO_CARD, pico_spec
from torch import Tensor

from rspipe.models.build import build
from rspipe.models.card import ModelCard
from rspipe.models.errors import InputError
from rspipe.models.predictor import Predictor
from rspipe.models.views import COLUMNS, ROWS, View, Viewed, views_of

SIDES = st.integers(1, 40)


def random_window(height: int, width: int, bands: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height * 100 + width)
    numbers = torch.rand((2, bands, height, width), generator=generator)
    return numbers, torch.rand(numbers.shape, generator=generator) > 0.1


@dataclass(frozen=True)
class Pixelwise:
    """Looks at one pixel at a time: turning the picture turns the answer."""

    card: ModelCard = PICO_CARD

    def logits(self, numbers: Tensor, present: Tensor) -> Tensor:
        seen = torch.where(present, numbers, 0)
        return torch.stack([seen[:, 0] * 3, seen[:, 1] - seen[:, 2], seen[:, 2] * 2, seen.sum(dim=1)], dim=1)


@dataclass(frozen=True)
class Lopsided(Pixelwise):
    """Looks at the place in the window too: every view has its own answer."""

    def logits(self, numbers: Tensor, present: Tensor) -> Tensor:
        height, width = numbers.shape[-2:]
        place = torch.linspace(-1, 1, width) + torch.linspace(0, 3, height)[:, None] ** 2
        return Pixelwise.logits(self, numbers, present) * place


@given(height=SIDES, width=SIDES)
def test_every_turn_is_undone_exactly(height: int, width: int) -> None:
    numbers, _ = random_window(height, width)
    for view in views_of("d4"):
        assert torch.equal(view.turn_back(view.turn(numbers)), numbers)


def test_the_views_of_a_symmetry_all_differ_and_are_closed() -> None:
    corner = torch.arange(9.0).view(1, 1, 3, 3)
    for symmetry, count in (("none", 1), ("flips", 4), ("d4", 8)):
        views = views_of(symmetry)  # type: ignore[arg-type]
        seen = {tuple(view.turn(corner).flatten().tolist()) for view in views}
        twice = {tuple(one.turn(other.turn(corner)).flatten().tolist()) for one in views for other in views}
        assert len(seen) == count
        assert twice == seen


@given(height=SIDES, width=SIDES)
def test_an_equivariant_model_says_the_same_through_all_views(height: int, width: int) -> None:
    window = random_window(height, width)
    torch.testing.assert_close(Viewed(Pixelwise(), views_of("d4")).logits(*window), Pixelwise().logits(*window))


def test_the_merge_is_the_mean_of_the_logits_of_numpys_turns() -> None:
    numbers, present = random_window(24, 24)
    logits = []
    for turns in range(4):
        for mirrored in (False, True):
            parts = [np.rot90(part.numpy(), turns, axes=(2, 3)) for part in (numbers, present)]
            parts = [part[..., ::-1].copy() if mirrored else part.copy() for part in parts]
            said = Lopsided().logits(*map(torch.from_numpy, parts)).numpy()
            said = said[..., ::-1] if mirrored else said
            logits.append(np.rot90(said, -turns, axes=(2, 3)).astype(np.float64))
    mean = np.mean(logits, axis=0)
    expected = np.exp(mean) / np.exp(mean).sum(axis=1, keepdims=True)
    found = Viewed(Lopsided(), views_of("d4")).probabilities(numbers, present)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-6)


@given(height=st.integers(4, 40), width=st.integers(4, 40), scale=st.floats(0.5, 2.0))
def test_resizing_keeps_a_flat_picture_whatever_lies_where_nothing_is_present(
    height: int, width: int, scale: float
) -> None:
    assume(scale != 1.0)
    _, present = random_window(height, width)
    for rubbish in (torch.nan, torch.inf, -9999.0):
        numbers = torch.where(present, 0.25, rubbish)
        found, there = View(scale=scale).resize(numbers, present)
        assert found.shape[2:] == (max(1, round(height * scale)), max(1, round(width * scale)))
        torch.testing.assert_close(found[there], torch.full_like(found[there], 0.25))
        assert not found[~there].any()


def test_halving_weighs_the_present_pixels_with_a_triangle() -> None:
    numbers = torch.arange(16.0).view(1, 1, 4, 4)
    present = torch.ones(numbers.shape, dtype=torch.bool)
    present[0, 0, :3, :3] = False
    # A pixel of twice the side reaches two pixels each way: centres at 0.5, 0.5 and 1.5 have weights 3 : 3 : 1.
    along = np.array([[3, 3, 1, 0], [0, 1, 3, 3]]) / 7
    there = present[0, 0].numpy()
    weight = along @ there @ along.T
    mean = along @ np.where(there, numbers[0, 0].numpy(), 0) @ along.T / weight.clip(0.5)
    values, found = View(scale=0.5).resize(numbers, present)
    assert found[0, 0].tolist() == (weight >= 0.5).tolist() == [[False, False], [False, True]]
    assert values[0, 0, 1, 1].item() == pytest.approx(mean[1, 1])


def test_scales_come_back_to_the_windows_size() -> None:
    window = random_window(33, 50)
    views = views_of("d4", (0.75, 1.0, 1.5))
    assert len(views) == 24
    assert Viewed(Lopsided(), views).probabilities(*window).shape == (2, 4, 33, 50)


def test_scaled_logits_of_a_smooth_picture_stay_close() -> None:
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    present = torch.ones(ramp.shape, dtype=torch.bool)
    plain = Pixelwise().logits(ramp, present)
    for scale in (0.5, 1.25, 2.0):
        found = Viewed(Pixelwise(), (View(scale=scale),)).logits(ramp, present)
        assert (found - plain)[..., 4:-4].abs().max() < 0.02


def test_one_plain_view_is_the_predictor_bit_for_bit() -> None:
    predictor = Predictor(build(pico_spec(), seed=1), PICO_CARD, torch.device("cpu"), "float32")
    window = random_window(40, 64)
    assert torch.equal(Viewed(predictor, views_of("none")).probabilities(*window), predictor.probabilities(*window))


def test_views_name_their_axes_from_the_end() -> None:
    picture = torch.tensor([[1, 2], [3, 4]])
    assert View(mirrored=(ROWS,)).turn(picture).tolist() == [[3, 4], [1, 2]]
    assert View(mirrored=(COLUMNS,)).turn(picture).tolist() == [[2, 1], [4, 3]]


@pytest.mark.parametrize("scale", [0.0, -1.0, 9.0, float("nan")])
def test_scales_that_make_no_sense_are_refused(scale: float) -> None:
    with pytest.raises(InputError, match="scale must lie in"):
        views_of("none", (scale,))
