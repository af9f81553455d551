"""The command line as people meet it: streams, exit codes, one message, no traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from picomodel import write_pico

from rspipe.catalogs.errors import SceneError, SourceError, YamlError
from rspipe.models.errors import WeightsError
from rspipe.pipeline.errors import ConfigError, EnvironmentFailedError, ModelRefusedError, SceneFailedError
from rspipe.pipeline.guard import guarded

WORKFLOW = Path(__file__).parents[1] / "workflows" / "cloud_thickness.yaml"


def rspipe(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from rspipe.pipeline.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=120)


def test_schema_is_json_on_stdout(tmp_path: Path) -> None:
    done = rspipe("schema", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout)["additionalProperties"] is False


@pytest.mark.parametrize("command", ["run", "plan", "validate"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("absent.yaml",), "absent.yaml: cannot be read: No such file or directory"),
        ((WORKFLOW, "--set", "infer.windows=1"), "infer.windows: unknown key; did you mean 'window_px'?"),
    ],
)
def test_a_wrong_configuration_is_exit_2_with_one_line_and_touches_nothing(
    tmp_path: Path, command: str, arguments: tuple[str | Path, ...], words: str
) -> None:
    done = rspipe(command, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("rspipe: ")
    assert words in line
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = rspipe("run", "absent.yaml", "--debug", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_an_unknown_option_is_exit_2(tmp_path: Path) -> None:
    assert rspipe("run", WORKFLOW, "--wrokers", "2", cwd=tmp_path).returncode == 2


def test_an_unknown_model_is_exit_5(tmp_path: Path) -> None:
    done = rspipe("models", "show", "absent-model", cwd=tmp_path)
    assert done.returncode == 5
    assert "absent-model" in done.stderr


def test_simulate_writes_a_scene(tmp_path: Path) -> None:
    done = rspipe("simulate", "s", "--height-px", "40", "--width-px", "50", "--seed", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "s" / "scene.yaml").is_file()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("m"), 2),
        (SourceError("m"), 2),
        (YamlError("m"), 2),
        (SceneFailedError("m"), 3),
        (SceneError("m"), 3),
        (EnvironmentFailedError("m"), 4),
        (PermissionError(13, "Permission denied", "m"), 4),
        (MemoryError(), 4),
        (ZeroDivisionError("m"), 4),
        (ModelRefusedError("m"), 5),
        (WeightsError("m"), 5),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_end_has_its_exit_code_and_message(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    @guarded
    def command() -> None:
        raise error

    with pytest.raises(typer.Exit) as caught:
        command()
    assert caught.value.exit_code == code
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert "Traceback" not in told


def test_an_unforeseen_failure_is_owned_up_to(capsys: pytest.CaptureFixture[str]) -> None:
    @guarded
    def command() -> None:
        raise KeyError("x")

    with pytest.raises(typer.Exit):
        command()
    assert "a fault in rspipe: KeyError: 'x'; --debug shows where" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
def test_an_interruption_is_exit_130(tmp_path: Path, signal_name: str) -> None:
    script = (
        "import os, signal, time, typer\n"
        # A suite that runs in the background inherits that SIGINT is ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from rspipe.pipeline.guard import guarded\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "@guarded\n"
        f"def wait() -> None:\n    os.kill(os.getpid(), signal.{signal_name})\n    time.sleep(30)\n"
        "app()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 130
    assert "interrupted" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_export_prints_its_parity(tmp_path: Path) -> None:
    card = write_pico(tmp_path)
    done = rspipe("models", "export", card, "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "max |dp| = " in done.stdout
    assert (tmp_path / "out" / "pico-clouds-1.2.3.pt2").is_file()
    refused = rspipe("models", "export", "absent-model", "out", cwd=tmp_path)
    assert refused.returncode == 5
