"""Rasters cut into blocks, and what the coverage engine makes of them: for tests that ask whether cuts matter."""

from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.features import shapes

from rspipe.catalogs.scene import Grid
from rspipe.pipeline.assemble import outlines, ring_points
from rspipe.pipeline.contacts import (
    Contacts,
    borders,
    contacts_between,
    contacts_inside,
    exposed_between,
    exposed_inside,
)
from rspipe.pipeline.coverage import NO_CHANCES, Faces, Holes, Rule, find_faces, sieve
from rspipe.pipeline.ground import Ground, measure
from rspipe.pipeline.measures import face_pixels, face_sums
from rspipe.pipeline.stitch import Arcs, stitch
from rspipe.pipeline.trace import Block, trace
from rspipe.pipeline.unite import Part, United, unite

Raster = NDArray[np.uint8]
Labels = NDArray[np.int32]
rasters = st.tuples(st.integers(1, 11), st.integers(1, 11)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 1, 1, 2, 255]))
)
sizes = st.one_of(st.sampled_from([1, 2, 3, 5, 7]), st.integers(1, 12))


@dataclass(frozen=True)
class Cut:
    """Largest rows and columns of a block."""

    rows_px: int = 1000
    columns_px: int = 1000

    def blocks(self, height: int, width: int) -> list[Block]:
        return [
            Block(
                rows=slice(row, min(row + self.rows_px, height)),
                columns=slice(column, min(column + self.columns_px, width)),
                height_px=height,
                width_px=width,
            )
            for row in range(0, height, self.rows_px)
            for column in range(0, width, self.columns_px)
        ]


WHOLE = Cut()
cuts = st.builds(Cut, sizes, sizes)


def equal_area_ground(height: int, width: int) -> Ground:
    """Near the origin of an equal-area map, every pixel is as large as every other one within 1e-8."""
    crs = CRS.from_epsg(3035).to_wkt()
    transform = Affine(10, 0, 4321000, 0, -10, 3210000)
    return measure(Grid(crs_wkt=crs, transform=transform, height_px=height, width_px=width))


def united_faces(classes: Raster, cut: Cut) -> tuple[list[Part], list[Faces], United]:
    blocks = cut.blocks(*classes.shape)
    found = [find_faces(np.ascontiguousarray(classes[block.rows, block.columns])) for block in blocks]
    parts = [Part.of(faces, block) for faces, block in zip(found, blocks, strict=True)]
    return parts, found, unite(parts)


def painted(parts: list[Part], found: list[Faces], numbers: list[NDArray[np.int32]]) -> Labels:
    """The blocks' labels as one raster, in other numbers."""
    labels = np.full((parts[0].block.height_px, parts[0].block.width_px), -2, np.int32)
    for part, faces, some in zip(parts, found, numbers, strict=True):
        labels[part.block.rows, part.block.columns] = np.append(some, np.int32(-1))[faces.labels]
    return labels


def sieved(
    classes: Raster,
    least_px: dict[int, int],
    cut: Cut = WHOLE,
    fill_below_px: int = 0,
    probabilities: NDArray[np.uint8] | None = None,
) -> Faces:
    """The faces after a sieve by pixels, and after holes are filled."""
    ground = equal_area_ground(*classes.shape)
    least = np.zeros(256, np.int64)
    least[list(least_px)] = list(least_px.values())
    parts, found, united = united_faces(classes, cut)
    pixels = united.total([face_pixels(faces) for faces in found])
    contacts = [contacts_between(parts, united, ground)]
    exposed = np.zeros(len(united.classes), np.bool_)
    exposed[exposed_between(parts, united)] = True
    for part, faces, numbers in zip(parts, found, united.numbers, strict=True):
        small = (face_pixels(faces) < least[faces.classes]) | (face_pixels(faces) < fill_below_px)
        some = contacts_inside(faces, small, ground, part.block)
        exposed[numbers[exposed_inside(faces, part.block)]] = True
        contacts.append(Contacts.of(numbers[some.ones], numbers[some.others], some.lengths))
    small = (pixels < least[united.classes]) | (pixels < fill_below_px)
    rule = Rule(least, Holes(fill_below_px, exposed), chances_of(parts, found, united, probabilities))
    merged = sieve(united.classes, pixels, borders(contacts, small), rule)
    return Faces(painted(parts, found, [merged.numbers[some] for some in united.numbers]), merged.classes)


def chances_of(
    parts: list[Part], found: list[Faces], united: United, probabilities: NDArray[np.uint8] | None
) -> NDArray[np.int64]:
    if probabilities is None:
        return NO_CHANCES
    layers = [
        [
            face_sums(faces, np.ascontiguousarray(layer[part.block.rows, part.block.columns]))
            for part, faces in zip(parts, found, strict=True)
        ]
        for layer in probabilities
    ]
    return np.column_stack([united.total(sums) for sums in layers])


def arcs_of(labels: Labels, cut: Cut = WHOLE) -> Arcs:
    framed = np.pad(labels, 1, constant_values=-1)
    return stitch(
        [
            trace(
                np.ascontiguousarray(
                    framed[block.rows.start : block.rows.stop + 2, block.columns.start : block.columns.stop + 2]
                ),
                block,
            )
            for block in cut.blocks(*labels.shape)
        ]
    )


def lines_of(arcs: Arcs) -> list[object]:
    """Everything that arcs say, whatever lies where in memory."""
    return [
        (*arcs.sides[arc], *arcs.ends[arc], *arcs.headings[arc], arcs.points[start : start + size].tolist())
        for arc, (start, size) in enumerate(zip(arcs.starts, arcs.sizes, strict=True))
    ]


def polygons_of(arcs: Arcs, faces: int) -> NDArray[np.object_]:
    """The polygons of all faces in pixels, north up."""
    rings = outlines(arcs, faces, np.arange(faces))
    nodes, begins = ring_points(arcs, rings, slice(0, len(rings.first_step) - 1))
    made: NDArray[np.object_] = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, nodes[:, ::-1] * [1.0, -1.0], (begins, rings.first_ring)
    )
    return made


def traced_by_gdal(labels: Labels) -> dict[int, shapely.Geometry]:
    flip = shapely.transform
    return {
        int(face): flip(shapely.geometry.shape(outline), lambda points: points * [1, -1])
        for outline, face in shapes(labels, mask=labels >= 0, connectivity=4)
    }


def to_degrees(polygons: NDArray[np.object_]) -> NDArray[np.object_]:
    """Polygons of 30 m pixels in UTM as longitudes and latitudes."""
    transform = Transformer.from_crs(32633, 4326, always_xy=True).transform
    moved: NDArray[np.object_] = shapely.transform(
        polygons,
        lambda points: np.column_stack(transform(*(points * 30 + [400000, 5300000]).T)) if len(points) else points,
    )
    return moved


def raster_of(faces: Faces) -> Raster:
    return np.append(faces.classes, np.uint8(255))[faces.labels]
