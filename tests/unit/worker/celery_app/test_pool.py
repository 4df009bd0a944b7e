"""The pool of threads: what runs is waited for, what is stuck is not for ever, and no job ends a thread."""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from celery.concurrency import get_implementation
from celery.exceptions import WorkerLostError
from celery.worker import state

from tests.support.waiting import until
from worker.celery_app import pool as pool_module
from worker.celery_app.pool import TaskPool, use_own_threads


class Gate:
    """A job that waits until it may end."""

    def __init__(self) -> None:
        self.entered, self.opened, self.passed = threading.Event(), threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.entered.set()
        self.opened.wait(60)
        self.passed.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


@pytest.fixture
def pool() -> Iterator[TaskPool]:
    made = TaskPool(2)
    made.start()
    yield made
    made.stop()


def test_threads_mean_this_pool() -> None:
    """For the setting and for `--pool threads`, whose names Celery looks up in one place."""
    use_own_threads()
    assert get_implementation("threads") is TaskPool


def test_it_tells_of_itself_as_celerys_own_does(pool: TaskPool) -> None:
    assert pool.num_processes == 2
    shown = {name: pool.info[name] for name in ("max-concurrency", "threads")}
    assert shown == {"max-concurrency": 2, "threads": 2}
    with pytest.raises(NotImplementedError):
        pool.restart()


def test_a_warm_stop_waits_for_what_runs_and_drops_what_has_not_begun(gate: Gate) -> None:
    pool = TaskPool(1)
    pool.start()
    ran: list[int] = []
    pool.submit(gate, None)
    pool.submit(lambda: ran.append(1), None)
    assert gate.entered.wait(60)
    stopping = threading.Thread(target=pool.stop)
    stopping.start()
    until(pool._jobs.qsize, "the stop")
    assert stopping.is_alive()
    gate.opened.set()
    stopping.join(60)
    assert (gate.passed.is_set(), ran, stopping.is_alive()) == (True, [], False)


def test_a_stop_that_becomes_cold_leaves_a_thread_that_is_stuck(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process then ends: its threads are daemons. A second stop does not wait again."""
    monkeypatch.setattr(pool_module, "COLD_SECONDS", 0.0)
    monkeypatch.setattr(state, "should_terminate", None)
    pool = TaskPool(1)
    pool.start()
    pool.submit(gate, None)
    assert gate.entered.wait(60)
    stopping = threading.Thread(target=pool.stop)
    stopping.start()
    monkeypatch.setattr(state, "should_terminate", 0)
    stopping.join(60)
    pool.terminate()
    assert (stopping.is_alive(), gate.passed.is_set()) == (False, False)
    assert "has not ended, and is left" in caplog.text


@pytest.mark.parametrize("error", [ValueError("0xsecret"), MemoryError(), SystemExit(1), KeyboardInterrupt()], ids=repr)
def test_no_job_ends_a_thread(pool: TaskPool, caplog: pytest.LogCaptureFixture, error: BaseException) -> None:
    """Its owner is told, in words that quote nothing; and whatever that raises costs no thread either."""
    told: list[ExceptionInfo] = []

    def fail() -> None:
        raise error

    def tell(how: ExceptionInfo) -> None:
        told.append(how)
        raise error

    for _ in range(3):
        pool.submit(fail, tell)
    pool.submit(fail, None)
    until(lambda: len(told) == 3, "being told")
    ran: list[bool] = []
    pool.submit(lambda: ran.append(True), None)
    until(lambda: ran, "the next job")
    exceptions = [getattr(each.exception, "exc", each.exception) for each in told]
    assert {type(each) for each in exceptions} == {WorkerLostError}
    assert "0xsecret" not in caplog.text + "".join(each.traceback for each in told)


def test_celerys_way_in_is_called_in_a_thread(pool: TaskPool) -> None:
    """With what Celery hands to a pool, debug log included."""
    calls: list[Any] = []
    note: Callable[..., Any] = lambda *told: calls.append(told)  # noqa: E731
    logging.getLogger("celery.pool").setLevel(logging.INFO)
    pool.apply_async(
        lambda *given: given, (1, 2), accept_callback=note, callback=note, error_callback=note, soft_timeout=None
    )
    until(lambda: len(calls) == 2, "both calls")
    assert calls[1] == ((1, 2),)
    assert len(calls[0]) == 2
