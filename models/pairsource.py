"""Pictures of the same places with and without clouds as a source: the difference labels them."""

from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from rspipe.models.data import Patch
from rspipe.models.difference import BANDS, TOLD, told
from rspipe.models.errors import DataError
from rspipe.models.foldersource import PatternText
from rspipe.models.imagery import Packing, Picture, places_in, read_picture
from rspipe.models.labelling import Labelled, SourceSpec, Wanted
from rspipe.models.labels import IGNORE_ID
from rspipe.models.patterns import Pattern


class PairSource(SourceSpec, Packing):
    """Cloudy pictures, each with one of the same place on another day, whose names agree in what wildcards stand for.

    Learned from are the cloudy ones; see `difference` for how they are labelled. `labels` may call what is told there
    by another name.
    """

    kind: Literal["pairs"]
    folder: Path
    cloudy: PatternText = "cloudy/*"
    """Pattern of files that hold all bands, named in them."""
    clear: PatternText = "clear/*"

    def under(self, root: Path) -> Self:
        """Return the source with its paths below a folder."""
        return self.model_copy(update={"folder": root / self.folder})

    def patches(self, wanted: Wanted) -> list[Patch]:
        """Read all patches, sorted by file name.

        Raises:
            DataError: see `SourceSpec.patches`.
        """
        ids = self._ids(wanted)
        cloudy, clear = (Pattern(text).files(self.folder) for text in (self.cloudy, self.clear))
        alone = sorted("/".join(key) for key in cloudy.keys() ^ clear.keys())
        if alone:
            raise DataError(f"{self.folder}: {', '.join(alone[:5])} is in one of {self.cloudy} and {self.clear} only")
        return [self._patch(cloudy[key], clear[key], wanted, ids) for key in cloudy]

    def _ids(self, wanted: Wanted) -> NDArray[np.uint8]:
        """Return a table from numbers of `TOLD` to label ids."""
        named = self.labels or {}
        strange = sorted(named.keys() - set(TOLD))
        if strange:
            raise DataError(f"labels: nothing is told of {', '.join(strange)}; pairs tell {', '.join(TOLD)}")
        ids = np.full(IGNORE_ID + 1, IGNORE_ID, dtype=np.uint8)
        ids[: len(TOLD)] = [wanted.labels.id_of(named.get(name, name)) for name in TOLD]
        return ids

    def _patch(self, cloudy: Path, clear: Path, wanted: Wanted, ids: NDArray[np.uint8]) -> Patch:
        seen, ground = (read_picture(places_in(path, None), wanted.bands, self) for path in (cloudy, clear))
        if seen.numbers.shape != ground.numbers.shape or seen.grid != ground.grid:
            raise DataError(f"{cloudy}: does not lie where {clear} does; both must have the same pixels")
        pixel_m = self.pixel_m_at(seen.grid, wanted, str(cloudy))
        said = told(_compared(seen, wanted, cloudy), _compared(ground, wanted, clear), pixel_m)
        name = Pattern(self.cloudy).name(self.folder, cloudy)
        return self.patch(Labelled(name, seen.numbers, ids[said], pixel_m))


def _compared(picture: Picture, wanted: Wanted, path: Path) -> NDArray[np.float32]:
    names = [band.name for band in wanted.bands]
    missing = [name for name in BANDS if name not in names or np.isnan(picture.numbers[names.index(name)]).all()]
    if missing:
        raise DataError(f"{path}: pairs are compared in {', '.join(BANDS)}; {', '.join(missing)} is missing")
    return picture.numbers[[names.index(name) for name in BANDS]]
