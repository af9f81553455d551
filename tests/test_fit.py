"""Several processes learn what one does; an interrupted training ends as an undisturbed one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from labelled import random_patch
from safetensors.torch import load_file
from tinytraining import write_training

from rspipe.models.data import Patch
from rspipe.models.patchfile import read_patches, write_patches
from rspipe.pipeline.devices import devices_of
from rspipe.pipeline.errors import ConfigError
from rspipe.pipeline.progress import Progress
from rspipe.pipeline.train import train
from rspipe.pipeline.training import load_training
from rspipe.pipeline.trainlog import TrainLog

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def logged(output: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key != "elapsed_s"} for line in lines]


def test_a_log_is_cut_back_to_a_step_of_its_run(tmp_path: Path) -> None:
    log = TrainLog(tmp_path, every_steps=1)
    log.cut("final", 0)
    for step in (1, 2, 3):
        log.step("final", {"step": step, "loss": 0.5}, 0.1)
        log.step("fold-0", {"step": step, "loss": 0.5}, 0.1)
    log.append({"run": "final", "mean_iou": 0.5})
    with log.path.open("a", encoding="utf-8") as file:
        file.write('{"run": "final", "st')
    log.cut("final", 2)
    found = [(line["run"], line["step"]) for line in logged(tmp_path)]
    assert found == [("final", 1), ("fold-0", 1), ("final", 2), ("fold-0", 2), ("fold-0", 3)]


def test_patches_come_back_from_their_file(tmp_path: Path) -> None:
    one, two = random_patch(0), random_patch(1)
    two = Patch("two", two.bands, two.labels, 10.0, scene="s", weight=0.5, display=True)
    write_patches([one, two], tmp_path / "p")
    for found, given in zip(read_patches(tmp_path / "p"), [one, two], strict=True):
        assert torch.equal(found.bands, given.bands)
        assert torch.equal(found.labels, given.labels)
        facts = [(p.name, p.pixel_m, p.scene, p.weight, p.display) for p in (found, given)]
        assert facts[0] == facts[1]


def test_devices_are_those_asked_for() -> None:
    assert devices_of("cpu", 5) == ["cpu"]
    assert devices_of("cpu:3", 6) == ["cpu"] * 3
    with pytest.raises(ConfigError, match="batch of 5"):
        devices_of("cpu:2", 5)
    with pytest.raises(ConfigError, match="this machine has"):
        devices_of(torch.cuda.device_count() + 1, 8)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    config, losses, weights = write_training(tmp_path), [], []
    for devices in ("cpu", "cpu:2"):
        output = tmp_path / devices.replace(":", "-")
        with Progress(verbosity=-1) as progress:
            train(load_training(config, settings=[f"devices={devices}", "recipe.optimiser.steps=30"]), output, progress)
        lines = [line for line in logged(output) if line["run"] == "final"]
        losses.append([[line[name] for name in ("loss", "ce", "dice", "scatter")] for line in lines])
        weights.append(load_file(output / "tiny.safetensors"))
    assert len(losses[0]) == 3
    torch.testing.assert_close(torch.tensor(losses[1]), torch.tensor(losses[0]), rtol=1e-5, atol=1e-5)
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-3)


def command(config: Path, output: Path) -> list[str]:
    call = "from rspipe.pipeline.cli import main; main()"
    return [sys.executable, "-c", call, "train", str(config), "--data", str(config.parent), "--output", str(output)]


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "wanted"), [("cpu", 4), ("cpu:2", 2)])
def test_a_killed_training_ends_as_an_undisturbed_one(devices: str, wanted: int, tmp_path: Path) -> None:
    config = write_training(tmp_path)
    text = config.read_text(encoding="utf-8")
    config.write_text(f"{text}devices: {devices}\nfolds: {{count: 2, folders: [train]}}\n", encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command(config, tmp_path / "whole"), check=True, capture_output=True, env=environment)
    moments, kills = random.Random(4), 0  # noqa: S311 - any moments will do, the same ones every time
    while kills < wanted:
        broken = subprocess.Popen(
            command(config, tmp_path / "broken"),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Counted from its first sign of life, so that a busy machine is killed in mid-work too.
        seen = len(list((tmp_path / "broken").rglob("*")))
        while broken.poll() is None and len(list((tmp_path / "broken").rglob("*"))) <= seen:
            time.sleep(0.05)
        time.sleep(moments.uniform(0.0, 3.0))
        if broken.poll() is not None:
            break
        os.killpg(broken.pid, signal.SIGKILL)
        broken.wait()
        kills += 1
    subprocess.run(command(config, tmp_path / "broken"), check=True, capture_output=True, env=environment)
    assert kills
    names = ("tiny.safetensors", "tiny.json")
    for name in names:
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert logged(tmp_path / "broken") == logged(tmp_path / "whole")
