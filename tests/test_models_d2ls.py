import math
from collections.abc import Iterator

import oracle_d2ls as oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from picomodel import pico_spec
from torch import Tensor

from rspipe.models.build import build
from rspipe.models.d2ls import D2LS
from rspipe.models.errors import InputError
from rspipe.models.specs import D2LSSpec, PyramidSpec


def pico(seed: int, detail: tuple[int, ...] = ()) -> D2LS:
    model = build(pico_spec().model_copy(update={"detail": detail}), seed)
    assert isinstance(model, D2LS)
    return model


@pytest.fixture(params=[(), (2, 0)], ids=["", "detail"])
def model(request: pytest.FixtureRequest) -> Iterator[D2LS]:
    made = pico(7, request.param).double().eval()
    # depthwise convolutions have no fast float64 kernel: the encoder, which no oracle repeats, stays in float32
    made.pyramid.body.float()
    made.pyramid.body.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
    made.pyramid.body.register_forward_hook(lambda *call: [level.double() for level in call[2]])
    # fresh layer scales are 1e-6 and fresh norms the identity: shake all, so that no path is invisible
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    with torch.inference_mode():
        yield made


def image(batch: int = 2, height: int = 64, width: int = 96, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, height, width, generator=generator, dtype=torch.float64)


def holes(batch: int = 2, height: int = 64, width: int = 96) -> Tensor:
    valid = torch.ones(batch, 1, height, width, dtype=torch.bool)
    valid[0, :, :40, :70] = False
    valid[0, :, 50:, 33] = False
    return valid


def test_parameters_of_the_papers_base_size() -> None:
    model = D2LS(D2LSSpec(pyramid=PyramidSpec(size="base", in_bands=3), classes=7))
    backbone = sum(p.numel() for p in model.pyramid.parameters())
    width, inner, classes, subatoms, stages = 256, 128, 7, 4, 3
    attention = 3 * (width * inner + inner) + inner * width + width
    rest = sum(
        (
            (128 + 256 + 512 + 1024) * width + 4 * width + 4 * width * width,
            classes * width,
            1024 * width + width + 2 * (inner * inner + inner),
            width * 2 * width + 2 * width + 2 * width * classes * subatoms + classes * subatoms,
            width * subatoms * width + subatoms * width,
            (2 * stages + 1) * (attention + 2 * width),
            2 * width // 4,
            2 * (width * width + width) + width * 16 + 16,
        )
    )
    assert backbone == 87_564_416  # torchvision's ConvNeXt-Base, 88 591 464, less final norm and classifier
    assert backbone == 88_591_464 - 2 * 1024 - (1024 * 1000 + 1000)
    assert sum(p.numel() for p in model.parameters()) == backbone + rest
    assert 90_080_000 <= backbone + rest <= 90_090_000


@pytest.mark.parametrize("masked", [False, True])
def test_equals_the_long_way(model: D2LS, *, masked: bool) -> None:
    x, valid = image(), holes() if masked else torch.ones(2, 1, 64, 96, dtype=torch.bool)
    bands = x[:, list(model.spec.detail)] if model.spec.detail else None
    expected = oracle.logits(model.state_dict(), model.pyramid(x), valid[:, 0], (4, 4), bands)
    found = model(x, valid if masked else None).logits
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_full_mask_is_the_papers_function_bit_for_bit(model: D2LS) -> None:
    full = torch.ones(2, 1, 64, 96, dtype=torch.bool)
    assert torch.equal(model(image()).logits, model(image(), full).logits)
    single = build(pico_spec(), seed=7).eval()
    assert torch.equal(single(image().float()).logits, single(image().float(), full).logits)


def test_mask_changes_only_its_own_image(model: D2LS) -> None:
    whole, masked = model(image()).logits, model(image(), holes()).logits
    assert not torch.allclose(whole[0], masked[0])
    assert torch.equal(whole[1], masked[1])


def test_image_without_a_valid_pixel_stays_finite(model: D2LS) -> None:
    valid = holes()
    valid[0] = False
    x = torch.where(valid, image(), 0)
    found = model(x, valid).logits
    assert bool(found.isfinite().all())
    assert torch.equal(found[1], model(image(), holes()).logits[1])


def test_a_short_way_begins_as_if_it_were_not_there() -> None:
    with torch.inference_mode():
        assert torch.equal(pico(7).eval()(image().float()).logits, pico(7, (0, 1, 2)).eval()(image().float()).logits)


def test_a_short_way_sees_what_the_encoder_sees() -> None:
    pyramid = PyramidSpec(size="pico", in_bands=3, compress=True)
    made = pico_spec().model_copy(update={"pyramid": pyramid, "detail": (1,)})
    for spec in (made, made.model_copy(update={"dictionary": "none"})):
        model, seen = build(spec).eval(), list[Tensor]()
        model.get_submodule("detail").register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
        model(image().float())
        expected = torch.asinh(image() + 2) - math.asinh(2)
        assert torch.allclose(seen[0].double(), expected, atol=1e-5)


@pytest.mark.parametrize("channels", [(0, 3), (1, 1), (-1,)])
def test_a_short_way_is_of_different_bands_that_are_there(channels: tuple[int, ...]) -> None:
    document = pico_spec().model_dump(mode="json")
    assert D2LSSpec.model_validate({**document, "detail": [2, 0]}).detail == (2, 0)
    with pytest.raises(ValueError, match="detail"):
        D2LSSpec.model_validate({**document, "detail": list(channels)})


def test_batch_order_does_not_matter(model: D2LS) -> None:
    x, valid = image(batch=3), holes(batch=3)
    order = torch.tensor([2, 0, 1])
    assert torch.allclose(model(x, valid).logits[order], model(x[order], valid[order]).logits, rtol=1e-12, atol=1e-12)


def test_static_and_dynamic_pass_share_their_weights(model: D2LS) -> None:
    x = image()
    output = model.train()(x)
    fused = model.fuse(model.pyramid(x))
    (dynamic,) = output.tables
    detail = None if model.detail is None else model.detail(x)
    assert torch.equal(model.decode(model.stages(dynamic, fused, None)[-1], detail), output.logits)
    static = model.stages(model.table.expand(2, -1, -1), fused, None)[-1]
    assert torch.equal(model.decode(static, detail), output.aux["static"])


def test_only_training_fills_more_than_logits(model: D2LS) -> None:
    output = model(image())
    assert (dict(output.aux), output.heatmaps, output.tables, output.aligned) == ({}, (), (), ())


@settings(max_examples=4, deadline=None)
@given(st.sampled_from(range(64, 161, 32)), st.sampled_from(range(32, 161, 32)), st.integers(1, 5), st.integers(1, 6))
def test_output_has_the_inputs_size(height: int, width: int, bands: int, classes: int) -> None:
    model = build(pico_spec(classes=classes, in_bands=bands)).eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, bands, height, width)).logits.shape == (1, classes, height, width)


@pytest.mark.parametrize("shape", [(1, 3, 64, 72), (1, 4, 64, 64)])
def test_other_inputs_are_refused(model: D2LS, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="3 bands and sides that are multiples of 32"):
        model(torch.zeros(shape))
