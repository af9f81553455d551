"""A model card as text for people: what it takes and gives, how far to trust it, where it comes from."""

from collections.abc import Sequence
from textwrap import fill

from rspipe.catalogs.bands import Unit
from rspipe.models.card import CardBand, ModelCard
from rspipe.models.mlm import USUAL, USUAL_HELD_OUT, Calibration

_WIDTH = 100
_UNITS = {Unit.REFLECTANCE: "reflectance, 0 to about 1", Unit.KELVIN: "brightness temperature in kelvin"}


def card_text(card: ModelCard) -> str:
    """Return what a person wants to know before trusting a model: what it takes, gives, comes from, and its limits."""
    sections = {
        "What it takes": _taken(card),
        f"What it tells apart (legend {card.legend.name})": [
            f"{entry.id}  {entry.name:<20} {entry.colour}" for entry in card.legend.classes
        ],
        "How well it does": [*_sentences(card.training.metrics)],
        "Limits": _paragraph(card.training.limits),
        "How far its probabilities can be trusted": _calibration(card),
        "What is unfamiliar to it": _familiar(card),
        "Where it comes from": [*_paragraph(card.training.data), *_origin(card)],
    }
    lines = [f"{card.model_id} {card.version}: {card.title}", *_indented(_paragraph(card.description))]
    for title, body in sections.items():
        lines += ["", title, *_indented(body)]
    return "\n".join(lines)


def _taken(card: ModelCard) -> list[str]:
    width = max(len(band.name) for band in card.bands)
    window = f"windows of {card.window_px} px that overlap by {card.overlap_px} px"
    sizes = f"Pixels of {card.resolution_m.min:g} to {card.resolution_m.max:g} m. Scenes are cut into {window}."
    return [*(_band(band, width) for band in card.bands), sizes]


def _band(band: CardBand, width: int) -> str:
    need = "required" if band.required else "may be missing"
    return f"{band.name:<{width}}  {need:<14}  {_UNITS.get(band.unit, band.unit.value)}"


def _calibration(card: ModelCard) -> list[str]:
    found = card.calibration
    if found is None:
        return _paragraph(
            f"Logits are divided by {card.temperature:g} before the softmax; no reliability table is kept."
        )
    windows = f"windows of {found.window_px} px, overlap {found.overlap_px} px"
    text = (
        f"Logits are divided by {card.temperature:g} before the softmax: under it blended probabilities agree "
        f"best with the labels of {found.scenes} scenes, each predicted by a model that had learned nothing of it "
        f"({windows}). Over all pixels, what it says and how often it is right are {found.expected_error:.1%} apart:"
    )
    return [*_paragraph(text), *_reliability(found)]


def _familiar(card: ModelCard) -> list[str]:
    if card.familiar is None:
        return ["The card does not keep what its training looked like: it cannot say what is unfamiliar."]
    text = "It can say how far every pixel is from those of its training (a run's raster `unfamiliarity`): "
    if card.familiar.scenes is None:
        return _paragraph(f"{text}{USUAL:.0%} of those lie at a distance of at most 1.")
    return _paragraph(
        f"{text}of the pixels of {card.familiar.scenes} scenes, each seen by a model that had learned nothing of it, "
        f"{USUAL_HELD_OUT:.0%} lie at a distance of at most 1."
    )


def _reliability(found: Calibration) -> list[str]:
    total = sum(entry.pixels for entry in found.bins)
    rows = [
        f"{entry.low:>6.0%} to {entry.high:>4.0%}   {entry.confidence:>7.1%}   {entry.accuracy:>7.1%}   "
        f"{entry.pixels / total:>7.1%}"
        for entry in found.bins
    ]
    return ["it says          on mean   is right   of pixels", *rows]


def _origin(card: ModelCard) -> list[str]:
    return [
        f"architecture  {card.spec.name}, {card.parameters:,} parameters",
        f"made          {card.made_at:%Y-%m-%d}, licence {card.licence}",
        f"weights       {card.weights_name}",
        f"sha256        {card.weights_sha256}",
    ]


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}".rstrip() for line in lines]


def _paragraph(text: str) -> list[str]:
    return fill(text, _WIDTH - 2).splitlines()


def _sentences(text: str) -> list[str]:
    """Wrap what a training measured, one statement after the other."""
    return [line for statement in text.splitlines() for line in _paragraph(statement)]
