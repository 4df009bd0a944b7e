"""`OrderClient` on the real stack: sending, waiting, and a broker that is down or hangs."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from producers.client import OrderClient
from producers.commands import Cancel, Close, Command, Positions, Withdraw
from producers.errors import BrokerUnavailable, IdReused, OrderRejected, OrderUnknown, ReportPending
from producers.report import Outcome, Reason
from tests.support.stack import Stack as Bed
from tests.support.waiting import until

pytestmark = pytest.mark.integration

PAIR = "USD_BTC_PERP"
UNAVAILABLE_SECONDS = 5.0
"""The claim: so soon a client is told that the broker is down or hangs."""


def withdrawal(address: str = "0xabc", qty: str = "0.01") -> Withdraw:
    """A withdrawal that is recognised at the venue by its address."""
    return Withdraw.model_validate({"account": "main", "asset": "ETH", "qty": qty, "address": address})


def client_of(bed: Bed) -> OrderClient:
    """A client of this bed."""
    return OrderClient(bed.queue_settings)


@pytest.fixture(scope="module")
def shared(make_bed: Callable[..., Bed]) -> Bed:
    """One worker for the tests that kill nothing."""
    return make_bed()


@pytest.fixture
def bed(shared: Bed) -> Iterator[Bed]:
    """The bed with the simulator as at its start."""
    shared.venue.reset()
    yield shared
    shared.venue.release("drop")
    shared.drained()


@pytest.fixture
def client(bed: Bed) -> Iterator[OrderClient]:
    """A client of the shared bed."""
    with client_of(bed) as orders:
        yield orders


# -- sending and waiting -----------------------------------------------------------------------------------------------


def test_enqueue_and_wait(client: OrderClient) -> None:
    """The report is the command's, and says when it was enqueued."""
    before = time.time_ns() // 1_000_000
    sent = client.enqueue(withdrawal())
    report = client.wait(sent, 30).raise_for_outcome()
    assert (report.command_id, report.fingerprint) == (sent.command_id, sent.command.fingerprint)
    assert report.outcome is Outcome.ACCEPTED
    assert report.enqueued_at is not None
    assert report.enqueued_at >= before
    assert client.report(sent) == report
    assert client.report(sent.command_id) == report


def test_enqueue_many_and_wait_for_all(bed: Bed, client: OrderClient) -> None:
    """Reports come in the order of the commands, whatever order they end in."""
    bed.venue.fault("slow", path="withdraw", delay_ms=300)
    commands: list[Command | tuple[Command, str | None]] = [
        withdrawal(),
        Positions(account="bz", contract_id=101),
        (Cancel(account="main", order_id="order-1"), "a-cancel-of-mine"),
        Cancel(account="main", order_id="no"),
        Close(account="main", pair=PAIR),
        *[Positions(account="main") for _ in range(30)],
    ]
    sent = client.enqueue_many(commands)
    reports = client.wait_many(sent, 30)
    assert [report.command_id for report in reports] == [each.command_id for each in sent]
    assert sent[2].command_id == "a-cancel-of-mine"
    assert [report.outcome.value for report in reports[:5]] == ["accepted"] * 3 + ["rejected", "accepted"]
    assert reports[1].positions
    with pytest.raises(OrderRejected, match="not found"):
        reports[3].raise_for_outcome()


def test_no_report_yet(bed: Bed, client: OrderClient) -> None:
    """Waiting in vain is not failing: the same command can be waited for again."""
    held = bed.venue.fault("hold", path="withdraw")
    sent = client.enqueue(withdrawal())
    bed.venue.wait(arrivals=1)
    assert client.report(sent) is None
    with pytest.raises(ReportPending, match=sent.command_id):
        client.wait(sent, 0.2)
    bed.venue.release(fault_id=held)
    assert client.wait(sent, 30).outcome is Outcome.ACCEPTED


def test_an_unknown_outcome_is_told(bed: Bed, client: OrderClient) -> None:
    """The error carries the whole report."""
    bed.venue.fault("cut_after", path="withdraw")
    report = client.wait(client.enqueue(withdrawal()), 30)
    assert report.reason is Reason.LOST_REPLY
    with pytest.raises(OrderUnknown) as caught:
        report.raise_for_outcome()
    assert caught.value.report == report.to_json()


def test_an_id_of_another_command(bed: Bed, client: OrderClient) -> None:
    """The second command is told by `IdReused`; who asks by the id alone gets the report that stands."""
    first = client.enqueue(withdrawal(qty="0.01"), "an-id-used-twice")
    stands = client.wait(first, 30)
    bed.drained()
    second = client.enqueue(withdrawal(qty="0.02"), "an-id-used-twice")
    bed.drained()
    with pytest.raises(IdReused):
        client.wait(second, 30)
    with pytest.raises(IdReused):
        client.report(second)
    assert client.wait("an-id-used-twice", 30).fingerprint == stands.fingerprint
    assert [execution.fields["qty"] for execution in bed.venue.executions()] == ["0.01"]


