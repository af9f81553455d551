"""The peer from elsewhere: ukis-csmask (DLR), run by a Python of its own, for it is no dependency of this project.

    python3 -m venv /tmp/csmask && /tmp/csmask/bin/pip install ukis-csmask==1.0.0 onnxruntime
    cd tests && python -m bench.compare run DATA --variant csmask --csmask /tmp/csmask/bin/python

It tells cloud (of any thickness) and cloud shadow from the rest. It was trained elsewhere, on many more scenes, perhaps
on scenes like these: its line is a mark to measure by, not a run of this protocol.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from bench.learned import Outcome
from numpy.typing import NDArray

from rspipe.catalogs.legends import Legend
from rspipe.models.data import Patch
from rspipe.models.metrics import Confusion

BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
MEANINGS = (("clear",), ("cloud", "thick cloud"), ("cloud shadow",))
"""Its ids in their order -> what our legends may call that."""
WORKER = """
import sys
import numpy as np
from ukis_csmask.mask import CSmask
given = np.load(sys.argv[1])
masks = {name: CSmask(given[name], sys.argv[3:], "l1c", intra_op_num_threads=1).csm[..., 0] for name in given.files}
np.savez(sys.argv[2], **masks)
"""


def masked(python: Path, names: Sequence[str], patches: Sequence[Patch]) -> dict[str, NDArray[np.uint8]]:
    """Return its mask of each patch: 0 rest, 1 cloud, 2 cloud shadow.

    Args:
        python: an interpreter that has ukis-csmask.
        names: of the patches' bands; reflectance at the top of the atmosphere.
        patches: what to look at.
    """
    rows = [names.index(band) for band in BANDS]
    images = {patch.name: np.nan_to_num(patch.bands.numpy()[rows].transpose(1, 2, 0)) for patch in patches}
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "given.npz"), Path(folder, "found.npz")
        np.savez(given, **images)
        subprocess.run([python, "-c", WORKER, given, found, *BANDS], check=True)
        with np.load(found) as masks:
            return {name: masks[name] for name in masks.files}


def mask_and_score(python: Path, names: Sequence[str], legend: Legend, held: Sequence[Patch]) -> Outcome:
    """Score its masks; what it calls cloud counts as thick, so only the union of the cloud classes means anything."""
    ids = np.array([_id_of(legend, meanings) for meanings in MEANINGS], dtype=np.uint8)
    masks = masked(python, names, held)
    classes = len(legend.classes)
    return Outcome(
        {patch.name: Confusion.of(patch.labels.numpy(), ids[masks[patch.name]], classes) for patch in held}, 0, 0
    )


def _id_of(legend: Legend, names: Sequence[str]) -> int:
    return next(entry.id for entry in legend.classes if entry.name in names)
