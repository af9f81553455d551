"""How dictionary and image query one another by alternating cross-attention: the exchange of D2LS."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rspipe.models.specs import AttentionSpec
from rspipe.models.stage import Interactor, Stage

FAINT = 1e-30
"""A pixel that is read with less weight is not read. No float32 sum of weights that add up to one can tell, and CPUs
take many times as long for a product of numbers that are smaller than their smallest normal one."""


class Readings(NamedTuple):
    """What is passed from round to round."""

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
        self._kept: dict[tuple[int, int], Tensor] = {}

    def keep(self, height: int, width: int) -> None:
        """Compute the code of one size now and for good: from here on the matrix must stay as and where it is."""
        self._kept = {(height, width): self._code(height, width)}

    def forward(self, height: int, width: int) -> Tensor:
        """Return the code (height * width, D), rows first."""
        kept = self._kept.get((height, width))
        return self._code(height, width) if kept is None else kept

    def _code(self, height: int, width: int) -> Tensor:
        """Compute the code.

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


def keep_positions(model: nn.Module, side: int) -> None:
    """Compute once what maps of that side need of positions; the model's weights must be loaded and on their device."""
    for module in model.modules():
        if isinstance(module, FourierPosition):
            module.keep(side, side)


class Attention(nn.Module):
    """The parameters of one multi-head attention between N atoms and S pixels; the inner width is half of D.

    There are far fewer atoms than pixels. Subclasses therefore carry every projection of the pixels over to the side
    of the atoms, where it costs next to nothing: (W_q a) . (W_k p) = (W_k^T W_q a) . p, and likewise for values.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        inner = width // 2
        self.heads = heads
        self.scale = (inner // heads) ** -0.5
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)

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
        weights = functional.threshold(scores.softmax(dim=-1), FAINT, 0.0)
        read = torch.unflatten(weights @ value, 1, (heads, atoms))
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


class Round(nn.Module):
    """The dictionary reads the image, then the image reads the updated dictionary. Post-norm residuals."""

    def __init__(self, width: int, spec: AttentionSpec) -> None:
        super().__init__()
        self.read = None if spec.reads == "pixels" else AtomsReadPixels(width, spec.heads)
        self.write = None if spec.reads == "atoms" else PixelsReadAtoms(width, spec.heads)
        self.norm_atoms = nn.LayerNorm(width) if self.read else nn.Identity()
        self.norm_pixels = nn.LayerNorm(width) if self.write else nn.Identity()

    def forward(self, now: Readings, place: Readings, valid: Tensor | None) -> Readings:
        """Return the next atoms and pixels; `place` holds the position codes of both."""
        atoms, pixels = now
        placed = pixels + place.pixels
        if self.read is not None:
            atoms = self.norm_atoms(atoms + self.read(atoms + place.atoms, placed, pixels, valid))
        if self.write is not None:
            pixels = self.norm_pixels(pixels + self.write(placed, atoms + place.atoms, atoms))
        return Readings(atoms, pixels)


class AlternatingInteractor(Interactor):
    """L rounds, and one last reading of the image by the dictionary.

    The atoms as they come in also serve as their own position code in every round.
    """

    def __init__(self, width: int, rounds: int, spec: AttentionSpec) -> None:
        super().__init__()
        self.position = FourierPosition(width)
        self.stages = nn.ModuleList(Round(width, spec) for _ in range(rounds))
        self.last = None if spec.reads == "pixels" else AtomsReadPixels(width, spec.heads)
        self.norm = nn.LayerNorm(width) if self.last else nn.Identity()

    def forward(self, atoms: Tensor, x: Tensor, valid: Tensor | None) -> list[Stage]:
        """See `Interactor`; the atoms of the last stage have taken the last reading."""
        size = x.shape[-2:]
        readable = None if valid is None else valid.flatten(2)
        now = Readings(atoms, x.flatten(2).transpose(1, 2))
        place = Readings(atoms, self.position(*size).to(x.dtype))
        rounds = []
        for stage in self.stages:
            now = stage(now, place, readable)
            rounds.append(now)
        if self.last is not None:
            read = self.last(now.atoms + place.atoms, now.pixels + place.pixels, now.pixels, readable)
            rounds[-1] = Readings(self.norm(now.atoms + read), now.pixels)
        return [Stage(atoms, torch.unflatten(pixels.transpose(1, 2), 2, size)) for atoms, pixels in rounds]
