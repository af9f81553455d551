"""The compute fingerprint: everything about a machine and a set-up that can change the bits of a forward pass."""

import platform
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, PositiveInt

from rspipe.models.specs import Engine, Precision
from rspipe.models.toolchain import CompileError, toolchain
from rspipe.pipeline.errors import FingerprintRefusedError

DeviceKind = Literal["cpu", "cuda"]


class Fingerprint(BaseModel):
    """Decided once, in plan; part of every infer key; the same for any number of workers."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    device: DeviceKind
    device_name: str
    """The GPU's name, or the CPU's architecture."""
    instruction_set: str
    """What torch dispatches to: "AVX512", or a GPU's compute capability."""
    torch: str
    precision: Precision = "float32"
    engine: str = "eager"
    """Or "compiled" with the names of compiler and processor: others would make other code."""
    threads: PositiveInt
    """Of one forward pass: float32 sums differ between 1 and 2 threads."""
    batch: PositiveInt
    """Windows per forward pass; on a CPU always 1, batching buys nothing there."""

    @classmethod
    def here(cls, device: DeviceKind, threads: int, batch: int = 1) -> Self:
        """Describe this process on this machine, as one that computes in float32, operation by operation.

        Raises:
            FingerprintRefusedError: a GPU is asked for and there is none.
        """
        import torch  # noqa: PLC0415 - a run that knows its fingerprint does without

        if device == "cpu":
            name, instructions = platform.machine(), torch.backends.cpu.get_cpu_capability()
        elif torch.cuda.is_available():
            name = torch.cuda.get_device_name()
            instructions = ".".join(str(part) for part in torch.cuda.get_device_capability())
        else:
            raise FingerprintRefusedError("a GPU is asked for, but this process sees none; set compute.device: cpu")
        return cls(
            device=device,
            device_name=name,
            instruction_set=instructions,
            torch=torch.__version__,
            threads=threads,
            batch=batch,
        )

    def using(self, precision: Precision, engine: Engine) -> Self:
        """Return it with another arithmetic.

        Raises:
            CompileError: there is no compiler here.
        """
        made_by = f"compiled: {toolchain()}" if engine == "compiled" else "eager"
        return self.model_copy(update={"precision": precision, "engine": made_by})

    @property
    def is_compiled(self) -> bool:
        """The model runs as machine code."""
        return self.engine != "eager"

    def enforce(self) -> None:
        """Set this process up as the fingerprint says.

        Raises:
            FingerprintRefusedError: this machine cannot compute the same bits.
        """
        import torch  # noqa: PLC0415 - as above

        here = Fingerprint.here(self.device, self.threads, self.batch)
        try:
            here = here.using(self.precision, "compiled" if self.is_compiled else "eager")
        except CompileError as error:
            raise FingerprintRefusedError(f"this worker on {platform.node()}: {error}") from error
        if here != self:
            ours, theirs = here.model_dump(), self.model_dump()
            differing = [key for key in ours if ours[key] != theirs[key]]
            differences = "; ".join(f"{key}: {ours[key]}, planned {theirs[key]}" for key in differing)
            raise FingerprintRefusedError(
                f"this worker on {platform.node()} would not give the planned bytes ({differences}); "
                "run on workers of one kind, or start the run anew on this kind with --fresh"
            )
        torch.set_num_threads(self.threads)
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
