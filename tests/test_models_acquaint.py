"""What a model takes for familiar, from patches to pixels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from picomodel import PICO_CARD, bicor_spec, pico_spec
from torch import Tensor

from rspipe.models.acquaint import acquainted
from rspipe.models.build import build
from rspipe.models.data import Patch
from rspipe.models.errors import InputError
from rspipe.models.normalise import Normaliser
from rspipe.models.predictor import Predictor
from rspipe.models.registry import resolve
from rspipe.models.specs import ModelSpec

CPU = torch.device("cpu")
SPECS: dict[str, ModelSpec] = {
    "d2ls": pico_spec(),
    "bicor": bicor_spec(),
    "plain": pico_spec().model_copy(update={"dictionary": "none"}),
}


def smooth(seed: int, size: tuple[int, int] = (64, 80), colour: float = 0.1) -> Tensor:
    """Bands (3, H, W) of slow waves, in the units of the pico card: a common brightness, and so much of their own."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 1, 4, 4, generator=generator) + colour * torch.randn(1, 3, 4, 4, generator=generator)
    scores = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic")[0]
    mean = torch.tensor([band.mean for band in PICO_CARD.bands]).view(-1, 1, 1)
    return scores * torch.tensor([band.stddev for band in PICO_CARD.bands]).view(-1, 1, 1) + mean


def patch(seed: int, *, display: bool = False) -> Patch:
    bands = smooth(seed)
    return Patch(str(seed), bands, torch.zeros(bands.shape[1:], dtype=torch.uint8), 30.0, display=display)


def knowing(spec: ModelSpec) -> Predictor:
    model = build(spec, seed=1)
    with torch.no_grad():  # an untrained encoder hardly looks beyond its stem: its layer scales are 1e-6
        for name, parameter in model.named_parameters():
            if name.startswith("pyramid") and name.endswith("gamma"):
                parameter.fill_(0.5)
    familiar = acquainted(model, [patch(seed) for seed in range(8)], Normaliser.of(PICO_CARD.bands, CPU))
    return Predictor(model, replace(PICO_CARD, spec=spec, familiar=familiar), CPU, "float32")


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_colours_never_seen_are_less_familiar(spec: ModelSpec) -> None:
    predictor = knowing(spec)
    grey, gaudy = (torch.stack([smooth(seed, colour=colour) for seed in (100, 101)]) for colour in (0.1, 3.0))
    present = torch.ones_like(grey, dtype=torch.bool)
    known, strange = (predictor.judged(bands, present).unfamiliar for bands in (grey, gaudy))
    assert known.shape == (2, 1, 64, 80)
    assert (known > 1).float().mean() < 0.1
    assert (strange > 1).float().mean() > 0.2


def test_probabilities_come_with_it_unchanged_and_nodata_changes_no_bit() -> None:
    predictor = knowing(SPECS["d2ls"])
    bands = smooth(100, (37, 70))[None]
    present = torch.ones_like(bands, dtype=torch.bool)
    present[..., :9, 20:60] = False
    judged = predictor.judged(bands, present)
    assert judged.unfamiliar.shape == (1, 1, 37, 70)
    assert torch.equal(judged.probabilities, predictor.probabilities(bands, present))
    rubbish = predictor.judged(torch.where(present, bands, torch.nan), present)
    assert torch.equal(rubbish.unfamiliar, judged.unfamiliar)


def test_a_card_that_says_nothing_is_refused() -> None:
    predictor = Predictor(build(pico_spec()), PICO_CARD, CPU, "float32")
    with pytest.raises(InputError, match="does not say what is familiar"):
        predictor.judged(smooth(0)[None], torch.ones(1, 3, 64, 80, dtype=torch.bool))


def test_display_pictures_make_nothing_familiar() -> None:
    normalise = Normaliser.of(PICO_CARD.bands, CPU)
    model, some = build(pico_spec()), [patch(0), patch(1)]
    assert acquainted(model, some, normalise) == acquainted(model, [*some, patch(2, display=True)], normalise)
    with pytest.raises(InputError, match="no patch in physical units"):
        acquainted(model, [patch(2, display=True)], normalise)


def test_the_card_keeps_it(tmp_path: Path) -> None:
    card = knowing(SPECS["d2ls"]).card
    card.write(tmp_path / "card.json")
    assert type(card).read(tmp_path / "card.json") == card


def read(path: Path) -> Tensor:
    with rasterio.open(path) as file:
        return torch.from_numpy(file.read().astype(np.float32))


def pictures(folder: Path) -> list[Tensor]:
    """Colour pictures of another sensor, as six bands of plausible brightness; cirrus and thermal are missing."""
    found = []
    for path in sorted(folder.iterdir())[::4]:
        red, green, blue = (read(path)[:3, :256, :256] / 510).unbind()
        nothing = torch.full_like(red, torch.nan)
        found.append(torch.stack([blue, green, red, red, red, red, nothing, nothing]))
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_the_shipped_model_finds_other_sensors_less_familiar_than_unseen_scenes(real_data: Path) -> None:
    predictor = Predictor.load(resolve("cloud-thickness"))

    def beyond(scenes: list[Tensor]) -> float:
        shares = []
        for bands in scenes:
            judged = predictor.judged(bands.nan_to_num(0.0)[None], ~bands.isnan()[None])
            shares.append((judged.unfamiliar > 1).float().mean().item())
        return sum(shares) / len(shares)

    unseen = [read(path) for path in sorted((real_data / "l8biome/val/images").glob("*.tif"))]
    assert beyond(unseen) < 0.1
    assert beyond(pictures(real_data / "s2-korea/images")) > 3 * beyond(unseen)
    assert beyond(pictures(real_data / "dubai/images")) > 3 * beyond(unseen)
    assert beyond([bands[[5, 4, 3, 2, 1, 0, 6, 7]] for bands in unseen]) > 3 * beyond(unseen)
