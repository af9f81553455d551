"""A model as machine code for one shape of batch, made once per computer and kept (torch's AOTInductor, CPU only).

Code is only ever loaded from a folder of this user's own: whoever can write there could run anything.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import torch
from filelock import FileLock
from torch import Tensor

from rspipe.models.card import ModelCard
from rspipe.models.errors import InputError
from rspipe.models.predictor import Judged
from rspipe.models.specs import Precision, StrictModel
from rspipe.models.toolchain import CompileError, toolchain

VERSION = 3
"""Raised when the code of the same model must be made anew."""
_OTHERS_WRITE = 0o022
_TOLD_LINES = 3


class CodeSpec(StrictModel):
    """What the code of a model is made for."""

    card: Path
    batch: int
    window_px: int
    threads: int
    precision: Precision = "float32"
    judging: bool = False
    """It also says what is unfamiliar."""

    @property
    def key(self) -> str:
        """SHA-256 of all that decides the code: model, shape, torch, compiler and processor."""
        model = hashlib.sha256(self.card.read_bytes()).hexdigest()
        parts = [str(VERSION), self.model_dump_json(exclude={"card"}), model, torch.__version__, toolchain()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class Code(Protocol):
    """What `torch._inductor.aoti_load_package` returns."""

    def __call__(self, numbers: Tensor, present: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Run."""
        ...


@dataclass(frozen=True, slots=True)
class CompiledPredictor:
    """Stands in for a `Predictor` on batches of one shape."""

    card: ModelCard
    spec: CodeSpec
    code: Code

    @classmethod
    def load(cls, spec: CodeSpec) -> Self:
        """Load the code of a model, and make it first where this computer has none; that takes about a minute.

        Raises:
            CardError: the card is refused.
            CompileError: the code cannot be made.
        """
        return cls(ModelCard.read(spec.card), spec, _code_of(spec))

    def probabilities(self, numbers: Tensor, present: Tensor) -> Tensor:
        """Return what `Predictor.probabilities` returns.

        Raises:
            InputError: the batch has another shape than the code was made for.
        """
        found = self._run(numbers, present)
        return found if isinstance(found, Tensor) else found[0]

    def judged(self, numbers: Tensor, present: Tensor) -> Judged:
        """Return what `Predictor.judged` returns.

        Raises:
            InputError: this code was not made for it, or for another shape.
        """
        found = self._run(numbers, present)
        if isinstance(found, Tensor):
            raise InputError(f"model {self.card.model_id!r}: its code does not say what is unfamiliar")
        return Judged(*found)

    def _run(self, numbers: Tensor, present: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The code reads its memory as laid out when it was made and checks nothing."""
        wanted = (self.spec.batch, len(self.card.bands), self.spec.window_px, self.spec.window_px)
        if not numbers.shape == present.shape == wanted or (numbers.dtype, present.dtype) != (
            torch.float32,
            torch.bool,
        ):
            found = f"numbers {tuple(numbers.shape)} {numbers.dtype} and present {tuple(present.shape)} {present.dtype}"
            raise InputError(f"{found} must be {wanted} torch.float32 and torch.bool, as the code was made for")
        return self.code(numbers.contiguous(), present.contiguous())


def _code_of(spec: CodeSpec) -> Code:
    try:
        folder = _own_folder()
        path = folder / f"{spec.key}.pt2"
        with FileLock(folder / f"{spec.key}.lock", mode=0o600):
            if not path.is_file():
                _make(spec, path)
    except OSError as error:
        raise CompileError(f"{error.filename}: {error.strerror}; set XDG_CACHE_HOME to a folder of your own") from error
    torch.set_num_threads(spec.threads)
    try:
        loaded: Code = torch._inductor.aoti_load_package(str(path), run_single_threaded=True)  # noqa: SLF001 # documented under this name
    except RuntimeError as error:
        raise CompileError(f"{path} cannot be loaded ({error}); delete it") from error
    return loaded


def _own_folder() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "rspipe" / "code"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & _OTHERS_WRITE:
        raise CompileError(f"{folder}: others may write there; delete it, or run `chmod 700` on it if it is yours")
    return folder


def _make(spec: CodeSpec, path: Path) -> None:
    """Compile in a process of its own: what a compiler takes or breaks ends with it."""
    room = path.with_suffix(".making")
    room.mkdir(mode=0o700, exist_ok=True)
    made = room / "code.pt2"
    command = [sys.executable, "-m", "rspipe.models.compiling", spec.model_dump_json(), str(made)]
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(room), "OMP_NUM_THREADS": str(spec.threads)}
    try:
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 # our own module
        if ended.returncode:
            raise CompileError(f"compiling {spec.card.name} ended with {ended.returncode}: {_last_words(ended.stderr)}")
        made.replace(path)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _last_words(told: str) -> str:
    """Return the last lines that speak of an error: compilers warn at length."""
    lines = told.strip().splitlines()
    return " ".join([line for line in lines if "rror" in line][-_TOLD_LINES:] or lines[-_TOLD_LINES:])
