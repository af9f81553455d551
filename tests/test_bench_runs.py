"""Each kind of run on pictures of a few pixels: what it learns, and how its answer becomes our classes."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from bench.csmask import BANDS, mask_and_score
from bench.folds import Split
from bench.learned import recipe_of, train_and_score
from bench.protocol import Cell, Protocol
from bench.tree import grow_and_score

from rspipe.catalogs.legends import legend_of
from rspipe.models.data import Patch
from rspipe.models.recipe import Recipe


def bright_is_one(seed: int, bands: int = 6) -> Patch:
    """Pixels whose first band is above 0.5 are class 1; the other bands are noise."""
    numbers = np.random.default_rng(seed).random((bands, 64, 64)).astype(np.float32)
    return Patch(f"p{seed}", torch.from_numpy(numbers), torch.from_numpy((numbers[0] > 0.5).astype(np.uint8)), 30.0)


def test_a_tree_finds_a_threshold_in_patches_that_it_never_saw() -> None:
    parts = Split([bright_is_one(0), bright_is_one(1)], [bright_is_one(2), bright_is_one(3)])
    outcome = grow_and_score(BANDS, 2, parts, 0)
    assert sorted(outcome.patches) == ["p2", "p3"]
    assert all(found.counts.sum() == 64 * 64 and found.overall_accuracy > 0.98 for found in outcome.patches.values())


def short(part: str) -> Recipe:
    protocol = Protocol.read()
    recipe = recipe_of(protocol, Cell("l8biome", "ktda", 0, 0), part)
    crop = recipe.feed.crop.model_copy(update={"size_px": 64, "coarsest_m": 30.0})
    feed = recipe.feed.model_copy(update={"crop": crop, "batch": 1})
    optimiser = recipe.optimiser.model_copy(update={"steps": 10, "warmup_steps": 1, "average": 0.0})
    return recipe.model_copy(update={"feed": feed, "optimiser": optimiser})


def test_a_teacher_is_trained_first_and_changes_what_its_student_learns() -> None:
    parts = Split([bright_is_one(0, 8)], [replace(bright_is_one(1, 8), name="held")])
    taught = train_and_score(short("model"), parts, "cpu", short("teacher"))
    alone = train_and_score(short("model"), parts, "cpu")
    assert taught.patches.keys() == alone.patches.keys() == {"held"}
    assert taught.parameters == alone.parameters
    assert taught.patches["held"].counts.tolist() != alone.patches["held"].counts.tolist()


STAND_IN = """
import numpy as np
class CSmask:
    def __init__(self, img, band_order, product_level, intra_op_num_threads):
        nir = img[..., band_order.index("nir")]
        self.csm = np.select([nir > 0.8, nir < 0.1], [1, 2], 0).astype(np.uint8)[..., None]
"""


def test_masks_from_elsewhere_become_our_classes(tmp_path: Path) -> None:
    (tmp_path / "ukis_csmask").mkdir()
    (tmp_path / "ukis_csmask" / "mask.py").write_text(STAND_IN)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    # Bands in another order than the peer's, and one that it does not take.
    names = ["nir", "cirrus", *(name for name in BANDS if name != "nir")]
    patch = bright_is_one(4, 7)
    nir = patch.bands[0].numpy()
    outcome = mask_and_score(python, names, legend_of("cloud-thickness"), [patch])
    expected = np.array([(nir >= 0.1).sum() - (nir > 0.8).sum(), 0, (nir > 0.8).sum(), (nir < 0.1).sum()])
    assert outcome.patches["p4"].counts.sum(axis=0).tolist() == expected.tolist()
