"""The input contract: what a model's card asks of a scene, and what the scene has to say to it."""

from collections.abc import Sequence
from dataclasses import dataclass

from pyproj import CRS, Geod

from rspipe.catalogs.scene import Band, Grid, Scene
from rspipe.models.card import ModelCard
from rspipe.pipeline.errors import SceneFailedError
from rspipe.pipeline.warp import resampled

_SLACK = 0.02
"""Sensors' pixels are nominal: 29.98 m is a 30 m pixel."""
_SHOWN = ("red", "green", "blue")
"""Ingested for the quicklook even where no model asks for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A scene that a model may be run on."""

    bands: tuple[Band, ...]
    """To be ingested, in the scene's order."""
    grid: Grid
    """To be ingested onto."""
    missing: tuple[str, ...]
    """Optional bands that the scene lacks: the model sees their mean instead."""


def match(card: ModelCard, scene: Scene, resolution_m: float | None) -> Match:
    """Check a scene against a card.

    Args:
        card: of the model.
        scene: the scene.
        resolution_m: resample to this pixel size; None keeps the scene's own.

    Raises:
        SceneFailedError: a required band is missing, or the pixel size is outside of the card's range; the message
            names both sides.
    """
    found = [band.name for band in scene.bands]
    lacking = [band.name for band in card.bands if band.required and band.name not in found]
    if lacking:
        raise SceneFailedError(
            f"scene {scene.id!r} lacks {', '.join(lacking)}: it has {', '.join(found)}, and model {card.model_id!r} "
            f"requires {', '.join(band.name for band in card.bands if band.required)}; add the files or choose another "
            "model"
        )
    grid = scene.grid if resolution_m is None else resampled(scene.grid, resolution_m)
    _check_resolution(card, scene, pixel_size_m(grid))
    asked = {band.name for band in card.bands}
    missing = tuple(band.name for band in card.bands if band.name not in found)
    return Match(bands=_wanted(scene, asked), grid=grid, missing=missing)


def pixel_size_m(grid: Grid) -> float:
    """Return the side of a square with the ground area of the grid's central pixel, on the ellipsoid for degrees."""
    crs, transform = CRS.from_wkt(grid.crs_wkt), grid.transform
    if crs.is_projected:
        factor = crs.axis_info[0].unit_conversion_factor
        return float((transform.a * -transform.e) ** 0.5 * factor)
    left, top = transform @ (grid.width_px // 2, grid.height_px // 2)
    geod: Geod = crs.get_geod() or Geod(ellps="WGS84")
    width_m = geod.inv(left, top, left + transform.a, top)[2]
    height_m = geod.inv(left, top, left, top + transform.e)[2]
    return float((width_m * height_m) ** 0.5)


def _check_resolution(card: ModelCard, scene: Scene, found_m: float) -> None:
    least, most = card.resolution_m.min, card.resolution_m.max
    if not least * (1 - _SLACK) <= found_m <= most * (1 + _SLACK):
        raise SceneFailedError(
            f"scene {scene.id!r} has pixels of {found_m:.4g} m, and model {card.model_id!r} takes {least:g} .. "
            f"{most:g} m; resample it with --set grid.resolution_m={min(max(found_m, least), most):g}"
        )


def _wanted(scene: Scene, asked: set[str]) -> tuple[Band, ...]:
    return tuple(band for band in scene.bands if band.name in asked or band.name in _SHOWN)


def ingested_bytes(bands: Sequence[Band], grid: Grid) -> int:
    """Return the size of the ingested bands and their validity before compression."""
    return grid.height_px * grid.width_px * sum(2 if band.dtype in {"uint16", "int16"} else 4 for band in bands)
