"""Display pictures: numbers that were stretched for the eye, by a gain and an offset nobody wrote down."""

from dataclasses import replace

import numpy as np
import torch
from pydantic import Field

from rspipe.models.data import Patch
from rspipe.models.specs import StrictModel


class DisplaySpec(StrictModel):
    """From which stretches one is drawn, in reflectance. The defaults hold most 2 % stretches of cloudy scenes."""

    black_max: float = Field(default=0.12, ge=0, lt=1)
    """What is shown as black lies between 0 and this."""
    span_min: float = Field(default=0.3, gt=0)
    span_max: float = Field(default=1.0, gt=0)
    """What is shown as white lies so far above black, evenly in the logarithm."""
    band_spread: float = Field(default=0.1, ge=0, lt=1)
    """Deviation of the logarithm of a further factor per band; offsets differ by a fifth of it, as part of the span."""


def unstretched(patch: Patch, spec: DisplaySpec, rng: np.random.Generator) -> Patch:
    """Return a display picture, 0 black and 1 white, in reflectances that it may show; any other patch as it is.

    Every call draws another stretch, so that nothing can be learned from how bright such a picture is.
    """
    if not patch.display:
        return patch
    span = float(np.exp(rng.uniform(np.log(spec.span_min), np.log(max(spec.span_min, spec.span_max)))))
    black = float(rng.uniform(0, spec.black_max))
    shape = (len(patch.bands), 1, 1)
    gains = span * np.exp(spec.band_spread * rng.standard_normal(shape))
    offsets = black + 0.2 * spec.band_spread * span * rng.standard_normal(shape)
    bands = patch.bands * torch.from_numpy(gains.astype(np.float32))
    return replace(patch, bands=bands + torch.from_numpy(offsets.astype(np.float32)), display=False)
