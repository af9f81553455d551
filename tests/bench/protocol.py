"""What is compared: the cells of the table, and what decides the outcome of each."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from rspipe.catalogs.legends import legend_of

type Json = dict[str, Json] | list[Json] | str | int | float | bool | None

SETTINGS = Path(__file__).with_name("compare.yaml")
WORKFLOWS = Path(__file__).parents[2] / "workflows"
FIRST_SEED = 0


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One run."""

    dataset: str
    variant: str
    fold: int
    seed: int

    def __str__(self) -> str:
        return f"{self.dataset}/{self.variant}/fold {self.fold}/seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Protocol:
    """The settings of the comparison, as they stand in `compare.yaml`."""

    document: Mapping[str, Json]

    @classmethod
    def read(cls, path: Path = SETTINGS) -> "Protocol":
        """Read the settings."""
        return cls(section(yaml.safe_load(path.read_text(encoding="utf-8"))))

    @property
    def datasets(self) -> list[str]:
        """The names of the data sets, in the order of the tables."""
        return list(section(self.document["datasets"]))

    def dataset(self, name: str) -> dict[str, Json]:
        """Return the settings of a data set."""
        return named(self.document["datasets"], name)

    def classes(self, dataset: str) -> list[str]:
        """Return the names of a data set's classes in the order of their ids; its legend is a name or written out."""
        legend = self.dataset(dataset)["legend"]
        if isinstance(legend, str):
            return [entry.name for entry in legend_of(legend).classes]
        entries = section(legend)["classes"]
        if not isinstance(entries, list):
            raise TypeError(f"{dataset}: classes of a legend must be a list")
        return [str(section(entry)["name"]) for entry in entries]

    def variant(self, name: str) -> dict[str, Json]:
        """Return the settings of a variant."""
        return named(self.document["variants"], name)

    def variants(self, dataset: str) -> list[str]:
        """Return the variants that a data set's table has, in its order."""
        return texts(self.dataset(dataset), "variants", list(section(self.document["variants"])))

    def title(self, variant: str) -> str:
        """Return how a variant is called in the table."""
        return str(self.variant(variant)["title"])

    def scope(self, variant: str) -> list[str] | None:
        """Return the classes that alone a variant can tell, if it was not trained on the data set's."""
        return texts(self.variant(variant), "scope", []) or None

    def folds(self, dataset: str) -> int:
        """Return into how many folds a data set is dealt; 1 where named scenes score."""
        return whole(self.dataset(dataset).get("folds", 1))

    def seeds(self, variant: str, dataset: str) -> range:
        """Return the seeds of a variant: one, unless more are asked for."""
        more = section(self.document.get("more_seeds", {})).get(dataset, {})
        count = 1 if self.is_fixed(variant) else whole(section(more).get(variant, 1))
        return range(FIRST_SEED, FIRST_SEED + count)

    def is_fixed(self, variant: str) -> bool:
        """Tell whether a variant was trained elsewhere: no seed changes it."""
        return self.scope(variant) is not None

    def cells(self, dataset: str) -> Iterator[Cell]:
        """Yield the cells of one table: every variant's first fold comes before any second one."""
        variants = self.variants(dataset)
        depth = max(len(self.seeds(variant, dataset)) for variant in variants)
        for seed in range(FIRST_SEED, FIRST_SEED + depth):
            for fold in range(self.folds(dataset)):
                for variant in variants:
                    if seed in self.seeds(variant, dataset):
                        yield Cell(dataset, variant, fold, seed)

    def settings(self, cell: Cell) -> dict[str, Json]:
        """Return everything but the data that decides what a cell scores."""
        dataset = self.dataset(cell.dataset)
        variant = {name: value for name, value in self.variant(cell.variant).items() if name not in _WORDS}
        shared = {name: dataset.get(name) for name in ("folds", "scored", "legend")}
        deciding: dict[str, Json] = {"dataset": shared, "variant": variant, "fold": cell.fold, "seed": cell.seed}
        if "model" in variant:
            deciding |= {name: dataset.get(name) for name in ("bands", "feed", "criterion")}
            deciding |= {"optimiser": self.document["optimiser"], "encoder": self.document["encoder"]}
        if "training" in variant:
            training = section(yaml.safe_load(self.training(cell.variant).read_text(encoding="utf-8")))
            deciding |= {name: training.get(name) for name in ("data", "simulated", "recipe")}
        return deciding

    def training(self, variant: str) -> Path:
        """Return the training file of a variant that has one of its own."""
        return WORKFLOWS / str(self.variant(variant)["training"])

    def digest(self, cell: Cell) -> str:
        """Return the digest of `settings`: a line under another one is of an older comparison."""
        text = json.dumps(self.settings(cell), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def recipe(self, cell: Cell, part: str = "model") -> dict[str, Json]:
        """Return the recipe of a cell that trains a network, or of its `teacher`, as `Recipe` reads it."""
        dataset, variant = self.dataset(cell.dataset), self.variant(cell.variant)
        bands = dataset["bands"]
        if not isinstance(bands, list):
            raise TypeError(f"{cell.dataset}: bands must be a list")
        model = section(variant[part])
        pyramid: dict[str, Json] = {**section(self.document["encoder"]), "in_bands": len(bands)}
        pyramid |= section(model.get("pyramid", {}))
        return {
            "legend": dataset["legend"],
            "seed": cell.seed,
            "model": {**model, "pyramid": pyramid, "classes": len(self.classes(cell.dataset))},
            "bands": bands,
            "feed": dataset["feed"],
            "optimiser": self.document["optimiser"],
            "criterion": {**section(dataset.get("criterion", {})), **section(variant.get("criterion", {}))},
        }


_WORDS = {"title", "scope"}


def section(value: Json) -> dict[str, Json]:
    """Return a mapping that must be one."""
    if not isinstance(value, dict):
        raise TypeError(f"{SETTINGS.name}: a section was expected, found {value!r}")
    return value


def named(value: Json, name: str) -> dict[str, Json]:
    """Return the section of that name."""
    known = section(value)
    if name not in known:
        raise SystemExit(f"{name!r} is unknown; there are {', '.join(known)}")
    return section(known[name])


def whole(value: Json) -> int:
    """Return a whole number that must be one."""
    if not isinstance(value, int):
        raise TypeError(f"{SETTINGS.name}: a whole number was expected, found {value!r}")
    return value


def number(value: Json) -> float:
    """Return a number that must be one."""
    if not isinstance(value, int | float):
        raise TypeError(f"{SETTINGS.name}: a number was expected, found {value!r}")
    return float(value)


def texts(settings: Mapping[str, Json], name: str, default: Sequence[str]) -> list[str]:
    """Return a list of texts."""
    value = settings.get(name, list(default))
    if not isinstance(value, list):
        raise TypeError(f"{SETTINGS.name}: {name} must be a list, found {value!r}")
    return [str(entry) for entry in value]
