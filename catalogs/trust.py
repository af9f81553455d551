"""What is trusted of what comes from outside: names, paths, drivers and header sizes."""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rspipe.catalogs.errors import SceneError, SourceError

GDAL_SETTINGS = MappingProxyType(
    {
        "GDAL_SKIP": "VRT GTI WMS WMTS WCS STACIT STACTA HTTP EEDA EEDAI PLMOSAIC DAAS DERIVED KMLSUPEROVERLAY GDALG",
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_VRT_ENABLE_PYTHON": "NO",
        "GDAL_VRT_ENABLE_RAWRASTERBAND": "NO",
        "GDAL_PAM_ENABLED": "NO",
        "GDAL_NUM_THREADS": "1",
        "GDAL_CACHEMAX": "128",
        "PROJ_NETWORK": "OFF",
    }
)
"""Environment of every process that reads scenes, to be set before GDAL is loaded.

Drivers that only point elsewhere are off, and files beside a raster (masks, overviews, `.aux.xml`) are never read:
a scene is what its own files say. `GDAL_CACHEMAX` is in megabytes. PROJ fetches no grid: a coordinate is the same with
and without a network.
"""

MAX_PIXELS = 40_000_000_000
MAX_BANDS = 256
MAX_BLOCK_BYTES = 32 * 2**20
MAX_EXPANSION = 1100
"""Claimed bytes over bytes on disk. Deflate cannot exceed 1032 (https://zlib.net/zlib_tech.html)."""
EXPANSION_FREE_BYTES = 512 * 2**20
"""Below this claimed size, expansion does no harm: a scene that holds only nodata compresses beyond any ratio."""

_DRIVER_OF_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"II*\x00", "GTiff"),
    (b"MM\x00*", "GTiff"),
    (b"II+\x00", "GTiff"),
    (b"MM\x00+", "GTiff"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JP2OpenJPEG"),
    (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),
)
_SAFE_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LOOKS_DIGESTED = re.compile(r"-[0-9a-f]{10}$")
_RESERVED_STEM = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
_PICTURES: tuple[tuple[bytes, str], ...] = ((b"\x89PNG\r\n\x1a\n", "PNG"), (b"\xff\xd8\xff", "JPEG"))
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b-\x1f\ud800-\udfff]")
"""XML 1.0 knows none of these, but for the carriage return, which it takes for a line feed."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""With one slash too: that is what remains of two in a `Path`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderClaim:
    """What a raster's header says that reading it will cost."""

    path: Path
    height_px: int
    width_px: int
    bands: int
    item_bytes: int
    block_bytes: int
    """Bytes of the largest block as it is decoded: all bands of it when they are interleaved by pixel."""


def slug(scene_id: str) -> str:
    """Return a file name for a scene: ASCII, at most 64 characters, never a path.

    Ids that are already safe and lower case stay as they are. Any other id gets ten hexadecimal digits of its SHA-256,
    so that ids which differ only by case, by Unicode form or by a replaced character keep different names, also on
    file systems that ignore case.
    """
    plain = _SAFE_SLUG.fullmatch(scene_id) and not scene_id.endswith(".")
    if plain and not _LOOKS_DIGESTED.search(scene_id) and not _RESERVED_STEM.fullmatch(scene_id):
        return scene_id
    digest = hashlib.sha256(scene_id.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    letters = unicodedata.normalize("NFKD", scene_id).encode("ascii", "ignore").decode("ascii")
    readable = re.sub(r"[^A-Za-z0-9-]+", "_", letters).strip("_-")[:53] or "scene"
    return f"{readable}-{digest}"


def check_id(scene_id: str) -> None:
    """Refuse ids that no GeoPackage or TIFF tag can hold: they would be cut there, or become that of another scene.

    Raises:
        SceneError: a control character other than tab and line feed, or what is no text.
    """
    found = _UNWRITABLE.search(scene_id)
    if found:
        raise SceneError(
            f"id {scene_id!r} has {found.group()!r} in it; give it another in scene.yaml, or rename the file"
        )


def check_source(source: str) -> None:
    """Refuse the forms of a source that GDAL would not take for a plain local path.

    Raises:
        SourceError: a URL, a GDAL virtual path, options behind a question mark, or a control character.
    """
    shown = _without_secrets(source)
    if "\x00" in source or not source.strip():
        raise SourceError(f"source {source!r} is not a path; name a folder, a file or a glob")
    if is_url(source):
        raise SourceError(f"source {shown!r} is a URL; download it and name the local folder")
    if source.startswith("/vsi"):
        raise SourceError(f"source {shown!r} is a GDAL virtual path; name a plain folder, file or glob")
    if "?" in source:
        raise SourceError(f"source {shown!r} has a `?`, which could carry options; use `*` in globs")


def is_url(text: str) -> bool:
    """Tell whether a text names something by a scheme, be it `https` or `s3`, and not a path of this machine."""
    return _URL.match(text) is not None


def driver_of(path: Path, *, pictures: bool = False) -> str:
    """Return the one GDAL driver that may open a file, judged by its first bytes and never by its name.

    Args:
        path: the file.
        pictures: PNG and JPEG will do.

    Raises:
        SceneError: neither GeoTIFF (COG included) nor JPEG 2000, or the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(12)
    except OSError as error:
        raise SceneError(f"{path}: cannot be read: {error.strerror}") from error
    for start, driver in _DRIVER_OF_MAGIC + (_PICTURES if pictures else ()):
        if magic.startswith(start):
            return driver
    raise SceneError(
        f"{path}: is neither GeoTIFF nor JPEG 2000 by its first bytes; fetch it again, or convert it with "
        "gdal_translate -of COG"
    )


def check_claim(claim: HeaderClaim) -> None:
    """Refuse a raster whose header alone promises too much work.

    Raises:
        SceneError: more pixels, bands, bytes in a block, or expansion over the file's size than the limits here.
    """
    pixels = claim.height_px * claim.width_px
    if pixels > MAX_PIXELS:
        raise SceneError(f"{claim.path}: claims {pixels} pixels a band, more than MAX_PIXELS = {MAX_PIXELS}")
    if claim.bands > MAX_BANDS:
        raise SceneError(f"{claim.path}: claims {claim.bands} bands, more than MAX_BANDS = {MAX_BANDS}")
    if claim.block_bytes > MAX_BLOCK_BYTES:
        raise SceneError(
            f"{claim.path}: one block claims {claim.block_bytes} bytes, more than MAX_BLOCK_BYTES = {MAX_BLOCK_BYTES};"
            " rewrite it in tiles with gdal_translate -of COG"
        )
    claimed = pixels * claim.bands * claim.item_bytes
    stored = claim.path.stat().st_size
    if claimed > EXPANSION_FREE_BYTES and claimed > MAX_EXPANSION * stored:
        raise SceneError(
            f"{claim.path}: {stored} bytes on disk claim {claimed} bytes of pixels, more than MAX_EXPANSION = "
            f"{MAX_EXPANSION} times; rewrite it with all blocks present if it is genuine"
        )


def _without_secrets(url: str) -> str:
    """Drop query, fragment and user from a URL before it is shown."""
    return re.sub(r":(//?)[^/@]*@", r":\1", re.split(r"[?#]", url, maxsplit=1)[0])
