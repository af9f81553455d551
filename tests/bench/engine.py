"""The coverage engine by itself: from a class raster in memory to shapely's polygons and their attributes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from rspipe.catalogs.scene import Grid
from rspipe.pipeline.assemble import Outlines, outlines, ring_points
from rspipe.pipeline.coverage import NO_FACE, find_faces, relabel
from rspipe.pipeline.generalise import generalise
from rspipe.pipeline.ground import Ground, measure
from rspipe.pipeline.lengths import arc_lengths_m
from rspipe.pipeline.measures import face_areas, piece_lengths
from rspipe.pipeline.stitch import Arcs, stitch
from rspipe.pipeline.trace import Block, Pieces, trace
from rspipe.pipeline.unite import Part, United, unite

STRIP_PX = 1 << 22
BATCH = 1000
"""Polygons that are made at a time."""


def polygons_of(
    classes: NDArray[np.uint8], grid: Grid, threads: int, tolerance_m: float = 0.0
) -> tuple[NDArray[np.object_], dict[str, Any]]:
    """Return all faces as polygons on the map, with class, true area and perimeter."""
    ground = measure(grid)
    height_px, width_px = classes.shape
    step = max(1, STRIP_PX // width_px)
    blocks = [
        Block(
            rows=slice(row, min(row + step, height_px)),
            columns=slice(0, width_px),
            height_px=height_px,
            width_px=width_px,
        )
        for row in range(0, height_px, step)
    ]
    with ThreadPoolExecutor(threads) as pool:
        parts, areas = zip(*pool.map(partial(_found, classes, ground), blocks), strict=True)
        united = unite(parts)
        count = len(united.classes)
        drawn = list(pool.map(partial(_drawn, classes, ground, (parts, united)), range(len(blocks))))
    arcs = stitch([pieces for pieces, _ in drawn])
    areas_m2 = united.total(areas) * ground.areas.unit
    perimeters_m = np.sum([lengths for _, lengths in drawn], axis=0)
    del drawn, classes
    if tolerance_m:
        simpler = generalise(arcs, ground, tolerance_m**2 / ground.middle_pixel_m2)
        arcs, areas_m2 = simpler.arcs, areas_m2 + simpler.gains(count) * ground.areas.unit
        perimeters_m = _perimeters_m(arcs, arc_lengths_m(arcs, grid), count)
    order = np.argsort(united.classes, kind="stable")
    rings = outlines(arcs, count, order)
    shapes = np.concatenate(list(_shapes(arcs, rings, grid)))
    return shapes, {"class": united.classes[order], "area_m2": areas_m2[order], "perimeter_m": perimeters_m[order]}


def _shapes(arcs: Arcs, rings: Outlines, grid: Grid) -> Iterator[NDArray[np.object_]]:
    """Yield the polygons, some at a time, as the stage does."""
    corner, step_m = (grid.transform.c, grid.transform.f), (grid.transform.a, grid.transform.e)
    for first in range(0, len(rings.first_ring) - 1, BATCH):
        of_rings = rings.first_ring[first : first + BATCH + 1]
        part = slice(int(of_rings[0]), int(of_rings[-1]))
        nodes, begins = ring_points(arcs, rings, part)
        places = nodes[:, ::-1] * step_m
        places += corner
        yield shapely.from_ragged_array(shapely.GeometryType.POLYGON, places, (begins, of_rings - part.start))


def _found(classes: NDArray[np.uint8], ground: Ground, block: Block) -> tuple[Part, NDArray[np.int64]]:
    faces = find_faces(classes[block.rows])
    return Part.of(faces, block), face_areas(faces, ground, block.rows.start)


def _drawn(
    classes: NDArray[np.uint8], ground: Ground, found: tuple[Sequence[Part], United], place: int
) -> tuple[Pieces, NDArray[np.float64]]:
    parts, united = found
    block = parts[place].block
    labels = np.full((block.rows.stop - block.rows.start + 2, block.width_px + 2), NO_FACE, np.int32)
    relabel(find_faces(classes[block.rows]), united.numbers[place], labels[1:-1, 1:-1])
    if place > 0:
        labels[0, 1:-1] = np.append(united.numbers[place - 1], np.int32(NO_FACE))[parts[place - 1].bottom]
    if place + 1 < len(parts):
        labels[-1, 1:-1] = np.append(united.numbers[place + 1], np.int32(NO_FACE))[parts[place + 1].top]
    pieces = trace(labels, block)
    level, upright = piece_lengths(pieces, ground)
    lengths_m = level * ground.level.unit + upright * ground.upright.unit
    return pieces, _perimeters_m(pieces, lengths_m, len(united.classes))


def _perimeters_m(lines: Pieces | Arcs, lengths_m: NDArray[np.float64], faces: int) -> NDArray[np.float64]:
    sides = lines.sides.reshape(-1)
    return np.bincount(np.where(sides < 0, faces, sides), np.repeat(lengths_m, 2), faces + 1)[:-1]
