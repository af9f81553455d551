"""One layer of heatmap synergy against loops that build a map per class."""

from itertools import product

import oracle_bicor as oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rspipe.models.specs import SynergySpec
from rspipe.models.stage import Stage
from rspipe.models.synergy import HeatmapSynergy, Synergy, pooling_weights

WIDTH = 16
FEW = SynergySpec(ratio=0.2, least_px=4)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shaken(spec: SynergySpec) -> Synergy:
    """A layer of which no part is at rest: fresh norms are the identity, fresh modulations too."""
    layer = Synergy(WIDTH, spec).double()
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.add_(0.3 * normal(*parameter.shape, seed=number))
    return layer


def holes() -> Tensor:
    valid = torch.ones(2, 1, 5, 6, dtype=torch.bool)
    valid[1, 0, 1:4, 2:] = False
    return valid


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("gate", "blend"), list(product(("mlp", "linear"), ("convex", "residual"))))
@torch.no_grad()
def test_layer_equals_the_map_per_class(gate: str, blend: str, *, masked: bool) -> None:
    spec = SynergySpec.model_validate({"ratio": 0.2, "least_px": 4, "gate": gate, "blend": blend})
    layer, atoms, x = shaken(spec), normal(2, 3, WIDTH), normal(2, WIDTH, 5, 6, seed=1)
    valid = holes() if masked else torch.ones_like(holes())
    found = layer(Stage(atoms, x), valid.flatten(2) if masked else None)
    for b in range(2):
        expected = oracle.stage(layer.state_dict(), spec, atoms[b], x[b], valid[b, 0])
        for mine, theirs in zip((found.atoms[b], found.x[b], found.drawn[b]), expected, strict=True):
            assert torch.allclose(mine, theirs, rtol=1e-9, atol=1e-9)


@given(st.integers(1, 40), st.floats(0.01, 1.0), st.integers(1, 50), st.integers(0, 2**31), st.booleans())
def test_exactly_k_weights_add_up_to_one(cells: int, ratio: float, least: int, seed: int, masked: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
    spec = SynergySpec(ratio=ratio, least_px=least)
    valid = normal(2, 1, cells, seed=seed) > 0
    valid[..., 0] = True
    if not masked:
        valid = torch.ones_like(valid)
    weights = pooling_weights(normal(2, 3, cells, seed=seed + 1), valid if masked else None, spec)
    count = valid.sum(-1)
    expected = [min(n, max(least, round(ratio * n))) for n in count.flatten().tolist()]
    assert (weights != 0).sum(-1).tolist() == [[k, k, k] for k in expected]
    assert torch.allclose(weights.sum(-1), torch.ones((), dtype=torch.float64), atol=1e-12)
    assert not bool(((weights != 0) & ~valid).any())


def test_a_full_mask_changes_no_bit() -> None:
    heat = normal(2, 3, 500).float()
    full = torch.ones(2, 1, 500, dtype=torch.bool)
    assert torch.equal(pooling_weights(heat, None, FEW), pooling_weights(heat, full, FEW))


@pytest.mark.parametrize("level", [-20.0, -300.0])
def test_a_class_that_shows_nowhere_gathers_from_everywhere(level: float) -> None:
    heat = torch.full((1, 1, 100), level) + torch.linspace(-1, 1, 100)
    weights = pooling_weights(heat, None, FEW)
    expected = (heat.double() - heat.max()).exp() / (heat.double() - heat.max()).exp().sum()
    assert torch.allclose(weights.double(), expected, rtol=1e-4)


def test_no_gradient_flows_through_the_pooling() -> None:
    heat = normal(2, 3, 30).requires_grad_()
    assert not pooling_weights(heat, None, FEW).requires_grad
    layer = shaken(FEW)
    torch.autograd.backward(layer(Stage(normal(2, 3, WIDTH), normal(2, WIDTH, 5, 6)), None).atoms.sum())
    assert layer.draw.weight.grad is None
    assert layer.value.weight.grad is not None


@pytest.mark.parametrize("blend", ["convex", "residual"])
def test_without_scale_and_shift_the_map_stays(blend: str) -> None:
    fresh = Synergy(WIDTH, SynergySpec.model_validate({"blend": blend})).double()
    x = normal(2, WIDTH, 5, 6)
    expected = x if blend == "convex" else 2 * x
    assert torch.allclose(fresh(Stage(normal(2, 3, WIDTH), x), None).x, expected, rtol=1e-12, atol=1e-12)


def test_invalid_cells_are_not_gathered_from() -> None:
    layers = HeatmapSynergy(WIDTH, 2, FEW).double()
    atoms, x = normal(2, 3, WIDTH), normal(2, WIDTH, 5, 6, seed=1)
    one, other = layers(atoms, x, holes()), layers(atoms, torch.where(holes(), x, 7.0), holes())
    assert all(torch.equal(a.atoms, b.atoms) for a, b in zip(one, other, strict=True))


def test_permuting_the_classes_permutes_atoms_and_heat_and_leaves_the_map() -> None:
    layer, order = shaken(FEW), torch.tensor([2, 0, 1])
    atoms, x = normal(2, 3, WIDTH), normal(2, WIDTH, 5, 6, seed=1)
    one, other = layer(Stage(atoms, x), None), layer(Stage(atoms[:, order], x), None)
    assert torch.allclose(one.atoms[:, order], other.atoms, rtol=1e-12, atol=1e-12)
    assert torch.allclose(one.drawn[:, order], other.drawn, rtol=1e-12, atol=1e-12)
    assert torch.allclose(one.x, other.x, rtol=1e-12, atol=1e-12)


def test_heatmaps_are_drawn_in_float32_under_autocast() -> None:
    layer = Synergy(WIDTH, FEW)
    atoms, x = normal(2, 3, WIDTH).float(), normal(2, WIDTH, 5, 6, seed=1).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        drawn = layer(Stage(atoms, x), None).drawn
    assert drawn.dtype == torch.float32
    assert torch.allclose(drawn, layer(Stage(atoms, x), None).drawn, atol=1e-6)
