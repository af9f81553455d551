"""A small picture of a scene: as the eye sees it, and with the classes laid over it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray

from rspipe.catalogs.legends import NODATA_ID, Legend, LegendClass
from rspipe.pipeline.rowblocks import row_blocks
from rspipe.pipeline.style import rgb

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_PX = 1024
PANEL_PX = 506
MOST_HEIGHT_PX = 960
NATURAL = ("red", "green", "blue")
_DPI = 100
_MARGIN_PX = 4
_LINE_PX = 22
_ENTRY_PX = 170
_STRIP_PX = 1024
_PERCENTILES = (2, 98)
_COVER = 0.5
_NODATA_GREY = 225
_FONT: dict[str, Any] = {"family": "DejaVu Sans", "size": 8, "parse_math": False, "va": "center"}

Image = NDArray[np.uint8]
Sample = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn: at most three bands and the classes, sampled on the same pixels."""

    title: str
    bands: tuple[Sample, ...]
    classes: Image
    legend: Legend
    drawn: tuple[LegendClass, ...]
    """The classes that are laid over the picture; the others stay as they are."""


def step_px(height_px: int, width_px: int) -> int:
    """Return the sampling step that lets a scene fit a panel."""
    return max(1, math.ceil(width_px / PANEL_PX), math.ceil(height_px / MOST_HEIGHT_PX))


def sample(source: zarr.Array[Any], step: int) -> Sample:
    """Return every `step`-th pixel of every `step`-th row, never holding more than a strip of the array."""
    height, _ = source.shape
    strip = step * math.ceil(_STRIP_PX / step)
    return np.concatenate([np.asarray(source[rows, :])[::step, ::step] for rows in row_blocks(height, strip)])


def natural_bands(names: Sequence[str]) -> tuple[str, ...]:
    """Return red, green and blue where a scene has them, else its first three bands, or its only one."""
    if all(name in names for name in NATURAL):
        return NATURAL
    return tuple(names[:3]) if len(names) >= len(NATURAL) else tuple(names[:1])


def draw(target: Path, picture: Picture) -> None:
    """Write the PNG. It holds no date and no name of a program: the same picture gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - slow to import, for drawing only
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    plain = _natural(picture)
    panels = [_enlarged(image) for image in (plain, _overlaid(plain, picture))]
    height, width, _ = panels[0].shape
    rows = math.ceil(len(picture.drawn) / _entries_per_row())
    total = height + (rows + 1) * _LINE_PX + 2 * _MARGIN_PX
    figure = Figure(figsize=(WIDTH_PX / _DPI, total / _DPI), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    below = rows * _LINE_PX + _MARGIN_PX
    for panel, left in zip(panels, (_MARGIN_PX, width + 2 * _MARGIN_PX), strict=True):
        figure.figimage(panel, xo=left, yo=below, origin="upper")
    _text(figure, _MARGIN_PX, total - _LINE_PX / 2, _printable(picture.title))
    for index, entry in enumerate(picture.drawn):
        _legend_entry(figure, index, (rows, total), entry)
    figure.savefig(target, format="png", dpi=_DPI, metadata={"Software": None})


def _natural(picture: Picture) -> Image:
    """Stretch each band between two percentiles of its valid pixels."""
    valid = picture.classes != NODATA_ID
    channels = [_stretched(band, valid) for band in picture.bands]
    image = np.stack(channels * (3 // len(channels)), axis=-1)
    image[~valid] = _NODATA_GREY
    return image


def _stretched(band: Sample, valid: NDArray[np.bool_]) -> Image:
    if not valid.any():
        return np.zeros(band.shape, dtype=np.uint8)
    low, high = np.percentile(band[valid], _PERCENTILES)
    share = (band.astype(np.float64) - low) / max(float(high - low), np.finfo(np.float32).tiny)
    return np.asarray(np.rint(255 * np.clip(share, 0, 1)), dtype=np.uint8)


def _overlaid(plain: Image, picture: Picture) -> Image:
    """Tint the drawn classes and draw their rims in full colour."""
    image, rims = plain.copy(), _rims(picture.classes)
    for entry in picture.drawn:
        colour = np.array(rgb(entry.colour))
        inside = picture.classes == entry.id
        image[inside] = np.rint((1 - _COVER) * plain[inside] + _COVER * colour).astype(np.uint8)
        image[inside & rims] = colour
    return image


def _rims(classes: Image) -> NDArray[np.bool_]:
    """Pixels with another class on their right or below."""
    rims = np.zeros(classes.shape, dtype=np.bool_)
    rims[:, :-1] |= classes[:, :-1] != classes[:, 1:]
    rims[:-1] |= classes[:-1] != classes[1:]
    return rims


def _enlarged(image: Image) -> Image:
    """Repeat pixels so that the picture fills its panel: nearest neighbour, so that no colour is invented."""
    height, width, _ = image.shape
    scale = max(1.0, min(PANEL_PX / width, MOST_HEIGHT_PX / height))
    rows, columns = (
        np.arange(max(1, round(size * scale))) * size // max(1, round(size * scale)) for size in (height, width)
    )
    return image[np.ix_(rows, columns)]


def _entries_per_row() -> int:
    return WIDTH_PX // _ENTRY_PX


def _legend_entry(figure: "Figure", index: int, sheet: tuple[int, int], entry: LegendClass) -> None:
    from matplotlib.patches import Rectangle  # noqa: PLC0415 - see `draw`

    rows, total = sheet
    row, column = divmod(index, _entries_per_row())
    left, middle = _MARGIN_PX + column * _ENTRY_PX, (rows - row - 0.5) * _LINE_PX
    box = (left / WIDTH_PX, (middle - 6) / total)
    figure.add_artist(
        Rectangle(box, 18 / WIDTH_PX, 12 / total, facecolor=entry.colour, edgecolor="#444444", linewidth=0.5)
    )
    _text(figure, left + 24, middle, _printable(entry.name))


def _text(figure: "Figure", left: float, middle: float, text: str) -> None:
    size = figure.get_size_inches() * _DPI
    figure.text(left / size[0], middle / size[1], text, **_FONT)


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text[:120])
