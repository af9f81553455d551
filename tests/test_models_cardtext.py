"""The card as people read it: every fact that decides whether a scene can be used is there."""

from dataclasses import replace

from picomodel import PICO_CARD

from rspipe.models.cardtext import card_text


def test_the_card_tells_bands_classes_range_and_digest() -> None:
    text = card_text(replace(PICO_CARD, weights_sha256="ab" * 32))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "pico-clouds 1.2.3: Pico clouds" in lines
    assert "red reflectance required" in lines
    assert "lwir11 kelvin optional" in lines
    assert "3 cloud shadow #dd35df" in lines
    assert any("10 to 60 m" in line for line in lines)
    assert any("ab" * 32 in line for line in lines)
    assert "not trained" in lines
