"""Small scenes in the store, and closed-form models that stand where a trained one would."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from torch import Tensor

from rspipe.catalogs.bands import PHYSICAL_UNIT
from rspipe.catalogs.legends import Legend, LegendClass
from rspipe.catalogs.scene import Grid
from rspipe.models.card import CardBand, ModelCard
from rspipe.models.mlm import GroundResolution, Training
from rspipe.models.predictor import Judged
from rspipe.models.specs import AttentionSpec, D2LSSpec, PyramidSpec
from rspipe.pipeline import infer, store
from rspipe.pipeline.fingerprint import Fingerprint
from rspipe.pipeline.forward import ProbabilityModel
from rspipe.pipeline.grid import WindowGrid
from rspipe.pipeline.inferjob import BandJob, SeamJob
from rspipe.pipeline.inferred import create_inferred
from rspipe.pipeline.rasters import RasterName
from rspipe.pipeline.task import Receipt

SCALE, OFFSET = 1e-4, -0.1
REQUIRED = ("blue", "red")
OPTIONAL = ("cirrus", "lwir11")
NAMES = (*REQUIRED, *OPTIONAL)
CPU = Fingerprint.here("cpu", threads=1)


def card_of(classes: int = 3, window_px: int = 64, overlap_px: int = 32) -> ModelCard:
    bands = tuple(
        CardBand(name=name, unit=PHYSICAL_UNIT[name], required=name in REQUIRED, mean=0.3, stddev=0.2) for name in NAMES
    )
    legend = Legend("test", tuple(LegendClass(k, f"class {k}", "#808080") for k in range(classes)))
    pyramid = PyramidSpec(size="pico", in_bands=len(NAMES))
    spec = D2LSSpec(pyramid=pyramid, classes=classes, width=32, exchange=AttentionSpec(heads=2))
    return ModelCard(
        model_id="closed-form", version="1.0.0", title="Closed form", description="", licence="Apache-2.0",
        made_at=datetime(2026, 1, 1, tzinfo=UTC), parameters=1, bands=bands, legend=legend,
        spec=spec,
        resolution_m=GroundResolution(min=1.0, max=1000.0), window_px=window_px, overlap_px=overlap_px, temperature=1.0,
        training=Training(data="", metrics="", limits=""), weights_name="model.safetensors", weights_sha256="0" * 64,
    )  # fmt: skip


@dataclass
class Constant:
    """Says the same everywhere."""

    said: tuple[float, ...]

    @property
    def card(self) -> ModelCard:
        return card_of(len(self.said))

    def probabilities(self, numbers: Tensor, present: Tensor) -> Tensor:
        return torch.tensor(self.said).view(1, -1, 1, 1).expand(len(numbers), -1, *present.shape[-2:]).clone()


class Moody:
    """Depends on the pixel, on its place in the window, and on the whole window, as a deep net does."""

    card = card_of(3)
    calls = 0

    def probabilities(self, numbers: Tensor, present: Tensor) -> Tensor:
        self.calls += len(numbers)
        side = numbers.shape[-1]
        place = torch.linspace(-1, 1, side)
        mood = (numbers * present).mean(dim=(1, 2, 3)).view(-1, 1, 1)
        logits = [
            numbers[:, 0] * 3 + place,
            numbers[:, 1] * 3 - place.view(-1, 1) + present[:, 2] * 0.5,
            numbers[:, 2:].sum(dim=1) + mood * 5,
        ]
        return torch.stack(logits, dim=1).softmax(dim=1)


class Wary(Moody):
    """Moody, and tells how unfamiliar a pixel is: by its number, its place in the window and the whole window."""

    def judged(self, numbers: Tensor, present: Tensor) -> Judged:
        place = torch.linspace(0, 1, numbers.shape[-1])
        distance = numbers[:, :1].abs() * 3 + place + numbers.mean(dim=(1, 2, 3), keepdim=True).abs()
        return Judged(self.probabilities(numbers, present), distance)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A scene as ingest leaves it: stored numbers, and which of them are valid."""

    root: Path
    numbers: NDArray[Any]
    """(C, H, W)."""
    present: NDArray[np.bool_]
    """(C, H, W)."""

    @property
    def path(self) -> Path:
        return self.root / "bands.zarr"

    @property
    def valid(self) -> NDArray[np.bool_]:
        return self.present[: len(REQUIRED)].all(axis=0)

    @property
    def physical(self) -> NDArray[np.float32]:
        values = self.numbers.astype(np.float32) * np.float32(SCALE) + np.float32(OFFSET)
        return np.where(self.present, values, np.float32(0))

    @property
    def grid(self) -> Grid:
        height, width = self.numbers.shape[1:]
        transform = Affine(30.0, 0.0, 300_000.0, 0.0, -30.0, 4_500_000.0)
        return Grid(crs_wkt=CRS.from_epsg(32618).to_wkt(), transform=transform, height_px=height, width_px=width)

    def windows(self, window_px: int = 64, overlap_px: int = 32) -> WindowGrid:
        height, width = self.numbers.shape[1:]
        return WindowGrid(height_px=height, width_px=width, window_px=window_px, overlap_px=overlap_px)


