"""From the spec of an exchange to the interactor that does it."""

from rspipe.models.interact import AlternatingInteractor
from rspipe.models.specs import ExchangeSpec
from rspipe.models.stage import Interactor
from rspipe.models.synergy import HeatmapSynergy


def interactor_of(spec: ExchangeSpec, width: int, stages: int) -> Interactor:
    """Return L stages of an exchange between atoms and map of width D."""
    if spec.name == "attention":
        return AlternatingInteractor(width, stages, spec)
    return HeatmapSynergy(width, stages, spec)
