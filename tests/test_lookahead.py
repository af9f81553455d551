"""Lookahead against numbers worked by hand."""

import pytest
import torch

from rspipe.models.lookahead import Lookahead


def test_worked_by_hand() -> None:
    # The optimiser adds 1 per step. k = 2, alpha = 1/2: slow 0 -> (0 + 2) / 2 = 1 -> (1 + 3) / 2 = 2.
    weight = torch.zeros(1)
    lookahead = Lookahead([weight], steps=2, alpha=0.5)
    seen = []
    for _ in range(5):
        weight += 1
        lookahead.step()
        seen.append(weight.item())
    assert seen == [1, 1, 2, 2, 3]
    assert lookahead.slow[0].item() == 2


@pytest.mark.parametrize(("alpha", "expected"), [(1.0, 5.0), (0.0, 0.0), (0.2, 1.0)])
def test_alpha_is_how_far_the_slow_weights_follow(alpha: float, expected: float) -> None:
    weight = torch.zeros(3)
    lookahead = Lookahead([weight], steps=5, alpha=alpha)
    for _ in range(5):
        weight += 1
        lookahead.step()
    assert weight.tolist() == pytest.approx([expected] * 3)
