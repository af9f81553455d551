"""Patches in one file that several processes map into memory, so that they all read the same bytes."""

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from rspipe.models.data import Patch

_FACTS = "patches"
_PLAIN = ("name", "pixel_m", "scene", "weight", "display")


def write_patches(patches: Sequence[Patch], path: Path) -> None:
    """Write patches with everything that is known of them."""
    tensors = {}
    for number, patch in enumerate(patches):
        tensors[f"{number}/bands"], tensors[f"{number}/labels"] = patch.bands.contiguous(), patch.labels.contiguous()
    facts = [{field: getattr(patch, field) for field in _PLAIN} for patch in patches]
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path, {_FACTS: json.dumps(facts)})


def read_patches(path: Path) -> list[Patch]:
    """Read what `write_patches` wrote."""
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()[_FACTS])
        return [
            Patch(bands=file.get_tensor(f"{number}/bands"), labels=file.get_tensor(f"{number}/labels"), **fact)
            for number, fact in enumerate(facts)
        ]
