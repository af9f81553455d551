"""What holds for every architecture and every ablation of it."""

import pytest
import torch
from picomodel import bicor_spec, pico_spec
from torch import Tensor

from rspipe.models.bicor import BiCoR
from rspipe.models.build import build
from rspipe.models.criterion import PUBLISHED, Criterion
from rspipe.models.d2ls import D2LS
from rspipe.models.segmenter import Segmenter
from rspipe.models.specs import AttentionSpec, ModelSpec, SynergySpec

DYNAMIC = pico_spec()
SPECS: dict[str, ModelSpec] = {
    "d2ls": DYNAMIC,
    "static": DYNAMIC.model_copy(update={"dictionary": "static"}),
    "plain": DYNAMIC.model_copy(update={"dictionary": "none"}),
    "deepest level only": DYNAMIC.model_copy(update={"aggregate": False}),
    "plain, deepest level only": DYNAMIC.model_copy(update={"dictionary": "none", "aggregate": False}),
    "no exchange": DYNAMIC.model_copy(update={"exchange": None}),
    "atoms read": DYNAMIC.model_copy(update={"exchange": AttentionSpec(heads=4, reads="atoms")}),
    "pixels read": DYNAMIC.model_copy(update={"exchange": AttentionSpec(heads=4, reads="pixels")}),
    "d2ls by heatmaps": DYNAMIC.model_copy(update={"exchange": SynergySpec()}),
    "bicor": bicor_spec(),
    "bicor by its figure": bicor_spec(exchange=SynergySpec(gate="linear", blend="residual")),
    "bicor by attention": bicor_spec(exchange=AttentionSpec(heads=4)),
}
every_model = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
main_models = pytest.mark.parametrize("name", ["d2ls", "static", "plain", "d2ls by heatmaps", "bicor"])