def test_threads_share_a_client(bed: Bed, client: OrderClient) -> None:
    """Each thread gets its own reports."""

    def one(number: int) -> bool:
        sent = client.enqueue(withdrawal(f"0x{number}"))
        report = client.wait(sent, 30)
        return (report.command_id, report.outcome.value) == (sent.command_id, "accepted")

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(40)))
    assert sorted(execution.fields["address"] for execution in bed.venue.executions()) == sorted(
        f"0x{number}" for number in range(40)
    )


def test_a_command_sent_twice_executes_once(bed: Bed, client: OrderClient) -> None:
    """A producer that does not know whether it sent a command sends it again."""
    for _ in range(3):
        client.enqueue(withdrawal(), "sent-three-times")
    assert client.wait("sent-three-times", 30).outcome is Outcome.ACCEPTED
    bed.drained()
    assert len(bed.venue.arrivals()) == 1


# -- the server is down, or hangs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["SIGKILL", "SIGSTOP"])
@pytest.mark.parametrize("used", ["fresh client", "used client"])
def test_the_broker_is_away(stage: Bed, trouble: str, used: str) -> None:
    """Within 5 s the client is told, with the ids; sending again with the same ids executes once."""
    server = stage.setup.broker.container
    with client_of(stage) as client:
        if used == "used client":
            client.wait(client.enqueue(Positions(account="main")), 30)
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
            assert client.wait(sent, 60).outcome is Outcome.ACCEPTED
    stage.drained(60)
    addresses = sorted(execution.fields["address"] for execution in stage.venue.executions())
    assert addresses == ["0x0", "0x1"]


def test_waiting_through_an_outage(stage: Bed) -> None:
    """A client that waits for a report goes on waiting when the server comes back."""
    server = stage.setup.broker.container
    stage.venue.fault("hold", path="withdraw")
    with client_of(stage) as client, ThreadPoolExecutor(1) as pool:
        sent = client.enqueue(withdrawal())
        stage.venue.wait(arrivals=1)
        waiting = pool.submit(client.wait, sent, 60)
        until(lambda: stage.results.pubsub_numsub(f"celery-task-meta-{sent.command_id}")[0][1], "the client listening")
        server.kill("SIGKILL")
        with pytest.raises(ReportPending, match="can't be reached"):
            client.report(sent)
        stage.venue.release()
        stage.venue.wait(executions=1)
        server.start()
        server.ready()
        assert waiting.result(60).outcome is Outcome.ACCEPTED


def test_many_threads_share_a_client(make_bed: Callable[..., Bed]) -> None:
    """As a web service's do: some were told that the broker, or the results, can't be reached, by a client that had
    come to its own limit."""
    threads = 150
    bed = make_bed(started=0)
    together = threading.Barrier(threads, timeout=30)

    def waited(client: OrderClient) -> str:
        together.wait()
        sent = client.enqueue(withdrawal("0xmany"))
        together.wait()
        with pytest.raises(ReportPending) as pending:
            client.wait(sent, 1)
        return pending.value.cause

    with client_of(bed) as client, ThreadPoolExecutor(threads) as pool:
        assert {each.result() for each in [pool.submit(waited, client) for _ in range(threads)]} == {""}


# -- the broker loses a message ----------------------------------------------------------------------------------------


def test_a_lost_message_is_published_again(make_bed: Callable[..., Bed]) -> None:
    """What `enqueue` returned for is executed although the broker lost it, and once although it was only late."""
    bed = make_bed(started=0, ORDERS_LEDGER__INTENT_SECONDS="1")
    bed.venue.reset()
    with client_of(bed) as client:
        lost = client.enqueue(withdrawal("0xlost"))
        assert bed.broker.delete("orders.withdraw") == 1
        kept = client.enqueue(Cancel(account="main", order_id="order-1"))
        bed.worker.start()
        bed.worker.ready()
        assert client.wait(kept, 30).outcome is Outcome.ACCEPTED
        assert client.wait(lost, 60).outcome is Outcome.ACCEPTED
    bed.drained()
    assert sorted(execution.path for execution in bed.venue.executions()) == ["/auth/cancel", "/auth/withdraw"]
    assert bed.ledger.zcard("orders:intents") == 0


def test_the_id_of_a_query_is_not_published_again(make_bed: Callable[..., Bed]) -> None:
    """Its sender is told that it was not executed: it must not be, either, once the query's report has expired."""
    bed = make_bed()
    bed.venue.reset()
    with client_of(bed) as client:
        query = client.enqueue(Positions(account="main"))
        assert client.wait(query, 30).outcome is Outcome.ACCEPTED
        reused = client.enqueue(withdrawal("0xreused"), query.command_id)
        bed.drained()
        with pytest.raises(IdReused):
            client.wait(reused, 30)
        assert bed.ledger.zcard("orders:intents") == 0
        bed.results.delete(f"celery-task-meta-{query.command_id}")
        client.enqueue(reused.command, reused.command_id)
        assert client.wait(reused, 30).reason is Reason.INVALID
    assert bed.venue.executions() == []
