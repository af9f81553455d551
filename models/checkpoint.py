"""A training on disk: tensors as safetensors, the rest as JSON; resumed, it goes on with the same bits."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rspipe.models.errors import DataError
from rspipe.models.train import Trainer

STATE = "state.json"


def save_checkpoint(trainer: Trainer, folder: Path, recipe: str) -> None:
    """Write the state of a training; a crash leaves either this checkpoint or the one before it.

    Args:
        trainer: the training.
        folder: where its checkpoints lie; made when missing.
        recipe: digest of what is trained, checked by `resume`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"step-{trainer.step:08d}.safetensors"
    # The name may be that of the present checkpoint, which must stay whole until the new one is.
    whole = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in _tensors(trainer).items()}
    save_file(whole, folder / f"{name}.partial")
    (folder / f"{name}.partial").replace(folder / name)
    state = {
        "recipe": recipe,
        "step": trainer.step,
        "lookahead": trainer.lookahead.taken,
        "scaler": trainer.scaler.state_dict(),
        "tensors": name,
    }
    partial = folder / f"{STATE}.partial"
    partial.write_text(json.dumps(state) + "\n", encoding="utf-8")
    partial.replace(folder / STATE)
    for older in folder.glob("step-*.safetensors"):
        if older.name != name:
            older.unlink()


def resume(trainer: Trainer, folder: Path, recipe: str) -> bool:
    """Bring a fresh trainer to the state of the last checkpoint; False where there is none.

    Raises:
        DataError: the checkpoint belongs to another recipe or cannot be read.
    """
    if not (folder / STATE).is_file():
        return False
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if state["recipe"] != recipe:
            raise DataError(
                f"{folder}: the checkpoint belongs to another recipe or other data; delete it or choose another output"
            )
        tensors = load_file(folder / Path(state["tensors"]).name)
        _restore(trainer, tensors)
        trainer.step, trainer.lookahead.taken = int(state["step"]), int(state["lookahead"])
        if trainer.scaler.is_enabled():
            trainer.scaler.load_state_dict(state["scaler"])
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{folder}: the checkpoint cannot be read ({error}); delete it to start anew") from error
    return True


def _tensors(trainer: Trainer) -> dict[str, Tensor]:
    """Return every tensor of a training by name."""
    tensors = {f"model/{name}": tensor for name, tensor in trainer.model.state_dict().items()}
    tensors |= {f"average/{name}": tensor for name, tensor in trainer.average.items()}
    tensors |= {f"before/{name}": tensor for name, tensor in trainer.before.items()}
    tensors |= {f"slow/{index}": tensor for index, tensor in enumerate(trainer.lookahead.slow)}
    for index, entry in trainer.optimiser.state_dict()["state"].items():
        tensors |= {f"adam/{index}/{key}": tensor for key, tensor in entry.items()}
    return tensors


def _restore(trainer: Trainer, tensors: dict[str, Tensor]) -> None:
    trainer.model.load_state_dict(_below(tensors, "model/"))
    trainer.before = {name: tensor.to(trainer.device) for name, tensor in _below(tensors, "before/").items()}
    with torch.no_grad():
        for name, tensor in _below(tensors, "average/").items():
            trainer.average[name].copy_(tensor)
        for index, slow in enumerate(trainer.lookahead.slow):
            slow.copy_(tensors[f"slow/{index}"])
    adam: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below(tensors, "adam/").items():
        position, key = name.split("/")
        adam.setdefault(int(position), {})[key] = tensor
    groups = trainer.optimiser.state_dict()["param_groups"]
    trainer.optimiser.load_state_dict({"state": adam, "param_groups": groups})


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
