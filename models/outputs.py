"""What a segmentation model returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from torch import Tensor


@dataclass(frozen=True, slots=True)
class SegOutput:
    """One return type for every model; a loss reads the fields by name, and an empty field costs nothing.

    In evaluation all but `logits` are empty, unless the model is asked to explain itself.
    `B` batch, `N` classes, `D` embedding width, `H, W` input size in pixels.
    """

    logits: Tensor
    """(B, N, H, W), what the prediction is made of."""
    aux: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))
    """Name of an auxiliary branch -> its logits (B, N, H, W)."""
    heatmaps: tuple[Tensor, ...] = ()
    """Per stage, one coarse logit map per class (B, N, h, w)."""
    tables: tuple[Tensor, ...] = ()
    """Class vectors (B, N, D) on which a table loss acts."""
    aligned: tuple[Tensor, ...] = ()
    """Feature maps aligned to a teacher's grid."""
    profile: Tensor | None = None
    """(B, K, H / 4, W / 4), where every cell lies among the atoms, on request: what tells familiar from unfamiliar."""
