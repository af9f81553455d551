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


@pytest.mark.parametrize("count", [1, 3])
def test_only_so_many_items_are_made_early_and_a_taker_may_leave(count: int) -> None:
    made, all_made = [], threading.Event()

    def items() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            if number == count:
                all_made.set()
            yield number

    found = ahead(items(), count)
    next(found)
    assert all_made.wait(10)
    found.close()  # type: ignore[attr-defined] # it is a generator
    assert made == list(range(count + 1))


def test_none_is_an_item_and_nothing_ends_at_once() -> None:
    assert list(ahead(iter([None, None]))) == [None, None]
    assert list(ahead(iter(()))) == []
