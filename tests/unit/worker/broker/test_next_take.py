"""When the next take is sent, and what the loop keeps in mind for it."""

from collections.abc import Iterator
from time import monotonic

import pytest
from kombu.asynchronous import Hub, get_event_loop, set_event_loop

from worker.broker.next_take import NextTake

DAY_MS = 86_400_000


@pytest.fixture
def hub() -> Iterator[Hub]:
    """An event loop of this process, which does not run by itself."""
    before, hub = get_event_loop(), Hub()
    set_event_loop(hub)
    yield hub
    set_event_loop(before)
    hub.close()


def timers(hub: Hub) -> list[float]:
    """For how many seconds each timer is ahead, once the loop has registered them."""
    for each in hub._pop_ready():
        each()
    return [entry.eta - monotonic() for entry in hub.timer.queue]


def test_a_message_that_is_due_in_a_day_leaves_no_timer_for_a_day(hub: Hub) -> None:
    """Each answer names it: a worker would keep a timer for each take of the day."""
    next_take = NextTake()
    for _ in range(100):
        next_take.start(1.0)
        next_take.answered(0, DAY_MS, held_back=False, is_empty=True)
    assert max(timers(hub)) <= 1.0


def test_what_is_due_before_the_next_look_has_its_own_timer(hub: Hub) -> None:
    """It does not wait for that look."""
    next_take = NextTake()
    next_take.start(3600.0)
    next_take.answered(0, 60_000, held_back=False, is_empty=True)
    assert 50.0 < timers(hub)[0] <= 60.0
