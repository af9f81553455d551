"""Where everything of a run lies on disk, in one place."""

from dataclasses import dataclass
from pathlib import Path

from rspipe.pipeline.errors import ConfigError
from rspipe.pipeline.layerformat import SUFFIXES, LayerFormat

WORK_FOLDER = ".rspipe"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one output folder. `scene` arguments are slugs, `model` arguments are model slugs."""

    root: Path

    @property
    def work(self) -> Path:
        """Working state: Zarr, ledger, logs, lock; may be deleted once a run is published."""
        return self._inside(self.root / WORK_FOLDER)

    @property
    def ledger(self) -> Path:
        """Done records."""
        return self.work / "ledger"

    @property
    def inputs(self) -> Path:
        """Digests of input files by their signature."""
        return self.work / "inputs.json"

    @property
    def lock(self) -> Path:
        """Held open for the life of a run."""
        return self.work / "lock"

    @property
    def log(self) -> Path:
        """JSON lines: times, hosts, failures; never part of the byte-equal set."""
        return self.work / "log"

    @property
    def config(self) -> Path:
        """The resolved configuration of the last run."""
        return self.work / "workflow.json"

    @property
    def band_rows(self) -> Path:
        """Window rows per band of a run that is not published yet."""
        return self.work / "band_rows"

    @property
    def checkup(self) -> Path:
        """What the last run found about model and machine."""
        return self.work / "checkup.json"

    @property
    def manifest(self) -> Path:
        """Written last; its presence says that the run is published."""
        return self.root / "manifest.json"

    def geopackage(self, workflow: str) -> Path:
        """Return the path of the layer that analysts open."""
        return self.root / f"{workflow}.gpkg"

    def layer(self, workflow: str, kind: LayerFormat) -> Path:
        """Return the path of the same polygons in another format."""
        return self.root / f"{workflow}{SUFFIXES[kind]}"

    def bands(self, scene: str) -> Path:
        """Return the Zarr group of a scene's ingested bands: one array per band, and `validity`."""
        return self._inside(self.work / "scenes" / scene / "bands.zarr")

    def inferred(self, scene: str, model: str) -> Path:
        """Return the Zarr group of what one model said about a scene: `classes`, `confidence`."""
        return self._inside(self.work / "scenes" / scene / model / "inferred.zarr")

    def strips(self, scene: str, model: str) -> Path:
        """Return the folder of a scene's seam strips."""
        return self._inside(self.work / "scenes" / scene / model / "strips")

    def vectors(self, scene: str, model: str) -> Path:
        """Return the folder of a scene's sieved classes and polygons, before they are published."""
        return self._inside(self.work / "scenes" / scene / model / "vectors")

    def published(self, scene: str) -> Path:
        """Return the folder of a scene's final files."""
        return self._inside(self.root / "scenes" / scene)

    def _inside(self, path: Path) -> Path:
        """Whatever a slug or a link may be, nothing is written or deleted outside the output folder."""
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise ConfigError(f"{path} leads out of the output folder, to {path.resolve()}; remove the link")
        return path