def random_scene(root: Path, height: int, width: int, *, holes: bool = True, seed: int = 0) -> Stored:
    """Random numbers with a nodata wedge, a big hole, a lonely valid pixel in it, and gaps of single bands."""
    rng = np.random.default_rng([seed, height, width])
    numbers = rng.integers(0, 10_000, size=(len(NAMES), height, width), dtype=np.uint16)
    present = np.ones(numbers.shape, dtype=np.bool_)
    if holes:
        rows, columns = np.mgrid[:height, :width]
        present &= rows + columns / 2 > height / 4
        present[:, height // 2 : height // 2 + 150, width // 3 : width // 3 + 150] = False
        present[:, height // 2 + 70 : height // 2 + 71, width // 3 + 70 : width // 3 + 71] = True
        present &= rng.random(numbers.shape) > 0.01
    return keep(root, numbers, present)


def keep(root: Path, numbers: NDArray[Any], present: NDArray[np.bool_], names: tuple[str, ...] = NAMES) -> Stored:
    scene = Stored(root=root, numbers=numbers, present=present)
    bits = sum(present[k].astype(np.uint8) << np.uint8(k) for k in range(len(names)))
    shape = (scene.grid.height_px, scene.grid.width_px)
    affine = {"scale_factor": SCALE, "add_offset": OFFSET}
    plans = [_plan(name, shape, numbers.dtype.name, affine) for name in names]
    store.create(
        scene.path, scene.grid, [*plans, _plan(store.VALIDITY, shape, "uint8", store.validity_attributes(names))]
    )
    for name, array in zip(names, numbers, strict=True):
        store.open_array(scene.path, name, write=True)[...] = array
    store.open_array(scene.path, store.VALIDITY, write=True)[...] = bits
    return scene


def _plan(name: str, shape: tuple[int, ...], dtype: str, attributes: Mapping[str, object]) -> store.ArrayPlan:
    return store.ArrayPlan(
        name=name, shape=shape, dtype=dtype, shard_px=(128, 128), chunk_px=(32, 32), fill=0, attributes=attributes
    )


@dataclass(frozen=True)
class Inferred:
    """What infer wrote."""

    classes: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    counts: dict[str, int | float]
    receipts: tuple[Receipt, ...]

    @property
    def bytes(self) -> bytes:
        return self.classes.tobytes() + self.confidence.tobytes()


def jobs(
    scene: Stored, out: Path, grid: WindowGrid, band_rows: int, rasters: tuple[RasterName, ...] = ()
) -> tuple[list[BandJob], list[SeamJob]]:
    create_inferred(out / "inferred.zarr", scene.grid, grid, card_of().legend, rasters)
    common = {
        "scene": "scene-a", "bands": scene.path, "inferred": out / "inferred.zarr", "strips": out / "strips",
        "grid": grid, "band_rows": band_rows, "rasters": rasters,
    }  # fmt: skip
    bands = [
        BandJob.model_validate(common | {"card": out / "card.json", "fingerprint": CPU, "band": band.index})
        for band in grid.bands(band_rows)
    ]
    seams = [
        SeamJob.model_validate(common | {"required": REQUIRED, "seam": seam.index}) for seam in grid.seams(band_rows)
    ]
    return bands, seams


def run(
    scene: Stored, out: Path, model: ProbabilityModel, grid: WindowGrid, band_rows: int = 1, *, backwards: bool = False
) -> Inferred:
    bands, seams = jobs(scene, out, grid, band_rows)
    order = -1 if backwards else 1
    receipts = [infer.infer_band(job, model) for job in bands[::order]]
    receipts += [infer.run_seam(job) for job in seams[::order]]
    return gather(bands[0].inferred, receipts)


def gather(inferred: Path, receipts: list[Receipt]) -> Inferred:
    counts: dict[str, int | float] = {}
    for receipt in receipts:
        for name, count in receipt.counts.items():
            counts[name] = counts.get(name, 0) + count
    classes, confidence = (np.asarray(store.open_array(inferred, name)[...]) for name in ("classes", "confidence"))
    return Inferred(classes, confidence, counts, tuple(receipts))
