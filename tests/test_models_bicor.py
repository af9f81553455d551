"""BiCoR-Seg against the long way, and its published size."""

import oracle_bicor as oracle
import pytest
import torch
from picomodel import bicor_spec
from torch import Tensor

from rspipe.models.bicor import BiCoR
from rspipe.models.specs import BiCoRSpec, PyramidSpec, SynergySpec

FEW = SynergySpec(ratio=0.02, least_px=8)


def pico() -> BiCoR:
    torch.manual_seed(7)
    model = BiCoR(bicor_spec(exchange=FEW)).double()
    # depthwise convolutions have no fast float64 kernel: the encoder, which no oracle repeats, stays in float32
    model.pyramid.float()
    model.pyramid.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
    model.pyramid.register_forward_hook(lambda *call: [level.double() for level in call[2]])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model


def image() -> Tensor:
    return torch.randn(2, 3, 32, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def holes() -> Tensor:
    valid = torch.ones(2, 1, 32, 64, dtype=torch.bool)
    valid[0, :, :20, :40] = False
    return valid


@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_equals_the_long_way(*, masked: bool) -> None:
    model, x, valid = pico().train(), image(), holes() if masked else torch.ones_like(holes())
    expected = oracle.outputs(model.state_dict(), FEW, model.pyramid(x), valid[:, 0])
    found = model(x, valid if masked else None)
    mine = {"logits": found.logits, "static": found.aux["static"]}
    mine |= {f"heat{number}": heat for number, heat in enumerate(found.heatmaps)}
    mine |= {f"table{number}": table for number, table in enumerate(found.tables)}
    assert mine.keys() == expected.keys()
    for name, tensor in mine.items():
        assert torch.allclose(tensor, torch.stack(expected[name]), rtol=1e-9, atol=1e-9), name


@torch.no_grad()
def test_evaluation_returns_logits_and_shows_heatmaps_on_request() -> None:
    model = pico().eval()
    output, shown = model(image()), model(image(), explain=True)
    assert (dict(output.aux), output.heatmaps, output.tables, output.aligned) == ({}, (), (), ())
    assert [heat.shape for heat in shown.heatmaps] == [(2, 4, 8, 16)] * 2
    assert torch.equal(shown.logits, output.logits)


def test_the_auxiliary_branch_does_not_teach_the_table() -> None:
    model = pico().train()
    torch.autograd.backward(model(image()).aux["static"].square().sum())
    assert model.table.grad is None
    assert model.static_head.get_parameter("classes.weight").grad is not None


@pytest.mark.parametrize(("stages", "published"), [(2, 89.51e6), (3, 90.11e6)])
def test_parameters_of_the_papers_base_size(stages: int, published: float) -> None:
    with torch.device("meta"):
        spec = BiCoRSpec(pyramid=PyramidSpec(size="base", in_bands=3), classes=7, stages=stages)
        found = sum(parameter.numel() for parameter in BiCoR(spec).parameters())
    width, classes = 256, 7
    square, biased = width * width, width * width + width
    synergy = 2 * 2 * width + 2 * square + (2 * square + width) + biased + 2 * biased + 2 * biased
    fuse = (128 + 256 + 512 + 1024) * width + 4 * width + 4 * square
    rest = fuse + classes * width + stages * synergy + 2 * width // 4 + 2 * width * 16
    assert found == 87_564_416 + rest
    assert found == pytest.approx(published, abs=0.005e6)
