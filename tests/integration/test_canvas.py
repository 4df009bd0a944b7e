"""Chains, groups and chords with commands in them: what is sent, what never is, and how each is told."""

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.canvas import Signature

from producers.client import OrderClient, Sent
from producers.commands import Cancel, Close, Command, Positions, Withdraw
from producers.errors import ChainBroken, ReportPending
from producers.report import Outcome
from tests.integration.conftest import Ids, journal_events, logs
from tests.support.stack import Stack
from tests.support.waiting import until

Sign = Callable[..., Signature]
Canvas = Callable[[Sign, Ids], Signature]

CLOSE = Close(account="main", pair="USD_BTC_PERP")
TAKEN, REFUSED = Cancel(account="main", order_id="order-1"), Cancel(account="main", order_id="no")
"""Cancels that the venue takes, and refuses."""


def withdrawal(address: str) -> Withdraw:
    """A withdrawal that is recognised by its address."""
    return Withdraw.model_validate({"account": "main", "asset": "ETH", "qty": "0.01", "address": address})


@pytest.fixture(params=["OrderClient", "a foreign client"])
def sign(request: pytest.FixtureRequest, stack: Stack, client: OrderClient) -> Sign:
    """Signatures of commands, by our client and by one that shares nothing with the product."""
    foreign: Celery = stack.setup.app

    def made(command: Command, command_id: str) -> Signature:
        if request.param == "OrderClient":
            return client.signature(command, command_id)
        options = {"task_id": command_id, "queue": command.task}
        return foreign.signature(command.task, kwargs=command.arguments(), immutable=True, **options)

    return made


def never_sent(stack: Stack, client: OrderClient, command_id: str) -> ChainBroken:
    """Wait until a command is told as never sent: by `OrderClient`, and as a FAILURE by any Celery client."""
    until(lambda: stack.results.exists(f"celery-task-meta-{command_id}"), f"the end of {command_id}")
    with pytest.raises(ChainBroken) as told:
        client.wait(command_id, 300)
    assert stack.setup.app.AsyncResult(command_id).state == "FAILURE"
    return told.value


def outcome_of(client: OrderClient, command_id: str) -> Outcome:
    return client.wait(command_id, 300).outcome


def pending(client: OrderClient, *commands: Any) -> None:
    for each in commands:
        with pytest.raises(ReportPending):
            client.wait(each, 0.2)


# -- what is sent ------------------------------------------------------------------------------------------------------

# `s` signs a command with the id that `i` makes of a word; `|` is the operator that Celery's users know.
ALL_TAKEN: dict[str, Canvas] = {
    "chain": lambda s, i: chain(s(TAKEN, i("a")), s(CLOSE, i("b")), s(withdrawal("c"), i("c"))),
    "group": lambda s, i: group(s(TAKEN, i("a")), s(CLOSE, i("b")), s(withdrawal("c"), i("c"))),
    "chord": lambda s, i: chord([s(TAKEN, i("a")), s(withdrawal("c"), i("c"))], s(CLOSE, i("b"))),
    "chord of one": lambda s, i: chord([s(TAKEN, i("a"))], s(CLOSE, i("b")) | s(withdrawal("c"), i("c"))),
    "group | body": lambda s, i: group(s(TAKEN, i("a")), s(withdrawal("c"), i("c"))) | s(CLOSE, i("b")),
    "head | group": lambda s, i: s(TAKEN, i("a")) | group(s(CLOSE, i("b")), s(withdrawal("c"), i("c"))),
    "group of chains": lambda s, i: group(s(TAKEN, i("a")) | s(CLOSE, i("b")), s(withdrawal("c"), i("c"))),
    "chord of chains": lambda s, i: chord([s(TAKEN, i("a")) | s(CLOSE, i("b"))], s(withdrawal("c"), i("c"))),
    "chord, body a group": lambda s, i: chord([s(TAKEN, i("a"))], group(s(CLOSE, i("b")), s(withdrawal("c"), i("c")))),
    "chain of groups": lambda s, i: chain(
        group(s(TAKEN, i("a")), s(withdrawal("c"), i("c"))), group(s(CLOSE, i("b")), s(withdrawal("d"), i("d")))
    ),
}


@pytest.mark.parametrize("canvas", ALL_TAKEN)
def test_everything_in_a_canvas_is_executed_once(
    stack: Stack, client: OrderClient, sign: Sign, ids: Ids, canvas: str
) -> None:
    """A chord of `OrderClient` signatures once raised NotImplementedError."""
    ALL_TAKEN[canvas](sign, ids).apply_async()
    asked = [ids(word) for word in ("a", "b", "c")]
    reports = [client.wait(command_id, 300) for command_id in asked]
    assert [(report.command_id, report.outcome) for report in reports] == [(each, Outcome.ACCEPTED) for each in asked]
    stack.drained()
    paths = [each.path for each in stack.venue.executions() if each.path != "/auth/withdraw"]
    assert paths == ["/auth/cancel", "/auth/close"] or (canvas == "group" and len(paths) == 2)


