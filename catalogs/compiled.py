"""The one way a function of this project is compiled: cached, without the GIL, strictly IEEE."""

from collections.abc import Callable
from typing import cast

from numba import njit


def compiled[F: Callable[..., object]](function: F) -> F:
    """Compile a function of scalars or arrays with numba.

    No fast-math: sums keep their order and products their rounding, so a pixel's value depends neither on the shape of
    the block around it nor on the width of the processor's vectors.
    """
    return cast("F", njit(cache=True, nogil=True, error_model="numpy")(function))
