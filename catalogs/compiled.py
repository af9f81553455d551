"""How functions of this project are compiled: without the GIL, strictly IEEE."""

from collections.abc import Callable
from typing import cast

from numba import njit


def compiled[F: Callable[..., object]](function: F) -> F:
    """Compile a function, in memory alone: for the parts that a `kept` function is made of.

    No fast-math: sums keep their order and products their rounding, so a pixel's value depends neither on the shape of
    the block around it nor on the width of the processor's vectors.
    """
    return cast("F", njit(nogil=True, error_model="numpy")(function))


def kept[F: Callable[..., object]](function: F) -> F:
    """Compile a function likewise, and keep the machine code on disk for the next process.

    numba finds it again by the function's own file, its bytecode and what it closes over. What it calls in other files
    is not looked at: such a function must close over a digest of them.
    """
    try:
        return cast("F", njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:  # neither the package's folder nor the user's cache folder can be written
        return compiled(function)
