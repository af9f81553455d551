"""Infer: windows of a scene through a model, blended, to classes and confidence. Bands first, then seams."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from rspipe.models.predictor import Judged
from rspipe.pipeline import store
from rspipe.pipeline.behind import Behind
from rspipe.pipeline.channels import Channels
from rspipe.pipeline.engine import Model, open_model
from rspipe.pipeline.errors import ModelRefusedError
from rspipe.pipeline.fingerprint import Fingerprint
from rspipe.pipeline.forward import Forward, Judge, ProbabilityModel
from rspipe.pipeline.inferjob import BandJob, SeamJob
from rspipe.pipeline.inferred import array_names, open_inferred
from rspipe.pipeline.source import Source
from rspipe.pipeline.stream import BandStream, BandTarget, DecisionSink
from rspipe.pipeline.strips import Strip
from rspipe.pipeline.task import Receipt


@runtime_checkable
class JudgingModel(Protocol):
    """A model that knows what is familiar to it."""

    def judged(self, numbers: Tensor, present: Tensor) -> Judged:
        """Return probabilities, and how unfamiliar their pixels are."""
        ...


def run_band(job: BandJob) -> Receipt:
    """Infer one band with the model that its card describes.

    Raises:
        FingerprintRefusedError: this worker would compute other bits than planned.
        ModelRefusedError: card or weights are refused.
        SceneFailedError: the scene lacks a band, or the model returned no probabilities.
        EnvironmentFailedError: out of memory.
    """
    job.fingerprint.enforce()
    return infer_band(job, _model(job.card, _digest(job.card), job.fingerprint, job.grid.window_px, job.is_judging))


@torch.inference_mode()
def infer_band(job: BandJob, model: ProbabilityModel) -> Receipt:
    """Infer one band with a model at hand; see `run_band`."""
    band = job.grid.band(job.band_rows, job.band)
    forward = Forward(
        model=model,
        device=torch.device(job.fingerprint.device),
        batch=job.fingerprint.batch,
        scene=job.scene,
        rasters=job.rasters,
        judge=_judge(model) if job.is_judging else None,
    )
    above = band.above and Strip.of(job.strips, job.band, "above", band.above)
    below = band.below and Strip.of(job.strips, job.band, "below", band.below)
    arrays, names = open_inferred(job.inferred, job.rasters), array_names(job.rasters)
    target = BandTarget(grid=job.grid, band=band, arrays=arrays, above=above, below=below)
    source = Source.open(job.bands, [asked.name for asked in model.card.bands], required_bands(model))
    store.clear(job.inferred, names, band.finished)
    stream = BandStream(forward, source, target)
    stream.run()
    outputs = store.written_files(job.inferred, names, band.finished)
    strips = [path for strip in (above, below) if strip is not None for path in strip.files()]
    return Receipt(outputs=(*outputs, *strips), counts=dict(stream.counts))


def run_seam(job: SeamJob) -> Receipt:
    """Add the two partial sums between two bands, decide, and write the rows that neither band wrote."""
    rows = job.grid.seams(job.band_rows)[job.seam - 1].rows
    source = Source.open(job.bands, (), job.required)
    earlier = Strip.of(job.strips, job.seam - 1, "below", rows)
    later = Strip.of(job.strips, job.seam, "above", rows)
    names = array_names(job.rasters)
    store.clear(job.inferred, names, rows)
    arrays = open_inferred(job.inferred, job.rasters)
    step_px = job.grid.shard_px[1]
    with Behind() as behind:
        sink = DecisionSink.of(arrays, rows, Channels.of(earlier.channels, job.rasters), behind)
        for start in range(0, job.grid.width_px, step_px):
            columns = slice(start, min(start + step_px, job.grid.width_px))
            sums = torch.from_numpy(earlier.read(columns) + later.read(columns))
            valid = source.valid(np.asarray(source.validity[rows, columns]))
            sink.append(sums, torch.from_numpy(valid))
    return Receipt(outputs=store.written_files(job.inferred, names, rows), counts={})


def required_bands(model: ProbabilityModel) -> tuple[str, ...]:
    """Return the bands without which a pixel is invalid."""
    return tuple(band.name for band in model.card.bands if band.required)


def _judge(model: ProbabilityModel) -> Judge:
    if not isinstance(model, JudgingModel):
        raise ModelRefusedError(
            f"model {model.card.model_id!r} cannot tell what is unfamiliar to it; "
            "leave unfamiliarity out of infer.rasters"
        )
    return model.judged


def _digest(card: Path) -> str:
    """Another card under the same path is another model."""
    try:
        return hashlib.sha256(card.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelRefusedError(f"{card}: {error.strerror}; name a card that every worker can read") from error


@lru_cache(maxsize=4)
def _model(card: Path, digest: str, fingerprint: Fingerprint, window_px: int, judging: bool) -> Model:  # noqa: ARG001, FBT001 - all of it is the cache's key
    """One model per process, loaded once."""
    return open_model(card, fingerprint, window_px, judging=judging)
