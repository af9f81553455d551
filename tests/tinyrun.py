"""Whole runs in seconds: tiny scenes on disk, a pico model beside them, a workflow file, one worker in this process."""

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from affine import Affine
from geotiffs import NORTH_UP_30M, UTM_18N, write_geotiff
from numpy.typing import NDArray
from picomodel import PICO_CARD, write_pico
from typer.testing import CliRunner

from rspipe.models.card import ModelCard
from rspipe.pipeline.cli import app
from rspipe.pipeline.cluster import ClusterSpec
from rspipe.pipeline.progress import Progress
from rspipe.pipeline.run import run
from rspipe.pipeline.workflow import Overrides, load_workflow

IN_THIS_PROCESS = ClusterSpec(workers=1, threads=1, memory_bytes=None, processes=False)
FILL = -9999.0
CARD = replace(PICO_CARD, window_px=64, overlap_px=32)
"""Windows of 64 px: a scene of 150 px has several window rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyScene:
    """Float scene of red, nir and lwir11: bright cold discs over dark warm ground, and a corner of `fill`."""

    id: str = "tiny-a"
    seed: int = 0
    height_px: int = 150
    width_px: int = 130
    fill: float = FILL
    crs: str | None = UTM_18N
    transform: Affine = NORTH_UP_30M
    bands: tuple[str, ...] = ("red", "nir", "lwir11")

    def write(self, folder: Path) -> Path:
        """Write the files and their scene.yaml; return the folder."""
        pixels = self.pixels()
        for name in self.bands:
            write_geotiff(
                folder / f"{name}.tif", pixels[name], crs=self.crs, transform=self.transform, nodata=self.fill
            )
        units = {"red": "reflectance", "nir": "reflectance", "lwir11": "kelvin"}
        files = {f"{name}.tif": {"band": name, "unit": units[name]} for name in self.bands}
        described = {"id": self.id, "acquired_at": "2015-10-22T15:40:12Z", "files": files}
        (folder / "scene.yaml").write_text(yaml.safe_dump(described))
        return folder

    def invalid(self) -> NDArray[np.bool_]:
        """Where the scene holds no data: a slanted corner."""
        rows, cols = np.mgrid[: self.height_px, : self.width_px]
        return np.asarray(rows + 2 * cols < min(self.height_px, self.width_px) / 3)

    def pixels(self) -> dict[str, NDArray[np.float32]]:
        rng = np.random.default_rng(self.seed)
        rows, cols = np.mgrid[: self.height_px, : self.width_px]
        cloud = np.zeros((self.height_px, self.width_px))
        for _ in range(6):
            row, col, radius = rng.uniform(0, self.height_px), rng.uniform(0, self.width_px), rng.uniform(8, 30)
            cloud = np.maximum(cloud, np.clip(2 - np.hypot(rows - row, cols - col) / radius, 0, 1))
        ground = rng.uniform(0, 0.05, cloud.shape)
        bands = {
            "red": 0.06 + ground + 0.7 * cloud,
            "nir": 0.25 + 2 * ground + 0.4 * cloud,
            "lwir11": 296 - 40 * cloud - 20 * ground,
        }
        return {name: np.where(self.invalid(), self.fill, band).astype(np.float32) for name, band in bands.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a run ended, and what it told."""

    code: int
    told: str


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with a workflow file, a model, scenes, and where the output goes."""

    root: Path
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def workflow(self) -> Path:
        return self.root / "tiny.yaml"

    @property
    def out(self) -> Path:
        return self.root / "out"

    def write_model(self, card: ModelCard = CARD, seed: int = 1) -> None:
        write_pico(self.root, card, seed)

    def run(self, *settings: str, fresh: bool = False, retry_failed: bool = False, out: Path | None = None) -> Ran:
        """Run the workflow in this process, with `a.b=value` laid over it."""
        cut = "infer.band_rows=2"  # so that small scenes have seams
        config = load_workflow(self.workflow, Overrides(settings=(cut, *settings), output=out or self.out))
        told = io.StringIO()
        with environment(), Progress(told) as progress:
            code = run(config, fresh=fresh, retry_failed=retry_failed, progress=progress, cluster=IN_THIS_PROCESS)
        return Ran(code=code, told=told.getvalue())


def lay_place(root: Path, *scenes: TinyScene, card: ModelCard = CARD, **settings: object) -> Place:
    """Write scenes, model and workflow; `settings` are sections of the workflow."""
    for scene in scenes:
        scene.write(root / "scenes" / scene.id)
    write_pico(root, card)
    content = {"name": "tiny", "scenes": {"paths": ["scenes"]}, "models": [f"{card.model_id}.json"], **settings}
    place = Place(root)
    place.workflow.write_text(yaml.safe_dump(content))
    return place


def told(place: Place, *arguments: str) -> tuple[int, str]:
    """Run the command line in this process; return its exit code and what it wrote to stderr."""
    with environment():
        done = CliRunner().invoke(app, ["run", str(place.workflow), "--output", str(place.out), *arguments])
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.exit_code, done.stderr


@contextmanager
def environment() -> Iterator[None]:
    """A run sets variables for its workers; a test hands them back."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def tree(root: Path) -> dict[str, str]:
    """Return path -> SHA-256 of every published file: all but the working state."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    paths = {path.relative_to(root).as_posix(): path for path in files}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in paths.items()
        if not name.startswith(".rspipe/")
    }


def mtimes(root: Path) -> dict[str, int]:
    """Return path -> time of the last change of every published file."""
    return {name: (root / name).stat().st_mtime_ns for name in tree(root)}
