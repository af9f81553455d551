"""The loop: learns, repeats itself by seed, goes on from a checkpoint with the same bits."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from labelled import BANDS, CLASSES, random_patch
from pydantic import ValidationError

from rspipe.models.checkpoint import resume, save_checkpoint
from rspipe.models.errors import DataError
from rspipe.models.normalise import Normaliser
from rspipe.models.outputs import SegOutput
from rspipe.models.recipe import Recipe
from rspipe.models.score import scored
from rspipe.models.train import OptimiserSpec, Restart, Trainer

RECIPE = Recipe.model_validate_json(
    """{"legend": "cloud-thickness", "seed": 5,
    "model": {"name": "d2ls", "pyramid": {"size": "pico", "in_bands": 4, "drop_path": 0.2}, "classes": 4, "width": 32,
              "stages": 1, "exchange": {"name": "attention", "heads": 4}},
    "bands": [{"name": "blue", "required": true, "mean": 0.2, "stddev": 0.1},
              {"name": "nir", "required": true, "mean": 0.3, "stddev": 0.2},
              {"name": "cirrus", "required": false, "mean": 0.01, "stddev": 0.02},
              {"name": "lwir11", "required": false, "mean": 280.0, "stddev": 15.0}],
    "feed": {"batch": 2, "simulated_share": 0.0, "crop": {"size_px": 32}},
    "optimiser": {"steps": 12, "warmup_steps": 2}}"""
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Certain(torch.nn.Module):
    """Says class 0 everywhere, with logits of 1 and -1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, image: torch.Tensor, _valid: torch.Tensor) -> SegOutput:
        ones = torch.ones_like(image[:, 0])
        return SegOutput(torch.stack([ones, -ones], dim=1))


def fresh(recipe: Recipe = RECIPE) -> Trainer:
    return recipe.trainer([random_patch(0), random_patch(1)], [])


def test_one_step_lowers_the_loss_of_its_batch() -> None:
    spec = RECIPE.optimiser.model_copy(update={"steps": 1, "warmup_steps": 0, "lr": 3e-4})
    trainer = fresh(RECIPE.model_copy(update={"optimiser": spec}))
    batch = trainer.feed.batch(0)

    def loss() -> float:
        torch.manual_seed(0)
        with torch.no_grad():
            return trainer.criterion(trainer.model.train()(batch.image, batch.valid), batch.labels).total.item()

    before = loss()
    assert len(list(trainer.run())) == 1
    assert loss() < before


def test_the_same_seed_gives_the_same_bits() -> None:
    one, other = list(fresh().run(4)), list(fresh().run(4))
    assert one == other
    assert list(fresh(RECIPE.model_copy(update={"seed": 6})).run(4)) != one


def test_resumed_training_repeats_losses_and_weights_to_the_bit(tmp_path: Path) -> None:
    whole = fresh()
    undisturbed = list(whole.run())
    halted = fresh()
    first = list(halted.run(7))
    save_checkpoint(halted, tmp_path, RECIPE.digest)
    torch.manual_seed(999)
    resumed = fresh()
    assert resume(resumed, tmp_path, RECIPE.digest)
    assert first + list(resumed.run()) == undisturbed
    for name, tensor in whole.average.items():
        assert torch.equal(resumed.average[name], tensor), name


def test_only_the_last_checkpoint_stays(tmp_path: Path) -> None:
    trainer = fresh()
    for until in (1, 2):
        list(trainer.run(until))
        save_checkpoint(trainer, tmp_path, RECIPE.digest)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "step-00000002.safetensors"]


def test_a_checkpoint_of_another_recipe_or_a_broken_one_is_refused(tmp_path: Path) -> None:
    assert not resume(fresh(), tmp_path, RECIPE.digest)
    save_checkpoint(fresh(), tmp_path, RECIPE.digest)
    with pytest.raises(DataError, match="another recipe"):
        resume(fresh(), tmp_path, "0" * 64)
    (tmp_path / "step-00000000.safetensors").write_bytes(b"\x08")
    with pytest.raises(DataError, match="cannot be read"):
        resume(fresh(), tmp_path, RECIPE.digest)


