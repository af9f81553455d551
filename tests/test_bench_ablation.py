"""The record of what was tried says what its lines say."""

import json

from bench.ablation import LINES, Trial, table


def test_the_page_holds_the_table_of_the_lines() -> None:
    assert table() in LINES.with_suffix(".md").read_text(encoding="utf-8")


def test_a_row_pools_its_folds() -> None:
    folds = {
        "0": [[8, 2, 0, 0], [0, 0, 0, 0], [0, 0, 10, 0], [0, 0, 0, 0]],
        "1": [[0] * 4, [3, 7, 0, 0], [0] * 4, [0] * 4],
    }
    row = Trial(model="m", changed="w", folds=folds, kept="no").row
    # Clear 8 / (10 + 3), thin 7 / (10 + 2), thick 10 / 10, no shadow; cloud 17 / (20 + 2).
    # Fold by fold: (0.8 + 0 + 1) / 3 and (0 + 0.7) / 2.
    assert row == "| m | w | 0 1 | 0.733 | 0.35 to 0.60 | 0.62 | 0.58 | 1.00 | nan | 0.773 | no |"


def test_every_line_is_a_trial() -> None:
    assert all(Trial(**json.loads(line)).folds for line in LINES.read_text(encoding="utf-8").splitlines())
