"""Inference on one batch of windows: physical units in, calibrated class probabilities out."""

from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from rspipe.models.align import resized
from rspipe.models.build import build
from rspipe.models.card import ModelCard
from rspipe.models.errors import InputError
from rspipe.models.familiar import Yardstick
from rspipe.models.interact import keep_positions
from rspipe.models.normalise import Normaliser
from rspipe.models.outputs import SegOutput
from rspipe.models.pyramid import FINEST_STRIDE_PX
from rspipe.models.specs import Precision
from rspipe.models.validity import valid_cells
from rspipe.models.weights import load_weights

SIDE_UNIT_PX = 32


class Judged(NamedTuple):
    """Answers, and how far they may be trusted to be about something known."""

    probabilities: Tensor
    """(B, N, H, W) float32."""
    unfamiliar: Tensor
    """(B, 1, H, W) float32, distance from the training's pixels: 0 is their middle; what lies at 1 see `Familiar`."""


class Predictor:
    """A model in evaluation mode on one device, with the card that says how to feed it.

    On a GPU the convolutions run channels-last, the layout of its tensor cores.
    """

    def __init__(self, model: nn.Module, card: ModelCard, device: torch.device, precision: Precision) -> None:
        self.card = card
        self.device = device
        self._dtype: torch.dtype = getattr(torch, precision)
        self._model = model.eval().to(device)
        if device.type == "cuda":
            self._model.to(memory_format=torch.channels_last)
        keep_positions(self._model, card.window_px // FINEST_STRIDE_PX)
        self._normalise = Normaliser.of(card.bands, device)
        self._yardstick = None if card.familiar is None else Yardstick.of(card.familiar, device)

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
        return cls(model.requires_grad_(requires_grad=False), card, torch.device(device), precision)

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
        height, width = numbers.shape[-2:]
        output, _ = self._output(numbers, present, explain=False)
        return output.logits[..., :height, :width].float().div_(self.card.temperature)

    @torch.inference_mode()
    def probabilities(self, numbers: Tensor, present: Tensor) -> Tensor:
        """Return calibrated class probabilities (B, N, H, W) float32; see `logits`."""
        return self.logits(numbers, present).softmax(dim=1)

    @torch.inference_mode()
    def judged(self, numbers: Tensor, present: Tensor) -> Judged:
        """Return probabilities, and how unfamiliar their pixels are, from one pass; see `logits`.

        Raises:
            InputError: shapes or types are others, or the card does not say what is familiar.
        """
        if self._yardstick is None:
            raise InputError(f"model {self.card.model_id!r}: its card does not say what is familiar; train it anew")
        height, width = numbers.shape[-2:]
        output, valid = self._output(numbers, present, explain=True)
        if output.profile is None:
            raise InputError(f"model {self.card.model_id!r}: {self.card.spec.name} gives no profile")
        cells = self._yardstick(output.profile, valid_cells(valid, FINEST_STRIDE_PX))
        logits = output.logits[..., :height, :width].float().div_(self.card.temperature)
        return Judged(logits.softmax(dim=1), resized(cells, output.logits.shape[-2:])[..., :height, :width])

    def _output(self, numbers: Tensor, present: Tensor, *, explain: bool) -> tuple[SegOutput, Tensor]:
        """Return what the model makes of extended windows, and their valid pixels."""
        batch = self._normalise(numbers.to(self.device), present.to(self.device))
        image, valid = reflected(batch.image), reflected(batch.valid)
        with torch.autocast(self.device.type, dtype=self._dtype, enabled=self._dtype is not torch.float32):
            output: SegOutput = self._model(image, valid, explain=explain)
        return output, valid


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
