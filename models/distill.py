"""What a student's aligned maps cost against a teacher's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from rspipe.models.align import resized
from rspipe.models.errors import InputError
from rspipe.models.specs import StrictModel
from rspipe.models.validity import valid_grid


class DistillSpec(StrictModel):
    """KTDA's distillation, arXiv 2412.06664; the defaults are the paper's but for the axis."""

    weight: float = Field(default=1.0, ge=0.0)
    alpha: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the divergence; the rest is the squared error."""
    temperature: float = Field(default=1.0, gt=0.0)
    axis: Literal["channel", "width"] = "channel"
    """What the softmax runs over. `channel`: a distribution over channels per cell, the mean over valid cells.
    `width`, for replication: over each row of cells, as the released code does; the sum of everything over B."""


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """What a teacher makes of a batch."""

    maps: tuple[Tensor, ...]
    """Per level (B, D, any, any); other grids than the student's are resized to it."""
    valid: Tensor | None
    """(B, 1, H, W) bool, the pixels that count; None for all."""


def distillation(student: Sequence[Tensor], taught: Taught, spec: DistillSpec) -> Tensor:
    """Return the mean over levels of alpha T^2 KL(teacher || student) + (1 - alpha) MSE, in float32.

    Args:
        student: per level (B, D, g_h, g_w), with a gradient.
        taught: the teacher's maps; `axis="width"` honours the mask in the squared error only.
        spec: weights and axis; `weight` is not applied here.

    Raises:
        InputError: teacher and student differ in the number of levels or in width.
    """
    found, wanted = ([level.shape[1] for level in maps] for maps in (taught.maps, student))
    if found != wanted:
        raise InputError(
            f"the teacher gives maps of {found} channels, the student {wanted}; set the model's width to it"
        )
    cells = None if taught.valid is None else valid_grid(taught.valid, student[0].shape[-2:])
    levels = [
        _level(s.float(), resized(t.float(), s.shape[-2:]), cells, spec)
        for s, t in zip(student, taught.maps, strict=True)
    ]
    return torch.stack(levels).mean()


def _level(student: Tensor, teacher: Tensor, cells: Tensor | None, spec: DistillSpec) -> Tensor:
    squared = _mean((student - teacher).square().mean(dim=1, keepdim=True), cells)
    dim = 1 if spec.axis == "channel" else 3
    log_s, log_t = ((x / spec.temperature).log_softmax(dim=dim) for x in (student, teacher))
    divergence = log_t.exp() * (log_t - log_s)
    if spec.axis == "channel":
        divergence = _mean(divergence.sum(dim=1, keepdim=True), cells)
    else:
        divergence = divergence.sum() / len(student)
    return spec.alpha * spec.temperature**2 * divergence + (1 - spec.alpha) * squared


def _mean(x: Tensor, cells: Tensor | None) -> Tensor:
    """Average (B, 1, h, w) over its valid cells."""
    return x.mean() if cells is None else (x * cells).sum() / cells.sum()
