"""One fitting: the loop with its log and its checkpoints, in this process or in one per device."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from torch import distributed, multiprocessing
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from rspipe.models.checkpoint import resume, save_checkpoint
from rspipe.models.data import Patch
from rspipe.models.errors import DataError
from rspipe.models.finetune import start_from
from rspipe.models.patchfile import read_patches, write_patches
from rspipe.models.ranks import ALONE, Ranks
from rspipe.models.recipe import Recipe
from rspipe.models.train import Trainer
from rspipe.pipeline.errors import EnvironmentFailedError
from rspipe.pipeline.trainlog import TrainLog

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

LOOPBACK = "lo"
"""All processes are on one machine."""
PATIENCE = timedelta(hours=2)
"""How long a process waits for the others: one of them writes checkpoints while they wait."""
Told = Callable[[int], None]
"""Is told the step after each one."""
Patches = tuple[list[Patch], list[Patch]]
"""Real ones, and simulated ones."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """What is fitted, and where its traces lie."""

    name: str
    recipe: Recipe
    output: Path
    digest: str
    """Of all that decides the weights: a checkpoint of another one is refused."""
    checkpoint_steps: int
    threads: int
    init_from: Path | None = None
    """The card whose weights it starts from."""
    until: int | None = None
    """After which step it ends; not given: the recipe's last."""
    begun: "Fitting | None" = None
    """What it goes on from: the steps that it has in common with others, fitted once."""

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints."""
        return self.output / "checkpoints" / self.name

    def trainer(self, patches: Patches, ranks: Ranks = ALONE, device: str = "cpu") -> Trainer:
        """Return the trainer at its first step."""
        trainer = self.recipe.trainer(*patches, ranks, device)
        if self.init_from is not None:
            start_from(trainer, self.init_from, self.recipe)
        return trainer

    def resumed(self, trainer: Trainer) -> Trainer:
        """Return the trainer, brought to its last checkpoint, or to that of what it goes on from."""
        if not resume(trainer, self.checkpoints, self.digest) and self.begun is not None:
            self.begun.resumed(trainer)
        return trainer


def fit(fitting: Fitting, trainer: Trainer, told: Told) -> None:
    """Train to the end. What an interrupted call logged after its last checkpoint is cut off and written anew.

    Raises:
        DataError: the loss is no number, or a checkpoint belongs to something else.
    """
    fitting.resumed(trainer)
    first = trainer.ranks.rank == 0
    log = TrainLog(fitting.output)
    if first:
        log.cut(fitting.name, trainer.step)
    began_s = time.monotonic()
    told(trainer.step)
    for facts in trainer.run(fitting.until):
        if first:
            log.step(fitting.name, facts, time.monotonic() - began_s)
            told(trainer.step)
            if trainer.step % fitting.checkpoint_steps == 0:
                save_checkpoint(trainer, fitting.checkpoints, fitting.digest)
    if first:
        save_checkpoint(trainer, fitting.checkpoints, fitting.digest)


def fit_on(devices: Sequence[str], fitting: Fitting, patches: Patches, told: Told) -> Trainer:
    """Fit on one device in this process, or on several in one process each; return the trainer after its last step.

    Args:
        devices: one entry per process.
        fitting: what is fitted.
        patches: real ones, and simulated ones.
        told: is told of every step.

    Raises:
        DataError: as `fit`.
        EnvironmentFailedError: a process was lost.
    """
    if len(devices) == 1:
        trainer = fitting.trainer(patches, device=devices[0])
        fit(fitting, trainer, told)
        return trainer
    fitting.checkpoints.mkdir(parents=True, exist_ok=True)
    files = [fitting.checkpoints / f"{kind}.patches" for kind in ("real", "simulated")]
    for some, path in zip(patches, files, strict=True):
        write_patches(some, path)
    try:
        _spawn(devices, fitting, told)
    finally:
        for path in files:
            path.unlink(missing_ok=True)
    return fitting.resumed(fitting.trainer(patches))


def _spawn(devices: Sequence[str], fitting: Fitting, told: Told) -> None:
    words: SimpleQueue[int | str] = multiprocessing.get_context("spawn").SimpleQueue()
    with TemporaryDirectory() as folder:
        meeting = Meeting(tuple(devices), Path(folder) / "meeting")
        running = spawn(_rank, (meeting, fitting, words), len(devices), join=False)  # type: ignore[no-untyped-call]
        try:
            while not running.join(timeout=0.2):
                _listen(words, told)
        except (ProcessRaisedException, ProcessExitedException) as error:
            _listen(words, told)
            raise EnvironmentFailedError(
                f"{fitting.name}: a process of the training was lost ({error}); the same command goes on from the last "
                "checkpoint"
            ) from error
    _listen(words, told)


def _listen(words: "SimpleQueue[int | str]", told: Told) -> None:
    while not words.empty():
        word = words.get()
        if isinstance(word, str):
            raise DataError(word)
        told(word)


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where the processes of a fitting find one another."""

    devices: tuple[str, ...]
    path: Path

    def join(self, rank: int) -> None:
        """Meet the others."""
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK)
        backend = "gloo"
        if self.devices[rank] != "cpu":
            torch.cuda.set_device(self.devices[rank])
            backend = "nccl"
        distributed.init_process_group(
            backend, init_method=self.path.as_uri(), rank=rank, world_size=len(self.devices), timeout=PATIENCE
        )


def _rank(rank: int, meeting: Meeting, fitting: Fitting, words: "SimpleQueue[int | str]") -> None:
    """Be one of the processes."""
    torch.set_num_threads(fitting.threads)
    meeting.join(rank)
    try:
        real, simulated = (read_patches(fitting.checkpoints / f"{kind}.patches") for kind in ("real", "simulated"))
        trainer = fitting.trainer((real, simulated), Ranks(rank, len(meeting.devices)), meeting.devices[rank])
        fit(fitting, trainer, words.put if rank == 0 else lambda _step: None)
    except DataError as error:
        words.put(str(error))
        raise SystemExit(1) from error
    finally:
        distributed.destroy_process_group()
