"""A model as one module: all that lies between physical numbers and probabilities, for graphs that are traced."""

import torch
from torch import Tensor, nn

from rspipe.models.align import resized
from rspipe.models.card import ModelCard
from rspipe.models.errors import InputError
from rspipe.models.familiar import Yardstick
from rspipe.models.normalise import Normaliser
from rspipe.models.pyramid import FINEST_STRIDE_PX
from rspipe.models.segmenter import Segmenter
from rspipe.models.specs import Precision
from rspipe.models.validity import valid_cells

_CPU = torch.device("cpu")


class Standalone(nn.Module):
    """Numbers in, probabilities out, with the card's numbers as buffers. Sides are multiples of 32.

    Args:
        model: its training-only parts are removed from it.
        card: of the model.
        precision: what matrix products and convolutions run in.
    """

    mean: Tensor
    stddev: Tensor
    required: Tensor

    def __init__(self, model: Segmenter, card: ModelCard, precision: Precision = "float32") -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        for part in model.train_only:
            delattr(self.model, part)
        self.temperature = card.temperature
        self.dtype: torch.dtype = getattr(torch, precision)
        normalise = Normaliser.of(card.bands, _CPU)
        for name in ("mean", "stddev", "required"):
            self.register_buffer(name, getattr(normalise, name))

    def forward(self, numbers: Tensor, present: Tensor) -> Tensor:
        """Return probabilities (B, N, S, S) from (B, C, S, S) float32 in physical units and bool: it is a number."""
        prepared = Normaliser(self.mean, self.stddev, self.required)(numbers, present)
        with self._autocast():
            logits: Tensor = self.model(prepared.image, prepared.valid).logits
        return self._calibrated(logits)

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", dtype=self.dtype, enabled=self.dtype is not torch.float32)

    def _calibrated(self, logits: Tensor) -> Tensor:
        return (logits.float() / self.temperature).softmax(dim=1)


class StandaloneJudge(Standalone):
    """The same, and how unfamiliar the pixels are.

    Raises:
        InputError: the card does not say what is familiar.
    """

    def __init__(self, model: Segmenter, card: ModelCard, precision: Precision = "float32") -> None:
        super().__init__(model, card, precision)
        if card.familiar is None:
            raise InputError(f"model {card.model_id!r}: its card does not say what is familiar; train it anew")
        self.yardstick = Yardstick.of(card.familiar, _CPU)

    def forward(self, numbers: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override] # more is told
        """Return probabilities (B, N, S, S) and distances (B, 1, S, S); see `predictor.Judged`."""
        prepared = Normaliser(self.mean, self.stddev, self.required)(numbers, present)
        with self._autocast():
            output = self.model(prepared.image, prepared.valid, explain=True)
        cells = self.yardstick(output.profile, valid_cells(prepared.valid, FINEST_STRIDE_PX))
        return self._calibrated(output.logits), resized(cells, output.logits.shape[-2:])
