"""A model small enough for tests, and a card and weights for it on disk."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rspipe.catalogs.bands import Unit
from rspipe.catalogs.legends import Legend, LegendClass
from rspipe.models.build import build
from rspipe.models.card import CardBand, ModelCard
from rspipe.models.mlm import GroundResolution, Training
from rspipe.models.specs import AttentionSpec, BiCoRSpec, D2LSSpec, ExchangeSpec, PyramidSpec, SynergySpec
from rspipe.models.weights import save_weights


def pico_spec(classes: int = 4, in_bands: int = 3, size: str = "pico") -> D2LSSpec:
    pyramid = PyramidSpec.model_validate({"size": size, "in_bands": in_bands})
    return D2LSSpec(pyramid=pyramid, classes=classes, width=64, exchange=AttentionSpec(heads=4), stages=2)


def bicor_spec(exchange: ExchangeSpec = SynergySpec(), classes: int = 4) -> BiCoRSpec:  # noqa: B008 - frozen
    return BiCoRSpec(pyramid=PyramidSpec(size="pico", in_bands=3), classes=classes, width=64, exchange=exchange)


PICO_CARD = ModelCard(
    model_id="pico-clouds",
    version="1.2.3",
    title="Pico clouds",
    description="Untrained.",
    licence="Apache-2.0",
    made_at=datetime(2026, 11, 21, 12, 30, tzinfo=UTC),
    spec=pico_spec(),
    parameters=1_181_428,
    bands=(
        CardBand(name="red", unit=Unit.REFLECTANCE, required=True, mean=0.2, stddev=0.1),
        CardBand(name="nir", unit=Unit.REFLECTANCE, required=True, mean=0.3, stddev=0.2),
        CardBand(name="lwir11", unit=Unit.KELVIN, required=False, mean=285.0, stddev=12.0),
    ),
    legend=Legend(
        "cloud-thickness",
        (
            LegendClass(0, "clear", "#4ffdc7"),
            LegendClass(1, "thin cloud", "#fbff29"),
            LegendClass(2, "thick cloud", "#4d0273"),
            LegendClass(3, "cloud shadow", "#dd35df"),
        ),
    ),
    resolution_m=GroundResolution(min=10.0, max=60.0),
    window_px=128,
    overlap_px=64,
    temperature=1.5,
    training=Training(data="none", metrics="none", limits="not trained"),
    weights_name="pico-clouds.safetensors",
    weights_sha256="0" * 64,
)


def write_pico(folder: Path, card: ModelCard = PICO_CARD, seed: int = 1) -> Path:
    """Write weights drawn from a seed and the card that belongs to them; return the card's path."""
    digest = save_weights(build(card.spec, seed=seed), folder / card.weights_name)
    path = folder / f"{card.model_id}.json"
    replace(card, weights_sha256=digest).write(path)
    return path
