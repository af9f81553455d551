"""A task: the unit that is planned, sent to a worker, vouched for and resumed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Stage = Literal["ingest", "infer", "seam", "vectorize", "publish"]
STAGES: tuple[Stage, ...] = ("ingest", "infer", "seam", "vectorize", "publish")


def digest_of(value: object) -> str:
    """Return the sha-256 of a value's canonical JSON (sorted keys, no spaces, no NaN)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def task_key(stage: Stage, scene: str, inputs: Sequence[str], identity: object) -> str:
    """Return the key of a task.

    Args:
        stage: the stage that runs it.
        scene: slug of the scene.
        inputs: keys of the tasks whose outputs it reads, in any order.
        identity: everything else that can change the bytes it writes: the stage's version, the options that matter,
            digests of what it reads from outside. Paths and worker counts do not belong here.
    """
    return digest_of([stage, scene, sorted(inputs), identity])


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a worker is handed: ids, paths and numbers, never an array or a model."""

    key: str
    """See `task_key`."""
    stage: Stage
    scene: str
    """Slug of the scene."""
    label: str
    """For people: "band 3 of 7"."""
    inputs: tuple[str, ...]
    """Keys of the tasks that must be done before."""
    job: object
    """The stage's own typed description of the work: paths and numbers, never an array or a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a stage hands back for one task: what it wrote, and what it counted."""

    outputs: tuple[Path, ...]
    """Every file the done record vouches for: shards, `zarr.json`, artefacts."""
    counts: Mapping[str, int | float]
    """Summed over the tasks of a scene and stage for status and manifest: windows, skipped, pixels, bytes ..."""
