"""Masks: what the numbers of a labelled raster, or the attributes of labelled polygons, mean as label ids."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.scene import Grid
from rspipe.models.errors import DataError
from rspipe.models.imagery import grid_of, opened
from rspipe.models.labels import IGNORE_ID, LabelSet

type Named = Mapping[str, str | None]
"""What stands in a mask or an attribute -> name of a class or a group, or None: ignored."""


@dataclass(frozen=True, slots=True)
class Translation:
    """Numbers of a mask -> label ids; whatever it does not hold is refused."""

    ids: Mapping[int, int]

    @classmethod
    def of(cls, labels: LabelSet, named: Named | None) -> Self:
        """Return the translation that a source asks for.

        Args:
            labels: the classes and groups that are learned.
            named: what the numbers mean; None: they are class ids already.

        Raises:
            DataError: a number is none, or a name is unknown.
        """
        if named is None:
            return cls({number: number for number in range(labels.classes)} | {IGNORE_ID: IGNORE_ID})
        strange = [text for text in named if not text.lstrip("-").isdecimal()]
        if strange:
            raise DataError(f"labels: {', '.join(strange)} are no whole numbers; they say what a mask's numbers mean")
        return cls({int(text): labels.id_of(name) for text, name in named.items()})

    def __call__(self, raw: NDArray[Any], ignored: float | None, where: str) -> NDArray[np.uint8]:
        """Translate a mask.

        Args:
            raw: (H, W) numbers.
            ignored: a number that means "not labelled", beside those that the translation ignores.
            where: how a message names the mask.

        Raises:
            DataError: it holds a number that the translation does not.
        """
        out = np.full(raw.shape, IGNORE_ID, dtype=np.uint8)
        found = [value for value in np.unique(raw).tolist() if value in self.ids or value != ignored]
        strange = [value for value in found if value not in self.ids]
        if strange:
            known = ", ".join(map(str, self.ids))
            raise DataError(
                f"{where}: holds {strange[:10]}, known are {known}; say what they mean (labels:, or --label), also to "
                "ignore them"
            )
        for value in found:
            out[raw == value] = self.ids[value]
        return out


def read_mask(path: Path, translation: Translation) -> NDArray[np.uint8]:
    """Read the first band of a mask as label ids; its nodata tag is ignored.

    Raises:
        DataError: it cannot be read, or holds a number of unknown meaning.
    """
    with opened(path) as dataset:
        raw, nodata = dataset.read(1), dataset.nodata
    return translation(raw, nodata, str(path))


def check_fit(mask: Path, labels: NDArray[np.uint8], size: tuple[int, int], grid: Grid | None) -> None:
    """Refuse a mask that does not lie on its picture.

    Raises:
        DataError: sizes differ, or both say where they lie and it is not the same.
    """
    if labels.shape != size:
        raise DataError(f"{mask}: is {labels.shape} px, its picture {size} px; they must agree")
    own = grid_of(mask)
    if own and grid and not own.transform.almost_equals(grid.transform, 1e-6 * grid.transform.a):
        raise DataError(f"{mask}: lies at {own.transform[:6]}, its picture at {grid.transform[:6]}; they must agree")
