"""`OrderClient` on the real stack: sending, waiting, and a broker that is down or hangs, or loses a message."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from producers.client import OrderClient
from producers.commands import Cancel, Close, Command, Positions, Withdraw
from producers.errors import BrokerUnavailable, IdReused, OrderRejected, OrderUnknown, ReportPending
from producers.intents import ALL_OUTBOXES
from producers.report import Outcome, Reason
from tests.integration.conftest import Ids
from tests.support.clients import ClientClass, client_class
from tests.support.stack import Stack
from tests.support.waiting import until

__all__ = ["client_class"]
UNAVAILABLE_SECONDS = 5.0
"""The claim: so soon a client is told that the broker is down or hangs."""


def withdrawal(address: str = "0xabc", qty: str = "0.01") -> Withdraw:
    """A withdrawal that is recognised at the venue by its address."""
    return Withdraw.model_validate({"account": "main", "asset": "ETH", "qty": qty, "address": address})


@pytest.fixture
def client(stack: Stack, client_class: ClientClass) -> Iterator[OrderClient]:
    with client_class(stack.queue_settings) as made:
        yield made


def addresses(stack: Stack) -> list[str]:
    """Where withdrawals went, in order of the addresses."""
    return sorted(each.fields["address"] for each in stack.venue.executions(path="/auth/withdraw"))


# -- sending and waiting -----------------------------------------------------------------------------------------------


def test_enqueue_and_wait(client: OrderClient) -> None:
    """The report is the command's, and says when it was enqueued."""
    before = time.time_ns() // 1_000_000
    sent = client.enqueue(withdrawal())
    report = client.wait(sent, 300).raise_for_outcome()
    assert (report.command_id, report.fingerprint) == (sent.command_id, sent.command.fingerprint)
    assert report.outcome is Outcome.ACCEPTED
    assert (report.enqueued_at or 0) >= before
    assert client.report(sent) == client.report(sent.command_id) == report


def test_enqueue_many_and_wait_for_all(stack: Stack, client: OrderClient) -> None:
    """Reports come in the order of the commands, whatever order they end in."""
    stack.venue.fault("slow", path="withdraw", delay_ms=300)
    commands: list[Command | tuple[Command, str | None]] = [
        withdrawal(),
        Positions(account="bz", contract_id=101),
        (Cancel(account="main", order_id="order-1"), "a-cancel-of-mine"),
        Cancel(account="main", order_id="no"),
        Close(account="main", pair="USD_BTC_PERP"),
        *[Positions(account="main") for _ in range(30)],
    ]
    sent = client.enqueue_many(commands)
    reports = client.wait_many(sent, 300)
    assert [report.command_id for report in reports] == [each.command_id for each in sent]
    assert sent[2].command_id == "a-cancel-of-mine"
    assert [report.outcome.value for report in reports[:5]] == ["accepted"] * 3 + ["rejected", "accepted"]
    assert reports[1].positions
    with pytest.raises(OrderRejected, match="not found"):
        reports[3].raise_for_outcome()


def test_no_report_yet(stack: Stack, client: OrderClient) -> None:
    """Waiting in vain is not failing: the same command can be waited for again."""
    held = stack.venue.fault("hold", path="withdraw")
    sent = client.enqueue(withdrawal())
    stack.venue.wait(arrivals=1)
    assert client.report(sent) is None
    with pytest.raises(ReportPending, match=sent.command_id):
        client.wait(sent, 0.2)
    stack.venue.release(fault_id=held)
    assert client.wait(sent, 300).outcome is Outcome.ACCEPTED


def test_the_error_of_an_unknown_outcome_carries_the_whole_report(stack: Stack, client: OrderClient) -> None:
    stack.venue.fault("cut_after", path="withdraw")
    report = client.wait(client.enqueue(withdrawal()), 300)
    assert report.reason is Reason.LOST_REPLY
    with pytest.raises(OrderUnknown) as caught:
        report.raise_for_outcome()
    assert caught.value.report == report.to_json()


def test_an_id_of_another_command(stack: Stack, client: OrderClient, ids: Ids) -> None:
    """The second command is told by `IdReused`; who asks by the id alone gets the report that stands."""
    first = client.enqueue(withdrawal(qty="0.01"), ids("twice"))
    stands = client.wait(first, 300)
    stack.drained()
    second = client.enqueue(withdrawal(qty="0.02"), ids("twice"))
    stack.drained()
    with pytest.raises(IdReused):
        client.wait(second, 300)
    with pytest.raises(IdReused):
        client.report(second)
    assert client.wait(ids("twice"), 300).fingerprint == stands.fingerprint
    assert [execution.fields["qty"] for execution in stack.venue.executions()] == ["0.01"]


def test_threads_share_a_client(stack: Stack, client: OrderClient, ids: Ids) -> None:
    """Each thread gets its own reports. Each sends its command three times, as a producer does that does not know
    whether it has sent it: it is executed once."""

    def one(number: int) -> tuple[str, str]:
        for _ in range(3):
            sent = client.enqueue(withdrawal(f"0x{number:02}"), ids(f"thread-{number}"))
        report = client.wait(sent, 300)
        return report.command_id, report.outcome.value

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(40))) == [(ids(f"thread-{number}"), "accepted") for number in range(40)]
    stack.drained()
    assert addresses(stack) == [f"0x{number:02}" for number in range(40)]


