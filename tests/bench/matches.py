"""Which crops of a labelled RGB set show the same ground at the same time as a patch that scores.

    cd tests && python -m bench.matches ../../shared/data

Every crop is laid over every patch at every offset, also where only a part of one lies on the other, and the red, green
and blue bands are correlated after slow changes were taken away and local contrasts made even; gain, offset and
clipping of a display stretch matter little. No one told us which pairs are matches, so the threshold comes from two
sets whose answer is known: crops that were mirrored (the best correlation that chance gives) and pieces of the patches
themselves under a display stretch (the worst that a match gives). It lies in the middle. Some 5 minutes of one core.
"""

import argparse
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from scipy import fft, ndimage

type Picture = NDArray[np.float64]
"""(3, H, W): red, green, blue."""

COARSER = 2
"""Pictures are averaged over so many pixels squared: 60 m."""
SLOW_PX = 6.0
"""Deviation of the Gaussian that is taken away, in coarser pixels."""
LEAST_OVERLAP = 0.15
"""Of the patch's area; smaller overlaps are not looked at."""
FLAT = 0.05
"""Contrasts below this share of a picture's own are not raised to that of the rest."""
FAINT = 0.02
"""Variances below this share of a picture's own count as this: flat water correlates with flat water."""


@dataclass(frozen=True, slots=True, order=True)
class Match:
    """The best place of one crop over one patch."""

    correlation: float
    crop: str
    patch: str


def prepared(picture: Picture) -> Picture:
    """Average to coarser pixels, take slow changes away, and give every place the same contrast."""
    height, width = (side // COARSER * COARSER for side in picture.shape[1:])
    blocks = picture[:, :height, :width].reshape(3, height // COARSER, COARSER, width // COARSER, COARSER)
    quick = _less_slow(blocks.mean(axis=(2, 4)))
    contrast = np.sqrt(ndimage.gaussian_filter(quick**2, (0, SLOW_PX, SLOW_PX)))
    even = quick / (contrast + FLAT * quick.std(axis=(1, 2), keepdims=True) + 1e-9)
    return np.asarray(even / even.std(axis=(1, 2), keepdims=True).clip(1e-9))


def _less_slow(bands: Picture) -> Picture:
    return np.asarray(bands - ndimage.gaussian_filter(bands, (0, SLOW_PX, SLOW_PX)))


def best_correlation(patch: Picture, crop: Picture) -> float:
    """Return the largest correlation over all offsets: the mean over bands of the coefficient over the shared pixels.

    Args:
        patch: as `prepared` returns it.
        crop: likewise, of any size.
    """
    side = fft.next_fast_len(max(patch.shape[1] + crop.shape[1], patch.shape[2] + crop.shape[2]), real=True)
    flat, still = _spectrum(np.ones(crop.shape[1:]), side), np.conj(_spectrum(np.ones(patch.shape[1:]), side))
    shared = _offsets(still * flat, side).round().clip(1)
    total = np.zeros((side, side))
    for mine, theirs in zip(patch, crop, strict=True):
        here, there = np.conj(_spectrum(mine, side)), _spectrum(theirs, side)
        sums = _offsets(here * flat, side), _offsets(still * there, side)
        spread = [
            np.maximum(_offsets(power, side) - part**2 / shared, FAINT * shared)
            for power, part in zip(
                (np.conj(_spectrum(mine**2, side)) * flat, still * _spectrum(theirs**2, side)), sums, strict=True
            )
        ]
        total += (_offsets(here * there, side) - sums[0] * sums[1] / shared) / np.sqrt(spread[0] * spread[1]) / 3
    return float(total[shared >= LEAST_OVERLAP * patch[0].size].max())


def _spectrum(band: NDArray[np.float64], side: int) -> NDArray[np.complex128]:
    return np.asarray(fft.rfft2(band, (side, side)))


def _offsets(product: NDArray[np.complex128], side: int) -> NDArray[np.float64]:
    return np.asarray(fft.irfft2(product, (side, side)))


def displayed(patch: Picture, low: float, high: float) -> Picture:
    """Stretch like a display: what lies between two percentiles becomes 0 to 255, the rest is clipped."""
    ends = np.percentile(patch, [low, high], axis=(1, 2))[..., None, None]
    return np.asarray(np.round(255 * ((patch - ends[0]) / (ends[1] - ends[0]).clip(1e-9)).clip(0, 1)))


def controls(patches: Mapping[str, Picture]) -> Iterator[Match]:
    """Yield each patch against a piece of itself under a display stretch: what a true match looks like."""
    for name, patch in patches.items():
        rows, columns = (round(side * 0.45) for side in patch.shape[1:])
        piece = displayed(patch[:, :rows, :columns], 2, 98)
        yield Match(best_correlation(prepared(patch), prepared(piece)), "control", name)


def pairs(crops: Mapping[str, Picture], patches: Mapping[str, Picture]) -> Iterator[Match]:
    """Yield every crop against every patch."""
    ready = {name: prepared(patch) for name, patch in patches.items()}
    for crop_name, crop in crops.items():
        laid = prepared(crop)
        for name, patch in ready.items():
            yield Match(best_correlation(patch, laid), crop_name, name)


def read_rgb(folder: Path) -> dict[str, Picture]:
    """Read red, green and blue of every raster in a folder; by description, else the first three bands."""
    pictures = {}
    for path in sorted(folder.iterdir()):
        with rasterio.open(path) as source:
            named = {name: index for index, name in enumerate(source.descriptions, start=1) if name}
            rows = [named.get(name, place) for place, name in enumerate(("red", "green", "blue"), start=1)]
            pictures[path.stem] = np.nan_to_num(source.read(rows).astype(np.float64))
    return pictures


def main() -> None:
    """Print the threshold, how it came about, and the crops above it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with l8biome and l8biome-rgb")
    data = parser.parse_args().data
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    patches = {
        f"{part}/{name}": picture
        for part in ("train", "val")
        for name, picture in read_rgb(data / "l8biome" / part / "images").items()
    }
    crops = read_rgb(data / "l8biome-rgb" / "images")
    chance = max(pairs({name: crop[:, :, ::-1] for name, crop in crops.items()}, patches))
    certain = sorted(controls(patches))
    threshold = (chance.correlation + certain[0].correlation) / 2
    found = sorted(pairs(crops, patches), reverse=True)
    print(f"mirrored crops reach {chance.correlation:.3f} ({chance.crop} on {chance.patch})")
    print(f"pieces of patches: lowest {[f'{match.correlation:.3f} {match.patch}' for match in certain[:3]]}")
    print(f"threshold {threshold:.3f}; best pairs:")
    for match in found[:5]:
        print(f"  {match.correlation:.3f} {match.crop} {match.patch}")
    matched = [match for match in found if match.correlation >= threshold]
    print(f"{len({match.crop for match in matched})} of {len(crops)} crops match a patch")
    for match in matched:
        print(match.crop, match.patch, f"{match.correlation:.3f}")


if __name__ == "__main__":
    main()
