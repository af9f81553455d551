import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants
from labelled import BANDS, random_patch
from picomodel import PICO_CARD, pico_spec, write_pico
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from test_models_ktda import RGB, holes, image, ktda_spec, tiny_teacher
from torch import Tensor
from torch.nn import functional

from rspipe.models.build import build
from rspipe.models.checkpoint import save_checkpoint
from rspipe.models.errors import SpecError, WeightsError
from rspipe.models.ktda import KTDA
from rspipe.models.recipe import Recipe
from rspipe.models.specs import D2LSSpec
from rspipe.models.teacher import BandView, CardTeacherSpec, TeacherBand, ViTTeacherSpec, teacher_of

EVERYWHERE = torch.ones(2, 1, 64, 96, dtype=torch.bool)
SMALLEST = "test_vit"
"""The smallest ViT that timm has a name for."""


def bands(*names: str) -> tuple[TeacherBand, ...]:
    return tuple(TeacherBand(name=name, mean=0.1, stddev=0.2) for name in names)


def test_bands_are_chosen_and_normalised_the_teachers_way() -> None:
    student = tuple(
        replace(band, mean=mean, stddev=stddev)
        for band, mean, stddev in zip(PICO_CARD.bands, (0.2, 0.3, 285.0), (0.1, 0.2, 12.0), strict=True)
    )
    wanted = (TeacherBand(name="lwir11", mean=280.0, stddev=10.0), TeacherBand(name="red", mean=0.5, stddev=0.25))
    physical = torch.tensor([0.35, 0.4, 291.0]).view(1, 3, 1, 1).expand(1, 3, 1, 2)
    scores = torch.stack([(physical[:, i] - band.mean) / band.stddev for i, band in enumerate(student)], dim=1)
    valid = torch.tensor([True, False]).view(1, 1, 1, 2)
    seen = BandView(student, wanted)(scores, valid)
    assert seen[0, :, 0, 0].tolist() == pytest.approx([(291 - 280) / 10, (0.35 - 0.5) / 0.25], abs=1e-5)
    assert seen[0, :, 0, 1].tolist() == [0.0, 0.0]


def test_bands_that_the_student_lacks_are_refused() -> None:
    with pytest.raises(SpecError, match="looks at green, blue, the model has only red, nir, lwir11"):
        BandView(PICO_CARD.bands, bands("red", "green", "blue"))


def test_taps_follow_each_quarter_of_the_blocks_and_the_last_is_normed() -> None:
    teacher = tiny_teacher()
    after: list[Tensor] = []
    for block in teacher.network.blocks:
        block.register_forward_hook(lambda *call: after.append(call[2]))
    x = image().float()
    maps = teacher(x, EVERYWHERE)
    # 64 x 96 px, padded to 70 x 98 px: 5 x 7 patches behind one class token
    assert len(after) == 4
    expected = [*after[:3], teacher.network.norm(after[3])]
    for found, tokens in zip(maps, expected, strict=True):
        assert found.shape == (2, 64, 5, 7)
        for i, j in ((0, 0), (2, 5), (4, 6)):
            assert torch.equal(found[:, :, i, j], tokens[:, 1 + 7 * i + j])


def test_images_are_padded_with_zeros_to_the_right_and_downwards() -> None:
    teacher, x = tiny_teacher(), image().float()
    padded = functional.pad(x, (0, 2, 0, 6))
    whole = torch.ones(2, 1, 70, 98, dtype=torch.bool)
    for one, other in zip(teacher(x, EVERYWHERE), teacher(padded, whole), strict=True):
        assert torch.equal(one, other)


def test_nothing_under_invalid_pixels_is_seen() -> None:
    teacher, x = tiny_teacher(), image().float()
    rubbish = torch.where(holes(), x, float("nan"))
    for one, other in zip(teacher(x, holes()), teacher(rubbish, holes()), strict=True):
        assert torch.equal(one, other)


