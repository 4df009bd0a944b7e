"""What a message names to follow its command: it is sent on as a message, and nothing else comes of it.

A sender writes it freely, and a worker sends it with its own login.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from producers.client import OrderClient
from producers.commands import Withdraw
from tests.support.compose_stack import CANCEL, POSITIONS, WITHDRAW, ComposeStack

REFUSED = {**CANCEL, "order_id": "no"}
"""A cancel that the venue refuses, so that what follows an error follows it."""


def signature(task: str, *args: Any, options: dict[str, Any] | None = None, **kwargs: Any) -> dict[str, Any]:
    """What is to follow a command, as Celery writes it."""
    names = {"task": task, "args": args, "kwargs": kwargs, "options": options or {}}
    return {**names, "subtask_type": None, "immutable": True}


STOLEN = {**WITHDRAW, "address": "0xstolen"}
WITHDRAWAL = signature("orders.withdraw", options={"queue": "orders.withdraw"}, **STOLEN)
BUILT_INS = {
    # What Celery's own tasks do with their arguments where they are called.
    "celery.accumulate": signature("celery.accumulate", {"outcome": "accepted"}, index=0),
    "celery.backend_cleanup": signature("celery.backend_cleanup"),
    "celery.chain": signature("celery.chain", WITHDRAWAL),
    "celery.chord": signature("celery.chord", [WITHDRAWAL], WITHDRAWAL),
    "celery.chord_unlock": signature("celery.chord_unlock", "group", WITHDRAWAL, result=[[["victim", None], None]]),
    "celery.chunks": signature("celery.chunks", {"task": "orders.withdraw"}, [[1]], 1),
    "celery.group": signature("celery.group", [WITHDRAWAL], [["group", None], []], "group", []),
    "celery.map": signature("celery.map", {"task": "orders.withdraw"}, ["0xstolen"]),
    "celery.starmap": signature("celery.starmap", {"task": "orders.withdraw"}, [["0xstolen"]]),
    "orders.reconcile by itself": signature("orders.reconcile"),
    "a command without its queue": signature("orders.positions", account="main", pair="X"),
}
FOLLOWS = ("callbacks", "errbacks", "chain", "chord")


@pytest.mark.parametrize("place", FOLLOWS)
def test_no_built_in_task_is_called_for_a_sender(stack: ComposeStack, place: str) -> None:
    """Celery calls a ``link_error`` that its worker knows right there: ``celery.starmap`` ran a withdrawal's task in a
    worker that takes none, past its queue and under no id."""
    order = REFUSED if place == "errbacks" else CANCEL
    marks = {name: node.log_size() for name, node in stack.workers.items()}
    for task in BUILT_INS.values():
        stack.venue.reset()
        follows = {"chord": task} if place == "chord" else {place: [task]}
        headers = stack.begin_chord() if place == "chord" else {}
        stack.ended(stack.send("orders.cancel", kwargs=order, embed=follows, headers=headers))
    stack.check_alive()
    logs = "".join(node.logs_from(marks[name]) for name, node in stack.workers.items())
    assert "0xstolen" not in {each.fields.get("address") for each in stack.venue.executions(path="/auth/withdraw")}
    assert "fault" not in logs
    assert "Errback" not in logs


@pytest.mark.parametrize("place", FOLLOWS)
def test_no_withdrawal_follows_what_a_login_for_cancels_may_send(stack: ComposeStack, place: str) -> None:
    """A worker sends on what a message names with its own login, which adds no withdrawals."""
    order, follower = (REFUSED if place == "errbacks" else CANCEL), f"stolen-{place}"
    task = signature("orders.withdraw", options={"queue": "orders.withdraw", "task_id": follower}, **STOLEN)
    headers = stack.begin_chord() if place == "chord" else {}
    stack.ended(
        stack.send(
            "orders.cancel",
            kwargs=order,
            embed={"chord": task} if place == "chord" else {place: [task]},
            headers=headers,
        )
    )
    stack.drained()
    assert not stack.admin(2).exists(f"orders:command:{follower}")
    assert ("worker", "key", "orders.withdraw") in stack.server.refusals()


@pytest.fixture
def victim(stack: ComposeStack) -> Iterator[str]:
    """The id of a withdrawal that is enqueued and waits; nothing is stored for it yet."""
    with OrderClient(stack.queue_settings("producer")) as client:
        held = stack.venue.fault("hold", path="withdraw")
        sent = client.enqueue(Withdraw.model_validate(WITHDRAW))
        stack.venue.wait(arrivals=1, path="/auth/withdraw")
        yield sent.command_id
        stack.venue.release(fault_id=held)
        assert client.wait(sent, 60).outcome == "accepted"


def test_no_failure_is_stored_under_another_commands_id(stack: ComposeStack, victim: str) -> None:
    """What Celery stores by itself for what follows a failed command: for each link, for the body of a chord, and for
    what is in it. The victim's sender would read that its withdrawal was refused, or never sent."""
    as_link = [
        signature("service.task", options={"task_id": victim}),
        signature("orders.close", options={"task_id": victim}),
    ]
    shapes: list[dict[str, Any]] = [
        *[{"chain": [link]} for link in as_link],
        *[{"chain": [signature("celery.map", options={"task_id": victim, "chord": link})]} for link in as_link],
        *[{"chord": link} for link in as_link],
        *[{"chord": signature("x", options={"task_id": victim, "link_error": as_link})}],
        *[
            {"chord": {**signature(f"celery.{kind}", tasks=as_link), "subtask_type": kind}}
            for kind in ("chain", "group")
        ],
        {"chord": "x"},
    ]
    for follows in shapes:
        headers = stack.begin_chord() if "chord" in follows else {}
        ended = stack.ended(stack.send("orders.cancel", kwargs=REFUSED, embed=follows, headers=headers))
        assert ended.outcome == ("rejected", "refused")
        assert stack.admin(1).get(f"celery-task-meta-{victim}") is None, follows


def test_a_callback_takes_no_key_and_no_exchange_of_the_brokers_own(stack: ComposeStack) -> None:
    """A message in the place of kombu's lock once ended the redelivery of all commands, for good."""
    names = ("unacked", "unacked_index", "unacked_mutex", "_kombu.binding.celery", "orders.close.dead", "celery.pidbox")
    exchanges = ("celery.pidbox", "reply.celery.pidbox", "celeryev", "orders.cancel")
    places: list[dict[str, Any]] = [
        *[{"queue": name} for name in names],
        *[{"exchange": "", "routing_key": name} for name in names],
        *[{"queue": {"name": name}} for name in names],
        *[{"exchange": name, "exchange_type": kind} for name in exchanges for kind in ("fanout", "direct", "topic")],
        {"exchange": {"name": "celery.pidbox", "type": "fanout"}},
        {"queue": "orders.cancel", "exchange": "", "routing_key": "orders.close.dead"},
    ]

    def taken() -> set[str]:
        """Where messages lie; workers keep hashes, sets and texts there, some of them for a moment."""
        return {name for name in names if stack.admin(0).type(name) == "list"}

    before = taken()
    for options in places:
        follows = {"callbacks": [signature("shutdown", options=options)]}
        ended = stack.ended(stack.send("orders.positions", kwargs=POSITIONS, embed=follows))
        assert ended.outcome == ("accepted", "ok")
    stack.drained()
    assert taken() == before
    assert stack.ping() == [{"ok": "pong"}] * 2
