"""Labelled patches for tests: small, random, with the bands of a pico model."""

from pathlib import Path

import numpy as np
import rasterio
import torch
from affine import Affine

from rspipe.catalogs.bands import Unit
from rspipe.models.card import CardBand
from rspipe.models.data import Patch

BANDS = (
    CardBand(name="blue", unit=Unit.REFLECTANCE, required=True, mean=0.2, stddev=0.1),
    CardBand(name="nir", unit=Unit.REFLECTANCE, required=True, mean=0.3, stddev=0.2),
    CardBand(name="cirrus", unit=Unit.REFLECTANCE, required=False, mean=0.01, stddev=0.02),
    CardBand(name="lwir11", unit=Unit.KELVIN, required=False, mean=280.0, stddev=15.0),
)
CLASSES = 4


def random_patch(seed: int, side_px: int = 64, pixel_m: float = 30.0) -> Patch:
    """Labels in blocks of 8, and every band a step function of the label plus noise."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, CLASSES, (side_px // 8, side_px // 8)).astype(np.uint8)
    labels = np.kron(blocks, np.ones((8, 8), dtype=np.uint8))
    means = np.array([[0.1, 0.3, 0.7, 0.05], [0.3, 0.4, 0.8, 0.1], [0.002, 0.02, 0.03, 0.002], [290, 280, 260, 285]])
    spread = np.array([0.02, 0.02, 0.002, 1.0])[:, None, None]
    bands = means[:, labels] + spread * rng.normal(size=(4, side_px, side_px))
    return Patch(f"patch-{seed}", torch.from_numpy(bands.astype(np.float32)), torch.from_numpy(labels), pixel_m)


def write_raster(
    path: Path,
    data: np.ndarray,
    descriptions: list[str] | None = None,
    nodata: float | None = None,
    *,
    transform: Affine | None = None,
    crs: str = "EPSG:32632",
) -> None:
    """Write (bands, H, W) as a GeoTIFF, without georeferencing unless a transform is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = data.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": data.dtype.name}
    place = {"transform": transform, "crs": crs} if transform else {}
    with rasterio.open(path, "w", nodata=nodata, **profile, **place) as file:
        file.write(data)
        for index, text in enumerate(descriptions or [], start=1):
            file.set_band_description(index, text)
