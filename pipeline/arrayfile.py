"""Named arrays that one task leaves on disk for another; never a pickle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rspipe.pipeline import atomic

Arrays = Mapping[str, NDArray[Any]]


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays into one `.npz` file, whole or not at all.

    Raises:
        EnvironmentFailedError: the disk is full or cannot be written.
    """
    with atomic.replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_arrays(path: Path, *names: str) -> list[NDArray[Any]]:
    """Read some of a file's arrays, in the order asked for; the others are not read."""
    with np.load(path, allow_pickle=False) as file:
        return [file[name] for name in names]


def write_large(path: Path, array: NDArray[Any]) -> None:
    """Write one array as `.npy`, whole or not at all.

    Raises:
        EnvironmentFailedError: the disk is full or cannot be written.
    """
    with atomic.replacing(path) as partial, partial.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def map_large(path: Path) -> NDArray[Any]:
    """Return such an array as it lies on disk: read when touched, and memory that the system may take back."""
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
