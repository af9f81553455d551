"""A model card as text for people."""

from textwrap import fill

from rspipe.models.card import CardBand, ModelCard

_WIDTH = 100


def card_text(card: ModelCard) -> str:
    """Return what a person wants to know before trusting a model: what it takes, gives, comes from, and its limits."""
    window = f"windows of {card.window_px} px, overlapping by {card.overlap_px} px"
    return "\n".join(
        [
            f"{card.model_id} {card.version}: {card.title}",
            _paragraph(card.description),
            "",
            f"architecture  {card.spec.name}, {card.parameters:,} parameters",
            f"pixel size    {card.resolution_m.min:g} to {card.resolution_m.max:g} m, {window}",
            f"weights       {card.weights_name}, sha256 {card.weights_sha256}",
            f"licence       {card.licence}",
            "",
            "bands",
            *(_band(band) for band in card.bands),
            "",
            f"classes ({card.legend.name})",
            *(f"  {entry.id}  {entry.name:<16} {entry.colour}" for entry in card.legend.classes),
            "",
            "trained on",
            _paragraph(card.training.data),
            "measured",
            _paragraph(card.training.metrics),
            "limits",
            _paragraph(card.training.limits),
        ]
    )


def _band(band: CardBand) -> str:
    need = "required" if band.required else "optional"
    return f"  {band.name:<12} {band.unit.value:<12} {need}"


def _paragraph(text: str) -> str:
    return fill(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")
