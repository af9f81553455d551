"""Inference on one batch of windows: physical units in, calibrated class probabilities out."""

from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor, nn

from rspipe.models.build import build
from rspipe.models.card import ModelCard
from rspipe.models.normalise import Normaliser
from rspipe.models.weights import load_weights

SIDE_UNIT_PX = 32
Precision = Literal["float32", "bfloat16", "float16"]


class Predictor:
    """A model in evaluation mode on one device, with the card that says how to feed it."""

    def __init__(self, model: nn.Module, card: ModelCard, device: torch.device, precision: Precision) -> None:
        self.card = card
        self.device = device
        self._dtype: torch.dtype = getattr(torch, precision)
        self._model = model.eval().to(device)
        self._normalise = Normaliser.of(card.bands, device)

    @classmethod
    def load(cls, card_path: Path, device: torch.device | str = "cpu", precision: Precision = "float32") -> Self:
        """Load the model that a card describes from the weights file beside the card.

        Args:
            card_path: the card's JSON.
            device: where to compute.
            precision: the type that matrix products and convolutions run in; the softmax is always float32.

        Raises:
            CardError: the card is refused.
            WeightsError: the weights are refused.
        """
        card = ModelCard.read(card_path)
        model = build(card.spec)
        load_weights(model, card_path.parent / card.weights_name, card.weights_sha256)
        return cls(model, card, torch.device(device), precision)

    @torch.inference_mode()
    def logits(self, numbers: Tensor, present: Tensor) -> Tensor:
        """Return logits (B, N, H, W) float32 on the predictor's device, divided by the card's temperature.

        Args:
            numbers: (B, C, H, W) float32 in the physical units and band order of the card. What stands where `present`
                is false (nodata, NaN, fill) changes no bit of the answer.
            present: (B, C, H, W) bool, where a band holds a number.

        Raises:
            InputError: shapes or types are others.
        """
        batch = self._normalise(numbers.to(self.device), present.to(self.device))
        height, width = numbers.shape[-2:]
        reduced = self._dtype is not torch.float32
        with torch.autocast(self.device.type, dtype=self._dtype, enabled=reduced):
            output = self._model(reflected(batch.image), reflected(batch.valid))
        logits: Tensor = output.logits[..., :height, :width].float()
        return logits / self.card.temperature

    @torch.inference_mode()
    def probabilities(self, numbers: Tensor, present: Tensor) -> Tensor:
        """Return calibrated class probabilities (B, N, H, W) float32; see `logits`."""
        return self.logits(numbers, present).softmax(dim=1)


def reflected(x: Tensor) -> Tensor:
    """Extend (B, C, H, W) downwards and to the right to multiples of 32, reflecting about the last row and column."""
    for axis in (2, 3):
        index = _reflection(x.shape[axis], x.device)
        x = x if len(index) == x.shape[axis] else x.index_select(axis, index)
    return x


def _reflection(size: int, device: torch.device) -> Tensor:
    positions = torch.arange(-(-size // SIDE_UNIT_PX) * SIDE_UNIT_PX, device=device)
    period = max(2 * size - 2, 1)
    folded = positions % period
    return torch.minimum(folded, period - folded)
