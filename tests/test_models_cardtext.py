"""The card as people read it: every fact that decides whether a scene can be used is there."""

from dataclasses import replace

from picomodel import PICO_CARD

from rspipe.models.cardtext import card_text
from rspipe.models.mlm import Calibration, Familiar, ReliabilityBin


def test_the_card_tells_bands_classes_range_and_digest() -> None:
    text = card_text(replace(PICO_CARD, weights_sha256="ab" * 32))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "pico-clouds 1.2.3: Pico clouds" in lines
    assert "red required reflectance, 0 to about 1" in lines
    assert "lwir11 may be missing brightness temperature in kelvin" in lines
    assert "3 cloud shadow #dd35df" in lines
    assert any("10 to 60 m" in line for line in lines)
    assert any("ab" * 32 in line for line in lines)
    assert "not trained" in lines
    assert any("divided by 1.5" in line and "no reliability table" in line for line in lines)


def test_the_card_says_whether_it_knows_what_is_unfamiliar() -> None:
    knowing = replace(PICO_CARD, familiar=Familiar(mean=(0.0,), whiten=((1.0,),)))
    text = " ".join(card_text(knowing).split())
    assert "raster `unfamiliarity`): 99% of those lie at a distance of at most 1." in text
    held_out = replace(PICO_CARD, familiar=Familiar(mean=(0.0,), whiten=((1.0,),), scenes=29))
    text = " ".join(card_text(held_out).split())
    assert "of the pixels of 29 scenes, each seen by a model that had learned nothing of it, 95% lie at a" in text
    assert "cannot say what is unfamiliar" in " ".join(card_text(PICO_CARD).split())


def test_the_reliability_table_is_told_in_words_and_numbers() -> None:
    bins = (
        ReliabilityBin(low=0.6, high=0.6667, pixels=250, confidence=0.64, accuracy=0.7),
        ReliabilityBin(low=0.9333, high=1.0, pixels=750, confidence=0.98, accuracy=0.95),
    )
    found = Calibration(scenes=29, window_px=256, overlap_px=128, expected_error=0.0375, bins=bins)
    text = " ".join(card_text(replace(PICO_CARD, calibration=found)).split())
    assert "labels of 29 scenes" in text
    assert "are 3.8% apart" in text
    assert "60% to 67% 64.0% 70.0% 25.0% 93% to 100% 98.0% 95.0% 75.0%" in text


def test_each_measured_statement_has_its_own_line() -> None:
    training = PICO_CARD.training.model_copy(update={"metrics": "mIoU 0.5.\nAt 120 m: 0.4."})
    lines = [line.strip() for line in card_text(replace(PICO_CARD, training=training)).splitlines()]
    assert "mIoU 0.5." in lines
    assert "At 120 m: 0.4." in lines
