"""Partial labels: the loss against a loop over pixels and classes, and what follows from its definition."""

import math

import pytest
import torch
from torch import Tensor

from rspipe.models.criterion import Criterion, CriterionSpec
from rspipe.models.dice import dice_loss
from rspipe.models.outputs import SegOutput
from rspipe.models.smooth_ce import SmoothCE

GROUPS = ((1, 2), (0, 3), (2,), (0, 1, 2, 3))
MEMBERS = ((0,), (1,), (2,), (3,), *GROUPS)
WEIGHTS = (1.0, 2.0, 0.5, 3.0)


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, len(MEMBERS), (2, 5, 6), generator=generator)
    labels[0, 0], labels[1, 3, 2] = 255, 255
    return torch.randn(2, 4, 5, 6, generator=generator), labels


def naive_ce(logits: Tensor, labels: Tensor, eps: float, weights: tuple[float, ...]) -> float:
    total = counted = 0.0
    for b, row, column in (labels != 255).nonzero().tolist():
        scores = [math.exp(score) for score in logits[b, :, row, column].tolist()]
        p = [score / sum(scores) for score in scores]
        group = MEMBERS[int(labels[b, row, column])]
        united = -math.log(sum(p[c] for c in group))
        count = sum(weights[c] for c in group) / len(group)
        total += (1 - eps) * count * united
        for c in range(4):
            total += eps / 4 * weights[c] * (united if c in group else -math.log(p[c]))
        counted += count
    return total / counted


def naive_dice(logits: Tensor, labels: Tensor) -> float:
    total = 0.0
    for c in range(4):
        shared = given = truth = 0.0
        for b, row, column in (labels != 255).nonzero().tolist():
            group = MEMBERS[int(labels[b, row, column])]
            if c in group and len(group) > 1:
                continue
            p = float(logits[b, :, row, column].softmax(0)[c])
            shared, given, truth = shared + p * (c in group), given + p, truth + (c in group)
        total += (1 - (2 * shared + 0.05) / (given + truth + 0.05)) if truth else 0.0
    return total / 4


@pytest.mark.parametrize("eps", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy_equals_the_loop(eps: float, weights: tuple[float, ...] | None) -> None:
    logits, labels = batch()
    found = SmoothCE(eps, "valid", weights, GROUPS)(logits, labels).item()
    assert found == pytest.approx(naive_ce(logits, labels, eps, weights or (1.0,) * 4), rel=1e-5)


def test_dice_equals_the_loop() -> None:
    logits, labels = batch()
    assert dice_loss(logits, labels, GROUPS).item() == pytest.approx(naive_dice(logits, labels), rel=1e-5)


def test_a_group_of_one_class_is_that_class() -> None:
    logits, labels = batch()
    named = labels.where(labels != 6, 2)
    assert not torch.equal(named, labels)
    form = SmoothCE(0.05, "valid", WEIGHTS, GROUPS)
    torch.testing.assert_close(form(logits, labels), form(logits, named))
    torch.testing.assert_close(dice_loss(logits, labels, GROUPS), dice_loss(logits, named, GROUPS))


def test_the_group_of_all_classes_costs_and_teaches_nothing() -> None:
    logits = batch()[0].requires_grad_()
    loss = Criterion(CriterionSpec(), GROUPS)(SegOutput(logits), torch.full((2, 5, 6), 7)).total
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert logits.grad is not None
    assert logits.grad.abs().max().item() < 1e-6


def test_without_smoothing_only_the_sum_of_a_group_matters() -> None:
    probabilities = torch.tensor([0.2, 0.5, 0.1, 0.2]).log().view(1, 4, 1, 1)
    swapped = torch.tensor([0.2, 0.05, 0.55, 0.2]).log().view(1, 4, 1, 1)
    labels = torch.full((1, 1, 1), 4)
    for logits in (probabilities, swapped):
        assert SmoothCE(0.0, groups=GROUPS)(logits, labels).item() == pytest.approx(-math.log(0.6), rel=1e-6)


def test_gradients_are_those_of_finite_differences() -> None:
    logits, labels = batch()
    output = logits.requires_grad_()
    criterion = Criterion(CriterionSpec(class_weights=WEIGHTS), GROUPS)
    (gradient,) = torch.autograd.grad(criterion(SegOutput(output, aux={"static": output}), labels).total, output)
    for index in [(0, 1, 2, 3), (1, 0, 0, 0), (1, 3, 4, 5), (0, 2, 0, 0)]:
        ends = []
        for step in (1e-2, -1e-2):
            moved = logits.detach().clone()
            moved[index] += step
            ends.append(criterion(SegOutput(moved, aux={"static": moved}), labels).total.double().item())
        assert gradient[index].item() == pytest.approx((ends[0] - ends[1]) / 2e-2, abs=2e-5)


def test_improbable_groups_stay_finite_in_half_precision() -> None:
    logits = torch.tensor([300.0, -300.0, -300.0, 300.0]).view(1, 4, 1, 1).bfloat16().requires_grad_()
    loss = SmoothCE(0.05, groups=GROUPS)(logits, torch.full((1, 1, 1), 4))
    torch.autograd.backward(loss)
    assert loss.dtype == torch.float32
    assert math.isfinite(loss.item())
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
