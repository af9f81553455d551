"""On what a training runs: one device, or several that learn as one."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from rspipe.pipeline.errors import ConfigError

DeviceSetting = (
    Literal["auto", "cpu"] | Annotated[int, Field(ge=1)] | Annotated[str, StringConstraints(pattern=r"^cpu:[1-9]\d*$")]
)
"""auto: as many GPUs as divide the batch evenly, the CPU where there is none; N: so many GPUs; cpu; cpu:N: so many
processes on the CPU, which learn what N GPUs would. Losses are those of whole batches for any number; KTDA's batch
statistics alone are those of each process's part."""


def devices_of(setting: DeviceSetting, batch: int) -> Sequence[str]:
    """Return the devices, one per process.

    Raises:
        ConfigError: there are fewer GPUs than asked for, or a batch cannot be dealt out evenly.
    """
    import torch  # noqa: PLC0415 - settings are read without it

    gpus = torch.cuda.device_count()
    if setting == "auto":
        count = max((some for some in range(1, gpus + 1) if batch % some == 0), default=0)
        return [f"cuda:{index}" for index in range(count)] or ["cpu"]
    if isinstance(setting, int):
        if setting > gpus:
            raise ConfigError(f"devices is {setting}, this machine has {gpus} GPUs; choose auto, cpu or fewer")
        found = [f"cuda:{index}" for index in range(setting)]
    else:
        processes = re.search(r"\d+", setting)
        found = ["cpu"] * int(processes.group() if processes else 1)
    if batch % len(found):
        raise ConfigError(f"devices: a batch of {batch} cannot be dealt evenly to {len(found)} of them")
    return found
