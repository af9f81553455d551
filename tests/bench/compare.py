"""The comparison of models: one protocol, one table, every run one committed JSON line.

    cd tests
    python -m bench.compare run ../../shared/data             # all cells without a line, one after another
    python -m bench.compare run ../../shared/data --variant d2ls --fold 0
    python -m bench.compare table [--write]                   # from the lines alone; --write puts it in the README
    python -m bench.compare paired tree d2ls                  # how likely the first is better

What is compared stands in compare.yaml. A cell that has a line with the digests of today's settings and data is never
run again, so an interrupted comparison goes on where it stopped. A run takes one to seven minutes of one undisturbed
core, all of them some three hours. For longer runs on a GPU give --settings and --results files of their own.
"""

import argparse
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from bench.csmask import mask_and_score
from bench.folds import Split, read_patches, split
from bench.learned import Outcome, recipe_of, train_and_score
from bench.lines import RESULTS, Line, append, by_patch, read_lines, valid
from bench.paired import Paired, drawn, paired, united
from bench.protocol import SETTINGS, Cell, Protocol
from bench.shipped import Shipped, train_shipped
from bench.table import CLOUDS, tables, write
from bench.tree import grow_and_score

from rspipe.models.data import Patch
from rspipe.models.recipe import Recipe

REFERENCE = "d2ls"
"""The variant whose recipe says which bands and classes the peers without a recipe see."""


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs cells on one machine."""

    protocol: Protocol
    data: Path
    csmask: Path | None
    trained: Sequence[Path]
    """Output of `rspipe train` for seed 0, 1 and so on."""
    threads: int

    def run(self, cell: Cell, patches: Sequence[Patch]) -> Line:
        """Run one cell."""
        began_s = time.perf_counter()
        parts = split(self.protocol, cell.dataset, cell.fold, patches)
        outcome = self._outcome(cell, parts)
        total = sum(found.counts for found in outcome.patches.values())
        return Line(
            dataset=cell.dataset,
            variant=cell.variant,
            fold=cell.fold,
            seed=cell.seed,
            settings=self.protocol.digest(cell),
            data=parts.digest,
            code=commit(),
            steps=outcome.steps,
            parameters=outcome.parameters,
            seconds=round(time.perf_counter() - began_s, 1),
            device=device(),
            threads=self.threads,
            versions={name: version(name) for name in ("torch", "numpy", "scikit-learn")},
            confusion=np.asarray(total).tolist(),
            patches={name: found.counts.tolist() for name, found in sorted(outcome.patches.items())},
        )

    def _outcome(self, cell: Cell, parts: Split) -> Outcome:
        recipe = self.reference(cell.dataset)
        names = [band.name for band in recipe.bands]
        if cell.variant == "tree":
            return grow_and_score(names, recipe.model.classes, parts, cell.seed)
        if cell.variant == "csmask":
            if self.csmask is None:
                raise SystemExit("csmask needs --csmask PYTHON, an interpreter that has it; see bench/csmask.py")
            return mask_and_score(self.csmask, names, recipe.legend_classes, parts.scored)
        if "training" in self.protocol.variant(cell.variant):
            training = self.protocol.training(cell.variant)
            trained = self.trained[cell.seed] if cell.seed < len(self.trained) else None
            return train_shipped(Shipped(training, self.data, device(), trained), parts, cell)
        taught = "teacher" in self.protocol.variant(cell.variant)
        teacher = recipe_of(self.protocol, cell, "teacher") if taught else None
        return train_and_score(recipe_of(self.protocol, cell), parts, device(), teacher)

    def reference(self, dataset: str) -> Recipe:
        """Return the recipe that stands for a data set's bands and classes."""
        return recipe_of(self.protocol, Cell(dataset, REFERENCE, 0, 0))


