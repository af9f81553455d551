"""How much of what a model never saw is unfamiliar to it, beside scenes like those of its training.

    python -m bench.unfamiliar DATA [--model cloud-thickness] [--most 12]

DATA is the folder of real data. Printed is, per kind of picture, the median distance from the training's pixels, and
the share of pixels that lie further than 1, which few of scenes like the training's do; see `Familiar`.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rspipe.catalogs.bands import Unit
from rspipe.models.card import CardBand
from rspipe.models.errors import DataError
from rspipe.models.imagery import Packing, places_in, read_picture
from rspipe.models.predictor import Predictor
from rspipe.models.registry import resolve

LARGEST_PX = 512
DISPLAY = 1 / 510
"""Display pictures as reflectances up to a half."""
RGB = ("red", "green", "blue")


@dataclass(frozen=True, slots=True)
class Kind:
    """Pictures of one kind."""

    title: str
    files: str
    bands: tuple[str, ...] | None = None
    """By position, where the files do not name them."""
    scale: float | None = None
    """From stored numbers to reflectance, where the files do not say it."""
    keep: tuple[str, ...] | None = None
    """Other bands are left out, to tell a missing band from a strange surface."""
    swapped: bool = False
    """Colours in reverse order: a surface that there is not."""


KINDS = (
    Kind("Landsat 8, scenes of the training", "l8biome/train/images/*"),
    Kind("Landsat 8, other scenes", "l8biome/val/images/*"),
    Kind("the same, red green blue only", "l8biome/val/images/*", keep=RGB),
    Kind("the same, colours in reverse order", "l8biome/val/images/*", swapped=True),
    Kind("Sentinel-2 at 10 m, clear", "s2-cloudy-clear/clear/*", scale=1e-4),
    Kind("Sentinel-2 at 10 m, cloudy", "s2-cloudy-clear/cloudy/*", scale=1e-4),
    Kind("Sentinel-2, display pictures", "s2-korea/images/*", scale=DISPLAY, keep=RGB),
    Kind("aerial pictures", "dubai/images/*", RGB, DISPLAY),
)


def distances(predictor: Predictor, kind: Kind, data: Path, most: int) -> torch.Tensor:
    """Return the distances of the valid pixels of a kind, in at most so many pictures of `LARGEST_PX` squared.

    Raises:
        DataError: there are no such pictures, or they lack what the model requires.
    """
    bands, found = predictor.card.bands, []
    paths = sorted(data.glob(kind.files))
    for path in paths[:: -(-len(paths) // most) or 1]:
        read = read_picture(places_in(path, kind.bands), bands, Packing(scale=kind.scale)).numbers
        given = torch.from_numpy(np.ascontiguousarray(read[:, :LARGEST_PX, :LARGEST_PX]))
        given = given[colours_reversed(bands)] if kind.swapped else given
        lost = [row for row, band in enumerate(bands) if kind.keep and band.name not in kind.keep]
        given[lost] = torch.nan
        present = ~given.isnan()
        valid = present[[row for row, band in enumerate(bands) if band.required]].all(dim=0)
        found.append(predictor.judged(given[None], present[None]).unfamiliar[0, 0][valid])
    if not any(len(part) for part in found):
        raise DataError(f"no {kind.files} below {data} that has what the model requires")
    return torch.cat(found)


def colours_reversed(bands: tuple[CardBand, ...]) -> list[int]:
    """Return the channels, those that see the ground by daylight in reverse order."""
    colours = [row for row, band in enumerate(bands) if band.unit is Unit.REFLECTANCE and band.name != "cirrus"]
    other = dict(zip(colours, reversed(colours), strict=True))
    return [other.get(row, row) for row in range(len(bands))]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="cloud-thickness")
    parser.add_argument("--most", type=int, default=12)
    given = parser.parse_args()
    predictor = Predictor.load(resolve(given.model))
    print("| pictures | median distance | further than 1 |")
    print("|---|---|---|")
    for kind in KINDS:
        try:
            lengths = distances(predictor, kind, given.data, given.most)
        except DataError as error:
            print(f"| {kind.title} | - | {error} |")
            continue
        print(f"| {kind.title} | {lengths.median():.2f} | {(lengths > 1).float().mean():.0%} |", flush=True)


if __name__ == "__main__":
    main()
