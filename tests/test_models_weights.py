import json
import struct
from pathlib import Path

import pytest
import torch
from picomodel import pico_spec
from safetensors.torch import load_file, save_file

from rspipe.models.build import build
from rspipe.models.d2ls import D2LS
from rspipe.models.errors import WeightsError
from rspipe.models.weights import load_weights, save_weights, sha256_of


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "pico.safetensors"
    save_weights(build(pico_spec(), seed=1), path)
    return path


@pytest.fixture
def model() -> D2LS:
    model = build(pico_spec(), seed=2)
    assert isinstance(model, D2LS)
    return model


def test_round_trip(tmp_path: Path, model: D2LS) -> None:
    source = build(pico_spec(), seed=1)
    digest = save_weights(source, tmp_path / "a.safetensors")
    assert digest == sha256_of(tmp_path / "a.safetensors")
    load_weights(model, tmp_path / "a.safetensors", digest)
    for name, tensor in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    digests = {save_weights(build(pico_spec(), seed=1), tmp_path / f"{i}.safetensors") for i in range(2)}
    assert len(digests) == 1


@pytest.mark.parametrize("where", ["truncated", "appended", "flipped"])
def test_damaged_bytes_are_refused_with_and_without_a_digest(weights: Path, model: D2LS, where: str) -> None:
    digest, payload = sha256_of(weights), weights.read_bytes()
    middle = len(payload) // 2
    damaged = {
        "truncated": payload[:-100],
        "appended": payload + b"cos\nsystem\n(S'true'\ntR.",
        "flipped": payload[:middle] + bytes([payload[middle] ^ 1]) + payload[middle + 1 :],
    }
    weights.write_bytes(damaged[where])
    with pytest.raises(WeightsError, match="SHA-256"):
        load_weights(model, weights, digest)
    if where != "flipped":
        with pytest.raises(WeightsError, match="not a whole safetensors file"):
            load_weights(model, weights)


def pickle_bytes(canary: Path) -> bytes:
    """A pickle that makes a folder when opened, written by hand in protocol 0."""
    return f"cos\nmkdir\n(V{canary}\ntR.".encode()


@pytest.mark.parametrize("name", ["evil.pt", "evil.pth", "evil.safetensors", "evil.bin"])
def test_pickles_are_never_opened(tmp_path: Path, model: D2LS, name: str) -> None:
    canary = tmp_path / "canary"
    (tmp_path / name).write_bytes(pickle_bytes(canary))
    with pytest.raises(WeightsError):
        load_weights(model, tmp_path / name)
    assert not canary.exists()


def test_header_that_claims_too_much_is_refused(tmp_path: Path, model: D2LS) -> None:
    header = json.dumps({"table": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    path = tmp_path / "bomb.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        load_weights(model, path)


def test_oversized_file_is_refused_unread(weights: Path, model: D2LS) -> None:
    with weights.open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(WeightsError, match="has 1099511627776 bytes"):
        load_weights(model, weights)


def test_missing_file_is_named(tmp_path: Path, model: D2LS) -> None:
    with pytest.raises(WeightsError, match=r"absent\.safetensors: cannot be read"):
        load_weights(model, tmp_path / "absent.safetensors")


def test_first_five_differences_are_listed(weights: Path, model: D2LS) -> None:
    state = load_file(weights)
    state["extra"] = torch.zeros(1)
    del state["fuse.mix.weight"]
    state["table"] = torch.zeros(5, 64)
    for name in ("interactor.norm.bias", "interactor.norm.weight"):
        state[name] = state[name].half()
    state["head.classes.0.bias"] = torch.zeros(1)
    save_file(state, weights)
    before = model.table.clone()
    with pytest.raises(WeightsError) as caught:
        load_weights(model, weights)
    message = str(caught.value)
    assert "6 differences: " in message
    assert message.split("differences: ")[1].split("; ") == [
        "extra: not in the model",
        "fuse.mix.weight: missing",
        "head.classes.0.bias: float32 (1,), the model has float32 (64,)",
        "interactor.norm.bias: float16 (64,), the model has float32 (64,)",
        "interactor.norm.weight: float16 (64,), the model has float32 (64,)",
    ]
    assert torch.equal(before, model.table)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_must_be_finite(weights: Path, model: D2LS, value: float) -> None:
    state = load_file(weights)
    state["table"][1, 2] = value
    save_file(state, weights)
    with pytest.raises(WeightsError, match="table: holds NaN or infinity"):
        load_weights(model, weights)
    model.table.data[0, 0] = value
    with pytest.raises(WeightsError, match="table: holds NaN or infinity"):
        save_weights(model, weights)


def test_only_safetensors_are_written(tmp_path: Path, model: D2LS) -> None:
    with pytest.raises(WeightsError, match=r"never \.pt"):
        save_weights(model, tmp_path / "a.pt")
