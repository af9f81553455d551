"""Rasters on request: what they hold, that no cut changes them, and that they change nothing else."""

from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from inferscene import Moody, Stored, Wary, jobs, random_scene, run
from numpy.typing import NDArray

from rspipe.pipeline import infer, store
from rspipe.pipeline.errors import ModelRefusedError
from rspipe.pipeline.forward import ProbabilityModel
from rspipe.pipeline.inferred import array_names
from rspipe.pipeline.rasters import KINDS, RasterName, arranged

ALL: tuple[RasterName, ...] = arranged(tuple(KINDS))


def asked(scene: Stored, out: Path, model: ProbabilityModel, band_rows: int) -> dict[str, NDArray[np.uint8]]:
    """Infer with every raster on request; return all arrays."""
    bands, seams = jobs(scene, out, scene.windows(), band_rows, ALL)
    for band in bands[::-1] if band_rows % 2 else bands:
        infer.infer_band(band, model)
    for seam in seams:
        infer.run_seam(seam)
    return {name: np.asarray(store.open_array(bands[0].inferred, name)[...]) for name in array_names(ALL)}


def test_rasters_on_request_are_as_the_oracle_says_and_change_no_other_byte(tmp_path: Path) -> None:
    scene, model = random_scene(tmp_path, 150, 101), Wary()

    def all_said(numbers: NDArray[np.float32], present: NDArray[np.bool_]) -> NDArray[np.float32]:
        judged = model.judged(torch.from_numpy(numbers)[None], torch.from_numpy(present)[None])
        p = judged.probabilities[0].numpy()
        return np.concatenate([p, -(p * np.log2(p)).sum(axis=0, keepdims=True), judged.unfamiliar[0].numpy()])

    want = oracle.blend(scene.physical, scene.present, scene.valid, all_said, (64, 32)).probabilities[:, scene.valid]
    p, ordered = want[:3], np.sort(want[:3], axis=0)
    entropy = -(p * np.log2(p)).sum(axis=0)
    values = {
        "probabilities": p, "entropy": entropy / np.log2(3), "margin": ordered[-1] - ordered[-2],
        "disagreement": entropy - want[3], "unfamiliarity": want[4],
    }  # fmt: skip
    found = asked(scene, tmp_path / "out", model, 2)
    for name in ALL:
        expected_steps = (values[name] * KINDS[name].steps).clip(0, 254)
        assert np.abs(found[name][..., scene.valid] - expected_steps).max() <= 0.8, name
        assert (found[name][..., ~scene.valid] == 255).all()
    assert found["disagreement"][scene.valid].max() > 10
    alone = run(scene, tmp_path / "alone", Moody(), scene.windows(), 2)
    assert found["classes"].tobytes() + found["confidence"].tobytes() == alone.bytes


def test_rasters_on_request_are_the_same_for_any_bands(tmp_path: Path) -> None:
    scene = random_scene(tmp_path, 200, 70)
    first, *others = (asked(scene, tmp_path / str(rows), Wary(), rows) for rows in (1, 2, 7))
    for other in others:
        assert all((first[name] == other[name]).all() for name in first)


def test_a_model_that_knows_nothing_familiar_cannot_be_asked_for_it(tmp_path: Path) -> None:
    scene = random_scene(tmp_path, 64, 64)
    with pytest.raises(ModelRefusedError, match=r"cannot tell what is unfamiliar.*infer\.rasters"):
        asked(scene, tmp_path / "out", Moody(), 1)
