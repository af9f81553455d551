"""`rspipe evaluate`: from a card and a folder to scores, against scikit-learn, numpy and the dumb oracle."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from labelled import write_raster
from picomodel import PICO_CARD, write_pico
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, jaccard_score, precision_score, recall_score
from typer.testing import CliRunner

from rspipe.models.errors import DataError
from rspipe.models.predictor import Predictor
from rspipe.pipeline.assessment import Assessment
from rspipe.pipeline.cli import app
from rspipe.pipeline.errors import ConfigError
from rspipe.pipeline.evaluate import evaluate
from rspipe.pipeline.evaluating import Asked, EvaluateSettings
from rspipe.pipeline.progress import Progress
from rspipe.pipeline.scoretable import score_table

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
NAMES = [band.name for band in PICO_CARD.bands]
CLASSES = [entry.name for entry in PICO_CARD.legend.classes]
SIDES = ((96, 64), (64, 64), (70, 90))


def picture(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers around the card's means, with holes; labels in blocks, some ignored."""
    rng = np.random.default_rng(seed)
    means, spreads = (np.array([getattr(band, name) for band in PICO_CARD.bands]) for name in ("mean", "stddev"))
    tiles = rng.normal(size=(3, height // 8 + 1, width // 8 + 1))
    smooth = np.kron(tiles, np.ones((8, 8)))[:, :height, :width] + 0.3 * rng.normal(size=(3, height, width))
    numbers = (means[:, None, None] + spreads[:, None, None] * smooth).astype(np.float32)
    numbers[0, :9, :13] = np.nan
    numbers[2, 30:50, 20:40] = np.nan
    labels = rng.choice(np.array([0, 1, 2, 3, 255], dtype=np.uint8), (height // 8 + 1, width // 8 + 1))
    return numbers, np.kron(labels, np.ones((8, 8), dtype=np.uint8))[:height, :width]


def write(folder: Path, pictures: list[tuple[np.ndarray, np.ndarray]]) -> Path:
    for index, (numbers, labels) in enumerate(pictures):
        write_raster(folder / "images" / f"p{index}.tif", numbers, NAMES)
        write_raster(folder / "masks" / f"p{index}.tif", labels[None])
    return folder


@pytest.fixture(scope="module")
def pictures() -> list[tuple[np.ndarray, np.ndarray]]:
    return [picture(seed, *sides) for seed, sides in enumerate(SIDES)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, pictures: list[tuple[np.ndarray, np.ndarray]]) -> Path:
    return write(tmp_path_factory.mktemp("data"), pictures)


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pico(tmp_path_factory.mktemp("pico"), seed=4)


def assess(card: Path, data: Path, settings: EvaluateSettings = EvaluateSettings()) -> Assessment:  # noqa: B008 - frozen
    with Progress(verbosity=-1) as progress:
        return evaluate(card, data, settings, progress)


def said(card: Path, numbers: np.ndarray) -> np.ndarray:
    given = torch.from_numpy(numbers)[None]
    return np.asarray(Predictor.load(card).probabilities(given, given.isfinite())[0])


def known(numbers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.asarray((labels < 4) & np.isfinite(numbers[:2]).all(axis=0))


def test_scores_are_scikit_learns(card: Path, data: Path, pictures: list[tuple[np.ndarray, np.ndarray]]) -> None:
    truth = np.concatenate([labels[known(numbers, labels)] for numbers, labels in pictures])
    guess = np.concatenate([said(card, numbers).argmax(axis=0)[known(numbers, labels)] for numbers, labels in pictures])
    found = assess(card, data).as_json()
    options: dict[str, Any] = {"average": None, "labels": range(4), "zero_division": 0}
    for name, score in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
        expected = score(truth, guess, **options)
        np.testing.assert_allclose([entry[name] or 0 for entry in found["classes"]], expected)
    ious = jaccard_score(truth, guess, **options)
    np.testing.assert_allclose([entry["iou"]["value"] for entry in found["classes"]], ious)
    assert found["mean_iou"]["value"] == pytest.approx(ious.mean())
    assert found["overall_accuracy"] == pytest.approx(accuracy_score(truth, guess))
    assert found["confusion"] == confusion_matrix(truth, guess, labels=range(4)).tolist()
    assert found["data"]["scored_pixels"] == len(truth)
    assert found["data"]["pixels"] == sum(height * width for height, width in SIDES)
    assert found["mean_iou"]["low"] <= found["mean_iou"]["value"] <= found["mean_iou"]["high"]


def test_windows_are_those_of_the_dumb_oracle(
    card: Path, data: Path, pictures: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    predictor, total = Predictor.load(card), np.zeros((4, 4), dtype=int)
    close = 0
    for numbers, labels in pictures:
        present = np.isfinite(numbers)

        def windowed(some: np.ndarray, there: np.ndarray) -> np.ndarray:
            return np.asarray(predictor.probabilities(torch.from_numpy(some)[None], torch.from_numpy(there)[None])[0])

        valid = present[:2].all(axis=0)
        blended = oracle.blend(np.where(present, numbers, 0), present, valid, windowed, (64, 32))
        at = known(numbers, labels)
        total += confusion_matrix(labels[at], blended.classes(valid)[at], labels=range(4))
        close += int((blended.margin()[at] < 1e-5).sum())
    found = assess(card, data, EvaluateSettings(windows=(64, 32)))
    assert np.abs(found.confusion.counts - total).sum() <= 2 * close
    assert found.confusion.counts.tolist() != assess(card, data).confusion.counts.tolist()


def test_a_window_that_covers_a_picture_gives_the_same_scores(card: Path, tmp_path: Path) -> None:
    folder = write(tmp_path, [picture(7, 64, 64)])
    whole = assess(card, folder).as_json()
    windowed = assess(card, folder, EvaluateSettings(windows=(64, 32))).as_json()
    assert whole.pop("settings") != windowed.pop("settings")
    assert whole == windowed


def test_a_dropped_band_is_a_missing_one(card: Path, data: Path, pictures: list[tuple[np.ndarray, np.ndarray]]) -> None:
    total = np.zeros((4, 4), dtype=int)
    for numbers, labels in pictures:
        lacking = numbers.copy()
        lacking[2] = np.nan
        at = known(numbers, labels)
        total += confusion_matrix(labels[at], said(card, lacking).argmax(axis=0)[at], labels=range(4))
    found = assess(card, data, EvaluateSettings(dropped=("lwir11",)))
    assert found.confusion.counts.tolist() == total.tolist()
    assert found.confusion.counts.tolist() != assess(card, data).confusion.counts.tolist()


def test_partial_labels_are_scored_apart(
    card: Path, tmp_path: Path, pictures: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    numbers, labels = pictures[0]
    raw = np.array([0, 7, 7, 3, 9], dtype=np.uint8)[np.minimum(labels, 4)]
    meanings = {"0": "clear", "3": "cloud shadow", "7": "thin cloud|thick cloud", "9": ""}
    found = assess(card, write(tmp_path, [(numbers, raw)]), EvaluateSettings(meanings=meanings))
    guess, at = said(card, numbers).argmax(axis=0), known(numbers, labels)
    partly = at & (raw == 7)
    pixels, hits = int(partly.sum()), int(np.isin(guess[partly], [1, 2]).sum())
    assert found.groups == [("thin cloud|thick cloud", pixels, hits)]
    rest = at & (raw != 7)
    assert found.confusion.counts.tolist() == confusion_matrix(raw[rest], guess[rest], labels=range(4)).tolist()
    assert found.as_json()["partial_labels"] == [
        {"any_of": ["thin cloud", "thick cloud"], "pixels": pixels, "allowed": hits}
    ]
    assert "thin cloud or thick cloud" in score_table(found)


def test_the_calibration_error_is_that_of_a_loop(
    card: Path, data: Path, pictures: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    bins: dict[int, list[tuple[float, bool]]] = {}
    for numbers, labels in pictures:
        probabilities, at = said(card, numbers), known(numbers, labels)
        for column, label in zip(probabilities[:, at].T, labels[at], strict=True):
            confidence = column.max().item()
            bins.setdefault(int(np.ceil(confidence * 15)), []).append((confidence, column.argmax() == label))
    total = sum(len(some) for some in bins.values())
    error = sum(abs(sum(right - given for given, right in some)) for some in bins.values()) / total
    assert assess(card, data).as_json()["calibration"]["expected_error"] == pytest.approx(error, abs=1e-6)


def test_views_change_what_is_predicted_and_are_told(card: Path, data: Path) -> None:
    viewed = assess(card, data, EvaluateSettings(symmetry="d4", scales=(0.75, 1.0)))
    assert viewed.confusion.counts.tolist() != assess(card, data).confusion.counts.tolist()
    assert "views: d4 at scales 0.75, 1" in score_table(viewed)


def test_one_picture_has_no_interval_and_an_empty_one_no_score(card: Path, tmp_path: Path) -> None:
    numbers, labels = picture(0, 64, 64)
    found = assess(card, write(tmp_path, [(numbers, np.full_like(labels, 255))])).as_json()
    assert found["mean_iou"] == {"value": None, "low": None, "high": None}
    assert found["overall_accuracy"] is found["calibration"]["expected_error"] is found["mean_f1"] is None
    json.dumps(found, allow_nan=False)


def test_a_required_or_unknown_band_cannot_be_dropped(card: Path, data: Path) -> None:
    for name in ("red", "purple"):
        with pytest.raises(ConfigError, match=f"--drop {name}: only optional bands.*lwir11"):
            assess(card, data, EvaluateSettings(dropped=(name,)))


def test_labels_without_a_meaning_are_refused(card: Path, data: Path) -> None:
    with pytest.raises(DataError, match="holds"):
        assess(card, data, EvaluateSettings(meanings={"0": "clear"}))
    with pytest.raises(DataError, match="fog"):
        assess(card, data, EvaluateSettings(meanings={"0": "clear|fog"}))


def asked(**options: Any) -> Asked:  # noqa: ANN401 - any option
    return Asked(
        **({"windows": False, "window_px": None, "overlap_px": None, "views": "none", "scales": "1"} | options)
    )


def test_options_become_settings(card: Path) -> None:
    assert asked().settings(card, (), ()) == EvaluateSettings()
    assert asked(windows=True).settings(card, (), ()).windows == (128, 64)
    assert asked(window_px=96).settings(card, (), ()).windows == (96, 32)
    assert asked(overlap_px=0).settings(card, (), ()).windows == (128, 0)
    found = asked(views="flips", scales="0.75,1").settings(card, ("lwir11",), ("4 = thin cloud|thick cloud", "9="))
    assert (found.symmetry, found.scales, found.dropped) == ("flips", (0.75, 1.0), ("lwir11",))
    assert found.meanings == {"4": "thin cloud|thick cloud", "9": ""}


@pytest.mark.parametrize(
    ("options", "labels", "words"),
    [
        ({"window_px": 33}, (), "multiple of 32"),
        ({"overlap_px": 96}, (), "half a window"),
        ({"views": "d8"}, (), "there are none, flips, d4"),
        ({"scales": "1,x"}, (), "0.25 to 4"),
        ({"scales": "nan"}, (), "0.25 to 4"),
        ({}, ("4",), "must read NUMBER=CLASS"),
    ],
)
def test_wrong_options_are_refused(card: Path, options: dict[str, Any], labels: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        asked(**options).settings(card, (), labels)


def test_the_command_writes_json_to_stdout(card: Path, data: Path) -> None:
    program = [sys.executable, "-c", "from rspipe.pipeline.cli import main; main()"]
    command = [*program, "evaluate", str(card), str(data), "--json", "--windows", "--drop", "lwir11"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    windows = EvaluateSettings(windows=(128, 64), dropped=("lwir11",))
    assert found["confusion"] == assess(card, data, windows).confusion.counts.tolist()
    assert (found["settings"]["window_px"], found["settings"]["overlap_px"]) == (128, 64)
    assert [entry["name"] for entry in found["classes"]] == CLASSES


def test_the_command_writes_a_table_for_people(card: Path, data: Path) -> None:
    done = CliRunner().invoke(app, ["evaluate", str(card), str(data), "--quiet"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert "pico-clouds 1.2.3 on 3 pictures" in done.stdout
    assert all(word in done.stdout for word in ("95% interval", "boundary F1", "expected calibration error"))


def test_data_that_cannot_be_used_is_exit_2_and_a_refused_model_5(card: Path, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    done = CliRunner().invoke(app, ["evaluate", str(card), absent, "--json"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "absent" in done.stderr
    other = tmp_path / "other"
    other.mkdir()
    path = write_pico(other)
    (other / PICO_CARD.weights_name).write_bytes(b"cut off")
    done = CliRunner().invoke(app, ["evaluate", str(path), absent])
    assert done.exit_code == 5, done.stderr
    assert "absent" not in done.stderr
    replace(PICO_CARD, weights_sha256="1" * 64).write(path)
    assert CliRunner().invoke(app, ["evaluate", str(path), absent]).exit_code == 5
