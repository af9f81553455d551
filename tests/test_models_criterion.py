"""The three terms of the loss against loops over pixels, images and classes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rspipe.models.criterion import PUBLISHED, Criterion, CriterionSpec
from rspipe.models.dice import dice_loss
from rspipe.models.outputs import SegOutput
from rspipe.models.scatter import scatter_ratio
from rspipe.models.smooth_ce import Mean, SmoothCE


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (2, 4, 5), generator=generator)
    labels[0, 0], labels[1, 3, 2] = 255, 255
    return torch.randn(2, 4, 4, 5, generator=generator), labels


def naive_ce(logits: Tensor, labels: Tensor, eps: float, counted: int) -> float:
    total = 0.0
    for b, row, column in (labels != 255).nonzero().tolist():
        scores = logits[b, :, row, column].tolist()
        log_sum = math.log(sum(math.exp(score) for score in scores))
        costs = [log_sum - score for score in scores]
        total += (1 - eps) * costs[int(labels[b, row, column])] + eps / len(costs) * sum(costs)
    return total / counted


def naive_dice(logits: Tensor, labels: Tensor) -> float:
    classes, total = logits.shape[1], 0.0
    pixels = (labels != 255).nonzero().tolist()
    for c in range(classes):
        shared = given_c = labelled = 0.0
        for b, row, column in pixels:
            p = float(logits[b, :, row, column].softmax(0)[c])
            t = int(labels[b, row, column]) == c
            shared, given_c, labelled = shared + p * t, given_c + p, labelled + t
        if labelled:
            total += 1 - (2 * shared + 0.05) / max(given_c + labelled + 0.05, 1e-7)
    return total / classes


def naive_scatter(table: Tensor, floor: float = 0.0) -> float:
    images, classes, _ = table.shape
    centres = [torch.stack([table[b, n] for b in range(images)]).sum(0) / images for n in range(classes)]
    within = sum(float(((table[b, n] - centres[n]) ** 2).sum()) for b in range(images) for n in range(classes))
    pairs = [float(((centres[n] - centres[m]) ** 2).sum()) for n in range(classes) for m in range(n + 1, classes)]
    return within / (images * classes) / (max(2 / (classes * (classes - 1)) * sum(pairs), floor) + 1e-6)


@pytest.mark.parametrize(("mean", "counted"), [("valid", 34), ("all", 40)])
def test_cross_entropy_equals_the_loop(mean: Mean, counted: int) -> None:
    logits, labels = batch()
    found = SmoothCE(0.05, mean)(logits, labels).item()
    assert found == pytest.approx(naive_ce(logits, labels, 0.05, counted), rel=1e-5)


def test_dice_equals_the_loop_and_counts_absent_classes() -> None:
    logits, labels = batch()
    assert dice_loss(logits, labels).item() == pytest.approx(naive_dice(logits, labels), rel=1e-5)


def test_dice_of_a_perfect_prediction_is_zero() -> None:
    _, labels = batch()
    hot = 1000.0 * torch.nn.functional.one_hot(labels.where(labels != 255, 3), 4).movedim(-1, 1)
    assert dice_loss(hot, labels).item() == pytest.approx(0.0, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_what_is_predicted_under_ignore_is_irrelevant(seed: int) -> None:
    logits, labels = batch()
    noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed))
    other = torch.where((labels == 255).unsqueeze(1), 50 * noise, logits)
    means: tuple[Mean, ...] = ("valid", "all")
    for mean in means:
        one = SmoothCE(0.05, mean)(logits, labels)
        two = SmoothCE(0.05, mean)(other, labels)
        assert torch.equal(one, two)
    assert torch.equal(dice_loss(logits, labels), dice_loss(other, labels))


def test_nothing_labelled_costs_nothing_and_still_differentiates() -> None:
    logits = batch()[0].requires_grad_()
    labels = torch.full((2, 4, 5), 255)
    output = SegOutput(logits, aux={"static": logits * 2}, tables=(logits.flatten(2),))
    loss = Criterion(CriterionSpec(scatter=0.0))(output, labels)
    torch.autograd.backward(loss.total)
    assert loss.total.item() == 0.0
    assert logits.grad is not None
    assert bool((logits.grad == 0).all())


def test_scatter_equals_the_loop() -> None:
    table = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
    assert scatter_ratio(table).item() == pytest.approx(naive_scatter(table), rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 4, 6), (3, 1, 6)])
def test_scatter_of_one_image_or_class_is_zero_with_a_graph(shape: tuple[int, ...]) -> None:
    table = torch.randn(shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    ratio = scatter_ratio(table)
    torch.autograd.backward(ratio)
    assert ratio.item() == 0.0
    assert table.grad is not None
    assert bool(table.grad.isfinite().all())


def test_scatter_of_equal_images_is_zero() -> None:
    table = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(0)).expand(3, -1, -1)
    assert scatter_ratio(table).item() == pytest.approx(0.0, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_scatter_ignores_scale_and_common_shift(scale: float, shift: float) -> None:
    table = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
    assert scatter_ratio(scale * table + shift).item() == pytest.approx(scatter_ratio(table).item(), rel=1e-3)


def test_total_is_the_weighted_sum_of_the_terms() -> None:
    logits, labels = batch()
    table = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
    loss = Criterion(CriterionSpec())(SegOutput(logits, aux={"static": -logits}, tables=(table,)), labels)
    assert list(loss.terms) == ["ce", "dice", "static_ce", "scatter"]
    expected = (
        naive_ce(logits, labels, 0.05, 34)
        + naive_dice(logits, labels)
        + 0.4 * naive_ce(-logits, labels, 0.05, 34)
        + naive_scatter(table)
    )
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)


def naive_resize(heat: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, pixel centres at half-integers, one image and class after another."""
    grown = torch.empty(*heat.shape[:2], height, width)
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * heat.shape[2] / height - 0.5, 0), heat.shape[2] - 1)
            x = min(max((j + 0.5) * heat.shape[3] / width - 0.5, 0), heat.shape[3] - 1)
            top, left = int(y), int(x)
            down, right = min(top + 1, heat.shape[2] - 1), min(left + 1, heat.shape[3] - 1)
            above = (1 - x + left) * heat[:, :, top, left] + (x - left) * heat[:, :, top, right]
            below = (1 - x + left) * heat[:, :, down, left] + (x - left) * heat[:, :, down, right]
            grown[:, :, i, j] = (1 - y + top) * above + (y - top) * below
    return grown


