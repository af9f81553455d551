"""Polygons with too many vertices: counted against shapely, split and put together again."""

from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_vectorize import make_job, random_classes, vectorize

from rspipe.catalogs.legends import Legend, LegendClass
from rspipe.pipeline.errors import SceneFailedError
from rspipe.pipeline.giants import vertices
from rspipe.pipeline.settled import Settled, Sifted
from rspipe.pipeline.vectorjob import POLYGONS, VectorizeJob

MOST = 40
CELL_PX = 16


def polygons(job: VectorizeJob) -> geopandas.GeoDataFrame:
    vectorize(job)
    return geopandas.read_parquet(job.vectors / POLYGONS)


def corners(geometry: geopandas.GeoSeries) -> NDArray[np.int64]:
    """Vertices without those that close rings."""
    rings = 1 + shapely.get_num_interior_rings(geometry.to_numpy())
    found: NDArray[np.int64] = shapely.get_num_coordinates(geometry.to_numpy()) - rings
    return found


@given(seed=st.integers(0, 10**6), strip_rows_px=st.sampled_from([7, 16, 64]))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_vertices_are_counted_as_shapely_counts_them(tmp_path: Path, seed: int, strip_rows_px: int) -> None:
    job = make_job(tmp_path, random_classes(41, 37, seed), minimum_area_m2=0.0, strip_rows_px=strip_rows_px)
    found = polygons(job)
    settled = Settled.read(job.sieve_file)
    order = np.argsort(settled.classes, kind="stable")
    assert vertices(Sifted(job, settled))[order].tolist() == corners(found.geometry).tolist()


@pytest.mark.parametrize("tolerance_m", [0.0, 20.0])
def test_parts_of_a_giant_make_it_up_and_nothing_else_changes(tmp_path: Path, tolerance_m: float) -> None:
    classes, confidence = random_classes(130, 97), (np.arange(130 * 97) % 255).reshape(130, 97).astype(np.uint8)
    whole = make_job(tmp_path / "whole", classes, confidence, tolerance_m=tolerance_m)
    split = make_job(
        tmp_path / "split", classes, confidence, tolerance_m=tolerance_m, max_vertices=MOST, cell_px=CELL_PX
    )
    before, after = polygons(whole), polygons(split)
    assert list(after.columns) == [*before.columns[:6], "part_of", *before.columns[6:]]
    stayed, parts = after[after.part_of.isna()], after[after.part_of.notna()]
    assert 0 < parts.part_of.nunique() < len(before)
    assert len(stayed) + parts.part_of.nunique() == len(before)
    assert shapely.is_valid(after.geometry).all()
    assert shapely.coverage_is_valid(after.geometry.to_numpy())
    together = parts.dissolve("part_of", aggfunc={"class_id": "first", "area_m2": "sum"})
    pixels = parts.assign(sum=parts.confidence_mean * parts.area_m2).groupby("part_of")["sum"].sum()
    if tolerance_m == 0:
        # A node on the straight border of a neighbour is no vertex of the union, nor one of the polygon before.
        places = {shapely.normalize(geometry): place for place, geometry in enumerate(before.geometry.simplify(0))}
        same = before.iloc[[places[shapely.normalize(geometry)] for geometry in together.geometry.simplify(0)]]
        assert together.class_id.tolist() == same.class_id.tolist()
        np.testing.assert_allclose(together.area_m2, same.area_m2)
        np.testing.assert_allclose(pixels, same.confidence_mean * same.area_m2, rtol=1e-3)
        rest = before[corners(before.geometry) <= MOST]
        assert rest.area_m2.tolist() == stayed.area_m2.tolist()
        assert rest.confidence_p10.tolist() == stayed.confidence_p10.tolist()


def test_parts_lie_in_cells_of_a_fixed_grid(tmp_path: Path) -> None:
    job = make_job(tmp_path, random_classes(130, 97), max_vertices=MOST, cell_px=CELL_PX)
    after = polygons(job)
    parts = after[after.part_of.notna()]
    left, bottom, right, top = parts.geometry.bounds.to_numpy().T
    columns = np.array([left, right]) / 30 - 400000 / 30
    rows = 5300000 / 30 - np.array([top, bottom]) / 30
    for low, high in (columns.round(6), rows.round(6)):
        assert (low // CELL_PX == np.ceil(high / CELL_PX) - 1).all()


def test_where_strips_are_cut_changes_no_byte_of_the_parts(tmp_path: Path) -> None:
    contents = set()
    for rows_px in (16, 23, 64, 256):
        job = make_job(tmp_path / str(rows_px), random_classes(130, 97), max_vertices=MOST, cell_px=CELL_PX)
        polygons(replace(job, strip_rows_px=rows_px))
        contents.add((job.vectors / POLYGONS).read_bytes())
    assert len(contents) == 1


def test_polygons_that_are_small_enough_stay_whole(tmp_path: Path) -> None:
    job = make_job(tmp_path, random_classes(130, 97), max_vertices=10**6)
    assert polygons(job).part_of.isna().all()


def test_a_giant_needs_a_second_name_of_its_class(tmp_path: Path) -> None:
    legend = Legend("many", tuple(LegendClass(i, str(i), "#000000") for i in range(254)))
    classes = random_classes(130, 97)
    job = make_job(tmp_path, classes, legend=legend, max_vertices=MOST, cell_px=CELL_PX)
    with pytest.raises(SceneFailedError, match=r"scene s, vectorize: 254 classes, \d of them.*unset max_vertices"):
        polygons(job)
