"""Weights on disk: safetensors and nothing else, checked name by name before a model sees them."""

import hashlib
from itertools import islice
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from rspipe.models.errors import WeightsError
from rspipe.models.segmenter import Segmenter

HEADER_ALLOWANCE_BYTES = 2**20
DIFFERENCES_SHOWN = 5


def save_weights(model: nn.Module, path: Path) -> str:
    """Write the parameters and buffers that inference needs.

    Returns:
        The SHA-256 of the file, in hexadecimal.

    Raises:
        WeightsError: the name does not end in `.safetensors`, or a number is NaN or infinite.
    """
    _check_suffix(path)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in inference_state(model).items()}
    _refuse(path, _not_finite(state))
    payload = save(state)
    path.write_bytes(payload)
    return hashlib.sha256(payload).hexdigest()


def load_weights(model: nn.Module, path: Path, sha256: str | None = None) -> None:
    """Fill a model from a file that must hold exactly the tensors of `inference_state`.

    Parts that act in training only are left as they are.
    The bytes that are hashed are the bytes that are parsed; the file is read once.

    Args:
        model: the model as `build` made it; it is unchanged if this raises.
        path: a `.safetensors` file.
        sha256: what the file must hash to, in hexadecimal; None where nobody recorded it.

    Raises:
        WeightsError: the file is missing, too large, not safetensors, not of that digest, or differs from the model in
            names, shapes or types, or holds a NaN or an infinity. The first five differences are listed.
    """
    expected = inference_state(model)
    payload = _read(path, sum(tensor.nbytes for tensor in expected.values()))
    found_sha256 = hashlib.sha256(payload).hexdigest()
    if sha256 is not None and found_sha256 != sha256:
        raise WeightsError(
            f"{path}: the SHA-256 is {found_sha256}, its card says {sha256}; get the file that belongs to the card"
        )
    try:
        state = load(payload)
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is not a whole safetensors file ({error}); other formats are never opened"
        ) from error
    _refuse(path, _differences(expected, state) or _not_finite(state))
    model.load_state_dict(model.state_dict() | state)


def inference_state(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's tensors by name, without those of parts that act in training only."""
    left_out = tuple(f"{part}." for part in model.train_only) if isinstance(model, Segmenter) else ()
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(left_out)}


def inference_parameters(model: nn.Module) -> int:
    """Return how many numbers inference needs, buffers not counted."""
    return sum(
        model.get_parameter(name).numel() for name in inference_state(model).keys() & dict(model.named_parameters())
    )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_suffix(path: Path) -> None:
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path}: weights are .safetensors files only, never {path.suffix or 'without a suffix'}")


def _read(path: Path, tensor_bytes: int) -> bytes:
    _check_suffix(path)
    try:
        size_bytes = path.stat().st_size
        if size_bytes > tensor_bytes + HEADER_ALLOWANCE_BYTES:
            raise WeightsError(f"{path} has {size_bytes} bytes, the model's tensors only {tensor_bytes}")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error


def _differences(expected: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    lines = [f"{name}: missing" for name in expected if name not in found]
    lines += [f"{name}: not in the model" for name in found if name not in expected]
    for name in expected.keys() & found.keys():
        want, have = _described(expected[name]), _described(found[name])
        if want != have:
            lines.append(f"{name}: {have}, the model has {want}")
    return sorted(lines)


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _not_finite(state: dict[str, Tensor]) -> list[str]:
    floating = ((name, tensor) for name, tensor in state.items() if tensor.is_floating_point())
    return [f"{name}: holds NaN or infinity" for name, tensor in floating if not torch.isfinite(tensor).all()]


def _refuse(path: Path, lines: list[str]) -> None:
    if lines:
        shown = "; ".join(islice(lines, DIFFERENCES_SHOWN))
        raise WeightsError(f"{path} does not fit the model, {len(lines)} differences: {shown}")
