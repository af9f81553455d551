from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import oracle_ktda as oracle
import pytest
import torch
from picomodel import PICO_CARD, write_pico
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from rspipe.catalogs.bands import Unit
from rspipe.models.build import build
from rspipe.models.card import CardBand
from rspipe.models.criterion import PUBLISHED, Criterion
from rspipe.models.distill import Taught
from rspipe.models.errors import InputError
from rspipe.models.ktda import KTDA
from rspipe.models.predictor import Predictor
from rspipe.models.specs import KTDASpec, PyramidSpec, Size
from rspipe.models.teacher import BandView, TeacherBand, ViTTeacher
from rspipe.models.weights import inference_state, load_weights, save_weights


def ktda_spec(width: int = 64, size: Size = "pico", in_bands: int = 3, *, coarse_only: bool = False) -> KTDASpec:
    pyramid = PyramidSpec(size=size, in_bands=in_bands, level_norms=True)
    return KTDASpec(
        pyramid=pyramid, classes=4, width=width, blocks=1, head_width=32, aux_width=32, coarse_only=coarse_only
    )


def made(spec: KTDASpec, seed: int = 0) -> KTDA:
    model = build(spec, seed)
    assert isinstance(model, KTDA)
    return model


def image() -> Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def holes() -> Tensor:
    valid = torch.ones(2, 1, 64, 96, dtype=torch.bool)
    valid[0, :, :40, :70] = False
    valid[0, :, 50:, 33] = False
    return valid


def toy() -> tuple[Tensor, Tensor]:
    """Two images whose class is written in their colours, and a corner without a label."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.randint(0, 4, (2, 4, 4), generator=generator).repeat_interleave(16, 1).repeat_interleave(16, 2)
    colours = torch.randn(4, 3, generator=generator)
    seen = colours[labels].movedim(-1, 1) + 0.1 * torch.randn(2, 3, 64, 64, generator=generator)
    labels[:, :8, :8] = 255
    return seen, labels


@pytest.fixture
def model() -> Iterator[KTDA]:
    model = made(ktda_spec(), 7).double().eval()
    # depthwise convolutions have no fast float64 kernel: the encoder, which no oracle repeats, stays in float32
    model.pyramid.float()
    model.pyramid.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
    model.pyramid.register_forward_hook(lambda *call: [level.double() for level in call[2]])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.add_(torch.rand(buffer.shape, generator=generator, dtype=buffer.dtype))
    with torch.inference_mode():
        yield model


def test_parameters_of_the_papers_size() -> None:
    pyramid = PyramidSpec(size="base", in_bands=3, level_norms=True)
    with torch.device("meta"):
        model = made(KTDASpec(pyramid=pyramid, classes=5))
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    width, head, classes = 768, 512, 5
    levels = 128 + 256 + 512 + 1024
    block = 4 * width + (3 + 1) * width * width + 4 * width + 2 * 4 * width * width + 5 * width
    units = (4 * width * head, (width + 4 * head) * 9 * head, 3 * width * head, 3 * 9 * head**2, 4 * head * 9 * head)
    assert counts == {
        "pyramid": 87_564_416 + 2 * levels,
        "levels": levels * width + 4 * width,
        "neck": 4 * (width * width + 9 * width * width + 2 * width),
        "modulations": 16 * block,
        "head": sum(units) + 12 * 2 * head + head * classes + classes,
        "aux": 9 * width * 256 + 2 * 256 + 256 * classes + classes,
    }
    assert [round(n / 1e6, 1) for n in counts.values()] == [87.6, 1.5, 23.6, 113.4, 32.3, 1.8]
    assert round((sum(counts.values()) - counts["aux"]) / 1e6, 1) == 258.3


@pytest.mark.parametrize(
    ("side", "grid", "sizes"), [(256, 19, [76, 38, 19, 9]), (512, 37, [148, 74, 37, 18]), (64, 5, [20, 10, 5, 2])]
)
def test_grids(side: int, grid: int, sizes: list[int]) -> None:
    with torch.device("meta"):
        model = made(ktda_spec()).train()
        output = model(torch.zeros(2, 3, side, side))
        assert [tuple(x.shape) for x in output.aligned] == [(2, 64, grid, grid)] * 4
        assert [x.shape[-1] for x in model.neck(output.aligned)] == sizes
        assert output.logits.shape == output.aux["fcn"].shape == (2, 4, side, side)


@pytest.mark.parametrize("masked", [False, True])
def test_equals_the_long_way(model: KTDA, *, masked: bool) -> None:
    x, valid = image(), holes() if masked else torch.ones(2, 1, 64, 96, dtype=torch.bool)
    expected = oracle.logits(model.state_dict(), model.pyramid(x), valid[:, 0], 8)
    found = model(x, valid if masked else None).logits
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_full_mask_is_the_papers_function_bit_for_bit(model: KTDA) -> None:
    full = torch.ones(2, 1, 64, 96, dtype=torch.bool)
    assert torch.equal(model(image()).logits, model(image(), full).logits)
    single = made(ktda_spec(), 7).eval()
    assert torch.equal(single(image().float()).logits, single(image().float(), full).logits)


def test_mask_changes_only_its_own_image(model: KTDA) -> None:
    whole, masked = model(image()).logits, model(image(), holes()).logits
    assert not torch.allclose(whole[0], masked[0])
    assert torch.allclose(whole[1], masked[1], rtol=1e-12, atol=1e-12)


def test_image_without_a_valid_pixel_stays_finite(model: KTDA) -> None:
    valid = holes()
    valid[0] = False
    assert bool(model(torch.where(valid, image(), 0), valid).logits.isfinite().all())


@pytest.mark.parametrize("rubbish", [-9999.0, 1e20, float("nan")])
def test_what_lies_under_nodata_changes_no_bit(tmp_path: Path, rubbish: float) -> None:
    predictor = Predictor.load(write_pico(tmp_path, replace(PICO_CARD, spec=ktda_spec())))
    generator = torch.Generator().manual_seed(0)
    numbers = torch.rand(1, 3, 64, 64, generator=generator)
    present = torch.rand(1, 3, 64, 64, generator=generator) > 0.1
    present[:, 0, :40] = False
    expected = predictor.probabilities(numbers, present)
    assert torch.equal(predictor.probabilities(torch.where(present, numbers, rubbish), present), expected)


@pytest.mark.parametrize(
    ("height", "width", "bands"), [(32, 160, 1), (64, 160, 3), (96, 64, 4), (128, 128, 13), (160, 96, 3)]
)
def test_output_has_the_inputs_size(height: int, width: int, bands: int) -> None:
    model = made(ktda_spec(in_bands=bands)).eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, bands, height, width)).logits.shape == (1, 4, height, width)


def test_other_inputs_are_refused(model: KTDA) -> None:
    with pytest.raises(InputError, match="3 bands and sides that are multiples of 32"):
        model(torch.zeros(1, 3, 64, 72))


def test_coarse_only_leaves_the_finest_level_alone() -> None:
    model = made(ktda_spec(coarse_only=True))
    assert [len(list(part.parameters())) > 0 for part in model.modulations] == [False, True, True, True]


def test_level_norms_are_asked_for() -> None:
    with pytest.raises(ValueError, match=r"set pyramid\.level_norms"):
        KTDASpec(pyramid=PyramidSpec(size="pico", in_bands=3), classes=4)
    with pytest.raises(ValueError, match="multiple of heads"):
        ktda_spec(width=36)


def test_auxiliary_head_is_not_in_the_weights(tmp_path: Path) -> None:
    one, two = made(ktda_spec(), 1), made(ktda_spec(), 2)
    kept = inference_state(one)
    assert {name for name in one.state_dict() if name not in kept} == {
        name for name in one.state_dict() if name.startswith("aux.")
    }
    digest = save_weights(one, tmp_path / "ktda.safetensors")
    before = two.aux.get_parameter("classify.1.weight").clone()
    load_weights(two, tmp_path / "ktda.safetensors", digest)
    x = image().float()
    assert torch.equal(one.eval()(x).logits, two.eval()(x).logits)
    assert torch.equal(two.aux.get_parameter("classify.1.weight"), before)


RGB = tuple(
    CardBand(name=name, unit=Unit.REFLECTANCE, required=True, mean=0.0, stddev=1.0) for name in ("red", "green", "blue")
)


def tiny_teacher(width: int = 64) -> ViTTeacher:
    """Random, hence for tests only."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        vit = VisionTransformer(
            img_size=28, patch_size=14, embed_dim=width, depth=4, num_heads=4, num_classes=0, dynamic_img_size=True
        )
    return ViTTeacher(vit, BandView(RGB, [TeacherBand(name=band.name, mean=0.0, stddev=1.0) for band in RGB]))


