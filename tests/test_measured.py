"""What a training measured: sums over folds, through JSON and back, and told in words."""

import json

import numpy as np
import pytest
from picomodel import PICO_CARD

from rspipe.models.calibration import BINS, TEMPERATURES, TemperatureScan
from rspipe.models.metrics import Confusion
from rspipe.models.score import Score
from rspipe.pipeline.measured import Measured, folds_in_words, in_words, sum_of
from rspipe.pipeline.train import calibrated


def measured(seed: int, *scenes: str) -> Measured:
    rng = np.random.default_rng(seed)
    native, coarse = (
        Score({scene: Confusion(rng.integers(1, 100, (4, 4)) + 300 * np.eye(4, dtype=int)) for scene in scenes})
        for _ in range(2)
    )
    surprise = np.square(np.arange(len(TEMPERATURES), dtype=np.float64) - 20) + float(rng.random())
    reliability = np.zeros((len(TEMPERATURES), 3, BINS))
    reliability[20, :, -1] = 100, 97, 90
    lacking = {"cirrus, lwir11": Score({scene: Confusion(rng.integers(1, 100, (4, 4))) for scene in scenes})}
    return Measured(native=native, coarse=coarse, blended=TemperatureScan(surprise, reliability), lacking=lacking)


def test_json_and_back() -> None:
    one = measured(0, "a", "b")
    text = json.dumps(one.as_json(), allow_nan=False)
    assert Measured.from_json(text).as_json() == one.as_json()


def test_folds_add_up() -> None:
    folds = [measured(0, "a", "b"), measured(1, "c")]
    total = sum_of(folds)
    assert sorted(total.native.scenes) == ["a", "b", "c"]
    expected = sum(confusion.counts for fold in folds for confusion in fold.native.scenes.values())
    assert total.native.confusion.counts.tolist() == np.asarray(expected).tolist()
    assert total.blended.calibrated.sums[:, -1].tolist() == [200, 194, 180]
    lacking = sum(confusion.counts for fold in folds for confusion in fold.lacking["cirrus, lwir11"].scenes.values())
    assert total.lacking["cirrus, lwir11"].confusion.counts.tolist() == np.asarray(lacking).tolist()


def test_the_words_tell_scores_scenes_and_intervals() -> None:
    folds = [measured(0, "a", "b"), measured(1, "c")]
    text = folds_in_words(folds, PICO_CARD.legend, 120.0)
    total = sum_of(folds).native.confusion
    assert "2-fold cross-validation of this recipe over 3 scenes" in text
    assert f"mIoU {total.mean_iou:.3f} [" in text
    assert f"thin cloud {total.iou[1]:.2f} [" in text
    assert "averaged to 120 m" in text
    assert f"\nWithout cirrus, lwir11: mIoU {sum_of(folds).lacking['cirrus, lwir11'].confusion.mean_iou:.3f} [" in text
    assert "[unknown]" in in_words(measured(0, "a").native, PICO_CARD.legend)


def test_a_card_takes_the_likeliest_temperature_and_its_table() -> None:
    card = calibrated(PICO_CARD, sum_of([measured(0, "a", "b"), measured(1, "c")]))
    found = card.calibration
    assert found is not None
    assert card.temperature == TEMPERATURES[20]
    assert (found.scenes, found.window_px, found.overlap_px) == (3, 128, 64)
    assert found.expected_error == pytest.approx(0.07)
    assert [(entry.pixels, entry.confidence, entry.accuracy) for entry in found.bins] == [(200, 0.97, 0.9)]


def test_no_labelled_pixel_leaves_the_card_as_it_is() -> None:
    one = measured(0, "a")
    empty = Measured(native=one.native, coarse=one.coarse, blended=TemperatureScan.empty())
    assert calibrated(PICO_CARD, empty) == PICO_CARD
