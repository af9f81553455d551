"""The batches of a training: which crop stands in which slot of which step, all from one seed."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from rspipe.models.augment import AugmentSpec, augmented
from rspipe.models.card import CardBand
from rspipe.models.crops import CropSpec, Cutter
from rspipe.models.data import Patch
from rspipe.models.errors import DataError
from rspipe.models.labels import IGNORE_ID
from rspipe.models.normalise import Normaliser
from rspipe.models.ranks import ALONE, Ranks
from rspipe.models.specs import StrictModel
from rspipe.models.weather import Overcast, WeatherSpec


class FeedSpec(StrictModel):
    """What every batch is made of."""

    batch: int = Field(default=8, ge=1, le=1024)
    simulated_steps: int = Field(default=0, ge=0)
    """So many first steps see simulated patches only."""
    simulated_share: float = Field(default=0.25, ge=0, le=1)
    """Probability, after these, that a slot is filled from a simulated patch."""
    crop: CropSpec = CropSpec()
    weather: WeatherSpec = WeatherSpec()
    """Of the slots that are not filled from a simulated patch."""
    augment: AugmentSpec = AugmentSpec()


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one step learns from."""

    image: Tensor
    """(B, bands, H, W) float32, 0 where there is no number."""
    valid: Tensor
    """(B, 1, H, W) bool: every required band has a number."""
    labels: Tensor
    """(B, H, W) int64."""

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device; a GPU copies while the CPU goes on."""
        if device.type == "cpu":
            return self
        parts = (part.pin_memory().to(device, non_blocking=True) for part in (self.image, self.valid, self.labels))
        return Batch(*parts)


def collated(patches: Sequence[Patch], normalise: Normaliser) -> Batch:
    """Put patches of one size in a batch, normalised as the predictor does; invalid pixels are ignored."""
    numbers = torch.stack([patch.bands for patch in patches])
    prepared = normalise(numbers, ~numbers.isnan())
    labels = torch.stack([patch.labels for patch in patches]).long()
    return Batch(prepared.image, prepared.valid, labels.masked_fill(~prepared.valid[:, 0], IGNORE_ID))


@dataclass(frozen=True, slots=True)
class Feed:
    """Makes the batch of any step, independently of every other step."""

    spec: FeedSpec
    card: tuple[CardBand, ...]
    seed: int
    real: Cutter | None
    simulated: Cutter | None
    overcast: Overcast | None = None
    """The real patches below simulated skies, where `spec.weather` asks for them."""
    ranks: Ranks = ALONE
    makers: int = 1
    """How many threads make batches ahead; the batches are the same for any number."""

    def __post_init__(self) -> None:
        self.spec.augment.check_bands(self.card)
        if self.real is None and (self.simulated is None or self.spec.simulated_share < 1):
            raise DataError("training needs labelled patches, or a simulated_share of 1")
        if self.simulated is None and (self.spec.simulated_steps or self.spec.simulated_share):
            raise DataError("simulated_steps and simulated_share must be 0 where no simulated patches are named")

    def batch(self, step: int) -> Batch:
        """Return the batch of one step, counted from 0: this process's part of it."""
        crops = [self._crop(step, slot) for slot in self.ranks.slots(self.spec.batch)]
        return collated(crops, Normaliser.of(self.card, torch.device("cpu")))

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield the batches of a range of steps; while one is in use, the next is made."""
        with ThreadPoolExecutor(max_workers=self.makers) as pool:
            ahead = deque(pool.submit(self.batch, step) for step in range(start, min(start + self.makers, stop)))
            for step in range(start, stop):
                ready = ahead.popleft().result()
                if step + self.makers < stop:
                    ahead.append(pool.submit(self.batch, step + self.makers))
                yield ready

    def _crop(self, step: int, slot: int) -> Patch:
        rng = np.random.default_rng((self.seed, step, slot))
        return augmented(self._cutter(step, rng).cut(rng), self.card, self.spec.augment, rng)

    def _cutter(self, step: int, rng: np.random.Generator) -> Cutter | Overcast:
        share = 1.0 if step < self.spec.simulated_steps else self.spec.simulated_share
        drawn = self.simulated if rng.random() < share else self.real
        if drawn is None:
            raise DataError("training needs labelled patches, or a simulated_share of 1")
        if self.overcast is not None and drawn is self.real and rng.random() < self.spec.weather.share:
            return self.overcast
        return drawn
