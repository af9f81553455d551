"""The command line. What a command needs is imported when it runs: `rspipe --help` must answer at once."""

import json
import os
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rspipe.pipeline.errors import SceneFailedError
from rspipe.pipeline.guard import guarded

if TYPE_CHECKING:
    from rspipe.pipeline.config import WorkflowConfig

app = typer.Typer(
    help="Whole satellite scenes in, clean and styled vector layers out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="The models that come with rspipe, and model cards by path.", no_args_is_help=True)
app.add_typer(models_app, name="models")
check_app = typer.Typer(help="Prove on your own scenes what rspipe promises.", no_args_is_help=True)
app.add_typer(check_app, name="check")

WorkflowFile = Annotated[Path, typer.Argument(metavar="WORKFLOW", help="The workflow file (YAML).")]
ScenePaths = Annotated[
    list[Path] | None,
    typer.Option(
        "--scenes", metavar="PATH", help="A folder, glob or file instead of the workflow's scenes; repeatable."
    ),
]
Sensor = Annotated[str | None, typer.Option(metavar="NAME", help="Sensor of scenes whose files do not say it.")]
Output = Annotated[Path | None, typer.Option(metavar="DIR", help="Where the results go.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Change one setting for this run; repeatable.")
]
Workers = Annotated[int | None, typer.Option(metavar="N", help="Worker processes; one per core if not given.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Warnings only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Details too.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="A shipped model's name, or the path of a card (.json).")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """The options that every command about a workflow shares."""

    scenes: list[Path] | None
    sensor: str | None
    output: Path | None
    settings: list[str] | None
    workers: int | None = None

    def load(self, workflow: Path) -> "WorkflowConfig":
        from rspipe.pipeline.workflow import Overrides, load_workflow

        overrides = Overrides(
            settings=tuple(self.settings or ()),
            scenes=tuple(self.scenes or ()),
            sensor=self.sensor,
            output=self.output,
            workers=self.workers,
        )
        return load_workflow(workflow, overrides)


@app.command()
@guarded
def run(
    workflow: WorkflowFile,
    scenes: ScenePaths = None,
    sensor: Sensor = None,
    output: Output = None,
    settings: Settings = None,
    workers: Workers = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget earlier work on this output.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try scenes again that failed before.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Run a workflow: scenes in, GeoPackage out. A run that was stopped goes on where it stopped."""
    config = _Choice(scenes=scenes, sensor=sensor, output=output, settings=settings, workers=workers).load(workflow)
    from rspipe.pipeline.layout import Layout
    from rspipe.pipeline.lock import look

    look(Layout(config.output_folder).lock)  # before the imports that take seconds
    from rspipe.pipeline.progress import Progress
    from rspipe.pipeline.run import run as run_workflow

    with Progress(verbosity=int(verbose) - int(quiet)) as progress:
        code = run_workflow(config, fresh=fresh, retry_failed=retry_failed, progress=progress)
    raise typer.Exit(code)


@app.command()
@guarded
def plan(
    workflow: WorkflowFile,
    scenes: ScenePaths = None,
    sensor: Sensor = None,
    output: Output = None,
    settings: Settings = None,
    workers: Workers = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what a run would do: tasks, windows, bytes, memory; computes nothing."""
    config = _Choice(scenes=scenes, sensor=sensor, output=output, settings=settings, workers=workers).load(workflow)
    from rspipe.pipeline.preview import describe
    from rspipe.pipeline.progress import Progress

    with Progress() as progress:
        described = describe(config, progress)
    _write(json.dumps(described.as_json(), indent=2) if as_json else described.summary())


@app.command()
@guarded
def worker(workflow: WorkflowFile, settings: Settings = None, workers: Workers = None, debug: Debug = False) -> None:
    """Start workers on this machine for the scheduler that a workflow names; they end with it."""
    config = _Choice(scenes=None, sensor=None, output=None, settings=settings).load(workflow)
    from rspipe.pipeline.cluster import worker_command

    command, environment = worker_command(config.compute, workers)
    os.execve(command[0], command, environment)  # noqa: S606 - no shell, and variables must stand before any import


@app.command()
@guarded
def validate(
    workflow: WorkflowFile,
    scenes: ScenePaths = None,
    sensor: Sensor = None,
    output: Output = None,
    settings: Settings = None,
    debug: Debug = False,
) -> None:
    """Check a workflow and its scenes against the model's input contract; computes nothing."""
    config = _Choice(scenes=scenes, sensor=sensor, output=output, settings=settings).load(workflow)
    from rspipe.pipeline.preview import validate as validate_scenes

    findings = validate_scenes(config)
    for finding in findings:
        _write(str(finding))
    if findings:
        raise typer.Exit(SceneFailedError.exit_code)
    _write(f"{config.name}: the workflow and all of its scenes can be used")


@app.command()
@guarded
def schema(debug: Debug = False) -> None:
    """Print the JSON Schema of workflow files, for editors."""
    from rspipe.pipeline.config import WorkflowConfig

    _write(json.dumps(WorkflowConfig.model_json_schema(), indent=2))


@app.command()
@guarded
def simulate(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the scene's files.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same scene.")] = 0,
    height_px: Annotated[int, typer.Option(help="Rows.")] = 2048,
    width_px: Annotated[int, typer.Option(help="Columns.")] = 2048,
    pixel_size_m: Annotated[float, typer.Option(help="Side of a pixel on the ground.")] = 30.0,
    debug: Debug = False,
) -> None:
    """Write a simulated scene with its truth: a GeoTIFF per band and a scene.yaml."""
    from rspipe.catalogs.simulation import SimulationSpec
    from rspipe.pipeline.simulate import simulate as write_scene

    spec = SimulationSpec(seed=seed, height_px=height_px, width_px=width_px, pixel_size_m=pixel_size_m)
    write_scene(out, spec)
    sys.stderr.write(f"{out}: {height_px} x {width_px} pixels of seed {seed}\n")


@app.command()
@guarded
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The training file (YAML).")],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="What the file's folders are relative to.")],
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder of weights, card, log, checkpoints.")],
    settings: Settings = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Train a model, measure it on held-out folds, write weights and card; goes on where it stopped."""
    from rspipe.pipeline.progress import Progress
    from rspipe.pipeline.train import train as train_model
    from rspipe.pipeline.training import load_training

    plan = load_training(config, data, tuple(settings or ()))
    with Progress(verbosity=int(verbose) - int(quiet)) as progress:
        card = train_model(plan, output, progress)
    sys.stderr.write(f"{card}\n")


@app.command()
@guarded
def evaluate(
    model: ModelName,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A folder with images/ and masks/, same names.")],
    windows: Annotated[
        bool, typer.Option("--windows", help="Predict by the blended windows of a run, not in one piece.")
    ] = False,
    window_px: Annotated[
        int | None, typer.Option(metavar="N", help="Side of the windows, if not the card's; implies --windows.")
    ] = None,
    overlap_px: Annotated[
        int | None, typer.Option(metavar="N", help="Overlap of the windows, if not the card's; implies --windows.")
    ] = None,
    views: Annotated[str, typer.Option(help="none, flips (4 mirrorings) or d4 (with quarter turns: 8).")] = "none",
    scales: Annotated[str, typer.Option(help="Scales of every view, for instance 0.75,1,1.25.")] = "1",
    drop: Annotated[
        list[str] | None, typer.Option(metavar="BAND", help="Leave out an optional band; repeatable.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NUMBER=CLASS",
            help="What a number in the masks means: a class, several (A|B) if only that is known, nothing to ignore "
            "it; repeatable. Without, the numbers are the model's class ids.",
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure a model on labelled pictures: IoU with intervals, boundaries, confusion, calibration."""
    from rspipe.models.registry import resolve
    from rspipe.pipeline.evaluate import evaluate as evaluate_model
    from rspipe.pipeline.evaluating import Asked
    from rspipe.pipeline.progress import Progress
    from rspipe.pipeline.scoretable import score_table

    path = resolve(model)
    asked = Asked(windows=windows, window_px=window_px, overlap_px=overlap_px, views=views, scales=scales)
    settings = asked.settings(path, tuple(drop or ()), tuple(label or ()))
    with Progress(verbosity=-int(quiet)) as progress:
        found = evaluate_model(path, data, settings, progress)
    _write(json.dumps(found.as_json(), indent=2) if as_json else score_table(found))


@check_app.command()
@guarded
def seams(
    workflow: WorkflowFile,
    scenes: ScenePaths = None,
    sensor: Sensor = None,
    output: Output = None,
    settings: Settings = None,
    workers: Annotated[
        list[int] | None, typer.Option("--workers", min=1, metavar="N", help="Worker counts to compare; repeatable.")
    ] = None,
    bands: Annotated[
        list[int] | None, typer.Option("--bands", min=1, metavar="K", help="Window rows per task; repeatable.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Infer the scenes under several partitions: no pixel may change; and tell how visible the windows are."""
    config = _Choice(scenes=scenes, sensor=sensor, output=output, settings=settings).load(workflow)
    from rspipe.pipeline.check import check_seams
    from rspipe.pipeline.partition import partitions
    from rspipe.pipeline.progress import Progress

    with Progress(verbosity=-int(quiet)) as progress:
        found = check_seams(config, partitions(workers or (1, 2), bands or (1, 2, 3)), progress)
    _write(json.dumps([scene.as_json() for scene in found], indent=2) if as_json else "\n".join(map(str, found)))
    if any(scene.changed_px for scene in found):
        raise SceneFailedError("bytes hang on the partition: a fault in rspipe, please report it with the table above")


@models_app.command("list")
@guarded
def list_models(debug: Debug = False) -> None:
    """List the models that come with rspipe."""
    from rspipe.models.card import ModelCard
    from rspipe.models.registry import shipped

    for name, path in shipped().items():
        _write(f"{name}\t{ModelCard.read(path).title}")


@models_app.command()
@guarded
def show(model: ModelName, as_json: AsJson = False, debug: Debug = False) -> None:
    """Print a model's card: bands, units, resolution, legend, training, digest."""
    from rspipe.models.card import ModelCard
    from rspipe.models.cardtext import card_text
    from rspipe.models.registry import resolve

    path = resolve(model)
    _write(path.read_text(encoding="utf-8") if as_json else card_text(ModelCard.read(path)))


@models_app.command()
@guarded
def verify(model: ModelName, debug: Debug = False) -> None:
    """Check that a model's weights are the ones that its card describes."""
    from rspipe.models.predictor import Predictor
    from rspipe.models.registry import resolve

    path = resolve(model)
    card = Predictor.load(path).card
    _write(f"{card.model_id} {card.version}: {path} and its weights {card.weights_name} agree")


@models_app.command("export")
@guarded
def export_model(
    model: ModelName,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the graph and a copy of the card.")],
    debug: Debug = False,
) -> None:
    """Write a model as one graph (torch.export) that other programs can run, and tell how exact it is."""
    from rspipe.models.export import export
    from rspipe.models.registry import resolve

    _write(str(export(resolve(model), out)))


def _version(asked: bool) -> None:
    if asked:
        _write(f"rspipe {version('rspipe')}")
        raise typer.Exit


@app.callback()
def _top(
    _asked: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Whole satellite scenes in, clean and styled vector layers out."""


def _write(text: str) -> None:
    sys.stdout.write(f"{text.rstrip()}\n")


def main() -> None:
    """Run the command line."""
    os.environ["PROJ_NETWORK"] = "OFF"  # before PROJ is loaded; see `rspipe.catalogs.trust`
    app()