def test_the_rate_rises_then_falls_along_a_cosine() -> None:
    spec = OptimiserSpec(steps=110, lr=1.0, lr_floor=0.0, warmup_steps=10)
    trainer = fresh(RECIPE.model_copy(update={"optimiser": spec}))
    rates = []
    for step in (0, 9, 10, 60, 109):
        trainer.step = step
        rates.append(trainer.learning_rate())
    assert rates == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.000247], rel=1e-2)


def test_after_a_restart_the_rate_rises_and_falls_as_in_a_training_of_its_own() -> None:
    first = OptimiserSpec(steps=110, lr=1.0, warmup_steps=10, epoch_steps=3)
    second = first.model_copy(update={"steps": 70, "lr": 0.3})
    both = first.model_copy(update={"steps": 180, "restart": Restart(step=110, lr=0.3)})

    def rates(spec: OptimiserSpec) -> list[float]:
        trainer, found = fresh(RECIPE.model_copy(update={"optimiser": spec})), []
        for step in range(spec.steps):
            trainer.step = step
            found.append(trainer.learning_rate())
        return found

    assert rates(both) == rates(first) + rates(second)


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_weights_before_a_restart_are_kept_to_a_share(average: float, tmp_path: Path) -> None:
    recipe = with_optimiser(steps=6, average=average)
    optimiser = recipe.optimiser.model_copy(update={"restart": Restart(step=3, lr=0.01, keep=0.25)})
    trainer = fresh(recipe.model_copy(update={"optimiser": optimiser}))

    def now() -> dict[str, torch.Tensor]:
        used = trainer.average or trainer.model.state_dict()
        return {name: tensor.detach().double().clone() for name, tensor in used.items()}

    list(trainer.run(3))
    before = now()
    list(trainer.run(5))
    save_checkpoint(trainer, tmp_path, "recipe")
    trainer = fresh(recipe.model_copy(update={"optimiser": optimiser}))
    assert resume(trainer, tmp_path, "recipe")
    list(trainer.run())
    last = now()
    trainer.settle()
    assert any(not torch.equal(before[name], last[name]) for name in last)
    for name, found in trainer.model.state_dict().items():
        expected = 0.25 * before[name] + 0.75 * last[name]
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_a_restart_after_the_end_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"restart.step: found 10, it must be below steps: 10"):
        OptimiserSpec(steps=10, restart=Restart(step=10, lr=0.1))


