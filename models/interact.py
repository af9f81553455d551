"""How dictionary and image query one another: alternating cross-attention (D2LS)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rspipe.models.specs import D2LSSpec


class Exchange(NamedTuple):
    """What is passed from stage to stage."""

    atoms: Tensor
    """(B, N, D)."""
    pixels: Tensor
    """(B, S, D), or (S, D) where all images share it."""


class FourierPosition(nn.Module):
    """Random Fourier features of pixel centres; the Gaussian matrix is a buffer and is saved with the model."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(2, width // 2))

    def forward(self, height: int, width: int) -> Tensor:
        """Return the code (height * width, D), rows first.

        The phase is a sum of a column and a row part, so sine and cosine are taken of height + width phases only.
        """
        rows = self._phases(height, 1)[:, None]
        columns = self._phases(width, 0)[None]
        sines = rows.sin() * columns.cos() + rows.cos() * columns.sin()
        cosines = rows.cos() * columns.cos() - rows.sin() * columns.sin()
        return torch.cat([sines, cosines], dim=-1).flatten(0, 1)

    def _phases(self, size: int, axis: int) -> Tensor:
        centres = (torch.arange(size, device=self.frequencies.device, dtype=self.frequencies.dtype) + 0.5) / size
        return torch.outer(2 * math.pi * (2 * centres - 1), self.frequencies[axis])


class Attention(nn.Module):
    """The parameters of one multi-head attention between N atoms and S pixels; the inner width is half of D.

    There are far fewer atoms than pixels. Subclasses therefore carry every projection of the pixels over to the side
    of the atoms, where it costs next to nothing: (W_q a) . (W_k p) = (W_k^T W_q a) . p, and likewise for values.
    """

    def __init__(self, spec: D2LSSpec) -> None:
        super().__init__()
        inner = spec.width // 2
        self.heads = spec.heads
        self.scale = (inner // spec.heads) ** -0.5
        self.query = nn.Linear(spec.width, inner)
        self.key = nn.Linear(spec.width, inner)
        self.value = nn.Linear(spec.width, inner)
        self.out = nn.Linear(inner, spec.width)

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, inner) -> (B, heads, N, inner / heads)."""
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)

    def _rows(self, weight: Tensor) -> Tensor:
        """(inner, D) -> (heads, inner / heads, D)."""
        return torch.unflatten(weight, 0, (self.heads, -1))


class AtomsReadPixels(Attention):
    """Queries are atoms, keys and values are pixels."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None) -> Tensor:
        """Return (B, N, D).

        Args:
            query: (B, N, D) atoms.
            key: (B, S, D) pixels with position.
            value: (B, S, D) pixels.
            valid: (B, 1, S) bool, which pixels may be read; None for all.
        """
        heads, atoms = self.heads, query.shape[1]
        q = self._split(self.query(query)) * self.scale
        carried = (q @ self._rows(self.key.weight)).flatten(1, 2)
        offset = (q @ self.key.bias.view(1, heads, -1, 1)).flatten(1, 2)
        scores = torch.baddbmm(offset, carried, key.transpose(1, 2))
        if valid is not None:
            scores = scores.masked_fill(~valid, -torch.inf)
        read = torch.unflatten(scores.softmax(dim=-1) @ value, 1, (heads, atoms))
        per_head = read @ self._rows(self.value.weight).transpose(1, 2)
        answer: Tensor = self.out(per_head.transpose(1, 2).flatten(2) + self.value.bias)
        return answer


class PixelsReadAtoms(Attention):
    """Queries are pixels, keys and values are atoms."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return (B, S, D) from pixels with position (B, S, D), atoms with position and atoms (B, N, D)."""
        heads, atoms = self.heads, key.shape[1]
        k = self._split(self.key(key)) * self.scale
        carried = (k @ self._rows(self.query.weight)).flatten(1, 2)
        offset = (k @ self.query.bias.view(1, heads, -1, 1)).flatten(1, 2)
        scores = torch.baddbmm(offset, carried, query.transpose(1, 2))
        weights = torch.unflatten(scores, 1, (heads, atoms)).softmax(dim=2).flatten(1, 2)
        answers = self._split(self.value(value)) @ self._rows(self.out.weight.t())
        return torch.baddbmm(self.out.bias.view(1, 1, -1), weights.transpose(1, 2), answers.flatten(1, 2))


class Stage(nn.Module):
    """The dictionary reads the image, then the image reads the updated dictionary. Post-norm residuals."""

    def __init__(self, spec: D2LSSpec) -> None:
        super().__init__()
        self.read = AtomsReadPixels(spec)
        self.write = PixelsReadAtoms(spec)
        self.norm_atoms = nn.LayerNorm(spec.width)
        self.norm_pixels = nn.LayerNorm(spec.width)

    def forward(self, now: Exchange, place: Exchange, valid: Tensor | None) -> Exchange:
        """Return the next atoms and pixels; `place` holds the position codes of both."""
        placed = now.pixels + place.pixels
        read = self.read(now.atoms + place.atoms, placed, now.pixels, valid)
        atoms = self.norm_atoms(now.atoms + read)
        written = self.write(placed, atoms + place.atoms, atoms)
        return Exchange(atoms, self.norm_pixels(now.pixels + written))


class AlternatingInteractor(nn.Module):
    """L stages, and one last reading of the image by the dictionary."""

    def __init__(self, spec: D2LSSpec) -> None:
        super().__init__()
        self.position = FourierPosition(spec.width)
        self.stages = nn.ModuleList(Stage(spec) for _ in range(spec.stages))
        self.last = AtomsReadPixels(spec)
        self.norm = nn.LayerNorm(spec.width)

    def forward(self, atoms: Tensor, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Let atoms and map refine one another.

        Args:
            atoms: (B, N, D); they also serve as the atoms' own position code in every stage.
            x: (B, D, h, w).
            valid: (B, 1, h, w) bool, the cells that may be read; None for all.

        Returns:
            The refined atoms (B, N, D) and map (B, D, h, w).
        """
        size = x.shape[-2:]
        readable = None if valid is None else valid.flatten(2)
        now = Exchange(atoms, x.flatten(2).transpose(1, 2))
        place = Exchange(atoms, self.position(*size).to(x.dtype))
        for stage in self.stages:
            now = stage(now, place, readable)
        read = self.last(now.atoms + place.atoms, now.pixels + place.pixels, now.pixels, readable)
        return self.norm(now.atoms + read), torch.unflatten(now.pixels.transpose(1, 2), 2, size)
