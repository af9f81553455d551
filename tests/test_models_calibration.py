"""Reliability against a loop; temperatures that are known are found again."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rspipe.models.calibration import BINS, TEMPERATURES, Reliability, TemperatureScan
from rspipe.models.errors import DataError


def random_case(seed: int, side: int = 20, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Labels drawn from the softmax of random logits: these are calibrated by construction."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn((classes, side, side), generator=generator)
    drawn = torch.multinomial(logits.softmax(dim=0).flatten(1).T, 1, generator=generator)
    return logits, drawn.view(side, side).to(torch.uint8)


@given(seed=st.integers(0, 1000), sharpness=st.floats(0.1, 30))
def test_agrees_with_a_loop_over_pixels(seed: int, sharpness: float) -> None:
    logits, labels = random_case(seed, side=8)
    labels[0] = 255
    labels[1, :4] = 3
    probabilities = (logits * sharpness).softmax(dim=0)
    table = np.zeros((3, BINS))
    for r in range(8):
        for c in range(8):
            if labels[r, c] >= 3:
                continue
            chosen = max(range(3), key=lambda n: probabilities[n, r, c].item())
            confidence = probabilities[chosen, r, c].item()
            (place,) = [i for i in range(BINS) if i / BINS < confidence <= (i + 1) / BINS]
            table[:, place] += [1, confidence, chosen == labels[r, c]]
    found = Reliability.of(probabilities, labels)
    np.testing.assert_allclose(found.sums, table)
    gaps = [abs(hits / n - given / n) * n / table[0].sum() for n, given, hits in table.T if n]
    assert found.expected_error == pytest.approx(sum(gaps))


def test_certainty_falls_into_the_last_bin_and_indifference_is_counted() -> None:
    probabilities = torch.tensor([[1.0, 1.0, 0.5], [0.0, 0.0, 0.5]])
    found = Reliability.of(probabilities, torch.tensor([0, 1, 1], dtype=torch.uint8))
    assert found.sums[0, -1] == 2
    assert found.sums[:, 7].tolist() == [1, 0.5, 0]
    assert found.expected_error == pytest.approx((2 * 0.5 + 0.5) / 3)


def test_no_pixel_gives_no_error() -> None:
    assert np.isnan(Reliability.empty().expected_error)


@pytest.mark.parametrize("known", [0.7, 1.0, 1.8, 3.0])
def test_a_known_temperature_is_found_again(known: float) -> None:
    logits, labels = random_case(5, side=120)
    scan = TemperatureScan.of(lambda temperature: (logits * known / temperature).softmax(dim=0), labels)
    assert scan.temperature == pytest.approx(known, rel=0.06)
    assert scan.calibrated.expected_error < 0.015
    wrong = Reliability.of((logits * 2.5).softmax(dim=0), labels)
    assert wrong.expected_error > 3 * scan.calibrated.expected_error


def test_the_sums_are_torchs_cross_entropy() -> None:
    logits, labels = random_case(1)
    labels[:3] = 255
    scan = TemperatureScan.of(lambda temperature: (logits / temperature).softmax(dim=0), labels)
    target = labels.long()[None]
    expected = [
        torch.nn.functional.cross_entropy(logits[None] / t, target, ignore_index=255, reduction="sum").item()
        for t in TEMPERATURES
    ]
    np.testing.assert_allclose(scan.surprise, expected, rtol=1e-5)


def test_scans_and_tables_of_parts_add_up() -> None:
    logits, labels = random_case(2)
    halves = [slice(0, 10), slice(10, 20)]
    scans = [
        TemperatureScan.of(lambda t, rows=rows: (logits[:, rows] / t).softmax(dim=0), labels[rows])  # type: ignore[misc]
        for rows in halves
    ]
    whole = TemperatureScan.of(lambda t: (logits / t).softmax(dim=0), labels)
    total = TemperatureScan.empty() + scans[0] + scans[1]
    np.testing.assert_allclose(total.surprise, whole.surprise)
    np.testing.assert_allclose(total.reliability, whole.reliability)


def test_a_certain_mistake_costs_much_but_not_everything() -> None:
    scan = TemperatureScan.of(lambda _: torch.tensor([[[1.0]], [[0.0]]]), torch.tensor([[1]], dtype=torch.uint8))
    assert np.isfinite(scan.surprise).all()


def test_a_table_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match="reliability table"):
        Reliability(np.zeros((2, BINS)))


def test_a_cards_bins_are_those_with_pixels() -> None:
    probabilities = torch.tensor([[0.95, 0.97, 0.5], [0.05, 0.03, 0.5]])
    first, last = Reliability.of(probabilities, torch.tensor([0, 1, 1], dtype=torch.uint8)).bins
    assert (first.low, first.high, first.pixels, first.confidence, first.accuracy) == (0.4667, 0.5333, 1, 0.5, 0.0)
    assert (last.low, last.high, last.pixels, last.confidence, last.accuracy) == (0.9333, 1.0, 2, 0.96, 0.5)
