"""Working behind: order, one piece at a time, and errors that nobody can miss."""

import threading
import time
from functools import partial

import pytest

from rspipe.pipeline.behind import Behind


def _note(done: list[tuple[int, threading.Thread]], number: int) -> None:
    done.append((number, threading.current_thread()))


def test_work_is_done_in_order_by_another_thread_and_is_over_at_the_end() -> None:
    done: list[tuple[int, threading.Thread]] = []
    with Behind() as behind:
        for number in range(20):
            behind.do(partial(_note, done, number))
    assert [number for number, _ in done] == list(range(20))
    assert threading.current_thread() not in {thread for _, thread in done}


def test_of_what_waits_there_is_one_at_most() -> None:
    running = threading.Semaphore(1)

    def work() -> None:
        assert running.acquire(blocking=False)
        time.sleep(0.01)
        running.release()

    with Behind() as behind:
        for _ in range(5):
            behind.do(work)
            assert behind._last is not None


def _fail() -> None:
    raise OSError("disk full")


def _fail_and_go_on(reached: list[int]) -> None:
    with Behind() as behind:
        behind.do(_fail)
        behind.do(lambda: reached.append(1))


def _fail_twice() -> None:
    with Behind() as behind:
        behind.do(_fail)
        raise ValueError("the block's own")


def test_what_fails_is_raised_by_the_next_work_or_at_the_end() -> None:
    with pytest.raises(OSError, match="disk full"), Behind() as behind:
        behind.do(_fail)
    reached: list[int] = []
    with pytest.raises(OSError, match="disk full"):
        _fail_and_go_on(reached)
    assert not reached


def test_an_error_of_the_block_is_not_hidden_by_one_behind_it() -> None:
    with pytest.raises(ValueError, match="the block's own"):
        _fail_twice()
