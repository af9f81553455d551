"""The compiler and the processor of this computer: what decides, beside a graph, which machine code comes out."""

import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


class CompileError(Exception):
    """Machine code cannot be had here; the model itself is not at fault."""


@lru_cache(maxsize=1)
def toolchain() -> str:
    """Name the compiler and the processor: with others, the same graph may give other bits.

    Raises:
        CompileError: there is no compiler.
    """
    compiler = os.environ.get("CXX", "g++")
    try:
        told = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603 # the user's own compiler
    except (OSError, subprocess.CalledProcessError) as error:
        raise CompileError(
            f"there is no C++ compiler {compiler} ({error}); install g++ or name yours in CXX"
        ) from error
    return f"{told.splitlines()[0]}, {_processor()}"


def _processor() -> str:
    named = [line.partition(":")[2].strip() for line in cpuinfo() if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def cpuinfo() -> list[str]:
    """Return what the system says of its processors, line by line; nothing where it says nothing."""
    try:
        return _CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
