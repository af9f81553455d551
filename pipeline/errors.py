"""Every way a run can end, and the exit code that each one carries."""

from typing import ClassVar


class PipelineError(Exception):
    """Base of every error of the pipeline. The message names what was found, where, and the way out."""

    exit_code: ClassVar[int] = 4


class ConfigError(PipelineError):
    """The workflow file or the command line is wrong; nothing was touched."""

    exit_code: ClassVar[int] = 2


class SceneFailedError(PipelineError):
    """One scene could not be finished; the others go on."""

    exit_code: ClassVar[int] = 3


class SceneDisturbedError(SceneFailedError):
    """Something came between that has nothing to do with the scene: the same may go well the next time."""


class EnvironmentFailedError(PipelineError):
    """Disk, permission, lock, memory or cluster: the run stops and can be resumed."""

    exit_code: ClassVar[int] = 4


class FingerprintRefusedError(EnvironmentFailedError):
    """A worker would compute other bits than the run was planned with."""


class ModelRefusedError(PipelineError):
    """Weights or card do not match what they claim; no scene was read."""

    exit_code: ClassVar[int] = 5


EXIT_INTERRUPTED = 130