def test_a_group_runs_all_whatever_becomes_of_one(stack: Stack, client: OrderClient, ids: Ids) -> None:
    commands = {"accepted": withdrawal("g"), "rejected": REFUSED, "a": Positions(account="bz", contract_id=101)}
    group(client.signature(command, ids(word)) for word, command in commands.items()).apply_async()
    assert [outcome_of(client, ids(word)) for word in commands] == ["accepted", "rejected", "accepted"]


def test_a_chain_sent_twice_executes_once(stack: Stack, client: OrderClient, ids: Ids) -> None:
    """Both deliveries carry the ids of the signatures."""
    steps = client.signature(TAKEN, ids("a")) | client.signature(withdrawal("twice"), ids("b"))
    steps.apply_async()
    assert [outcome_of(client, ids(word)) for word in "ab"] == ["accepted"] * 2
    stack.drained()
    steps.apply_async()
    until(lambda: f"replayed id={ids('b')}" in logs(stack), "the second step, again")
    stack.drained()
    assert len(stack.venue.executions()) == 2


def test_a_link_of_a_plain_client_executes_once(stack: Stack, ids: Ids) -> None:
    """Celery gives a link no id, so each delivery of the cancel once executed another close."""
    arguments = {"account": "main", "pair": "USD_BTC_PERP", "qty": "0.5"}
    close = stack.setup.app.signature("orders.close", kwargs=arguments, queue="orders.close", immutable=True)
    for _ in range(2):
        send(stack.setup.app, ids("c"), TAKEN, link=close)
        stack.drained()
    assert [execution.path for execution in stack.venue.executions()] == ["/auth/cancel", "/auth/close"]


def send(app: Celery, command_id: str, command: Command, **options: Any) -> None:
    app.send_task(command.task, kwargs=command.arguments(), task_id=command_id, queue=command.task, **options)


# -- what never is -----------------------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[Canvas, str]] = {
    # The canvas with the refused `r`, and the words of what is never sent.
    "chain": (lambda s, i: chain(s(REFUSED, i("r")), s(CLOSE, i("x")), s(CLOSE, i("y"))), "xy"),
    "chord": (lambda s, i: chord([s(REFUSED, i("r")), s(TAKEN, i("ok"))], s(CLOSE, i("x"))), "x"),
    "group | body": (lambda s, i: group(s(REFUSED, i("r")), s(TAKEN, i("ok"))) | s(CLOSE, i("x")), "x"),
    "chord of one": (lambda s, i: chord([s(REFUSED, i("r"))], s(CLOSE, i("x"))), "x"),
    "chord, body a chain": (lambda s, i: chord([s(REFUSED, i("r"))], s(CLOSE, i("x")) | s(CLOSE, i("y"))), "xy"),
    "chord, body a group": (lambda s, i: chord([s(REFUSED, i("r"))], group(s(CLOSE, i("x")), s(CLOSE, i("y")))), "xy"),
    "chord of chains": (
        lambda s, i: chord([s(REFUSED, i("r")) | s(CLOSE, i("x")), s(TAKEN, i("ok"))], s(CLOSE, i("y"))),
        "xy",
    ),
    "chain, then a chord": (
        lambda s, i: chain(s(REFUSED, i("r")), chord([s(TAKEN, i("ok2"))], s(CLOSE, i("x")))),
        "x",
    ),
    "group of groups": (
        # Two cancels of one order would not both be taken.
        lambda s, i: chord(
            [group(s(REFUSED, i("r")), s(TAKEN, i("ok"))), s(withdrawal("2"), i("2"))], s(CLOSE, i("x"))
        ),
        "x",
    ),
}


@pytest.mark.parametrize("canvas", BROKEN)
def test_what_was_never_sent_is_told_as_that_and_why(
    stack: Stack, client: OrderClient, sign: Sign, ids: Ids, canvas: str
) -> None:
    """A chord's body was once pending for ever, and what is stored for a link passed for the command's own report."""
    build, unsent = BROKEN[canvas]
    build(sign, ids).apply_async()
    for word in unsent:
        told = never_sent(stack, client, ids(word))
        assert (told.command_id, told.report["command_id"]) == (ids(word), ids("r"))
        assert "was never sent: cancel" in str(told)
        assert "ended in rejected/refused" in str(told)
    assert outcome_of(client, ids("r")) is Outcome.REJECTED
    stack.drained()
    assert stack.venue.arrivals(path="/auth/close") == []


@pytest.mark.parametrize("outcome", ["rejected", "unknown", "not_sent"])
def test_a_chain_ends_with_the_first_that_is_not_accepted(
    stack: Stack, client: OrderClient, ids: Ids, outcome: str
) -> None:
    """The close is never queued; the result stored under its id names the command before it."""
    first = {"rejected": REFUSED, "unknown": TAKEN, "not_sent": Cancel(account="nobody", order_id="order-1")}[outcome]
    stack.venue.fault("cut_after", where={"id": "order-1"})
    (client.signature(first, ids("r")) | client.signature(CLOSE, ids("x"))).apply_async()
    before = stack.ended(ids("r"))
    assert before.report["outcome"] == outcome
    stack.drained()
    assert stack.venue.arrivals(path="/auth/close") == []
    assert journal_events(stack, ids("x")) == []
    link = stack.ended(ids("x"))
    assert (link.state, link.error, link.report) == ("FAILURE", "producers.errors.ChainBroken", before.report)


