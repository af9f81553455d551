"""Ramps and decisions against closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rspipe.pipeline.blend import COLUMNS, ROWS, Ramp, decide

CPU = torch.device("cpu")


@given(st.integers(0, 16).map(lambda k: 32 * k))
def test_the_ramp_is_a_squared_sine_and_pairs_sum_to_exactly_one(overlap: int) -> None:
    ramp = Ramp.cosine(overlap, CPU)
    expected = [math.sin(math.pi / 2 * (k + 0.5) / overlap) ** 2 for k in range(overlap)]
    assert ramp.rising.dtype == torch.float32
    assert ramp.rising.tolist() == pytest.approx(expected, abs=1e-7)
    assert (ramp.rising + ramp.falling == 1).all()
    assert (ramp.rising > 0).all()
    assert (ramp.falling > 0).all()


@pytest.mark.parametrize("axis", [COLUMNS, ROWS])
@given(data=st.data())
def test_a_constant_survives_fall_and_join_within_two_roundings(axis: int, data: st.DataObject) -> None:
    window, overlap = data.draw(st.sampled_from([(64, 0), (64, 32), (128, 32), (128, 64)]))
    said = np.float32(data.draw(st.floats(0, 1, width=32)))
    ramp, stride = Ramp.cosine(overlap, CPU), window - overlap
    block = torch.full((2, window, window), float(said))
    owed = ramp.fall(block, stride, axis)
    joined = ramp.join(block.clone(), owed, axis)
    assert owed.shape[axis] == overlap
    assert joined.shape == block.shape
    assert torch.allclose(joined, block, rtol=4 * 2**-24, atol=1e-44)


def test_products_are_rounded_before_they_are_added() -> None:
    ramp = Ramp.cosine(64, CPU)
    block, carry = torch.rand(3, 128, 128), torch.rand(3, 128, 64)
    product = block[..., :64].numpy() * ramp.rising.numpy()
    assert np.array_equal(ramp.join(block, carry, COLUMNS)[..., :64].numpy(), carry.numpy() + product)


def test_ties_go_to_the_lowest_id() -> None:
    probabilities = torch.tensor([[0.2, 0.5, 0.25], [0.4, 0.5, 0.25], [0.4, 0.0, 0.5]]).view(3, 1, 3)
    decision = decide(probabilities, torch.tensor([[True, True, True]]))
    assert decision.classes.tolist() == [[1, 0, 2]]


@given(st.integers(0, 254))
def test_confidence_is_in_steps_of_one_254th_and_nodata_is_255(step: int) -> None:
    largest = 0.5 + step / 508
    probabilities = torch.tensor([largest, 1 - largest]).view(2, 1, 1).expand(2, 1, 2)
    decision = decide(probabilities, torch.tensor([[True, False]]))
    assert decision.confidence.tolist() == [[round(254 * np.float32(largest)), 255]]
    assert decision.classes.tolist()[0][1] == 255
    assert decision.classes.dtype == decision.confidence.dtype == torch.uint8


def test_a_probability_of_one_and_an_ulp_is_still_254() -> None:
    probabilities = torch.tensor([1.0000001, 0.0]).view(2, 1, 1)
    assert decide(probabilities, torch.tensor([[True]])).confidence.item() == 254