# -- the server is down, or hangs --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_stack(make_bed: Callable[..., Stack]) -> Stack:
    """A worker whose server is killed; it lives on."""
    return make_bed(ORDERS_HTTP__READ_TIMEOUT_SECONDS="120", ORDERS_LEDGER__INTENT_SECONDS="1")


@pytest.fixture
def outage(own_stack: Stack) -> Iterator[Stack]:
    """The same with a fresh venue."""
    own_stack.reset_venue()
    yield own_stack
    own_stack.venue.clear_faults()
    own_stack.venue.release("drop")
    own_stack.drained(60)


@pytest.mark.parametrize("trouble", ["SIGKILL", "SIGSTOP"])
@pytest.mark.parametrize("used", [False, True], ids=["fresh client", "used client"])
def test_the_broker_is_away(outage: Stack, trouble: str, used: bool, client_class: ClientClass) -> None:
    """Within 5 s the client is told, with the ids; sending again with the same ids executes once."""
    server = outage.setup.broker.container
    with client_class(outage.queue_settings) as client:
        if used:
            client.wait(client.enqueue(Positions(account="main")), 300)
        server.kill(trouble)
        told: list[BrokerUnavailable] = []
        for command in (withdrawal("0x0"), withdrawal("0x1")):
            started = time.monotonic()
            with pytest.raises(BrokerUnavailable) as caught:
                client.enqueue(command)
            assert time.monotonic() - started < UNAVAILABLE_SECONDS
            told.append(caught.value)
        if trouble == "SIGKILL":
            server.start()
            server.ready()
        else:
            server.kill("SIGCONT")
        for number, error in enumerate(told):
            (command_id,) = error.command_ids
            sent = client.enqueue(withdrawal(f"0x{number}"), command_id)
            assert client.wait(sent, 300).outcome is Outcome.ACCEPTED
    outage.drained(60)
    assert addresses(outage) == ["0x0", "0x1"]


def test_a_client_waits_through_an_outage(outage: Stack, client_class: ClientClass) -> None:
    server = outage.setup.broker.container
    outage.venue.fault("hold", path="withdraw")
    with client_class(outage.queue_settings) as client, ThreadPoolExecutor(1) as pool:
        sent = client.enqueue(withdrawal())
        outage.venue.wait(arrivals=1)
        waiting = pool.submit(client.wait, sent, 300)
        until(lambda: outage.results.pubsub_numsub(f"celery-task-meta-{sent.command_id}")[0][1], "the client listening")
        server.kill("SIGKILL")
        with pytest.raises(ReportPending, match="can't be reached"):
            client.report(sent)
        outage.venue.release()
        outage.venue.wait(executions=1)
        server.start()
        server.ready()
        assert waiting.result(300).outcome is Outcome.ACCEPTED


# -- the broker loses a message ----------------------------------------------------------------------------------------


def test_a_lost_message_is_published_again(outage: Stack, client_class: ClientClass) -> None:
    """What `enqueue` returned for is executed although the broker lost it, and once although it was only late."""
    outage.worker.kill("SIGSTOP")
    with client_class(outage.queue_settings) as client:
        lost = client.enqueue(withdrawal("0xlost"))
        assert outage.broker.delete("orders.withdraw") == 1
        kept = client.enqueue(Cancel(account="main", order_id="order-1"))
        outage.worker.kill("SIGCONT")
        assert client.wait(kept, 300).outcome is Outcome.ACCEPTED
        assert client.wait(lost, 300).outcome is Outcome.ACCEPTED
    outage.drained(60)
    assert sorted(execution.path for execution in outage.venue.executions()) == ["/auth/cancel", "/auth/withdraw"]
    assert outage.ledger.exists(*ALL_OUTBOXES) == 0


def test_the_id_of_a_query_is_not_published_again(outage: Stack, client_class: ClientClass) -> None:
    """Its sender is told that it was not executed: it must not be, either, once the query's report has expired."""
    with client_class(outage.queue_settings) as client:
        query = client.enqueue(Positions(account="main"))
        assert client.wait(query, 300).outcome is Outcome.ACCEPTED
        reused = client.enqueue(withdrawal("0xreused"), query.command_id)
        outage.drained()
        with pytest.raises(IdReused):
            client.wait(reused, 300)
        assert outage.ledger.exists(*ALL_OUTBOXES) == 0
        outage.results.delete(f"celery-task-meta-{query.command_id}")
        client.enqueue(reused.command, reused.command_id)
        assert client.wait(reused, 300).reason is Reason.INVALID
    assert outage.venue.executions() == []


def test_many_threads_share_a_client(outage: Stack, client_class: ClientClass, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a web service's do: some were told that the broker, or the results, can't be reached, by a client that had
    come to its own limit. The server itself may take its time."""
    for limit in ("client.BROKER_SECONDS", "async_client.BROKER_SECONDS", "async_client.CALL_SECONDS"):
        monkeypatch.setattr(f"producers.{limit}", 100.0)
    threads = 150
    together = threading.Barrier(threads, timeout=120)
    outage.venue.fault("hold", path="withdraw", times=None)

    def waited(client: OrderClient) -> str:
        together.wait()
        sent = client.enqueue(withdrawal("0xmany"))
        together.wait()
        with pytest.raises(ReportPending) as pending:
            client.wait(sent, 1)
        return pending.value.cause

    with client_class(outage.queue_settings) as client, ThreadPoolExecutor(threads) as pool:
        assert {each.result() for each in [pool.submit(waited, client) for _ in range(threads)]} == {""}
