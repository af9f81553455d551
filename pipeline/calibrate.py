"""Calibrates a model the way it is used: the temperature acts before windows are blended, so it is fitted there.

The logits of every window are computed once; under each temperature they are softened, blended and compared anew.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from rspipe.models.calibration import TemperatureScan
from rspipe.models.card import ModelCard
from rspipe.models.data import Patch
from rspipe.models.labels import IGNORE_ID
from rspipe.models.predictor import Predictor
from rspipe.pipeline.slide import slide


def scan_temperatures(model: nn.Module, card: ModelCard, patches: Sequence[Patch]) -> TemperatureScan:
    """Scan patches that the model has not learned from, predicted by the windows of its card.

    Args:
        model: on the device where it is to compute.
        card: says how the model is fed and how far windows overlap; its temperature is not used.
        patches: with class labels; whatever is no class is left out.
    """
    device = next(model.parameters()).device
    predictor = Predictor(model, replace(card, temperature=1.0), device, "float32")
    total = TemperatureScan.empty()
    for patch in patches:
        total = total + _scan(predictor, patch)
    return total


def _scan(predictor: Predictor, patch: Patch) -> TemperatureScan:
    card, heard = predictor.card, _Recorded(predictor)
    blended = slide(heard, patch, card.window_px, card.overlap_px, predictor.device)

    def under(temperature: float) -> Tensor:
        again = _Replayed(card, iter(heard.logits), temperature)
        return slide(again, patch, card.window_px, card.overlap_px, predictor.device).probabilities

    return TemperatureScan.of(under, patch.labels.masked_fill(~blended.valid, IGNORE_ID))


@dataclass(frozen=True, slots=True)
class _Recorded:
    """Remembers what a predictor says of each batch of windows."""

    predictor: Predictor
    logits: list[Tensor] = field(default_factory=list)

    @property
    def card(self) -> ModelCard:
        return self.predictor.card

    def probabilities(self, numbers: Tensor, present: Tensor) -> Tensor:
        self.logits.append(self.predictor.logits(numbers, present))
        return self.logits[-1].softmax(dim=1)


@dataclass(frozen=True, slots=True)
class _Replayed:
    """Says the same again, in the same order, at another temperature."""

    card: ModelCard
    logits: Iterator[Tensor]
    temperature: float

    def probabilities(self, numbers: Tensor, present: Tensor) -> Tensor:
        del numbers, present
        probabilities: Tensor = (next(self.logits) / self.temperature).softmax(dim=1)
        return probabilities
