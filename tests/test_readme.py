"""What the README shows can be done as it is printed."""

import re
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import torch
from affine import Affine
from labelled import write_raster
from shapely.geometry import box
from typer.testing import CliRunner

from rspipe.models.card import ModelCard
from rspipe.pipeline.cli import app
from rspipe.pipeline.training import load_training

README = Path(__file__).parents[1] / "README.md"
BANDS = ("blue", "green", "red", "nir")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (text,) = re.findall(r"```yaml\n(name: ponds\n.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "ponds.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def numbers(rng: np.random.Generator, labels: np.ndarray, bands: int) -> np.ndarray:
    means = np.array([[0.08, 0.06, 0.05], [0.1, 0.05, 0.07], [0.12, 0.04, 0.06], [0.3, 0.02, 0.2]])[:bands]
    return (means[:, labels] + 0.01 * rng.normal(size=(bands, *labels.shape))).astype(np.float32)


def lay_pictures(root: Path) -> None:
    """Everything that the file of the README names."""
    rng = np.random.default_rng(0)
    for index in range(6):
        labels = np.kron(rng.integers(0, 3, (16, 16)), np.ones((8, 8), dtype=int)).astype(np.uint8)
        write_raster(root / f"ponds/train/images/{index}.tif", numbers(rng, labels, 4), list(BANDS))
        write_raster(root / f"ponds/train/masks/{index}.tif", labels[None])
        rgb = np.clip(numbers(rng, labels, 3) / 0.004, 0, 255).astype(np.uint8)
        write_raster(root / f"aerial/{index}/rgb.tif", rgb)
        write_raster(root / f"aerial/{index}/mask.tif", np.array([0, 1, 1], dtype=np.uint8)[labels][None])
    place = Affine(30, 0, 500_000, 0, -30, 5_500_000)
    water = np.zeros((128, 128), dtype=int)
    water[32:64, 32:64] = 1
    for number, band in zip((2, 3, 4, 5), numbers(rng, water, 4), strict=True):
        write_raster(root / f"landsat/LC08_B{number}.tif", band[None], transform=place)
    files = "".join(
        f'  "*_B{n}.tif": {{band: {b}, unit: reflectance}}\n' for n, b in zip((2, 3, 4, 5), BANDS, strict=True)
    )
    (root / "landsat" / "scene.yaml").write_text(
        f"id: lakes\nsensor: landsat8\nacquired_at: 2026-06-01\nfiles:\n{files}"
    )
    shapes = [box(500_960, 5_498_080, 501_920, 5_499_040), box(500_000, 5_496_500, 500_900, 5_500_000)]
    gpd.GeoDataFrame({"kind": ["pond", "field"]}, geometry=shapes, crs="EPSG:32632").to_file(root / "ponds.gpkg")


def test_the_training_file_loads(config: Path) -> None:
    found = load_training(config)
    assert found.recipe.label_set.names == ("land", "water", "reeds")
    assert found.recipe.label_set.groups == {"wet": (1, 2)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_the_training_file_trains_and_what_came_out_can_be_measured(config: Path, tmp_path: Path) -> None:
    lay_pictures(tmp_path)
    few = [
        "recipe.optimiser.steps=2",
        "recipe.feed.batch=2",
        "recipe.optimiser.warmup_steps=1",
        "devices=cpu",
        "folds.count=2",
    ]
    settings = [part for text in few for part in ("--set", text)]
    out, threads = tmp_path / "out", torch.get_num_threads()
    called = ["train", str(config), "--data", str(tmp_path), "--output", str(out), "--quiet", *settings]
    done = CliRunner().invoke(app, called)
    assert done.exit_code == 0, done.stderr
    card = ModelCard.read(out / "ponds.json")
    assert "\nWithout nir: mIoU" in card.training.metrics
    done = CliRunner().invoke(
        app, ["evaluate", str(out / "ponds.json"), str(tmp_path / "ponds/train"), "--drop", "nir"]
    )
    torch.set_num_threads(threads)
    assert done.exit_code == 0, done.stderr
    assert "ponds 0.1.0 on 6 pictures" in done.stdout