def made(spec: ModelSpec, seed: int = 2) -> Segmenter:
    """A model whose encoder is not at rest: fresh layer scales are 1e-6."""
    model = build(spec, seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("pyramid") and name.endswith("gamma"):
                parameter.fill_(0.3)
    return model


def image(height: int = 64, width: int = 96, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


def holes() -> Tensor:
    valid = torch.ones(2, 1, 64, 96, dtype=torch.bool)
    valid[0, :, :40, :70] = False
    return valid


def toy() -> tuple[Tensor, Tensor]:
    """Two images whose class is written in their colours, and a corner without a label."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.randint(0, 4, (2, 8, 8), generator=generator).repeat_interleave(8, 1).repeat_interleave(8, 2)
    colours = torch.randn(4, 3, generator=generator)
    noise = 0.1 * torch.randn(2, 3, 64, 64, generator=generator)
    labels_seen = labels.clone()
    labels_seen[:, :8, :8] = 255
    return colours[labels].movedim(-1, 1) + noise, labels_seen


def fitted(spec: ModelSpec, steps: int, rate: float) -> tuple[Segmenter, list[float]]:
    """The model, and the loss before each step and after the last one."""
    model, criterion = build(spec, seed=2).train(), Criterion(PUBLISHED[spec.name])
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate)
    x, labels = toy()
    losses = []
    for _ in range(steps):
        loss = criterion(model(x), labels).total
        losses.append(loss.item())
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    return model, [*losses, criterion(model(x), labels).total.item()]


@every_model
def test_every_parameter_is_reached_by_the_loss(spec: ModelSpec) -> None:
    model = made(spec).train()
    labels = torch.randint(0, 4, (2, 64, 96), generator=torch.Generator().manual_seed(1))
    torch.autograd.backward(Criterion(PUBLISHED[spec.name])(model(image()), labels).total)
    dead = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert dead == []


@every_model
@torch.inference_mode()
def test_full_mask_is_the_papers_function_bit_for_bit(spec: ModelSpec) -> None:
    model = made(spec).eval()
    assert torch.equal(model(image()).logits, model(image(), torch.ones(2, 1, 64, 96, dtype=torch.bool)).logits)


@every_model
@torch.inference_mode()
def test_a_mask_stays_with_its_image_and_leaves_numbers_finite(spec: ModelSpec) -> None:
    model = made(spec).eval()
    x = torch.where(holes(), image(), 0)
    masked, nothing = model(x, holes()).logits, model(0 * x, torch.zeros_like(holes())).logits
    assert torch.allclose(masked[1], model(image()).logits[1], atol=1e-5)
    assert bool(nothing.isfinite().all())


@every_model
@torch.inference_mode()
def test_batch_order_does_not_matter(spec: ModelSpec) -> None:
    model, order = made(spec).eval(), torch.tensor([2, 0, 1])
    x = image(batch=3)
    assert torch.allclose(model(x).logits[order], model(x[order]).logits, atol=1e-5)


@every_model
@torch.inference_mode()
def test_evaluation_answers_as_training_does(spec: ModelSpec) -> None:
    model = made(spec)
    assert torch.equal(model.train()(image()).logits, model.eval()(image()).logits)


@main_models
@pytest.mark.parametrize("side", range(64, 161, 32))
@torch.inference_mode()
def test_output_has_the_inputs_size(name: str, side: int) -> None:
    model = build(SPECS[name]).eval()
    assert model(image(side, 224 - side)).logits.shape == (2, 4, side, 224 - side)


@pytest.mark.parametrize("name", ["d2ls", "no exchange", "d2ls by heatmaps", "bicor", "bicor by attention"])
@torch.inference_mode()
def test_every_stage_can_be_shown(name: str) -> None:
    model = made(SPECS[name]).eval()
    expected = 1 if name == "no exchange" else 2
    assert [heat.shape for heat in model(image(), explain=True).heatmaps] == [(2, 4, 16, 24)] * expected


@torch.inference_mode()
def test_heat_of_attention_is_the_scaled_dot_product() -> None:
    model = made(DYNAMIC).eval()
    assert isinstance(model, D2LS)
    maps = model.pyramid(image())
    assert model.modulator is not None
    assert model.generator is not None
    table, x = model.generator(model.table, model.modulator(maps[-1], None)), model.fuse(maps)
    *_, last = model.stages(table, x, None)
    found = model(image(), explain=True).heatmaps[-1]
    for n, i, j in ((0, 0, 0), (3, 5, 7), (1, 15, 23)):
        expected = sum(a * p for a, p in zip(last.atoms[1, n].tolist(), last.x[1, :, i, j].tolist(), strict=True)) / 8
        assert float(found[1, n, i, j]) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_static_dictionary_has_no_generator_and_no_auxiliary_branch() -> None:
    output = made(SPECS["static"]).train()(image())
    assert (dict(output.aux), output.tables) == ({}, ())
    names = {name.split(".")[0] for name in build(SPECS["static"]).state_dict()}
    assert names == {"pyramid", "fuse", "table", "interactor", "upsample", "head"}


@torch.inference_mode()
def test_the_plain_head_is_a_linear_map_of_the_upsampled_pixels() -> None:
    model = made(SPECS["plain"]).eval()
    state = model.state_dict()
    seen: list[Tensor] = []
    model.get_submodule("upsample").register_forward_hook(lambda *call: seen.append(call[2]))
    logits = model(image()).logits
    pixel = seen[0][1, 4, 5].view(-1, 2, 2)[:, 1, 1]
    expected = state["head.classes.weight"] @ pixel + state["head.classes.bias"]
    assert torch.allclose(logits[1, :, 9, 11], expected, atol=1e-6)


def test_specs_choose_the_model() -> None:
    assert isinstance(build(DYNAMIC), D2LS)
    assert isinstance(build(bicor_spec()), BiCoR)


def test_seed_alone_decides_the_weights() -> None:
    for spec in (DYNAMIC, SPECS["bicor"]):
        before = torch.get_rng_state()
        one, two, other = (build(spec, seed).state_dict() for seed in (3, 3, 4))
        assert torch.equal(torch.get_rng_state(), before)
        assert all(torch.equal(a, b) for a, b in zip(one.values(), two.values(), strict=True))
        assert not torch.equal(one["table"], other["table"])


@every_model
def test_one_step_lowers_the_loss(spec: ModelSpec) -> None:
    _, (before, after) = fitted(spec, 1, 1e-4)
    assert after < before


@pytest.mark.slow
@main_models
def test_two_images_can_be_learnt_by_heart(name: str) -> None:
    model, losses = fitted(SPECS[name], 200, 2e-3)
    assert losses[-1] < 0.4 * losses[0]
    x, labels = toy()
    right = model.eval()(x).logits.argmax(1) == labels
    assert bool(right[labels != 255].float().mean() > 0.99)
