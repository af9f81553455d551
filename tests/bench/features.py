"""What a tree sees of a pixel: its numbers, what they are relative to one another, and what surrounds it."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SCALES_PX = (3, 7, 15, 31, 63)
"""Sides of the windows that means and deviations are taken over."""

type Bands = Mapping[str, NDArray[np.float32]]
"""Name -> (H, W) physical numbers, NaN where there is none."""

PAIRS = (
    ("green", "swir16"),
    ("nir", "red"),
    ("nir", "swir16"),
    ("swir16", "swir22"),
    ("blue", "red"),
    ("green", "red"),
)


def features(bands: Bands) -> NDArray[np.float32]:
    """Return (H, W, features) for the bands that there are; the order depends on their names only."""
    planes = dict(bands)
    planes.update(ratios(bands))
    stack: list[NDArray[np.float32]] = []
    for plane in planes.values():
        filled = np.where(np.isnan(plane), np.nanmean(plane) if np.isfinite(plane).any() else 0.0, plane)
        stack.append(plane)
        for side in SCALES_PX:
            mean = ndimage.uniform_filter(filled, side, mode="reflect")
            power = ndimage.uniform_filter(filled * filled, side, mode="reflect")
            stack += [mean, np.sqrt(np.maximum(power - mean * mean, 0.0))]
    return np.stack(stack, axis=-1).astype(np.float32)


def ratios(bands: Bands) -> dict[str, NDArray[np.float32]]:
    """Return the normalised differences that the bands allow, and how grey and how bright the visible ones are."""
    found = {f"{a}-{b}": _difference(bands[a], bands[b]) for a, b in PAIRS if a in bands and b in bands}
    visible = [bands[name] for name in ("blue", "green", "red") if name in bands]
    bright = _mean(visible)
    grey = _mean([np.abs(band - bright) for band in visible]) / (bright + np.float32(0.01))
    return {**found, "bright": bright, "grey": grey}


def _difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((one - other) / (np.abs(one) + np.abs(other) + np.float32(0.01)), dtype=np.float32)


def _mean(bands: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.asarray(np.mean(np.stack(bands), axis=0), dtype=np.float32)
