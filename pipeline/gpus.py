"""GPUs: whether the model runs on them, and which of several a worker takes."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rspipe.pipeline.config import ComputeSettings

if TYPE_CHECKING:
    from distributed import Worker

VARIABLE = "CUDA_VISIBLE_DEVICES"
_DRIVERS = ("nvidiactl", "dxg", "kfd")
"""Of NVIDIA, of Windows below Linux, of AMD: without one of these files torch finds no GPU."""


def are_wanted(compute: ComputeSettings, devices: Path = Path("/dev")) -> bool:
    """Tell whether the model is to run on a GPU.

    Args:
        compute: of the workflow.
        devices: where drivers show themselves as files.
    """
    if compute.device != "auto" or not any((devices / name).exists() for name in _DRIVERS):
        return compute.device == "cuda"
    import torch  # noqa: PLC0415 - only its answer about the machine is needed

    return torch.cuda.is_available()


def visible(devices: Path = Path("/dev")) -> tuple[str, ...]:
    """Return what CUDA may use on this machine, as its variable names it.

    CUDA itself is not asked: once it has begun, it reads the variable no more.

    Args:
        devices: where the driver shows its GPUs as files.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        return tuple(name.strip() for name in named.split(",") if name.strip())
    found = [path for path in devices.glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()]
    return tuple(str(index) for index in range(len(found)))


def dask_setup(worker: "Worker") -> None:
    """Leave a worker one of several GPUs, by the number in its name; Dask calls this before the first task."""
    found, number = visible(), re.search(r"\d+$", str(worker.name))
    if len(found) > 1 and number is not None:
        os.environ[VARIABLE] = found[int(number.group()) % len(found)]
