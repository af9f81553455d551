"""The temperature acts before the windows are blended, so it is fitted under blending."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from inferscene import card_of
from torch import Tensor, nn

from rspipe.models.calibration import TEMPERATURES, Reliability
from rspipe.models.data import Patch
from rspipe.models.outputs import SegOutput
from rspipe.models.predictor import Predictor
from rspipe.pipeline.calibrate import scan_temperatures
from rspipe.pipeline.slide import slide

CPU = torch.device("cpu")
CARD = card_of(3, window_px=64, overlap_px=32)


class Moody(nn.Module):
    """Says another thing in every window: neighbours disagree where they overlap."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0))

    def forward(self, image: Tensor, valid: Tensor, *, explain: bool = False) -> SegOutput:  # noqa: ARG002
        mood = (40 * image.mean(dim=(1, 2, 3), keepdim=True)).sin()
        logits = torch.cat([image[:, :1] + mood, image[:, 1:2] - 2 * mood, image[:, 2:3] * 2 + valid], dim=1)
        return SegOutput(self.weight * logits)


def patch_of(seed: int, side_px: int = 160) -> Patch:
    generator = torch.Generator().manual_seed(seed)
    bands = 0.3 + 0.2 * torch.randn((4, side_px, side_px), generator=generator)
    bands[0, :20, :30] = torch.nan
    bands[3] = torch.nan
    return Patch(f"p{seed}", bands, torch.zeros((side_px, side_px), dtype=torch.uint8), 30.0)


def said(patch: Patch, temperature: float, window_px: int = 64) -> Tensor:
    predictor = Predictor(Moody(), replace(CARD, temperature=temperature), CPU, "float32")
    return slide(predictor, patch, window_px, 32, CPU).probabilities


def drawn(patch: Patch, temperature: float) -> Patch:
    """Labels drawn from what the blended model says at a temperature: there it is calibrated."""
    probabilities = said(patch, temperature)
    everywhere = torch.where(probabilities.sum(dim=0) > 0, probabilities, 1 / 3)
    generator = torch.Generator().manual_seed(1)
    labels = torch.multinomial(everywhere.flatten(1).T, 1, generator=generator).view(patch.labels.shape)
    return replace(patch, labels=labels.to(torch.uint8))


@pytest.mark.parametrize("known", [0.8, 2.0])
def test_the_temperature_under_which_blended_labels_were_drawn_is_found_again(known: float) -> None:
    patches = [drawn(patch_of(seed), known) for seed in range(3)]
    found = scan_temperatures(Moody(), replace(CARD, temperature=7.0), patches)
    assert found.temperature == pytest.approx(known, rel=0.06)
    assert found.calibrated.expected_error < 0.012


def test_the_scan_is_that_of_blending_anew_under_each_temperature() -> None:
    patch = drawn(patch_of(0, side_px=100), 1.5)
    patch.labels[50:60] = 3
    patch.labels[60:70] = 255
    found = scan_temperatures(Moody(), CARD, [patch])
    known = (patch.labels < 3) & patch.bands[:2].isfinite().all(dim=0)
    for place in (0, 20, 59):
        probabilities = said(patch, TEMPERATURES[place])
        right = probabilities.gather(0, patch.labels.clamp_max(2).long()[None])[0][known].double()
        assert found.surprise[place] == pytest.approx(-right.log().sum().item(), rel=1e-5)
        expected = Reliability.of(probabilities, torch.where(known, patch.labels, 255))
        np.testing.assert_allclose(found.reliability[place], expected.sums, rtol=1e-4)


def test_blending_asks_for_another_temperature_than_single_windows() -> None:
    patches = [drawn(patch_of(seed), 2.0) for seed in range(2)]
    blended = scan_temperatures(Moody(), CARD, patches).temperature
    alone = scan_temperatures(Moody(), replace(CARD, overlap_px=0), patches).temperature
    assert alone > 1.1 * blended
