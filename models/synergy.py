"""How class vectors and image exchange information through heatmaps: the exchange of BiCoR-Seg (arXiv 2512.20255).

As in the released code, which the paper's figure does not match.
"""

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from rspipe.models.specs import SynergySpec
from rspipe.models.stage import Interactor, Stage

FAINT = 1e-6
"""Where the strongest pixels of a class add up to less, the class gathers from all pixels."""
OLD_SHARE = 0.5
"""How much of the old map a convex blend keeps."""


def pooling_weights(heat: Tensor, valid: Tensor | None, spec: SynergySpec) -> Tensor:
    """Return how much every class gathers from every cell: (B, N, S), rows of sum one, without gradient.

    A class keeps the k = max(least_px, round(ratio * S)) cells, at most S, where the sigmoid of its heatmap is
    strongest; weights are these sigmoids over their sum. S counts the valid cells alone.

    Args:
        heat: (B, N, S) heatmap logits.
        valid: (B, 1, S) bool, the cells that may be gathered from; None for all.
        spec: ratio and least_px.
    """
    heat = heat.detach()
    if valid is not None:
        heat = heat.masked_fill(~valid, -torch.inf)
    cells = heat.shape[-1]
    strongest, places = heat.topk(min(cells, max(spec.least_px, round(spec.ratio * cells))), dim=-1)
    if valid is not None:
        kept = (spec.ratio * valid.sum(dim=-1, keepdim=True).double()).round().clamp(min=spec.least_px)
        beyond = torch.arange(strongest.shape[-1], device=heat.device) >= kept
        strongest = strongest.masked_fill(beyond, -torch.inf)
    # sigmoids over their sum are the softmax of their logarithms, which cannot underflow
    few = torch.zeros_like(heat).scatter(-1, places, functional.logsigmoid(strongest).softmax(dim=-1))
    faint = strongest.sigmoid().sum(dim=-1, keepdim=True) <= FAINT
    return few.where(~faint, functional.logsigmoid(heat).softmax(dim=-1))


class Gate(nn.Module):
    """How the gathered evidence replaces a part of the class vector."""

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        if kind == "mlp":
            self.share: nn.Module = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width))
            self.candidate: nn.Module = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        else:
            self.share, self.candidate = nn.Linear(2 * width, width), nn.Identity()

    def forward(self, atoms: Tensor, normed: Tensor, gathered: Tensor) -> Tensor:
        """Return the next class vectors; all are (B, N, D)."""
        share: Tensor = self.share(torch.cat([normed, gathered], dim=-1)).sigmoid()
        candidate: Tensor = self.candidate(gathered)
        return share * candidate + (1 - share) * atoms


class Synergy(nn.Module):
    """One stage: class vectors draw heatmaps, gather evidence by them, and modulate the pixels by them."""

    def __init__(self, width: int, spec: SynergySpec) -> None:
        super().__init__()
        self.spec = spec
        self.norm_atoms = nn.LayerNorm(width)
        self.norm_pixels = nn.LayerNorm(width)
        self.draw = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.gate = Gate(width, spec.gate)
        self.gamma = nn.Linear(width, width)
        self.beta = nn.Linear(width, width)
        for linear in (self.gamma, self.beta):  # at first no pixel is changed
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, now: Stage, valid: Tensor | None) -> Stage:
        """Return the next stage; `valid` (B, 1, S) are the cells that may be gathered from."""
        size = now.x.shape[-2:]
        pixels = now.x.flatten(2).transpose(1, 2)
        atoms, seen = self.norm_atoms(now.atoms), self.norm_pixels(pixels)
        heat = self._heat(atoms, seen)
        # the value projection is linear and without bias: N gathered vectors are projected, not S pixels
        weights = pooling_weights(heat, valid, self.spec).to(seen.dtype)
        updated = self.gate(now.atoms, atoms, self.value(weights @ seen))
        modulated = self._modulated(heat, updated, pixels)
        return Stage(
            updated,
            torch.unflatten(modulated.transpose(1, 2), 2, size),
            torch.unflatten(heat, 2, size),
        )

    def _heat(self, atoms: Tensor, seen: Tensor) -> Tensor:
        """<W a, p> / sqrt(D), (B, N, S), never in a half precision."""
        with torch.autocast(seen.device.type, enabled=False):
            kind = torch.promote_types(self.draw.weight.dtype, torch.float32)
            drawn = functional.linear(atoms.to(kind), self.draw.weight.to(kind)) / sqrt(seen.shape[-1])
            return drawn @ seen.to(kind).transpose(1, 2)

    def _modulated(self, heat: Tensor, atoms: Tensor, pixels: Tensor) -> Tensor:
        """Scale and shift every pixel (B, S, D) by the mean over classes that its heat gives, and blend."""
        share = heat.softmax(dim=1).transpose(1, 2).to(atoms.dtype)
        scale, shift = share @ (1 + self.gamma(atoms).tanh()), share @ self.beta(atoms)
        modulated: Tensor = scale * pixels + shift
        if self.spec.blend == "residual":
            return pixels + modulated
        return OLD_SHARE * pixels + (1 - OLD_SHARE) * modulated


class HeatmapSynergy(Interactor):
    """L stages of `Synergy`."""

    def __init__(self, width: int, stages: int, spec: SynergySpec) -> None:
        super().__init__()
        self.stages = nn.ModuleList(Synergy(width, spec) for _ in range(stages))

    def forward(self, atoms: Tensor, x: Tensor, valid: Tensor | None) -> list[Stage]:
        """See `Interactor`."""
        now, made = Stage(atoms, x), []
        for stage in self.stages:
            now = stage(now, None if valid is None else valid.flatten(2))
            made.append(now)
        return made
