"""Starts a training from the weights of an earlier model instead of from drawn ones."""

from itertools import islice
from pathlib import Path

from rspipe.models.card import CardBand, ModelCard
from rspipe.models.errors import CardError
from rspipe.models.recipe import Recipe
from rspipe.models.specs import ModelSpec
from rspipe.models.train import Trainer
from rspipe.models.weights import DIFFERENCES_SHOWN, load_weights

FREE = "pyramid.drop_path"
"""May differ: it acts in training only."""


def start_from(trainer: Trainer, card_path: Path, recipe: Recipe) -> None:
    """Give a trainer, at its first step, the weights of a card that names the same architecture, bands and classes.

    Raises:
        CardError: the card is refused, or is of something else; the first differences are listed.
        WeightsError: the weights are refused.
    """
    card = ModelCard.read(card_path)
    lines = differences(card, recipe)
    if lines:
        shown = "; ".join(islice(lines, DIFFERENCES_SHOWN))
        raise CardError(f"init_from: {card_path} does not fit the recipe, {len(lines)} differences: {shown}")
    load_weights(trainer.model, card_path.parent / card.weights_name, card.weights_sha256)
    trainer.start_here()


def differences(card: ModelCard, recipe: Recipe) -> list[str]:
    """Return in which ways a card's model is another one than the recipe's, in words."""
    have, want = _facts(card.spec), _facts(recipe.model)
    have |= {f"bands.{index}": _words(band) for index, band in enumerate(card.bands)}
    want |= {f"bands.{index}": _words(band) for index, band in enumerate(recipe.card_bands)}
    have |= {f"legend.{entry.id}": entry.name for entry in card.legend.classes}
    want |= {f"legend.{entry.id}": entry.name for entry in recipe.legend_classes.classes}
    return [
        f"{name}: {have.get(name, 'nothing')}, the recipe has {want.get(name, 'nothing')}"
        for name in dict.fromkeys((*want, *have))
        if have.get(name) != want.get(name)
    ]


def _facts(spec: ModelSpec) -> dict[str, str]:
    """Return a spec as dotted names and values."""
    waiting: list[tuple[str, object]] = [("", spec.model_dump())]
    facts: dict[str, str] = {}
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{name}.{key}".lstrip("."), below) for key, below in reversed(value.items())]
        elif name != FREE:
            facts[name] = str(value)
    return facts


def _words(band: CardBand) -> str:
    # Whether a band is required is no part of the weights: a fine-tuned model may do without what its parent needed.
    return f"{band.name} in {band.unit.value}, mean {band.mean:g}, stddev {band.stddev:g}"
