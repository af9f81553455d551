"""`rspipe train`: from a YAML file and folders to weights that the predictor accepts."""

import json
import re
import shutil
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled import BANDS, random_patch, write_raster
from safetensors.torch import load_file
from sklearn.metrics import confusion_matrix
from tinytraining import fit
from torch import nn

from rspipe.models.acquaint import acquainted
from rspipe.models.build import build
from rspipe.models.card import ModelCard
from rspipe.models.data import Patch, digest_of
from rspipe.models.errors import CardError, DataError
from rspipe.models.familiar import Yardstick
from rspipe.models.feed import collated
from rspipe.models.foldersource import FolderSource
from rspipe.models.normalise import Normaliser
from rspipe.models.predictor import Predictor
from rspipe.pipeline.errors import ConfigError, EnvironmentFailedError
from rspipe.pipeline.lock import locked
from rspipe.pipeline.progress import Progress
from rspipe.pipeline.train import simulated_patches, train
from rspipe.pipeline.training import load_training

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
CPU = torch.device("cpu")
SHIPPED = Path(__file__).parents[1] / "workflows" / "train_cloud_thickness.yaml"
TINY = """
name: tiny
data: {train: [train], score: [val], pixel_m: 30.0}
simulated: {patches: 1, size_px: 64}
folds: {count: 2, folders: [train, val]}
recipe:
  legend: cloud-thickness
  model: {name: d2ls, pyramid: {size: pico, in_bands: 4}, classes: 4, width: 32, heads: 4, stages: 1}
  bands:
    - {name: blue, required: true, mean: 0.2, stddev: 0.1}
    - {name: nir, required: true, mean: 0.3, stddev: 0.2}
    - {name: cirrus, required: false, mean: 0.01, stddev: 0.02}
    - {name: lwir11, required: false, mean: 280.0, stddev: 15.0}
  feed: {batch: 2, crop: {size_px: 32}}
  optimiser: {steps: 10, warmup_steps: 1}
threads: 1
card:
  {model_id: tiny, version: 0.0.1, title: Tiny, description: For tests., licence: Apache-2.0,
   made_at: "2026-11-21T12:00:00Z", data: random, limits: useless}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training file, its data, and what came out of it."""
    place = tmp_path_factory.mktemp("finished")
    for folder, seeds in (("train", (0, 1)), ("val", (2,))):
        for seed in seeds:
            patch = random_patch(seed)
            name = f"{patch.name}.tif"
            write_raster(place / folder / "images" / name, patch.bands.numpy(), [band.name for band in BANDS])
            write_raster(place / folder / "masks" / name, patch.labels.numpy()[None])
    (place / "tiny.yaml").write_text(TINY, encoding="utf-8")
    fit(place / "tiny.yaml", place / "out")
    return place


