"""The manifest: what a run published, written last, so that its presence says that the run is whole."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from rspipe.models.specs import Engine, Precision
from rspipe.pipeline import atomic
from rspipe.pipeline.errors import PipelineError
from rspipe.pipeline.ledger import Vouched

PACKAGES = (
    "rspipe", "numpy", "torch", "timm", "rasterio", "pyproj", "shapely", "pyogrio", "pyarrow", "zarr", "numcodecs",
    "numba", "matplotlib", "dask", "distributed",
)  # fmt: skip
"""Those whose version can change a published byte."""


class ManifestDamagedError(PipelineError):
    """A manifest is there but cannot be read; the output counts as not published."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class PublishedModel(_Part):
    """A model that was used, by the digest of its weights."""

    id: str
    sha256: str
    precision: Precision = "float32"
    """What it computed in."""
    engine: Engine = "eager"
    """How it ran."""
    agreement: float | None = None
    """Where another arithmetic was asked for: the share of pixels, in some windows, with the class of eager float32."""


class PublishedScene(_Part):
    """What became of one scene."""

    id: str
    slug: str
    key: str
    """Digest of everything that the scene's bytes hang on. Empty if it was refused before it had one, or failed by what
    may be gone the next time: it is tried again."""
    status: Literal["published", "failed"]
    reason: str
    """Empty for a published scene."""
    acquired_at: datetime | None
    inputs: Mapping[str, str]
    """Name of each input (no path of a host) to its sha-256."""
    counts: Mapping[str, int | float]
    valid_share: float | None
    class_share: Mapping[str, float]
    """Share of the valid pixels by name of the class."""


class Manifest(_Part):
    """One published run. Holds no time, no host and no path outside the output folder."""

    format: Literal[1] = 1
    workflow: str
    run_id: str
    config: Mapping[str, Any]
    """The resolved configuration; `Any` because it is any JSON object."""
    versions: Mapping[str, str]
    models: tuple[PublishedModel, ...]
    scenes: tuple[PublishedScene, ...]
    outputs: tuple[Vouched, ...]
    """Every published file but the manifest itself, sorted by path."""

    def unmet(self, root: Path) -> Iterator[str]:
        """Yield the paths of outputs that are gone or hold other bytes than when they were published."""
        for output in self.outputs:
            if not output.holds(root):
                yield output.path


def installed_versions() -> dict[str, str]:
    """Return the versions of `PACKAGES` that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write(path: Path, manifest: Manifest) -> None:
    """Write a manifest as canonical JSON: sorted keys, no NaN, one newline at the end."""
    content = manifest.model_dump(mode="json")
    text = json.dumps(content, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False)
    atomic.write_text(path, text + "\n")


def read(path: Path) -> Manifest | None:
    """Return the manifest, or None if there is none.

    Raises:
        ManifestDamagedError: it is cut, edited into nonsense or from another version.
    """
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ManifestDamagedError(
            f"{path}: {where}: {first['msg']}; the manifest is damaged or from another version of rspipe: delete it, "
            "and the next run publishes anew"
        ) from error
