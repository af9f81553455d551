"""Jobs for worker processes that bring along what is to be done with them: run well, or take the worker down."""

import os
import signal
import time

from rspipe.pipeline import ingest, vectorize
from rspipe.pipeline.task import Receipt


class Job:
    """A job that brings along what is to be done with it, to whatever process it is unpickled in."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return planted, (self.name,)


def run(job: Job) -> Receipt:
    if job.name == "deadly":
        time.sleep(0.5)  # meanwhile others come to stand behind it
        os.kill(os.getpid(), signal.SIGKILL)
    return Receipt(outputs=(), counts={"ran": 1})


def planted(name: str) -> Job:
    """Put `run` in the place of two stages."""
    ingest.run_ingest = vectorize.run_vectorize = run  # type: ignore[assignment]
    return Job(name)