@pytest.fixture
def config(finished: Path, tmp_path: Path) -> Path:
    """A copy of it all, to be changed; `out` beside the training file is finished."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path / "tiny.yaml"


def test_training_ships_weights_that_the_predictor_takes(finished: Path) -> None:
    path = finished / "out" / "tiny.json"
    card = ModelCard.read(path)
    assert (card.resolution_m.min, card.resolution_m.max) == (30.0, 120.0)
    assert card.calibration is not None
    assert (card.calibration.scenes, card.calibration.window_px, card.calibration.overlap_px) == (3, 256, 128)
    assert sum(entry.pixels for entry in card.calibration.bins) == 3 * 64 * 64
    assert card.familiar is not None
    assert "2-fold" in card.training.metrics
    assert "held-back" in card.training.metrics
    numbers = random_patch(5).bands[None]
    found = Predictor.load(path).probabilities(numbers, ~numbers.isnan())
    torch.testing.assert_close(found.sum(dim=1), torch.ones(1, 64, 64))


def test_the_unfamiliar_begins_where_one_in_twenty_cells_lies_that_folds_held_out(finished: Path) -> None:
    output = finished / "out"
    card = ModelCard.read(output / "tiny.json")
    normalise, patches = Normaliser.of(card.bands, CPU), [random_patch(seed) for seed in range(3)]
    lengths = []
    for fold, path in enumerate(sorted(output.glob("measured-*.json"))):
        names = json.loads(path.read_text(encoding="utf-8"))["native"]
        model = model_of_fold(output, fold, card)
        known, unseen = ([patch for patch in patches if (patch.name in names) is held] for held in (False, True))
        yardstick = Yardstick.of(acquainted(model, known, normalise), CPU)
        batch = collated(unseen, normalise)
        with torch.inference_mode():
            shown = model(batch.image, batch.valid, explain=True).profile
        lengths += yardstick(shown, torch.ones(len(unseen), 1, 16, 16, dtype=torch.bool)).flatten().tolist()
    assert card.familiar is not None
    assert card.familiar.scenes == 3
    final = Predictor.load(output / "tiny.json")._model
    training = acquainted(final, patches[:2], normalise)
    assert training.whiten[0][0] / card.familiar.whiten[0][0] == pytest.approx(np.quantile(lengths, 0.95), rel=0.02)


def test_every_patch_is_held_out_once(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "out" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    folds = [np.array(line["native"]) for line in lines if "native" in line and line["run"] != "score"]
    labels = torch.stack([random_patch(seed).labels for seed in range(3)]).numpy()
    assert len(folds) == 2
    assert np.sum(folds, axis=(0, 2)).tolist() == np.bincount(labels.ravel(), minlength=4).tolist()


def test_patches_beside_are_learned_from_in_every_fold_and_never_scored(config: Path, tmp_path: Path) -> None:
    shutil.move(tmp_path / "val", tmp_path / "more")
    text = TINY.replace("train: [train], score: [val]", "train: [train], beside: [more]").replace(
        "steps: 10", "steps: 2"
    )
    config.write_text(text.replace("folders: [train, val]", "folders: [train]"), encoding="utf-8")
    fit(config, tmp_path / "with")
    lines = [json.loads(line) for line in (tmp_path / "with" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    folds = [np.array(line["native"]).sum() for line in lines if "native" in line]
    assert folds == [64 * 64, 64 * 64]
    learned = {state["recipe"] for state in map(state_of, (tmp_path / "with" / "checkpoints").iterdir())}
    patches = [random_patch(seed) for seed in range(3)]
    recipe = load_training(config)
    simulated = simulated_patches(recipe)
    expected = {
        digest_of([*some, patches[2], *simulated], recipe.recipe.digest)
        for some in (patches[:2], patches[:1], patches[1:2])
    }
    assert learned == expected
    card = tmp_path / "with" / "tiny.json"
    np.testing.assert_allclose(familiar_mean(card), profiles(card, patches[:2]).mean(axis=0), atol=1e-4)


def familiar_mean(card: Path) -> tuple[float, ...]:
    familiar = ModelCard.read(card).familiar
    assert familiar is not None
    return familiar.mean


def profiles(path: Path, patches: list[Patch]) -> np.ndarray:
    """Return the profiles of all cells, (cells, channels), as the model itself shows them."""
    card = ModelCard.read(path)
    model = build(card.spec)
    model.load_state_dict(load_file(path.with_name(card.weights_name)), strict=False)
    batch = collated(patches, Normaliser.of(card.bands, CPU))
    with torch.inference_mode():
        shown = model.eval()(batch.image, batch.valid, explain=True).profile
    return np.asarray(shown.movedim(1, -1).flatten(0, 2).numpy())


def state_of(checkpoints: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((checkpoints / "state.json").read_text(encoding="utf-8"))
    return found


def test_what_a_missing_band_costs_is_measured_on_held_out_patches_without_training_anew(
    config: Path, tmp_path: Path
) -> None:
    output, log = tmp_path / "out", tmp_path / "out" / "log.jsonl"
    log.write_text(re.sub(r'"elapsed_s": [0-9.]+', '"elapsed_s": 999', log.read_text("utf-8")), encoding="utf-8")
    config.write_text(TINY.replace("count: 2,", "count: 2, without: [[cirrus], [cirrus, lwir11]],"), encoding="utf-8")
    card = ModelCard.read(fit(config, output))
    kept = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert sorted(line["run"] for line in kept if line.get("elapsed_s") == 999) == ["final", "fold-0", "fold-1"]
    lines = card.training.metrics.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("Without")] == [
        "Without cirrus",
        "Without cirrus, lwir11",
    ]
    patches = {patch.name: patch for patch in map(random_patch, range(3))}
    for fold, path in enumerate(sorted(output.glob("measured-*.json"))):
        predictor = Predictor(model_of_fold(output, fold, card), card, CPU, "float32")
        for scene, counts in json.loads(path.read_text(encoding="utf-8"))["lacking"]["cirrus, lwir11"].items():
            bands, present = patches[scene].bands[None], torch.ones(1, 4, 64, 64, dtype=torch.bool)
            present[:, 2:] = False
            guess = predictor.probabilities(bands, present).argmax(dim=1)[0]
            assert counts == confusion_matrix(patches[scene].labels.ravel(), guess.ravel(), labels=range(4)).tolist()


def model_of_fold(output: Path, fold: int, card: ModelCard) -> nn.Module:
    (state,) = (output / "checkpoints" / f"fold-{fold}").glob("step-*.safetensors")
    tensors = {name.removeprefix("average/"): tensor for name, tensor in load_file(state).items()}
    model = build(card.spec).eval()
    model.load_state_dict({name: tensors[name] for name in model.state_dict()})
    return model


def test_the_same_files_give_the_same_weights_and_a_finished_training_is_not_repeated(
    config: Path, tmp_path: Path
) -> None:
    one, other = tmp_path / "out" / "tiny.json", fit(config, tmp_path / "other")
    weights = one.with_suffix(".safetensors").read_bytes()
    assert weights == other.with_suffix(".safetensors").read_bytes()
    log = (tmp_path / "out" / "log.jsonl").read_text(encoding="utf-8").count("fold-")
    fit(config, tmp_path / "out")
    assert one.with_suffix(".safetensors").read_bytes() == weights
    assert (tmp_path / "out" / "log.jsonl").read_text(encoding="utf-8").count("fold-") == log


def test_a_checkpoint_of_other_data_is_refused(config: Path, tmp_path: Path) -> None:
    labels = random_patch(0).labels.numpy().copy()
    labels[0, 0] = 255
    write_raster(tmp_path / "train" / "masks" / "patch-0.tif", labels[None])
    with pytest.raises(DataError, match="other data"):
        fit(config, tmp_path / "out")


def test_settings_and_the_data_folder_win_over_the_file(config: Path, tmp_path: Path) -> None:
    found = load_training(config, tmp_path / "elsewhere", ["recipe.seed=7", "folds=null"])
    assert found.recipe.seed == 7
    assert found.folds is None
    assert found.data.train == (FolderSource(folder=tmp_path / "elsewhere" / "train"),)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("steps: 10", "stepz: 10"), "recipe.optimiser.stepz: unknown key; did you mean 'steps'?"),
        (("in_bands: 4", "in_bands: 5"), "recipe.bands: 4 are named, model.pyramid.in_bands is 5"),
        (("name: nir", "name: blue"), "recipe.bands: must differ and one be required"),
        (("name: nir", "name: rde"), "recipe.bands[1].name: unknown band 'rde'"),
        (("size: pico", "size: huge"), "recipe.model.pyramid.size: found 'huge'; should be 'pico', "),
        (("legend: cloud-", "legend: clod-"), "recipe.legend: unknown legend 'clod-thickness'"),
        (("threads: 1", "threads: true"), "threads: found True; should be a valid integer"),
        (("model_id: tiny", "model_id: Tiny!"), "card.model_id: found 'Tiny!'; "),
        (("limits: useless", "limits: useless, overlap_px: 192"), "card.overlap_px: found 192, at most half"),
        (("pixel_m: 30.0", "pixel_m: 300.0"), "data.pixel_m: found 300 m, recipe.feed.crop.coarsest_m 120 m"),
        (("simulated: {patches: 1, size_px: 64}", "simulated: null"), "recipe.feed: simulated_steps and simulated_sh"),
        (("count: 2,", "count: 2, without: [[cirrus, nir]],"), "folds.without: nir cannot be missing; optional bands"),
        (("crop: {", "crop: {mosiac: 1, "), "recipe.feed.crop.mosiac: unknown key; did you mean 'mosaic'?"),
    ],
)
def test_a_mistake_is_told_with_its_place_before_anything_is_read(
    config: Path, change: tuple[str, str], words: str
) -> None:
    assert change[0] in TINY
    config.write_text(TINY.replace(*change), encoding="utf-8")
    shutil.rmtree(config.parent / "train")
    with pytest.raises(ConfigError) as caught:
        load_training(config)
    line = next(line for line in str(caught.value).splitlines() if words in line)
    assert re.match(rf"{re.escape(str(config))}:\d+:\d+: {re.escape(words)}", line)


def test_a_folder_takes_one_training_at_a_time_and_must_be_one(config: Path, tmp_path: Path) -> None:
    with (
        locked(tmp_path / "out" / ".rspipe" / "lock"),
        pytest.raises(
            EnvironmentFailedError, match=r"out: another run is at work here \(pid .*choose another --output"
        ),
    ):
        fit(config, tmp_path / "out")
    with pytest.raises(EnvironmentFailedError, match="choose another with --output"):
        fit(config, config)


def test_a_setting_of_the_command_line_reads_a_b_value(config: Path) -> None:
    with pytest.raises(ConfigError, match="must read"):
        load_training(config, settings=["recipe.seed"])


def test_masks_without_a_label_teach_nothing(config: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "train" / "masks").iterdir():
        write_raster(path, np.full((1, 64, 64), 255, dtype=np.uint8))
    with pytest.raises(DataError, match=r"no pixel of 2 patches \(patch-0, patch-1 ...\) is labelled"):
        fit(config, tmp_path / "new")


def test_a_picture_without_a_label_is_left_out_and_named(config: Path, tmp_path: Path) -> None:
    write_raster(tmp_path / "train" / "masks" / "patch-1.tif", np.full((1, 64, 64), 255, dtype=np.uint8))
    said = StringIO()
    with Progress(said) as progress:
        train(load_training(config, settings=["folds=null"]), tmp_path / "with", progress)
    assert "warning: 1 of 2 pictures have no label and are left out: patch-1\n" in said.getvalue()
    for part in ("images", "masks"):
        (tmp_path / "train" / part / "patch-1.tif").unlink()
    train(load_training(config, settings=["folds=null"]), tmp_path / "without", Progress(StringIO()))
    weights = [(tmp_path / out / "tiny.safetensors").read_bytes() for out in ("with", "without")]
    assert weights[0] == weights[1]


def test_more_folds_than_patches_are_refused(config: Path, tmp_path: Path) -> None:
    config.write_text(TINY.replace("count: 2", "count: 9"), encoding="utf-8")
    with pytest.raises(ConfigError, match="only 3 patches from 3 scenes"):
        fit(config, tmp_path / "out")


def test_the_shipped_training_is_the_shipped_models(tmp_path: Path) -> None:
    recipe = load_training(SHIPPED, tmp_path).recipe
    card = ModelCard.read(SHIPPED.parents[1] / "models" / "cloud_thickness.json")
    assert card.spec == recipe.model
    assert card.bands == recipe.card_bands


def test_a_training_can_start_from_an_earlier_model(config: Path, tmp_path: Path) -> None:
    parent = tmp_path / "out" / "tiny.json"
    shown = load_file(parent.with_suffix(".safetensors"))
    slow = ["folds=null", "recipe.optimiser.lr=1e-9", "recipe.optimiser.lr_floor=1e-9", "recipe.seed=3"]
    with Progress(verbosity=-1) as progress:
        child = train(load_training(config, settings=[*slow, f"init_from={parent}"]), tmp_path / "child", progress)
        drawn = train(load_training(config, settings=slow), tmp_path / "drawn", progress)
    for name, tensor in load_file(child.with_suffix(".safetensors")).items():
        torch.testing.assert_close(tensor, shown[name], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(load_file(drawn.with_suffix(".safetensors"))["table"], shown["table"], atol=1e-2)


def test_a_start_from_another_architecture_is_refused_with_the_differences(config: Path, tmp_path: Path) -> None:
    parent = tmp_path / "out" / "tiny.json"
    config.write_text(TINY.replace("mean: 0.2", "mean: 0.5"), encoding="utf-8")
    words = r"2 differences: width: 32, the recipe has 64; bands\.0: blue in .*mean 0\.2"
    other = load_training(config, settings=["recipe.model.width=64", f"init_from={parent}"])
    with pytest.raises(CardError, match=words):
        train(other, tmp_path / "child", Progress(verbosity=-1))
