"""Working one item ahead: order, errors in their turn, and never more than one item early."""

import threading
from collections.abc import Iterator

import pytest

from rspipe.pipeline.ahead import ahead


def test_items_come_in_order_from_another_thread() -> None:
    makers = []

    def items() -> Iterator[int]:
        for number in range(50):
            makers.append(threading.current_thread())
            yield number

    assert list(ahead(items())) == list(range(50))
    assert threading.current_thread() not in makers


def test_an_error_is_raised_behind_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second cannot be read")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="the second"):
        next(found)


def test_only_one_item_is_made_early_and_a_taker_may_leave() -> None:
    made = []

    def items() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            yield number

    found = ahead(items())
    next(found)
    found.close()  # type: ignore[attr-defined] # it is a generator
    assert made == [0, 1]


def test_none_is_an_item_and_nothing_ends_at_once() -> None:
    assert list(ahead(iter([None, None]))) == [None, None]
    assert list(ahead(iter(()))) == []
