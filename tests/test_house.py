"""The house keeps its own rules: what is shipped, how large things are, what is imported, which words never occur."""

import ast
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("pipeline", "models", "catalogs")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).glob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
HEAVY = frozenset({"torch", "dask", "distributed", "geopandas", "rasterio", "zarr", "pydantic", "numpy", "numba"})
VAGUE = frozenset({"utils", "util", "helpers", "helper", "misc", "common", "manager", "managers"})


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imported(statement: str) -> set[str]:
    """Return the top-level names of all modules that a fresh interpreter has after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_flat_and_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
    folders = [path.name for path in (ROOT / package).iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert folders == []


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_files_and_functions_stay_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    long = [
        node.name for node in functions(path) if node.end_lineno is not None and node.end_lineno - node.lineno >= 60
    ]
    assert long == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_names_say_something(path: Path) -> None:
    assert not VAGUE & set(path.stem.split("_"))


def test_functions_take_at_most_five_parameters() -> None:
    # A command's options are its parameters.
    wide = [
        f"{path.name}:{node.name}"
        for path in SOURCES
        if path.name != "cli.py"
        for node in functions(path)
        if len([*node.args.posonlyargs, *node.args.args]) - (node.args.args[:1] != [] and is_method(node)) > 5
    ]
    assert wide == []


def is_method(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return bool(node.args.args) and node.args.args[0].arg in {"self", "cls"}


def test_nothing_is_unpickled_or_evaluated() -> None:
    forbidden = {"eval", "exec", "torch.load", "yaml.load", "yaml.unsafe_load"}
    calls = [
        f"{path.name}: {ast.unparse(node.func)}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in forbidden
    ]
    assert calls == []
    assert [
        path.name
        for path in SOURCES
        if re.search(r"^\s*(import|from) c?pickle\b", path.read_text("utf-8"), re.MULTILINE)
    ] == []


def test_the_command_line_imports_nothing_heavy() -> None:
    assert not HEAVY & imported("import rspipe.pipeline.cli")


def test_what_draws_is_loaded_where_something_is_drawn() -> None:
    assert "matplotlib" not in imported("import rspipe.pipeline.quicklook")


def test_loading_a_configuration_imports_nothing_heavy() -> None:
    heavy = HEAVY - {"pydantic", "numpy"}
    assert not heavy & imported("import rspipe.pipeline.workflow, rspipe.catalogs.bands, rspipe.catalogs.legends")


def test_help_answers(capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-c", "from rspipe.pipeline.cli import main; main()", "--help"]
    began_s = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    with capsys.disabled():
        sys.stdout.write(f"\nrspipe --help: {time.perf_counter() - began_s:.2f} s\n")
    for command_name in ("run", "plan", "validate", "schema", "simulate", "models"):
        assert command_name in done.stdout


@pytest.mark.slow
def test_the_wheel_holds_what_the_folders_hold(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    # Built from a copy: a build leaves folders behind.
    source = tmp_path / "source"
    source.mkdir()
    for name in (*PACKAGES, "pyproject.toml", "README.md", "LICENSE"):
        copy(ROOT / name, source / name)
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(source)], check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert shipped == {f"rspipe/{path.relative_to(source)}" for package in PACKAGES for path in files(source / package)}


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def copy(origin: Path, target: Path) -> None:
    if origin.is_file():
        target.write_bytes(origin.read_bytes())
        return
    target.mkdir()
    for path in origin.iterdir():
        if path.name != "__pycache__":
            copy(path, target / path.name)
