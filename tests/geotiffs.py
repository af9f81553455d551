"""Small GeoTIFFs for tests, written by rasterio."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

UTM_18N = "EPSG:32618"
NORTH_UP_30M = Affine(30.0, 0.0, 600_000.0, 0.0, -30.0, 4_500_000.0)


def write_geotiff(path: Path, pixels: NDArray[Any], **profile: Any) -> Path:  # noqa: ANN401  whatever rasterio.open takes
    """Write pixels of shape (rows, columns) or (bands, rows, columns); 30 m, UTM 18N unless the profile says otherwise.

    `descriptions`, `units`, `scales` and `offsets` become tags.
    """
    tags = {name: profile.pop(name) for name in ("descriptions", "units", "scales", "offsets") if name in profile}
    bands = pixels if pixels.ndim == 3 else pixels[np.newaxis]
    count, height, width = bands.shape
    settings = {"crs": UTM_18N, "transform": NORTH_UP_30M} | profile
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", dtype=bands.dtype, count=count, height=height, width=width, **settings
    ) as dataset:
        dataset.write(bands)
        for name, values in tags.items():
            setattr(dataset, name, values)
    return path


def ramp(height_px: int, width_px: int, dtype: str = "uint16") -> NDArray[Any]:
    """Return 1, 2, 3, ... row by row: every pixel differs."""
    return np.arange(1, height_px * width_px + 1, dtype=dtype).reshape(height_px, width_px)