def device() -> str:
    """Return where networks are trained."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def commit() -> str:
    """Return the commit of the code, with a mark if it was changed since."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def run(options: argparse.Namespace) -> None:
    """Run every chosen cell that has no line yet."""
    torch.set_num_threads(options.threads)
    protocol = Protocol.read(options.settings)
    runner = Runner(protocol, options.data, options.csmask, options.trained, options.threads)
    for dataset in options.dataset or protocol.datasets:
        patches = read_patches(protocol, dataset, options.data, runner.reference(dataset))
        for cell in chosen(protocol, dataset, options):
            known = valid(read_lines(options.results), protocol).get(cell)
            if known and known.data == split(protocol, dataset, cell.fold, patches).digest:
                continue
            print(f"{cell} ...", flush=True)
            line = runner.run(cell, patches)
            append(line, options.results)
            print(f"{cell}: mIoU {line.pooled.mean_iou:.3f} after {line.seconds:.0f} s", flush=True)


def chosen(protocol: Protocol, dataset: str, options: argparse.Namespace) -> list[Cell]:
    """Return the cells that the command line leaves; csmask only where it can be run."""
    return [
        cell
        for cell in protocol.cells(dataset)
        if (not options.variant or cell.variant in options.variant)
        and (not options.fold or cell.fold in options.fold)
        and (not options.seed or cell.seed in options.seed)
        and (cell.variant != "csmask" or options.csmask or options.variant)
    ]


def show_paired(options: argparse.Namespace) -> None:
    """Print how likely the first variant is better than the second."""
    protocol = Protocol.read(options.settings)
    lines = [line for line in valid(read_lines(options.results), protocol).values() if line.dataset == options.dataset]
    first, second = (by_patch(line for line in lines if line.variant == name) for name in (options.a, options.b))
    shared = len(first.keys() & second.keys())
    if not shared:
        raise SystemExit(f"no patch of {options.dataset} was scored by both {options.a} and {options.b}")
    print(words("mIoU", paired(first, second, drawn(shared))))
    names = protocol.classes(options.dataset)
    if CLOUDS & set(names):
        cloud = united([int(name in CLOUDS) for name in names])
        print(words("cloud IoU", paired(first, second, drawn(shared), cloud)))


def words(score: str, found: Paired) -> str:
    """Return what a paired bootstrap found."""
    return (
        f"{score}: first minus second {found.difference:+.3f} (95 % {found.low:+.3f} to {found.high:+.3f}), "
        f"P(first better) {found.better:.3f}, {found.patches} patches"
    )


def show_tables(options: argparse.Namespace) -> None:
    """Print the tables, or write them into the README."""
    if options.write:
        write(Protocol.read(options.settings), results=options.results)
    else:
        print(tables(Protocol.read(options.settings), read_lines(options.results)))


def parsed() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=Path, default=SETTINGS, help="what is compared")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file of lines")
    commands = parser.add_subparsers(required=True)
    running = commands.add_parser("run", help="run cells that have no line")
    running.add_argument("data", type=Path)
    running.add_argument("--dataset", action="append")
    running.add_argument("--variant", action="append")
    running.add_argument("--fold", type=int, action="append")
    running.add_argument("--seed", type=int, action="append")
    running.add_argument("--csmask", type=Path, help="an interpreter that has ukis-csmask")
    running.add_argument(
        "--trained",
        type=Path,
        action="append",
        default=[],
        help="output of rspipe train, which need not be trained again; once for each seed from 0 on",
    )
    running.add_argument("--threads", type=int, default=1)
    running.set_defaults(command=run)
    table = commands.add_parser("table", help="the tables in Markdown")
    table.add_argument("--write", action="store_true", help="into the README")
    table.set_defaults(command=show_tables)
    pair = commands.add_parser("paired", help="paired bootstrap over patches")
    pair.add_argument("a")
    pair.add_argument("b")
    pair.add_argument("--dataset", default="l8biome")
    pair.set_defaults(command=show_paired)
    return parser.parse_args()


def main() -> None:
    """Do what the command line says."""
    options = parsed()
    options.command(options)


if __name__ == "__main__":
    main()
