"""JSON that tells whether it is still what was written: a flipped bit may leave it readable, and wrong."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rspipe.pipeline import atomic
from rspipe.pipeline.task import digest_of

_SEAL = "seal"


def dumps(fields: Mapping[str, Any]) -> str:
    """Return an object as one line of JSON, with the SHA-256 of all of it."""
    return json.dumps({**fields, _SEAL: digest_of(fields)}, sort_keys=True) + "\n"


def loads(text: str) -> dict[str, Any] | None:
    """Return what `dumps` was given; None if it is not that any more."""
    try:
        fields = json.loads(text)
        seal = fields.pop(_SEAL)
        return fields if seal == digest_of(fields) else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def write(path: Path, fields: Mapping[str, Any]) -> None:
    """Make a file hold an object, whole or not at all; see `atomic.replacing`."""
    atomic.write_text(path, dumps(fields))


def read(path: Path) -> dict[str, Any] | None:
    """Return what `write` has put there; None if it is damaged or there is nothing."""
    try:
        return loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
