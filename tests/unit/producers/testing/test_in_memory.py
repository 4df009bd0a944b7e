"""What a test of a service can choose: outcomes, no report yet, troubles; and that nothing leaves the process."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group

from producers.commands import Cancel, Close, Command, Positions, Withdraw
from producers.errors import BrokerUnavailable, ChainBroken, OrderUnknown, ReportPending
from producers.report import Outcome, Reason, Report
from producers.testing import InMemoryOrderClient, InMemoryOrders
from producers.testing.plugin import orders
from tests.support.signing_keys import fixed_key

__all__ = ["orders"]
CLOSE = Close(account="main", pair="P", qty="0.5")
CANCEL = Cancel(account="main", order_id="1")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection would fail the test. The settings name a server, which nothing may read."""

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setenv("ORDERS_REDIS_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("ORDERS_SEAL_KEY_FILE", "/nowhere")


# -- outcomes ----------------------------------------------------------------------------------------------------------


def test_a_command_is_accepted_unless_the_test_says_otherwise(orders: InMemoryOrders) -> None:
    orders.answers(Close, outcome="unknown", message="the venue hung up", venue_code=7)
    told = orders.client.wait(orders.client.enqueue(CLOSE))
    with pytest.raises(OrderUnknown, match="unknown/lost_reply: the venue hung up"):
        told.raise_for_outcome()
    assert (told.venue_code, told.attempts, told.account) == (7, 1, "main")
    assert orders.client.wait(orders.client.enqueue(CANCEL)).outcome is Outcome.ACCEPTED
    assert [each.command for each in orders.sent] == [CLOSE, CANCEL]


def test_unasked_it_says_what_a_worker_would(orders: InMemoryOrders) -> None:
    """Accepted positions are a list, and nothing is executed after its deadline."""
    assert orders.client.wait(orders.client.enqueue(Positions(account="main"))).positions == ()
    told = orders.client.wait(orders.client.enqueue(Close(account="main", pair="P", deadline=1)))
    assert (told.outcome, told.reason, told.attempts) == (Outcome.NOT_SENT, Reason.EXPIRED, 0)


@pytest.mark.parametrize("what", [Command, CLOSE, Report, 5], ids=["base", "instance", "report", "number"])
def test_an_answer_that_no_command_would_get_is_refused(orders: InMemoryOrders, what: Any) -> None:
    """Silently, the test would see `accepted` where it means `unknown`."""
    with pytest.raises(ValueError, match="the type of a command"):
        orders.answers(what, outcome="unknown")


def test_a_wrong_field_is_told_where_it_is_chosen(orders: InMemoryOrders) -> None:
    with pytest.raises(ValueError, match="attempts"):
        orders.answers(Close, outcome="unknown", attempts="many")
    assert orders.client.wait(orders.client.enqueue(CLOSE)).outcome is Outcome.ACCEPTED


def test_a_lane_and_a_chain_may_be_long(orders: InMemoryOrders) -> None:
    orders.answers("first", outcome=None)
    sent = orders.client.enqueue_many([(CLOSE, "first"), *[CLOSE] * 2000], lane="l")
    orders.settle("first", "accepted")
    assert {each.outcome for each in orders.client.wait_many(sent)} == {Outcome.ACCEPTED}
    links = [orders.client.signature(CANCEL) for _ in range(300)]
    chain(*links).apply_async()
    assert orders.client.wait(links[-1].id).outcome is Outcome.ACCEPTED


def test_who_waited_in_a_closed_event_loop_keeps_no_command_from_its_end(orders: InMemoryOrders) -> None:
    orders.answers("mine", outcome=None)

    async def leaves_a_stream_open() -> Any:
        client = orders.async_client
        await client.enqueue(CLOSE, "mine")
        return client.reports("mine")

    stream = asyncio.run(leaves_a_stream_open())
    orders.settle("mine", "accepted")
    assert (stream.open, orders.client.wait("mine").outcome) == (["mine"], Outcome.ACCEPTED)


def test_an_id_goes_before_a_type_and_outcomes_follow_each_other(orders: InMemoryOrders) -> None:
    orders.answers(Close, outcome=["not_sent", "accepted"], reason="")
    orders.answers("mine", outcome="not_sent", reason="halted")
    sent = orders.client.enqueue_many([CLOSE, (CLOSE, "mine"), CLOSE, CLOSE])
    told = [(each.outcome, each.reason) for each in orders.client.wait_many(sent)]
    assert told == [
        (Outcome.NOT_SENT, Reason.UNAVAILABLE),
        (Outcome.NOT_SENT, Reason.HALTED),
        (Outcome.ACCEPTED, Reason.OK),
        (Outcome.ACCEPTED, Reason.OK),
    ]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"outcome": "done"}, "an outcome is one of accepted, rejected, not_sent, unknown"),
        ({"outcome": "accepted", "reason": "halted"}, "the reasons of accepted are ok"),
        ({"outcome": "accepted", "color": "red"}, "a report has no field color"),
        ({"outcome": []}, "name an outcome at least"),
    ],
)
def test_an_answer_that_no_worker_gives_is_refused(orders: InMemoryOrders, wrong: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        orders.answers(Close, **wrong)


def test_an_id_is_executed_once(orders: InMemoryOrders) -> None:
    orders.answers(Close, outcome=["rejected", "accepted"])
    for _ in range(3):
        assert orders.client.wait(orders.client.enqueue(CLOSE, "mine")).outcome is Outcome.REJECTED


# -- no report yet -----------------------------------------------------------------------------------------------------


def test_what_has_no_report_yet_is_told_at_once_and_settled_later(orders: InMemoryOrders) -> None:
    """A test need not wait for the timeout of the service."""
    orders.answers(Withdraw, outcome=None)
    sent = orders.client.enqueue(Withdraw(account="main", asset="ETH", qty="1", address="0x"))
    with pytest.raises(ReportPending, match="within 3600 s"):
        orders.client.wait(sent, timeout=3600)
    orders.settle(sent, "unknown")
    assert orders.settle(sent, "accepted").outcome is orders.client.wait(sent).outcome is Outcome.ACCEPTED
    for again in ("unknown", "accepted"):
        with pytest.raises(ValueError, match=f"is accepted, which {again} does not replace"):
            orders.settle(sent, again)
    with pytest.raises(ValueError, match="no command with the id other was sent"):
        orders.settle("other", "accepted")


def test_a_report_that_comes_while_a_thread_or_a_task_waits(orders: InMemoryOrders) -> None:
    orders.patience_seconds = 60
    orders.answers(Close, outcome=None)
    sent = orders.client.enqueue(CLOSE)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(orders.client.wait, sent)
        orders.settle(sent, "rejected")
        assert waiting.result(60).outcome is Outcome.REJECTED

    async def test() -> None:
        async with orders.async_client as client, client.reports() as reports:
            reports.add(second := await client.enqueue(CLOSE))
            coming = asyncio.create_task(anext(reports))
            await asyncio.sleep(0)
            await asyncio.to_thread(orders.settle, second, "accepted")
            assert (await coming).command_id == second.command_id

    asyncio.run(test())


# -- troubles ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("enqueued", [False, True])
def test_a_broker_that_is_away(orders: InMemoryOrders, enqueued: bool) -> None:
    """Whether the command got through is seen by its report, as with a real broker; the same id is sent again."""
    with orders.broker_unavailable(enqueued=enqueued), pytest.raises(BrokerUnavailable, match=r"be enqueued: mine[.]"):
        orders.client.enqueue(CLOSE, "mine")
    assert bool(orders.client.report("mine")) is enqueued
    assert orders.client.wait(orders.client.enqueue(CLOSE, "mine")).outcome is Outcome.ACCEPTED
    assert len(orders.sent) == 1 + enqueued


def test_results_that_are_away(orders: InMemoryOrders) -> None:
    async def test() -> None:
        async with orders.async_client as client:
            sent = await client.enqueue(CLOSE)
            with orders.results_unavailable():
                for ask in (client.report(sent), client.wait(sent)):
                    with pytest.raises(ReportPending) as told:
                        await ask
                    assert told.value.unreachable
                with pytest.raises(ReportPending, match="the results are away"):
                    orders.client.wait(sent)
            assert (await client.wait(sent)).outcome is Outcome.ACCEPTED

    asyncio.run(test())


# -- order -------------------------------------------------------------------------------------------------------------


def test_commands_of_a_lane_go_one_after_the_other(orders: InMemoryOrders) -> None:
    orders.answers("1", outcome=None)
    sent = [orders.client.enqueue(CLOSE, each, lane="exit") for each in ("1", "2", "3")]
    other = orders.client.enqueue(CLOSE, "4", lane="entry")
    assert orders.client.report(other) is not None
    with pytest.raises(ValueError, match="2 waits in its lane"):
        orders.settle("2", "accepted")
    orders.settle("1", "unknown")
    assert orders.client.report(sent[1]) is None
    orders.settle("1", "not_sent")
    assert [each.outcome for each in orders.client.wait_many(sent)] == ["not_sent", "accepted", "accepted"]


def test_a_lane_that_passes_an_unknown_outcome(orders: InMemoryOrders) -> None:
    orders.answers("1", outcome="unknown")
    sent = [orders.client.enqueue(CLOSE, each, lane="exit", lane_on_unknown="pass") for each in ("1", "2")]
    assert [each.outcome for each in orders.client.wait_many(sent)] == ["unknown", "accepted"]


def test_a_chain_goes_on_after_what_was_accepted_alone(orders: InMemoryOrders) -> None:
    client = orders.client
    orders.answers(Cancel, outcome=["accepted", "rejected"])
    first, second, third = ([f"{number}{part}" for part in "abc"] for number in "123")
    for ids in (first, second):
        links = [client.signature(command, each) for command, each in zip((CLOSE, CANCEL, CLOSE), ids, strict=True)]
        chain(*links).apply_async()
    assert [each.outcome for each in client.wait_many(first)] == ["accepted"] * 3
    assert client.wait(second[1]).outcome is Outcome.REJECTED
    with pytest.raises(ChainBroken, match="cancel 2b, which comes before it, ended in rejected/refused"):
        client.wait(second[2])
    group(client.signature(CLOSE, each) for each in third).apply_async()
    assert [each.outcome for each in client.wait_many(third)] == ["accepted"] * 3


def test_what_is_not_run_in_memory_is_refused(orders: InMemoryOrders) -> None:
    body = orders.client.signature(CLOSE)
    for send in (lambda: orders.client._app.send_task("other"), lambda: chord([body, body], body).apply_async()):
        with pytest.raises(NotImplementedError):
            send()


# -- the package -------------------------------------------------------------------------------------------------------


def test_a_client_alone_accepts_everything_and_seals_its_ids() -> None:
    with InMemoryOrderClient(signer=fixed_key("payroll")) as client:
        sent = client.enqueue(CLOSE)
        assert sent.command_id.startswith("payroll.")
        assert client.wait(sent).outcome is Outcome.ACCEPTED


PLUGIN = """
import sys
import producers.testing, producers.testing.plugin
print(*{"celery", "pydantic", "redis"} & sys.modules.keys())
"""
SUITE = """
from producers import Close

def test_it(orders):
    orders.answers(Close, outcome="rejected")
    sent = orders.client.enqueue(Close(account="main", pair="P"))
    assert orders.client.wait(sent).outcome == "rejected"
"""


def test_the_plugin_imports_nothing_until_its_fixture_is_asked_for(run_python: Callable[..., str]) -> None:
    assert run_python("-c", PLUGIN).strip() == ""


def test_a_services_suite_has_the_fixture(run_python: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "test_service.py").write_text(SUITE)
    plugin = ["-p", "producers.testing.plugin"]
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    assert "1 passed" in run_python("-m", "pytest", "-q", *plugin, str(tmp_path), **environment)


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., str]:
    def run(*arguments: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