def test_patches_without_a_valid_pixel_are_not_attended() -> None:
    teacher, x = tiny_teacher(), torch.where(holes(), image().float(), 0)
    padded = functional.pad(x, (0, 2, 0, 6))
    plain: Any = teacher.network.forward_intermediates(padded, indices=[0], intermediates_only=True)
    masked, full = teacher(x, holes())[0], teacher(x, EVERYWHERE)[0]
    assert torch.equal(full, plain[0])
    assert not torch.allclose(masked[0], full[0])
    assert torch.allclose(masked[1], full[1], atol=1e-6)


def test_it_stays_frozen_and_in_evaluation() -> None:
    teacher = tiny_teacher()
    assert not teacher.train().training
    assert not teacher.network.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def written(folder: Path, *, head: bool) -> Path:
    torch.manual_seed(0)
    state = timm.create_model(SMALLEST, pretrained=False).state_dict()
    state = {name: tensor for name, tensor in state.items() if head or not name.startswith("head.")}
    save_file(state, folder / "vit.safetensors")
    return folder / "vit.safetensors"


@pytest.mark.parametrize("head", [True, False])
def test_weights_are_read_from_a_file(tmp_path: Path, *, head: bool) -> None:
    path = written(tmp_path, head=head)
    spec = ViTTeacherSpec(name=SMALLEST, path=path, bands=bands("red", "green", "blue"))
    teacher = teacher_of(spec, RGB)
    torch.manual_seed(0)
    reference: Any = timm.create_model(SMALLEST, pretrained=False, dynamic_img_size=True).eval()
    x = torch.rand(1, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    found = teacher(x, torch.ones(1, 1, 160, 160, dtype=torch.bool))[-1]
    patch = reference.patch_embed.patch_size[0]
    expected = reference.forward_features((x - 0.1) / 0.2)[:, reference.num_prefix_tokens :]
    assert found.shape[-2:] == (160 // patch, 160 // patch)
    assert torch.allclose(found.flatten(2).transpose(1, 2), expected, atol=1e-4)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    rgb = bands("red", "green", "blue")
    save_file({"strange": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "vit.pth").write_bytes(b"cos\nsystem\n")
    (tmp_path / "broken.safetensors").write_bytes(b"cos\nsystem\n")
    for name in ("other.safetensors", "broken.safetensors", "vit.pth", "absent.safetensors"):
        with pytest.raises(WeightsError, match=re.escape(str(tmp_path / name))):
            teacher_of(ViTTeacherSpec(name=SMALLEST, path=tmp_path / name, bands=rgb), RGB)
    with pytest.raises(SpecError, match="has no weights of this name"):
        teacher_of(ViTTeacherSpec(name="vit_of_nobody", bands=rgb), RGB)
    state = timm.create_model(SMALLEST, pretrained=False).state_dict()
    state["norm.bias"][0] = float("nan")
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(WeightsError, match="holds NaN"):
        teacher_of(ViTTeacherSpec(name=SMALLEST, path=tmp_path / "nan.safetensors", bands=rgb), RGB)


def test_other_kinds_of_network_are_refused(tmp_path: Path) -> None:
    save_file(timm.create_model("test_convnext", pretrained=False).state_dict(), tmp_path / "net.safetensors")
    spec = ViTTeacherSpec(name="test_convnext", path=tmp_path / "net.safetensors", bands=bands("red", "green", "blue"))
    with pytest.raises((SpecError, WeightsError), match="teacher test_convnext"):
        teacher_of(spec, RGB)


def test_a_machine_without_a_network_is_told_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    spec = ViTTeacherSpec(name="vit_base_patch14_dinov2.lvd142m", bands=bands("red", "green", "blue"))
    with pytest.raises(WeightsError, match="fetch it elsewhere and name the file as path:"):
        teacher_of(spec, RGB)


def test_a_trained_model_of_ours_teaches_its_projected_pyramid(tmp_path: Path) -> None:
    card = write_pico(tmp_path)
    teacher = teacher_of(CardTeacherSpec(card=str(card)), PICO_CARD.bands)
    network = build(PICO_CARD.spec, seed=1)
    x = image().float()
    state, pyramid = network.state_dict(), network.get_submodule("pyramid")(x)
    maps = teacher(x, EVERYWHERE)
    assert [tuple(level.shape) for level in maps] == [(2, 64, 16, 24), (2, 64, 8, 12), (2, 64, 4, 6), (2, 64, 2, 3)]
    for i, level in enumerate(pyramid):
        weight, bias = (state[f"fuse.levels.{i}.project.{name}"] for name in ("weight", "bias"))
        expected = weight @ level[1, :, 1, 1] + bias
        assert torch.allclose(maps[i][1, :, 1, 1], expected, atol=1e-5)


def test_a_trained_ktda_teaches_its_aligned_maps(tmp_path: Path) -> None:
    spec = ktda_spec()
    card = write_pico(tmp_path, replace(PICO_CARD, spec=spec))
    teacher = teacher_of(CardTeacherSpec(card=str(card)), PICO_CARD.bands)
    network = build(spec, seed=1)
    assert isinstance(network, KTDA)
    x = image().float()
    expected = network.train()(x).aligned
    for found, aligned in zip(teacher(x, EVERYWHERE), expected, strict=True):
        assert torch.allclose(found, aligned, atol=1e-5)


def test_a_model_of_the_deepest_map_alone_cannot_teach(tmp_path: Path) -> None:
    pico = pico_spec()
    spec = D2LSSpec(pyramid=pico.pyramid, classes=4, width=64, stages=2, exchange=pico.exchange, aggregate=False)
    card = write_pico(tmp_path, replace(PICO_CARD, spec=spec))
    with pytest.raises(SpecError, match="reads only its deepest map"):
        teacher_of(CardTeacherSpec(card=str(card)), PICO_CARD.bands)


def recipe(architecture: str, card: Path) -> Recipe:
    return Recipe.model_validate(
        {
            "legend": "cloud-thickness",
            "model": {
                "name": architecture,
                "pyramid": {"size": "pico", "in_bands": 4, "level_norms": True},
                "classes": 4,
                "width": 64,
            },
            "bands": tuple(
                {"name": band.name, "required": band.required, "mean": band.mean, "stddev": band.stddev}
                for band in BANDS
            ),
            "feed": {"batch": 2, "simulated_share": 0.0, "crop": {"size_px": 64}},
            "optimiser": {"steps": 2, "warmup_steps": 0},
            "teacher": {"kind": "card", "card": str(card)},
        }
    )


def test_a_training_compares_its_student_with_the_teacher_and_keeps_none_of_it(tmp_path: Path) -> None:
    spec = PICO_CARD.spec.model_copy(update={"pyramid": PICO_CARD.spec.pyramid.model_copy(update={"in_bands": 4})})
    card = write_pico(tmp_path, replace(PICO_CARD, spec=spec, bands=BANDS))
    trainer = recipe("ktda", card).trainer([random_patch(0), random_patch(1)], [])
    assert trainer.teacher is not None
    before = {name: tensor.clone() for name, tensor in trainer.teacher.state_dict().items()}
    assert all(facts["distill"] > 0 for facts in trainer.run())
    assert all(torch.equal(before[name], tensor) for name, tensor in trainer.teacher.state_dict().items())
    save_checkpoint(trainer, tmp_path / "checkpoints", "")
    (kept,) = (tmp_path / "checkpoints").glob("*.safetensors")
    assert not any("network" in name or "view" in name for name in load_file(kept))


def test_only_ktda_can_be_taught(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="a d2ls has no maps that a teacher could correct"):
        recipe("d2ls", tmp_path / "any.json")


def test_a_recipes_digest_tells_of_the_teacher_wherever_it_lies(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 1), ("other", 2)):
        (tmp_path / name).mkdir()
        write_pico(tmp_path / name, seed=seed)
    one, two, other = (recipe("ktda", tmp_path / name / "pico-clouds.json").digest for name in ("one", "two", "other"))
    assert one == two != other


def test_paths_lie_below_the_folder_of_the_data() -> None:
    by_path = CardTeacherSpec(card="cards/a.json").under(Path("/data"))
    assert by_path.card == str(Path("/data/cards/a.json"))
    assert CardTeacherSpec(card="cloud-thickness").under(Path("/data")).card == "cloud-thickness"
    vit = ViTTeacherSpec(name=SMALLEST, path=Path("vit.safetensors"), bands=bands("red"))
    assert vit.under(Path("/data")).path == Path("/data/vit.safetensors")
