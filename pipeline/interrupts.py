"""Interrupts: a terminal's Ctrl-C reaches every process of a run; the run alone answers it, and ends its workers."""

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Worker


def dask_setup(_worker: "Worker") -> None:
    """Be deaf to interrupts, in the process of a worker; Dask calls this by name before the first task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
