"""Check-up: what a look at model and machine found. It is remembered, so that the next run need not load the model."""

import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from rspipe.models import registry
from rspipe.models.card import ModelCard
from rspipe.models.errors import ModelError
from rspipe.models.toolchain import cpuinfo
from rspipe.pipeline import gpus, sealed
from rspipe.pipeline.config import ComputeSettings
from rspipe.pipeline.errors import ModelRefusedError
from rspipe.pipeline.fingerprint import DeviceKind, Fingerprint
from rspipe.pipeline.ledger import file_digest
from rspipe.pipeline.manifest import installed_versions
from rspipe.pipeline.task import digest_of

_GPU_BATCH = 8
_TELLING = ("model name", "flags", "Features")
"""Lines of `toolchain.cpuinfo` that say what a processor can do; others tell of clocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedModel:
    """The model of a run."""

    card: ModelCard
    path: Path
    """Of the card."""

    @classmethod
    def find(cls, name: str) -> Self:
        """Find a model and read its card; the weights are not looked at.

        Raises:
            ModelRefusedError: there is no such model, or the card is refused.
        """
        try:
            path = registry.resolve(name).absolute()
            return cls(card=ModelCard.read(path), path=path)
        except ModelError as error:
            raise ModelRefusedError(str(error)) from error

    @property
    def slug(self) -> str:
        """Its folder in the working state."""
        return f"{self.card.model_id}-{self.card.version}"


class CheckUp(BaseModel):
    """The weights fit their card; and what else is only known once torch and the model are loaded."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    subject: str
    """Digest of all that it is about; of another subject it says nothing."""
    fingerprint: Fingerprint
    """Of the reference: float32, operation by operation."""
    process_bytes: NonNegativeInt
    """Largest resident size of a process that has the model loaded."""

    @classmethod
    def kept(cls, path: Path) -> Self | None:
        """Return what is remembered; a damaged file, or one of another version, is as good as none."""
        try:
            return cls.model_validate_json(json.dumps(sealed.read(path)))
        except ValidationError:
            return None

    def keep(self, path: Path) -> None:
        """Remember it; what a GPU is called must be asked each time."""
        if self.fingerprint.device == "cpu" and self.kept(path) != self:
            sealed.write(path, self.model_dump(mode="json"))


def check_up(model: PlannedModel, compute: ComputeSettings, remembered: Path | None) -> CheckUp:
    """Return what is known of a model on this machine; nothing is loaded where it has been found out before.

    Args:
        model: whose weights are checked against its card.
        compute: of the workflow.
        remembered: where an earlier run has kept what it found; None: look anew.

    Raises:
        ModelRefusedError: the weights are refused.
        FingerprintRefusedError: a GPU is asked for and there is none.
    """
    device: DeviceKind = "cuda" if gpus.are_wanted(compute) else "cpu"
    subject = _subject(model, compute.threads)
    earlier = None if device == "cuda" or remembered is None else CheckUp.kept(remembered)
    if earlier is not None and earlier.subject == subject:
        return earlier
    _check_weights(model)
    fingerprint = Fingerprint.here(device, compute.threads, _GPU_BATCH if device == "cuda" else 1)
    return CheckUp(subject=subject, fingerprint=fingerprint, process_bytes=peak_bytes())


def peak_bytes() -> int:
    """Return the largest resident size that this process has had; `ru_maxrss` would begin with its parent's."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


def _check_weights(model: PlannedModel) -> None:
    from rspipe.models.predictor import Predictor  # noqa: PLC0415 - loads torch, which takes seconds

    try:
        Predictor.load(model.path)
    except ModelError as error:
        raise ModelRefusedError(str(error)) from error


def _subject(model: PlannedModel, threads: int) -> str:
    """Digest the card, the weights as they lie there now, the packages and the processor."""
    try:
        found = file_digest(model.path.parent / model.card.weights_name)
    except OSError:
        found = "none"
    dispatched = os.environ.get("ATEN_CPU_CAPABILITY", "")
    return digest_of([model.card.digest, found, installed_versions(), _processor(), dispatched, threads])


def _processor() -> list[str]:
    told = {line for line in cpuinfo() if line.startswith(_TELLING)}
    return [platform.machine(), platform.processor(), *sorted(told)]