@pytest.mark.parametrize("command", [withdrawal("x"), Positions(account="main")], ids=["withdraw", "query"])
def test_a_link_that_is_sent_after_all_has_its_own_report(
    stack: Stack, client: OrderClient, ids: Ids, command: Command
) -> None:
    """It was once told as never sent while it was executed. A query has neither an intent nor a ledger record, and who
    asks for it by its id alone waits all the same."""
    x = ids("x")
    (client.signature(REFUSED, ids("r")) | client.signature(command, x)).apply_async()
    never_sent(stack, client, x)
    held = stack.venue.fault("hold", path=command.task.removeprefix("orders."))
    sent = client.enqueue(command, x)
    pending(client, sent, x, Sent(x, sent.command))
    stack.venue.wait(arrivals=2)
    assert client.report(x) is None
    stack.venue.release(fault_id=held)
    assert outcome_of(client, x) is Outcome.ACCEPTED


def test_a_link_that_is_being_executed_in_another_way_is_not_told_as_never_sent(
    stack: Stack, client: OrderClient, sign: Sign, ids: Ids
) -> None:
    """Neither `OrderClient` is told so, nor a plain Celery client, which believes the first result that it sees."""
    x = ids("x")
    held = stack.venue.fault("hold", path="withdraw")
    sign(withdrawal(x), x).apply_async()
    stack.venue.wait(arrivals=1)
    links = (sign(CLOSE, ids("before")), sign(withdrawal(x), x), sign(CLOSE, ids("after")))
    chain(sign(REFUSED, ids("r")), *links).apply_async()
    for word in ("before", "after"):
        never_sent(stack, client, ids(word))
    assert not stack.results.exists(f"celery-task-meta-{x}")
    pending(client, x)
    stack.venue.release(fault_id=held)
    assert outcome_of(client, x) is Outcome.ACCEPTED


STANDS: dict[str, Callable[[Signature, Signature, Signature], Signature]] = {
    "chain": lambda broken, link, last: chain(broken, link, last),
    "chord": lambda broken, link, last: chord([broken], link | last),
    "group body": lambda broken, link, last: chord([broken], group(link, last)),
}


@pytest.mark.parametrize("kind", STANDS)
def test_a_report_stands_whatever_chain_its_id_is_in(
    stack: Stack, client: OrderClient, sign: Sign, ids: Ids, kind: str
) -> None:
    """The report of an executed `unknown` withdrawal was once replaced by another command's refusal."""
    x = ids("x")
    stack.venue.fault("cut_after", path="withdraw")
    client.enqueue(withdrawal(x), x)
    assert outcome_of(client, x) is Outcome.UNKNOWN
    stack.drained()
    stored = stack.results.get(f"celery-task-meta-{x}")
    STANDS[kind](sign(REFUSED, ids("r")), sign(withdrawal(x), x), sign(CLOSE, ids("last"))).apply_async()
    never_sent(stack, client, ids("last"))
    stack.drained()
    assert stack.results.get(f"celery-task-meta-{x}") == stored


def test_nothing_follows_a_command_whose_id_is_anothers(stack: Stack, client: OrderClient, ids: Ids) -> None:
    """The first command of that id was accepted; the second is never executed, but once its close followed."""
    a = ids("a")
    client.enqueue(TAKEN, a)
    assert outcome_of(client, a) is Outcome.ACCEPTED
    stack.drained()
    others = [client.signature(Cancel(account="main", order_id=f"order-{number}"), a) for number in (2, 3)]
    (others[0] | client.signature(CLOSE, ids("x"))).apply_async()
    chord([others[1]], client.signature(CLOSE, ids("y"))).apply_async()
    for word in "xy":
        assert "belongs to another command" in str(never_sent(stack, client, ids(word)))
    stack.drained()
    assert stack.venue.arrivals(path="/auth/close") == []


def test_a_command_whose_result_is_ignored_ends_in_a_report(stack: Stack, client: OrderClient, ids: Ids) -> None:
    for word, command in (("accepted", TAKEN), ("rejected", REFUSED)):
        send(stack.setup.app, ids(word), command, ignore_result=True)
        assert outcome_of(client, ids(word)) == word


def test_what_can_never_be_sent_is_told_under_its_id(stack: Stack, client: OrderClient, ids: Ids) -> None:
    """A close whose signature asks for pickle can't be sent, and once nobody was told."""
    bad = client.signature(CLOSE, ids("x")).set(serializer="pickle")
    chain(client.signature(TAKEN, ids("a")), bad, client.signature(CLOSE, ids("y"))).apply_async()
    assert outcome_of(client, ids("a")) is Outcome.ACCEPTED
    for word in "xy":
        assert "can't be sent" in str(never_sent(stack, client, ids(word)))
