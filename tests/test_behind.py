"""Working behind: order, one piece at a time, and errors that nobody can miss."""

import threading
import time
from functools import partial

import pytest

from rspipe.pipeline.behind import WAITING, Behind


def _note(done: list[tuple[int, threading.Thread]], number: int) -> None:
    done.append((number, threading.current_thread()))


def test_work_is_done_in_order_by_another_thread_and_is_over_at_the_end() -> None:
    done: list[tuple[int, threading.Thread]] = []
    with Behind() as behind:
        for number in range(20):
            behind.do(partial(_note, done, number))
    assert [number for number, _ in done] == list(range(20))
    assert threading.current_thread() not in {thread for _, thread in done}


def test_one_work_runs_at_a_time_and_four_may_wait() -> None:
    running, go, begun, taken = threading.Semaphore(1), threading.Event(), list[int](), list[int]()

    def work(number: int) -> None:
        assert running.acquire(blocking=False)
        begun.append(number)
        assert go.wait(60)
        running.release()

    def give() -> None:
        for number in range(10):
            behind.do(partial(work, number))
            taken.append(number)

    with Behind() as behind:
        giver = threading.Thread(target=give)
        giver.start()
        ends_at = time.monotonic() + 30
        while (len(taken) <= WAITING or not begun) and time.monotonic() < ends_at:
            time.sleep(0.01)
        giver.join(timeout=0.2)
        seen = list(begun), list(taken)
        go.set()
        giver.join()
    assert seen == ([0], list(range(1 + WAITING)))
    assert begun == taken == list(range(10))


def _fail() -> None:
    raise OSError("disk full")


def _fail_and_go_on(reached: list[int]) -> None:
    with Behind() as behind:
        behind.do(_fail)
        for number in range(100):
            behind.do(partial(reached.append, number))


def _fail_twice() -> None:
    with Behind() as behind:
        behind.do(_fail)
        raise ValueError("the block's own")


def test_what_fails_is_raised_by_a_later_work_or_at_the_end() -> None:
    with pytest.raises(OSError, match="disk full"), Behind() as behind:
        behind.do(_fail)
    reached: list[int] = []
    with pytest.raises(OSError, match="disk full"):
        _fail_and_go_on(reached)
    assert len(reached) <= WAITING


def test_an_error_of_the_block_is_not_hidden_by_one_behind_it() -> None:
    with pytest.raises(ValueError, match="the block's own"):
        _fail_twice()
