"""The first steps of a training, on simulated patches alone: made once for all runs that begin alike."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from bench.folds import Split
from bench.protocol import Cell
from bench.shipped import Shipped, train_shipped
from labelled import random_patch
from safetensors.torch import load_file
from tinytraining import TINY, fit, write_training

from rspipe.models.errors import DataError
from rspipe.models.feed import Batch, Feed
from rspipe.models.folds import dealt_to_folds
from rspipe.pipeline.train import simulated_patches
from rspipe.pipeline.training import load_training

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A training of ten steps, the first four on a simulated patch alone."""
    text = TINY
    for old, new in (
        ("recipe:", "simulated: {patches: 1, size_px: 64}\nfolds: {count: 2, folders: [train, val]}\nrecipe:"),
        ("batch: 4, simulated_share: 0.0,", "batch: 2, simulated_steps: 4,"),
        ("steps: 40, warmup_steps: 2", "steps: 10, warmup_steps: 1"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = write_training(tmp_path)
    path.write_text(text, encoding="utf-8")
    return path


def test_runs_that_share_their_simulated_steps_come_to_what_each_would_alone(config: Path, tmp_path: Path) -> None:
    fit(config, tmp_path / "shared")
    checkpoints = tmp_path / "shared" / "checkpoints"
    state = json.loads((checkpoints / "simulated" / "state.json").read_text(encoding="utf-8"))
    assert state["step"] == 4
    settings, patches = load_training(config), [random_patch(seed) for seed in range(3)]
    dealt = dealt_to_folds([patch.scene for patch in patches], 2, 0)
    learned = {f"fold-{fold}": [patches[index] for index in np.flatnonzero(dealt != fold)] for fold in range(2)}
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, some in (learned | {"final": patches[:2]}).items():
        alone = settings.recipe.trainer(some, simulated_patches(settings))
        losses = [facts["loss"] for facts in alone.run()]
        (tensors,) = (load_file(path) for path in (checkpoints / name).glob("*.safetensors"))
        assert all(torch.equal(tensors[f"average/{key}"], tensor) for key, tensor in alone.average.items())
        assert logged(tmp_path / "shared", name) == {10: losses[9]}
    torch.set_num_threads(before)


def logged(output: Path, run: str) -> dict[int, float]:
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["step"]: line["loss"] for line in lines if line["run"] == run and "step" in line}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often the batch of each step has been made."""
    counts, batch = Counter[int](), Feed.batch

    def counted(feed: Feed, step: int) -> Batch:
        counts[step] += 1
        return batch(feed, step)

    monkeypatch.setattr(Feed, "batch", counted)
    return counts


def test_only_the_first_run_makes_the_simulated_steps(config: Path, tmp_path: Path, made: Counter[int]) -> None:
    fit(config, tmp_path / "shared")
    assert made == dict.fromkeys(range(4), 1) | dict.fromkeys(range(4, 10), 3)


@pytest.fixture
def begun(config: Path, tmp_path: Path) -> Path:
    """The folder of a training whose simulated steps another one may go on from; the file is that of it."""
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("optimiser: {", "optimiser: {restart: {step: 4, lr: 0.002}, "), encoding="utf-8")
    fit(config, tmp_path / "first", "folds=null")
    return tmp_path / "first" / "checkpoints" / "simulated"


@pytest.mark.parametrize(
    "changed",
    [
        ["recipe.optimiser.steps=9"],
        ["recipe.optimiser.restart.lr=0.004", "recipe.optimiser.restart.keep=0.5"],
        ["recipe.feed.weather.share=0.3", "recipe.feed.simulated_share=0.6"],
    ],
)
def test_another_way_of_going_on_does_not_repeat_the_beginning(
    config: Path, tmp_path: Path, begun: Path, made: Counter[int], changed: list[str]
) -> None:
    shutil.copytree(begun, tmp_path / "other" / "checkpoints" / "simulated")
    made.clear()
    other = fit(config, tmp_path / "other", *changed, "folds=null")
    assert made
    assert not {0, 1, 2, 3} & made.keys()
    alone = fit(config, tmp_path / "alone", *changed, "folds=null")
    assert other.with_suffix(".safetensors").read_bytes() == alone.with_suffix(".safetensors").read_bytes()


@pytest.mark.parametrize(
    "changed", ["recipe.optimiser.lr=0.004", "recipe.seed=5", "recipe.optimiser.restart.step=6", "simulated.patches=2"]
)
def test_a_beginning_of_another_kind_is_refused(config: Path, tmp_path: Path, begun: Path, changed: str) -> None:
    shutil.copytree(begun, tmp_path / "other" / "checkpoints" / "simulated")
    with pytest.raises(DataError, match="another recipe"):
        fit(config, tmp_path / "other", changed, "folds=null")


def test_what_the_rate_of_the_simulated_steps_depends_on_is_part_of_the_beginning(config: Path) -> None:
    """A restart among these steps, or no restart at all: then its rate, or the number of all steps, counts."""

    def beginning(*changed: str) -> str:
        return load_training(config, None, changed).recipe.beginning.digest

    early, late = "recipe.optimiser.restart={step: 3, lr: 0.002}", "recipe.optimiser.restart={step: 4, lr: 0.002}"
    assert beginning(early) != beginning("recipe.optimiser.restart={step: 3, lr: 0.004}")
    assert beginning(late) == beginning("recipe.optimiser.restart={step: 4, lr: 0.004}")
    assert beginning() != beginning("recipe.optimiser.steps=9")
    assert beginning(late) == beginning(late, "recipe.optimiser.steps=9")


def test_the_comparison_goes_on_from_what_a_training_has_made(config: Path, tmp_path: Path, made: Counter[int]) -> None:
    fit(config, tmp_path / "shared")
    patches = [random_patch(seed) for seed in range(3)]
    dealt = dealt_to_folds([patch.scene for patch in patches], 2, 0)
    parts = Split([], [patches[index] for index in np.flatnonzero(dealt == 0)])

    def scored(trained: Path | None) -> dict[str, list[list[int]]]:
        made.clear()
        outcome = train_shipped(Shipped(config, tmp_path, "cpu", trained), parts, Cell("tiny", "shipped", 0, 0))
        return {name: found.counts.tolist() for name, found in outcome.patches.items()}

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    whole = scored(tmp_path / "shared")
    assert not made
    shutil.rmtree(tmp_path / "shared" / "checkpoints" / "fold-0")
    assert scored(tmp_path / "shared") == whole
    assert made == dict.fromkeys(range(4, 10), 1)
    assert scored(None) == whole
    assert made == dict.fromkeys(range(10), 1)
    torch.set_num_threads(before)
