"""Folds: which patches are measured together, so that nothing measured was ever learned from."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rasterio.coords import BoundingBox, disjoint_bounds
from rasterio.crs import CRS
from rasterio.transform import array_bounds
from rasterio.warp import transform_bounds

from rspipe.catalogs.scene import Grid
from rspipe.models.errors import DataError


def dealt_to_folds(scenes: Sequence[str], folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each patch: the scenes are a shuffled deck dealt round, and patches go where their scene goes.

    Args:
        scenes: the scene of each patch.
        folds: how many; they differ by one scene at most.
        seed: decides the shuffling.

    Raises:
        DataError: there are fewer scenes than folds.
    """
    deck = list(dict.fromkeys(scenes))
    if len(deck) < folds:
        raise DataError(f"{folds} folds need as many scenes, {len(deck)} are found in {len(scenes)} patches")
    dealt = np.empty(len(deck), dtype=np.int64)
    dealt[np.random.default_rng(seed).permutation(len(deck))] = np.arange(len(deck)) % folds
    fold = dict(zip(deck, dealt.tolist(), strict=True))
    return np.array([fold[scene] for scene in scenes], dtype=np.int64)


def places_of(grids: Sequence[Grid]) -> list[int]:
    """Number the places that pictures show: those that overlap, be it through others, show the same one.

    Edges that only touch do not overlap.
    """
    bounds = _bounds(grids)
    place = list(range(len(grids)))
    for one in range(len(grids)):
        for other in range(one):
            if place[one] != place[other] and not _apart(bounds[one], bounds[other]):
                old, new = place[one], place[other]
                place = [new if number == old else number for number in place]
    return place


def _apart(one: BoundingBox, other: BoundingBox) -> bool:
    touching = one.left == other.right or other.left == one.right or one.top == other.bottom or other.top == one.bottom
    return touching or bool(disjoint_bounds(one, other))


def _bounds(grids: Sequence[Grid]) -> list[BoundingBox]:
    """Return the outlines in the common CRS, or in longitude and latitude if there are several."""
    own = [BoundingBox(*array_bounds(grid.height_px, grid.width_px, grid.transform)) for grid in grids]
    if len({grid.crs_wkt for grid in grids}) <= 1:
        return own
    geographic = CRS.from_epsg(4326)
    crs = [CRS.from_wkt(grid.crs_wkt) for grid in grids]
    return [BoundingBox(*transform_bounds(a, geographic, *b, densify_pts=21)) for a, b in zip(crs, own, strict=True)]
