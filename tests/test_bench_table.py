"""The comparison's cells, lines and tables; and that the README tells what the lines give."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bench.folds import split
from bench.learned import recipe_of
from bench.lines import Line, append, by_patch, read_lines, valid
from bench.protocol import Cell, Json, Protocol
from bench.table import BEGIN, END, README, replaced, section, tables

from rspipe.models.data import Patch

LEGEND: Json = {"name": "two", "classes": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}]}
SMALL = Protocol(
    {
        "optimiser": {"steps": 3},
        "encoder": {},
        "datasets": {"d": {"folds": 2, "legend": LEGEND}},
        "variants": {
            "net": {"title": "a net", "model": {"name": "d2ls"}},
            "tree": {"title": "a tree"},
            "other": {"title": "from elsewhere", "scope": ["b"]},
        },
        "more_seeds": {"d": {"net": 2, "other": 2}},
    }
)


def line(cell: Cell, counts: list[list[int]]) -> Line:
    return Line(
        dataset=cell.dataset, variant=cell.variant, fold=cell.fold, seed=cell.seed, settings=SMALL.digest(cell),
        data="", code="", steps=3, parameters=1, seconds=1.0, device="cpu", threads=1, versions={},
        confusion=counts, patches={f"p{cell.fold}": counts},
    )  # fmt: skip


NET = [line(Cell("d", "net", 0, 0), [[6, 2], [0, 2]]), line(Cell("d", "net", 1, 0), [[4, 0], [4, 2]])]


def test_cells_are_every_fold_of_every_variant_and_more_seeds_where_asked() -> None:
    cells = list(SMALL.cells("d"))
    assert sorted(cells) == sorted(
        [Cell("d", variant, fold, 0) for variant in ("net", "tree", "other") for fold in (0, 1)]
        + [Cell("d", "net", 0, 1), Cell("d", "net", 1, 1)]
    )
    assert cells[:3] == [Cell("d", variant, 0, 0) for variant in ("net", "tree", "other")]


def test_the_table_pools_over_folds_and_says_what_is_missing() -> None:
    # Pooled [[10, 2], [4, 4]]: 10 of 16 and 4 of 10. Fold by fold: (6/8 + 2/4) / 2 and (4/8 + 2/6) / 2.
    found = tables(SMALL, NET).splitlines()
    spread = np.std([0.625, 5 / 12], ddof=1)
    assert found[2] == f"| a net | 2/4 | 0.512 | {(0.625 + 5 / 12) / 2:.3f} ± {spread:.3f} | 0.62 | 0.40 |"
    assert found[3] == "| a tree | 0/2 | - | - | - | - |"
    assert found[-1] == "6 of 8 runs are missing; a row that lacks some pools the folds that it has."


def test_what_was_trained_elsewhere_has_only_the_scores_of_its_scope() -> None:
    found = tables(SMALL, [line(Cell("d", "other", 0, 0), [[6, 2], [0, 2]])])
    assert "| from elsewhere | 1/2 | - | - | - | 0.50 |" in found


def test_a_line_under_other_settings_counts_nowhere() -> None:
    changed = Protocol({**SMALL.document, "optimiser": {"steps": 4}})
    assert valid(NET, SMALL).keys() == {NET[0].cell, NET[1].cell}
    assert not valid(NET, changed)


def test_the_last_line_of_a_cell_counts() -> None:
    again = replace(NET[0], confusion=[[1, 0], [0, 1]])
    assert valid([*NET, again], SMALL)[NET[0].cell] == again


def test_lines_come_back_as_they_were_written(tmp_path: Path) -> None:
    for entry in NET:
        append(entry, tmp_path / "new" / "lines.jsonl")
    assert read_lines(tmp_path / "new" / "lines.jsonl") == NET


def test_seeds_add_up_by_patch() -> None:
    found = by_patch([NET[0], replace(NET[0], seed=1), NET[1]])
    assert found["p0"].counts.tolist() == [[12, 4], [0, 4]]
    assert found["p1"].counts.tolist() == [[4, 0], [4, 2]]


def test_text_around_the_markers_stays() -> None:
    assert replaced(f"before\n{BEGIN}\nold\n{END}\nafter", section(SMALL, [])).startswith(f"before\n{BEGIN}\n\n| d |")
    with pytest.raises(SystemExit, match="lacks the lines"):
        replaced("nothing", "new")


def patches() -> list[Patch]:
    empty = torch.zeros(2, 2, dtype=torch.uint8)
    return [Patch(f"p{i}", torch.zeros(1, 2, 2), empty, 30.0, scene=f"s{i // 2}") for i in range(10)]


def test_every_patch_scores_once_and_no_scene_is_on_both_sides() -> None:
    scored: list[str] = []
    for fold in range(2):
        parts = split(SMALL, "d", fold, patches())
        scored += [patch.name for patch in parts.scored]
        assert not {patch.scene for patch in parts.learned} & {patch.scene for patch in parts.scored}
        assert len(parts.learned) + len(parts.scored) == 10
    assert sorted(scored) == sorted(patch.name for patch in patches())


def test_named_scenes_score_where_a_data_set_names_them() -> None:
    settings = {"datasets": {"d": {"scored": ["s1", "s3"]}}}
    parts = split(Protocol(settings), "d", 0, patches())  # type: ignore[arg-type]
    assert [patch.name for patch in parts.scored] == ["p2", "p3", "p6", "p7"]
    assert len(parts.learned) == 6


def test_every_recipe_of_the_comparison_can_be_built() -> None:
    protocol = Protocol.read()
    for dataset in protocol.datasets:
        recipes = [
            recipe_of(protocol, Cell(dataset, variant, 0, 0))
            for variant in protocol.variants(dataset)
            if "model" in protocol.variant(variant)
        ]
        assert (
            len({(recipe.feed, recipe.optimiser, recipe.bands, recipe.model.pyramid.size) for recipe in recipes}) == 1
        )


def test_committed_lines_are_whole() -> None:
    for entry in read_lines():
        total = sum(np.array(counts) for counts in entry.patches.values())
        assert np.asarray(total).tolist() == entry.confusion, entry.cell


def test_the_readme_tells_what_the_committed_lines_give() -> None:
    text = README.read_text("utf-8")
    expected = section(Protocol.read(), read_lines())
    assert expected in text, "the tables are out of date: cd tests && python -m bench.compare table --write"
