"""The dynamic dictionary of D2LS: a static table of class atoms, rewritten for every image."""

import torch
from torch import Tensor, nn

from rspipe.models.specs import D2LSSpec


def masked_max(x: Tensor, valid: Tensor | None) -> Tensor:
    """Maximum over the valid cells: (B, h, w, C), (B, 1, h, w) -> (B, C)."""
    if valid is not None:
        x = x.masked_fill(~valid.permute(0, 2, 3, 1), -torch.inf)
    return x.amax(dim=(1, 2))


def masked_mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over the valid cells: (B, h, w, C), (B, 1, h, w) -> (B, C)."""
    if valid is None:
        return x.sum(dim=(1, 2)) / (x.shape[1] * x.shape[2])
    kept = x.masked_fill(~valid.permute(0, 2, 3, 1), 0)
    return kept.sum(dim=(1, 2)) / valid.sum(dim=(2, 3))


class Modulator(nn.Module):
    """Reads the deepest map and says how to mix the sub-atoms of every class.

    Half of the projected channels are max-pooled, half averaged, both over the whole image.
    """

    def __init__(self, spec: D2LSSpec, in_channels: int) -> None:
        super().__init__()
        half = spec.width // 2
        self.project = nn.Linear(in_channels, spec.width)
        self.peak = nn.Linear(half, half)
        self.average = nn.Linear(half, half)
        self.score = nn.Sequential(
            nn.Linear(spec.width, 2 * spec.width),
            nn.ReLU(),
            nn.Linear(2 * spec.width, spec.classes * spec.subatoms),
        )
        self.subatoms = spec.subatoms

    def forward(self, deepest: Tensor, valid: Tensor | None) -> Tensor:
        """Return mixing weights (B, N, q), each row convex, from (B, C, h, w) and its valid cells (B, 1, h, w)."""
        x: Tensor = self.project(deepest.permute(0, 2, 3, 1))
        peaks, averages = x.chunk(2, dim=-1)
        pooled = [self.peak(masked_max(peaks, valid)), self.average(masked_mean(averages, valid))]
        scores: Tensor = self.score(torch.cat(pooled, dim=-1))
        return torch.unflatten(scores, -1, (-1, self.subatoms)).softmax(dim=-1)


class DictionaryGenerator(nn.Module):
    """Expands every static atom into q sub-atoms by one shared linear map, then mixes them per image."""

    def __init__(self, spec: D2LSSpec) -> None:
        super().__init__()
        self.expand = nn.Linear(spec.width, spec.subatoms * spec.width)
        self.subatoms = spec.subatoms

    def forward(self, table: Tensor, mix: Tensor) -> Tensor:
        """Return the dynamic table (B, N, D) from the static one (N, D) and mixing weights (B, N, q)."""
        expanded: Tensor = self.expand(table)
        return torch.einsum("bnk,nkd->bnd", mix, torch.unflatten(expanded, -1, (self.subatoms, -1)))
