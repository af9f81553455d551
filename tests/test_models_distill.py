import numpy as np
import pytest
import torch
from oracle_ktda import grid_cells
from torch import Tensor

from rspipe.models.distill import DistillSpec, Taught, distillation
from rspipe.models.errors import InputError

LEVELS = 4


def maps(seed: int, side: int = 5) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, 6, side, side + 1, generator=generator) for _ in range(LEVELS))


def softmax(numbers: np.ndarray) -> np.ndarray:
    powers: np.ndarray = np.exp(numbers)
    return powers / float(powers.sum())


def divergence(taught: np.ndarray, learnt: np.ndarray) -> float:
    p, q = softmax(taught), softmax(learnt)
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True)))


def naive(student: tuple[Tensor, ...], teacher: tuple[Tensor, ...], spec: DistillSpec, cells: np.ndarray) -> float:
    """Loops over levels, images, rows, columns and channels; cells (B, h, w) count."""
    total, t = 0.0, spec.temperature
    for s, taught in zip(student, teacher, strict=True):
        a, b = s.double().numpy(), taught.double().numpy()
        images, channels, height, width = a.shape
        squares, per_cell, per_row = [], [], 0.0
        for image in range(images):
            for i in range(height):
                for c in range(channels):
                    per_row += divergence(b[image, c, i] / t, a[image, c, i] / t)
                for j in range(width):
                    if cells[image, i, j]:
                        squares += [(a[image, c, i, j] - b[image, c, i, j]) ** 2 for c in range(channels)]
                        per_cell.append(divergence(b[image, :, i, j] / t, a[image, :, i, j] / t))
        kl = float(np.mean(per_cell)) if spec.axis == "channel" else per_row / images
        total += spec.alpha * t**2 * kl + (1 - spec.alpha) * float(np.mean(squares))
    return total / len(student)


@pytest.mark.parametrize("axis", ["channel", "width"])
@pytest.mark.parametrize(("alpha", "temperature"), [(0.5, 1.0), (1.0, 2.0), (0.0, 1.0), (0.3, 0.5)])
def test_equals_the_loops(axis: str, alpha: float, temperature: float) -> None:
    spec = DistillSpec.model_validate({"axis": axis, "alpha": alpha, "temperature": temperature})
    found = distillation(maps(0), Taught(maps(1), None), spec).item()
    assert found == pytest.approx(naive(maps(0), maps(1), spec, np.ones((2, 5, 6), dtype=bool)), rel=1e-5)


def test_cells_without_a_valid_pixel_do_not_count() -> None:
    valid = torch.ones(2, 1, 64, 80, dtype=torch.bool)
    valid[0, :, :30, :50] = False
    cells = torch.stack([grid_cells(mask[0], (5, 6)) for mask in valid])
    assert 0 < int((~cells).sum()) < 30
    found = distillation(maps(0), Taught(maps(1), valid), DistillSpec()).item()
    assert found == pytest.approx(naive(maps(0), maps(1), DistillSpec(), cells.numpy()), rel=1e-5)
    moved = tuple(torch.where(cells.unsqueeze(1), level, 99.0) for level in maps(1))
    assert distillation(maps(0), Taught(moved, valid), DistillSpec()).item() == pytest.approx(found, rel=1e-6)


def test_a_perfect_student_pays_nothing() -> None:
    assert distillation(maps(0), Taught(maps(0), None), DistillSpec()).item() == pytest.approx(0.0, abs=1e-6)


def test_other_grids_are_resized_and_halves_are_costed_in_float32() -> None:
    flat = tuple(torch.full((2, 6, 9, 9), 2.0) for _ in range(LEVELS))
    found = distillation(tuple(level.bfloat16() for level in maps(0)), Taught(flat, None), DistillSpec(alpha=0.0))
    assert found.dtype == torch.float32
    expected = np.mean([(level.bfloat16().float() - 2).square().mean().item() for level in maps(0)])
    assert found.item() == pytest.approx(float(expected), rel=1e-5)


def test_other_widths_are_refused() -> None:
    wide = tuple(level.repeat(1, 2, 1, 1) for level in maps(1))
    with pytest.raises(InputError, match=r"maps of \[12, 12, 12, 12\] channels, the student \[6, 6, 6, 6\]"):
        distillation(maps(0), Taught(wide, None), DistillSpec())