def test_the_average_is_a_moving_one() -> None:
    trainer = fresh()
    name = "table"
    expected = trainer.average[name].double()
    for step, _ in enumerate(trainer.run(4)):
        decay = min(0.99, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * trainer.model.state_dict()[name].double()
        torch.testing.assert_close(trainer.average[name].double(), expected, rtol=1e-5, atol=1e-6)


def test_a_batch_is_normalised_and_blind_where_a_required_band_is_missing() -> None:
    batch = fresh().feed.batch(3)
    assert batch.image.shape == (2, 4, 32, 32)
    invalid = ~batch.valid[:, 0]
    assert (batch.labels[invalid] == 255).all()
    assert (batch.image.permute(0, 2, 3, 1)[invalid] == 0).all()
    assert not batch.image.isnan().any()


def test_batches_made_ahead_are_those_made_alone() -> None:
    feed = fresh().feed
    for step, batch in enumerate(feed.batches(2, 5), start=2):
        assert torch.equal(batch.image, feed.batch(step).image)
    assert list(feed.batches(5, 5)) == []


def test_simulated_patches_are_needed_where_they_are_asked_for() -> None:
    feed = RECIPE.feed.model_copy(update={"simulated_share": 0.5})
    with pytest.raises(DataError, match="simulated"):
        fresh(RECIPE.model_copy(update={"feed": feed}))


def test_scores_add_up_scene_by_scene() -> None:
    labels = torch.zeros(64, 64, dtype=torch.uint8)
    labels[:16], labels[16:20], labels[20:24] = 1, 255, 3
    patches = [replace(random_patch(0), labels=labels, scene=scene) for scene in ("a", "b", "a")]
    score = scored(Certain(), patches, Normaliser.of(BANDS, torch.device("cpu")), 2)
    counts = {scene: confusion.counts.tolist() for scene, confusion in score.scenes.items()}
    assert counts == {"a": [[5120, 0], [2048, 0]], "b": [[2560, 0], [1024, 0]]}
    assert score.confusion.counts.tolist() == [[7680, 0], [3072, 0]]
    assert (score + score).confusion.counts.tolist() == [[15360, 0], [6144, 0]]


def with_optimiser(**changes: float | str) -> Recipe:
    return RECIPE.model_copy(update={"optimiser": RECIPE.optimiser.model_copy(update=changes)})


def test_a_rate_can_hold_for_an_epoch() -> None:
    trainer = fresh(with_optimiser(steps=40, warmup_steps=0, lr=1.0, lr_floor=0.0, epoch_steps=10))
    rates = []
    for step in (0, 9, 10, 19, 20, 39):
        trainer.step = step
        rates.append(trainer.learning_rate())
    assert rates == pytest.approx([1.0, 1.0, 0.853553, 0.853553, 0.5, 0.146447], rel=1e-5)


def test_without_an_average_the_last_weights_are_used(tmp_path: Path) -> None:
    trainer = fresh(with_optimiser(average=0.0))
    list(trainer.run(3))
    last = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    save_checkpoint(trainer, tmp_path, RECIPE.digest)
    resumed = fresh(with_optimiser(average=0.0))
    assert resume(resumed, tmp_path, RECIPE.digest)
    resumed.settle()
    for name, tensor in resumed.model.state_dict().items():
        assert torch.equal(tensor, last[name]), name


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_stays_near_and_resumes_to_the_bit(precision: str, tmp_path: Path) -> None:
    exact = [facts["loss"] for facts in fresh().run(6)]
    halved = fresh(with_optimiser(precision=precision))
    first = list(halved.run(3))
    assert all(parameter.dtype == torch.float32 for parameter in halved.parameters)
    save_checkpoint(halved, tmp_path, "")
    rest = list(halved.run(6))
    found = [facts["loss"] for facts in first + rest]
    assert found != exact
    assert found == pytest.approx(exact, rel=0.05)
    resumed = fresh(with_optimiser(precision=precision))
    assert resume(resumed, tmp_path, "")
    assert list(resumed.run(6)) == rest


def test_a_group_of_the_recipe_is_learned_as_one_of_its_classes() -> None:
    patch = random_patch(0)
    labels = torch.where((patch.labels == 1) | (patch.labels == 2), 4, patch.labels).to(torch.uint8)
    recipe = RECIPE.model_copy(update={"groups": {"cloud": ("thin cloud", "thick cloud")}})
    trainer = recipe.trainer([replace(patch, labels=labels)], [])
    assert trainer.criterion.groups == ((1, 2),)
    assert 4 in trainer.feed.batch(0).labels
    assert all(facts["loss"] > 0 for facts in trainer.run(3))


def test_more_makers_make_the_same_batches() -> None:
    feed = fresh().feed
    for one, other in zip(feed.batches(1, 6), replace(feed, makers=3).batches(1, 6), strict=True):
        assert torch.equal(one.image, other.image)


@pytest.mark.slow
def test_two_patches_are_learned() -> None:
    spec = RECIPE.optimiser.model_copy(update={"steps": 150, "lr": 2e-3})
    feed = RECIPE.feed.model_copy(update={"batch": 4})
    model = RECIPE.model.model_copy(update={"width": 128})
    trainer = fresh(RECIPE.model_copy(update={"optimiser": spec, "feed": feed, "model": model}))
    list(trainer.run())
    trainer.settle()
    normalise = Normaliser.of(RECIPE.card_bands, torch.device("cpu"))
    assert scored(trainer.model, [random_patch(0), random_patch(1)], normalise, CLASSES).confusion.mean_iou > 0.9