def test_heatmaps_and_every_stages_table_are_costed_as_bicor_does() -> None:
    logits, labels = batch()
    generator = torch.Generator().manual_seed(3)
    heats = tuple(torch.randn(2, 4, 2, 3, generator=generator) for _ in range(2))
    tables = tuple(scale * torch.randn(2, 4, 6, generator=generator) for scale in (1.0, 1e-3))
    loss = Criterion(PUBLISHED["bicor"])(SegOutput(logits, heatmaps=heats, tables=tables), labels)
    assert list(loss.terms) == [
        "ce", "dice", "heat_ce", "heat_dice", "heat1_ce", "heat1_dice", "scatter", "scatter1"
    ]  # fmt: skip
    grown = [naive_resize(heat, 4, 5) for heat in heats]
    expected = naive_ce(logits, labels, 0.05, 34) + naive_dice(logits, labels)
    expected += 0.1 * sum(naive_ce(heat, labels, 0.05, 34) + naive_dice(heat, labels) for heat in grown)
    expected += 0.1 * sum(naive_scatter(table, 1e-4) for table in tables)
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)


def test_static_dice_of_the_papers_text_can_be_had() -> None:
    logits, labels = batch()
    output = SegOutput(logits, aux={"static": -logits})
    plain, added = (Criterion(CriterionSpec(aux_dice=weight))(output, labels).total for weight in (0.0, 0.4))
    assert (added - plain).item() == pytest.approx(0.4 * naive_dice(-logits, labels), rel=1e-4)


def test_half_precision_outputs_are_costed_in_float32() -> None:
    logits, labels = batch()
    loss = Criterion(CriterionSpec())(SegOutput(logits.bfloat16(), tables=(logits.flatten(2).bfloat16(),)), labels)
    assert loss.total.dtype == torch.float32
