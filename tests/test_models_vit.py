"""The transformer blocks of KTDA at their published width, against explicit attention, one image at a time."""

import oracle_ktda as oracle
import pytest
import torch

from rspipe.models.vit import FeatureModulation


@pytest.mark.parametrize("masked", [False, True])
def test_blocks_equal_explicit_attention(*, masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    blocks = FeatureModulation(768, 8, 2).double()
    with torch.no_grad():
        for parameter in blocks.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    x = torch.randn(2, 768, 3, 4, generator=generator, dtype=torch.float64)
    cells = torch.rand(2, 1, 3, 4, generator=generator) > 0.4 if masked else torch.ones(2, 1, 3, 4, dtype=torch.bool)
    found = blocks(x, cells if masked else None)
    expected = [oracle.modulate(blocks.state_dict(), 8, x[b], cells[b, 0]) for b in range(2)]
    assert torch.allclose(found, torch.stack(expected), rtol=1e-9, atol=1e-9)


def test_no_blocks_are_the_identity() -> None:
    x = torch.randn(2, 8, 3, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(FeatureModulation(8, 2, 0)(x, None), x)


def test_weights_are_drawn_narrowly_and_biases_are_zero() -> None:
    state = FeatureModulation(256, 8, 1).state_dict()
    weight = state["blocks.0.mlp.fc1.weight"]
    assert float(weight.std()) == pytest.approx(0.02, rel=0.02)
    assert not bool(state["blocks.0.attn.qkv.bias"].any())
