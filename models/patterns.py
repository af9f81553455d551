"""Patterns of file names: which files belong together, told by what their wildcards stand for."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rspipe.models.errors import DataError

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", ".vrt")

type Key = tuple[str, ...]

_WILDCARD = re.compile(r"\*|\?|\[[^\]/]+\]")
_HAS_SUFFIX = re.compile(r"\.[A-Za-z0-9]+$")


@dataclass(frozen=True, slots=True)
class Pattern:
    """File names below a folder, with the wildcards `*`, `?` and `[...]`, none of which crosses a folder's border.

    A pattern without an ending means rasters of any ending.
    """

    text: str

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.text).parts
        if not parts or self.text.startswith("/") or "\\" in self.text or ".." in parts or "**" in self.text:
            raise DataError(f"pattern {self.text!r} must name files below the source's folder, without .. and **")

    def files(self, folder: Path) -> dict[Key, Path]:
        """Return the files that match, sorted, by what the wildcards stand for.

        Raises:
            DataError: there is no such folder, no file matches, or two differ by their ending only.
        """
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
        keyed = [(self._key(folder, path), path) for path in sorted(folder.glob(self._globbed))]
        found = [(key, path) for key, path in keyed if key is not None]
        if not found:
            raise DataError(f"{folder}: no raster there matches {self.text!r} (endings: {', '.join(SUFFIXES)})")
        twice = [key for key, count in Counter(key for key, _ in found).items() if count > 1]
        if twice:
            names = ", ".join(str(path) for key, path in found if key == twice[0])
            raise DataError(f"{names}: differ by their ending only; write the ending into the pattern {self.text!r}")
        return dict(found)

    def name(self, folder: Path, file: Path) -> str:
        """Return what a file's patch is called: those parts of its path that a wildcard chose, or the folder's name."""
        parts = file.relative_to(folder).with_suffix("").parts
        chosen = [part for part, pattern in zip(parts, Path(self.text).parts, strict=True) if _WILDCARD.search(pattern)]
        return "/".join(chosen) or folder.name

    @property
    def wildcards(self) -> int:
        """How many there are."""
        return len(_WILDCARD.findall(self.text))

    @property
    def _globbed(self) -> str:
        return self.text if _HAS_SUFFIX.search(self.text) else f"{self.text}.*"

    def _key(self, folder: Path, path: Path) -> Key | None:
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            return None
        place = path.relative_to(folder)
        text = (place if _HAS_SUFFIX.search(self.text) else place.with_suffix("")).as_posix()
        found = re.fullmatch(_expression(self.text), text)
        return found.groups() if found else None


def _expression(text: str) -> str:
    """Return the regular expression whose groups are the wildcards."""
    pieces, end = [], 0
    for found in _WILDCARD.finditer(text):
        pieces += [re.escape(text[end : found.start()]), _group(found[0])]
        end = found.end()
    return "".join(pieces) + re.escape(text[end:])


def _group(wildcard: str) -> str:
    if wildcard == "*":
        return "([^/]*)"
    return "([^/])" if wildcard == "?" else f"([{'^' if wildcard[1] == '!' else ''}{wildcard[1:-1].lstrip('!')}])"
