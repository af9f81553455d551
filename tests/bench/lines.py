"""The committed results: one JSON line per finished run; the tables are built from nothing else."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
from bench.protocol import Cell, Protocol

from rspipe.models.metrics import Confusion

RESULTS = Path(__file__).parent / "results" / "compare.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One finished run."""

    dataset: str
    variant: str
    fold: int
    seed: int
    settings: str
    """Digest of what was asked for, `Protocol.digest`."""
    data: str
    """Digest of every number and label that was learned from or scored."""
    code: str
    """The commit that ran."""
    steps: int
    parameters: int
    seconds: float
    """Of wall time, on a machine that did other work too."""
    device: str
    threads: int
    versions: Mapping[str, str]
    confusion: list[list[int]]
    """Rows are labels, columns predictions: the sum of `patches`."""
    patches: Mapping[str, list[list[int]]]
    """The same of each patch that scored."""

    @property
    def cell(self) -> Cell:
        """What was run."""
        return Cell(self.dataset, self.variant, self.fold, self.seed)

    @property
    def pooled(self) -> Confusion:
        """The confusion of all patches."""
        return Confusion(np.array(self.confusion, dtype=np.int64))

    def as_json(self) -> str:
        """Return the line as it stands in the file."""
        return json.dumps(asdict(self), separators=(",", ":"))


def read_lines(path: Path = RESULTS) -> list[Line]:
    """Return all lines of the file in their order; none where there is no file."""
    if not path.is_file():
        return []
    return [Line(**json.loads(text)) for text in path.read_text(encoding="utf-8").splitlines() if text]


def append(line: Line, path: Path = RESULTS) -> None:
    """Add a line to the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as lines:
        lines.write(line.as_json() + "\n")


def valid(lines: Iterable[Line], protocol: Protocol) -> dict[Cell, Line]:
    """Return the last line of each cell that was run under the settings of today."""
    wanted = {cell: protocol.digest(cell) for dataset in protocol.datasets for cell in protocol.cells(dataset)}
    return {line.cell: line for line in lines if wanted.get(line.cell) == line.settings}


def pooled(lines: Sequence[Line]) -> Confusion:
    """Return the sum of the confusions of some lines, at least one."""
    return reduce(add, (line.pooled for line in lines))


def by_patch(lines: Iterable[Line]) -> dict[str, Confusion]:
    """Return the confusion of each patch; where several seeds scored it, their sum."""
    found: dict[str, Confusion] = {}
    for line in lines:
        for name, counts in line.patches.items():
            mine = Confusion(np.array(counts, dtype=np.int64))
            found[name] = found[name] + mine if name in found else mine
    return found
