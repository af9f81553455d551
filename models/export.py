"""A model as one file for other programs: numbers in physical units in, calibrated probabilities out (torch.export)."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from rspipe.models.build import build
from rspipe.models.card import ModelCard
from rspipe.models.errors import ModelError
from rspipe.models.normalise import Normaliser
from rspipe.models.predictor import Predictor
from rspipe.models.segmenter import Segmenter
from rspipe.models.standalone import Standalone
from rspipe.models.weights import load_weights

LARGEST_DIFFERENCE = 1e-5
"""Of a probability, between the exported graph and the model itself; a graph that differs by more is not written."""
TRIED_BATCHES = (2, 1, 3)
TRACED_BATCH = 2
SEED = 0


class ExportError(ModelError):
    """The exported graph does not say what the model says."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how exact it is."""

    program: Path
    card: Path
    windows: int
    """How many random windows both forms were compared on."""
    largest_difference: float
    """Of any probability of them."""

    def __str__(self) -> str:
        """Return the parity in words."""
        return (
            f"{self.program}: max |dp| = {self.largest_difference:.1e} against eager in {self.windows} random windows "
            f"(refused above {LARGEST_DIFFERENCE:g})"
        )


def export(card_path: Path, folder: Path) -> Exported:
    """Write a model as `<model id>-<version>.pt2` beside a copy of its card.

    The batch is free, the window is the card's. The graph is compared with the model before it is written; the file
    itself is never opened here: rspipe runs safetensors only.

    Args:
        card_path: the model's card, its weights beside it.
        folder: where to write; made when missing.

    Raises:
        CardError: the card is refused.
        WeightsError: the weights are refused.
        ExportError: the graph's probabilities differ from the model's by more than 1e-5.
    """
    card = ModelCard.read(card_path)
    model = build(card.spec)
    load_weights(model, card_path.parent / card.weights_name, card.weights_sha256)
    program = traced(model, card)
    predictor = Predictor(model, card, torch.device("cpu"), "float32")
    found = max(_difference(program, predictor, batch, card.window_px) for batch in TRIED_BATCHES)
    if not found <= LARGEST_DIFFERENCE:
        raise ExportError(
            f"{card_path}: the exported graph's probabilities differ by up to {found:.1e} from the model's, more than "
            f"{LARGEST_DIFFERENCE:g}; nothing was written (torch {torch.__version__})"
        )
    folder.mkdir(parents=True, exist_ok=True)
    target, copy = folder / f"{card.model_id}-{card.version}.pt2", folder / card_path.name
    torch.export.save(program, target)
    if not copy.exists() or not copy.samefile(card_path):
        shutil.copyfile(card_path, copy)
    return Exported(target, copy, sum(TRIED_BATCHES), found)


def traced(model: Segmenter, card: ModelCard) -> ExportedProgram:
    """Return the graph of a model between physical numbers and probabilities, for any batch.

    The model's training-only parts are removed from it. The graph carries no example inputs: torch would pickle them.
    """
    free = {0: Dim("batch", min=1)}
    program = torch.export.export(
        Standalone(model, card),
        random_windows(card, TRACED_BATCH, card.window_px),
        dynamic_shapes={"numbers": free, "present": free},
    )
    program.example_inputs = None
    return program


def random_windows(card: ModelCard, batch: int, window_px: int) -> tuple[Tensor, Tensor]:
    """Return windows within three deviations of the card's means, one in ten numbers and one corner missing."""
    generator = torch.Generator().manual_seed(SEED + batch)
    shape = (batch, len(card.bands), window_px, window_px)
    normalise = Normaliser.of(card.bands, torch.device("cpu"))
    numbers = normalise.mean + normalise.stddev * torch.randn(shape, generator=generator).clamp(-3, 3)
    present = torch.rand(shape, generator=generator) > 0.1
    present[0, :, : window_px // 2, : window_px // 2] = False
    return numbers, present


def _difference(program: ExportedProgram, predictor: Predictor, batch: int, window_px: int) -> float:
    numbers, present = random_windows(predictor.card, batch, window_px)
    with torch.inference_mode():
        found = program.module()(numbers, present)
    expected = predictor.probabilities(numbers, present)
    if found.shape != (batch, len(predictor.card.legend.classes), window_px, window_px):
        raise ExportError(f"the exported graph returns {tuple(found.shape)} for {batch} windows of {window_px} px")
    return float((found - expected).abs().max())
