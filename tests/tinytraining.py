"""A training of a few steps on random patches, as files."""

from pathlib import Path

import torch
from labelled import BANDS, random_patch, write_raster

from rspipe.pipeline.progress import Progress
from rspipe.pipeline.train import train
from rspipe.pipeline.training import load_training

TINY = """
name: tiny
data: {train: [train], score: [val], pixel_m: 30.0}
recipe:
  legend: cloud-thickness
  model: {name: d2ls, pyramid: {size: pico, in_bands: 4}, classes: 4, width: 32, heads: 4, stages: 1}
  bands:
    - {name: blue, required: true, mean: 0.2, stddev: 0.1}
    - {name: nir, required: true, mean: 0.3, stddev: 0.2}
    - {name: cirrus, required: false, mean: 0.01, stddev: 0.02}
    - {name: lwir11, required: false, mean: 280.0, stddev: 15.0}
  feed: {batch: 4, simulated_share: 0.0, crop: {size_px: 32}}
  optimiser: {steps: 40, warmup_steps: 2}
threads: 1
checkpoint_steps: 7
card:
  {model_id: tiny, version: 0.0.1, title: Tiny, description: For tests., licence: Apache-2.0,
   made_at: "2026-11-21T12:00:00Z", data: random, limits: useless}
"""


def write_training(folder: Path) -> Path:
    """Write patches and a training file below a folder; return the file."""
    for part, seeds in (("train", (0, 1)), ("val", (2,))):
        for seed in seeds:
            patch = random_patch(seed)
            write_raster(folder / part / "images" / f"{patch.name}.tif", patch.bands.numpy(), [b.name for b in BANDS])
            write_raster(folder / part / "masks" / f"{patch.name}.tif", patch.labels.numpy()[None])
    (folder / "tiny.yaml").write_text(TINY, encoding="utf-8")
    return folder / "tiny.yaml"


def fit(config: Path, output: Path, *changed: str) -> Path:
    """Carry a training out, some settings changed; return the card."""
    before = torch.get_num_threads()
    with Progress(verbosity=-1) as progress:
        card = train(load_training(config, None, changed), output, progress)
    torch.set_num_threads(before)
    return card