def test_teacher_learns_nothing_and_is_no_part_of_the_student() -> None:
    model, teacher = made(ktda_spec(), 2).train(), tiny_teacher()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    x, labels = toy()
    valid = torch.ones(2, 1, 64, 64, dtype=torch.bool)
    maps = teacher(x, valid)
    assert not any(taught.requires_grad for taught in maps)
    optimiser = torch.optim.SGD([*model.parameters(), *teacher.parameters()], lr=0.1)
    torch.autograd.backward(Criterion(PUBLISHED["ktda"])(model(x, valid), labels, Taught(maps, valid)).total)
    optimiser.step()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    assert not any("teacher" in name or "vit" in name for name in model.state_dict())


def test_every_parameter_learns() -> None:
    model, (x, labels) = made(ktda_spec(), 1).train(), toy()
    torch.autograd.backward(Criterion(PUBLISHED["ktda"])(model(x), labels).total)
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def fit(steps: int) -> tuple[list[MappingProxyType[str, float]], Tensor]:
    """Terms and total before each step and after the last one; and the share of pixels that are learnt."""
    model, teacher, criterion = made(ktda_spec(), 2).train(), tiny_teacher(), Criterion(PUBLISHED["ktda"])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x, labels = toy()
    valid = torch.ones(2, 1, 64, 64, dtype=torch.bool)
    taught, log = Taught(teacher(x, valid), valid), []
    for step in range(steps + 1):
        torch.manual_seed(step)
        loss = criterion(model(x, valid), labels, taught)
        log.append(MappingProxyType({"total": loss.total.item()} | {k: v.item() for k, v in loss.terms.items()}))
        optimiser.zero_grad()
        torch.autograd.backward(loss.total)
        if step < steps:
            optimiser.step()
    predicted = model.eval()(x, valid).logits.argmax(1)
    return log, (predicted == labels)[labels != 255].float().mean()


def test_few_steps_lower_the_loss() -> None:
    log, _ = fit(2)
    assert all(after["total"] < before["total"] for before, after in pairwise(log))
    assert list(log[0]) == ["total", "ce", "dice", "fcn_ce", "distill"]


@pytest.mark.slow
def test_two_images_can_be_learnt_by_heart() -> None:
    log, learnt = fit(200)
    assert log[-1]["ce"] < 0.3 * log[0]["ce"]
    assert log[-1]["distill"] < log[0]["distill"]
    assert learnt > 0.9
