"""How exact the fast paths are, stated per path as the largest difference of a probability.

Measured on the CPU, torch 2.15, windows of `random_windows`: the shipped D2LS on two of 256 px; a pico KTDA whose
encoder is awake and whose logits spread by three, on two of 64 px.

| path                                                | D2LS   | KTDA   |
|-----------------------------------------------------|--------|--------|
| folded projections or fused attention in float32,   |        |        |
| to the long way in float64                          | 8.9e-7 | 3.6e-6 |
| channels-last to contiguous, float32                | 1.1e-6 | 3.7e-6 |
| bfloat16 to float32                                 | 2.7e-2 | 3.9e-2 |
| exported graph to eager, float32                    | 0      | 0      |
"""

import math
from collections.abc import Callable
from copy import deepcopy

import oracle_d2ls
import oracle_ktda
import pytest
import torch
from test_models_ktda import ktda_spec
from torch import Tensor

from rspipe.models.build import build
from rspipe.models.card import ModelCard
from rspipe.models.export import random_windows
from rspipe.models.normalise import Normaliser, Prepared
from rspipe.models.registry import resolve
from rspipe.models.segmenter import Segmenter
from rspipe.models.specs import AttentionSpec, D2LSSpec
from rspipe.models.weights import load_weights

Case = tuple[Segmenter, Prepared]


@pytest.fixture(scope="module")
def shipped() -> Case:
    path = resolve("cloud-thickness")
    card = ModelCard.read(path)
    model = build(card.spec).eval()
    load_weights(model, path.parent / card.weights_name, card.weights_sha256)
    return model, Normaliser.of(card.bands, torch.device("cpu"))(*random_windows(card, 2, card.window_px))


@pytest.fixture(scope="module")
def awake() -> Case:
    model = build(ktda_spec(), 1).eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, 64, 64, generator=generator)
    valid = torch.ones(2, 1, 64, 64, dtype=torch.bool)
    valid[0, :, :32, :32] = False
    batch = Prepared(torch.where(valid, image, 0), valid)
    with torch.inference_mode():
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.3)
        spread = model(batch.image, batch.valid).logits.std()
        model.get_parameter("head.classify.1.weight").mul_(3 / spread)
    return model, batch


@pytest.fixture(params=["d2ls", "ktda"])
def case(request: pytest.FixtureRequest) -> Case:
    made: Case = request.getfixturevalue("shipped" if request.param == "d2ls" else "awake")
    return made


def probabilities(model: Segmenter, batch: Prepared, image: Tensor | None = None) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = model(batch.image if image is None else image, batch.valid).logits
    return logits.float().softmax(dim=1)


def largest(one: Tensor, other: Tensor, tell: Callable[[str], None] = print) -> float:
    found = float((one - other).abs().max())
    tell(f"max |dp| = {found:.1e}")
    return found


def test_channels_last(case: Case) -> None:
    model, batch = case
    last = deepcopy(model).to(memory_format=torch.channels_last)
    image = batch.image.to(memory_format=torch.channels_last)
    assert largest(probabilities(last, batch, image), probabilities(model, batch)) <= 1e-5


def test_bfloat16(case: Case) -> None:
    model, batch = case
    plain = probabilities(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = probabilities(model, batch)
    assert largest(half, plain) <= 0.1
    assert float((half.argmax(1) == plain.argmax(1)).float().mean()) >= 0.98


def test_folded_projections(shipped: Case) -> None:
    model, batch = shipped
    spec = model.spec
    assert isinstance(spec, D2LSSpec)
    assert isinstance(spec.exchange, AttentionSpec)
    small = Prepared(batch.image[:, :, 96:160, 96:160], batch.valid[:, :, 96:160, 96:160])
    with torch.inference_mode():
        maps = [level.double() for level in model.pyramid(small.image)]
    state = {name: tensor.double() for name, tensor in model.state_dict().items()}
    bands = (torch.asinh(small.image.double() + 2) - math.asinh(2))[:, list(spec.detail)]
    sizes = spec.exchange.heads, spec.subatoms
    long = oracle_d2ls.logits(state, maps, small.valid[:, 0], sizes, bands if spec.detail else None)
    assert spec.smooth
    assert largest(probabilities(model, small), oracle_d2ls.averaged(long).softmax(dim=1)) <= 1e-5


def test_fused_attention(awake: Case) -> None:
    model, batch = awake
    with torch.inference_mode():
        maps = [level.double() for level in model.pyramid(batch.image)]
    state = {name: tensor.double() for name, tensor in model.state_dict().items()}
    long = oracle_ktda.logits(state, maps, batch.valid[:, 0], 8)
    assert largest(probabilities(model, batch), long.softmax(dim=1)) <= 1e-5
