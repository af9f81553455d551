"""What two looks at the same place, days apart, one under clouds and one not, say of the clouds.

A cloud adds light that has no colour and takes some of the ground's; its shadow takes light and adds none, least of all
blue, which comes from the whole sky. Where ground changed in between (snow melted, fields were mown), and wherever
else neither fits, nothing is told.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from rspipe.models.labels import IGNORE_ID

BANDS = ("blue", "green", "red", "nir", "swir16")
TOLD = ("clear", "thin cloud", "thick cloud", "cloud shadow", "cloud")
"""What may be told of a pixel, by number; the last is a cloud of unknown thickness."""
CLEAR, THIN, THICK, SHADOW, CLOUD = range(len(TOLD))

_SAME_VISIBLE, _SAME_INFRARED = 0.012, 0.04
"""Changes of reflectance, either way, that haze and growing plants bring in a few days."""
_CLOUD, _WHITE = 0.05, 2 / 3
"""What a cloud adds to visible light on average, and the share of it that each colour gets at least. People who label
call clear what adds less."""
_AT_MOST_THIN, _THICK = 0.15, 0.25
"""Of visible light added. By two-stream theory drops of optical depth 3.5 reflect 0.21 (asymmetry 0.85)."""
_SHADE_VISIBLE = 0.005
"""What haze may add at most to the visible light of a shadow."""
_SHADE_BLUE, _SHADE_INFRARED, _FLOODED = 0.6, 0.75, 0.1
"""Shares of the ground's light: shadow leaves more than the first of blue, less than the second of nir and swir16, but
not as little as water does."""
_GROUND_NIR = 0.08
"""Water reflects less, and has nothing that a shadow could take."""
_GRAIN_M, _COMPANY_M = 30.0, 150.0
"""What is smaller than the first was not at the same place twice; the second is where a pixel needs its like."""


def told(cloudy: NDArray[np.float32], clear: NDArray[np.float32], pixel_m: float) -> NDArray[np.uint8]:
    """Compare two pictures of one place.

    Args:
        cloudy: (5, H, W) reflectance in `BANDS`, NaN where there is no number.
        clear: the same without clouds.
        pixel_m: ground size of a pixel.

    Returns:
        (H, W) numbers of `TOLD`, `IGNORE_ID` where nothing is told. A pixel counts if most pixels around it tell the
        same, clouds of any thickness for one.
    """
    seen, ground = (_mean(torch.from_numpy(one), _side_px(_GRAIN_M, pixel_m)) for one in (cloudy, clear))
    added, left = seen - ground, seen / ground
    visible = added[:3].mean(dim=0)
    same = (visible.abs() < _SAME_VISIBLE) & (added[3:].abs() < _SAME_INFRARED).all(dim=0)
    shade = (visible < _SHADE_VISIBLE) & (left[0] > _SHADE_BLUE) & (ground[3] > _GROUND_NIR)
    shade &= ((left[3:] < _SHADE_INFRARED) & (left[3:] > _FLOODED)).all(dim=0)
    cloud = (visible > _CLOUD) & (added[:3] > _WHITE * visible).all(dim=0) & (added[3] > 0)
    company_px = _side_px(_COMPANY_M, pixel_m)
    said = torch.full(visible.shape, IGNORE_ID, dtype=torch.uint8)
    said[_in_company(same, company_px)] = CLEAR
    said[_in_company(shade, company_px)] = SHADOW
    kept = _in_company(cloud & added.isfinite().all(dim=0), company_px)
    said[kept] = CLOUD
    said[kept & (visible < _AT_MOST_THIN)] = THIN
    said[kept & (visible > _THICK)] = THICK
    return said.numpy()


def _side_px(length_m: float, pixel_m: float) -> int:
    """Return how many pixels come next to a length, an odd number."""
    return 2 * round((length_m / pixel_m - 1) / 2) + 1 if length_m > pixel_m else 1


def _mean(maps: Tensor, side_px: int) -> Tensor:
    """Return the mean of the pixels around each, of those there are at the edge."""
    return avg_pool2d(maps, side_px, stride=1, padding=side_px // 2, count_include_pad=False)


def _in_company(marked: Tensor, side_px: int) -> Tensor:
    """Return the marked pixels around which most are marked."""
    return marked & (_mean(marked[None].float(), side_px)[0] > 0.5)
