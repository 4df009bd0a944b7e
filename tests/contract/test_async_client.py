"""What is the asyncio client's alone: many waits over few connections, cancelled calls, and the stream of reports."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from producers import report_stream
from producers.async_client import AsyncOrderClient
from producers.commands import Cancel, Close, Positions
from producers.enqueued import EnqueuedCommand
from producers.errors import BrokerUnavailable, IdReused, ReportPending
from producers.redis.asynchronous import CONNECTIONS
from producers.report import Report
from producers.results import RESULT_KEY
from producers.settings import QueueSettings
from tests.contract.test_clients import OnServer
from tests.support.servers import Server
from tests.support.tcp_proxy import FaultyProxy
from tests.support.waiting import until

CLOSE = Close(account="main", pair="P", qty="0.5")
CANCEL = Cancel(account="main", order_id="1")
WAITS = 1000
BOUND_SECONDS = 120.0


@asynccontextmanager
async def client_of(server: Server | FaultyProxy, **more: Any) -> AsyncIterator[AsyncOrderClient]:
    """A client, which leaves no task behind."""
    before = asyncio.all_tasks()
    async with AsyncOrderClient(QueueSettings(redis_url=f"redis://127.0.0.1:{server.port}", **more)) as client:
        yield client
    assert asyncio.all_tasks() == before


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(BOUND_SECONDS):
            await test()

    asyncio.run(bounded())


def connections(server: Server) -> set[str]:
    """The server's clients, but for the one that asks."""
    with server.client() as client:
        return {each["id"] for each in client.client_list()} - {str(client.client_id())}


def listened_to(server: Server, *sent: EnqueuedCommand) -> bool:
    with server.client() as client:
        return all(count for _, count in client.pubsub_numsub(*(RESULT_KEY.format(each.command_id) for each in sent)))


async def listening(server: Server, *sent: EnqueuedCommand) -> None:
    await asyncio.to_thread(until, lambda: listened_to(server, *sent), "the client listening", BOUND_SECONDS)


# -- many waits --------------------------------------------------------------------------------------------------------


def test_a_thousand_waits_share_few_connections(own_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand tasks enqueue, wait and look at the same time. Only the one whose report comes reads anything."""
    read: list[str] = []
    read_stored = report_stream.read_stored

    def reading(checker: Any, command: Any, raw: Any) -> Any:
        read.append(command.command_id)
        return read_stored(checker, command, raw)

    monkeypatch.setattr(report_stream, "read_stored", reading)
    before = connections(own_server)

    async def one(client: AsyncOrderClient, enqueued: asyncio.Queue[EnqueuedCommand]) -> Report:
        sent = await client.enqueue(CLOSE)
        enqueued.put_nowait(sent)
        return await client.wait(sent, BOUND_SECONDS)

    async def test() -> None:
        async with client_of(own_server) as client:
            worker, enqueued = OnServer(client, own_server), asyncio.Queue[EnqueuedCommand]()
            waits = [asyncio.create_task(one(client, enqueued)) for _ in range(WAITS)]
            sent = [await enqueued.get() for _ in range(WAITS)]
            await listening(own_server, *sent)
            open_now = connections(own_server) - before
            assert 0 < len(open_now) <= 2 * CONNECTIONS + 2  # results, ledger, the subscription; the test's own
            worker.ends(sent[0])
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            assert read == [sent[0].command_id]
            for each in sent[1:]:
                worker.ends(each, "unknown")
            told = await asyncio.gather(*waits)
            assert {each.command_id for each in told} == {each.command_id for each in sent}
            assert sum(each.outcome == "unknown" for each in told) == WAITS - 1

    run(test)


@pytest.fixture
def own_server() -> Any:
    """A server that nobody else has a connection to."""
    with Server() as started:
        yield started


def test_a_cancelled_wait_leaves_nothing(own_server: Server) -> None:
    """Neither a subscription, nor a task, nor a connection; the others wait on."""

    async def test() -> None:
        async with client_of(own_server) as client:
            sent = await client.enqueue_many([CLOSE, CLOSE])
            waits = [asyncio.create_task(client.wait(each, BOUND_SECONDS)) for each in sent]
            await listening(own_server, *sent)
            waits[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits[0]
            await asyncio.to_thread(until, lambda: not listened_to(own_server, sent[0]), "the subscription's end")
            OnServer(client, own_server).ends(sent[1])
            assert (await waits[1]).command_id == sent[1].command_id
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await client.wait(sent[0], BOUND_SECONDS)
            assert not client._watcher._watches

    run(test)


def test_an_iteration_goes_on_after_a_cancelled_look_and_leaves_nothing_when_it_is_left(own_server: Server) -> None:
    """`asyncio.timeout` around `anext` ended it, as if the reports that were open had come."""

    async def test() -> None:
        async with client_of(own_server) as client:
            worker = OnServer(client, own_server)
            sent = await client.enqueue_many([CLOSE, CLOSE, CLOSE])
            coming = client.as_completed(sent, BOUND_SECONDS)
            for each in sent[:2]:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await anext(coming)
                worker.ends(each)
                assert (await anext(coming)).command_id == each.command_id
            del coming
            await asyncio.sleep(0)
            assert not client._watcher._watches

    run(test)


def test_a_closed_client_ends_its_waits(server: Server) -> None:
    async def test() -> None:
        async with client_of(server) as client:
            sent = await client.enqueue(CLOSE)
            wait = asyncio.create_task(client.wait(sent, BOUND_SECONDS))
            await listening(server, sent)
        with pytest.raises(ReportPending, match="the client was closed"):
            await wait

    run(test)


# -- another event loop ------------------------------------------------------------------------------------------------


def test_in_another_event_loop_nothing_is_sent(server: Server) -> None:
    """There the reply can't be read: a new id for what was enqueued would execute it twice."""
    server.flush()
    client = AsyncOrderClient(QueueSettings(redis_url=f"redis://127.0.0.1:{server.port}"))

    async def first() -> None:
        await client.enqueue(CLOSE)

    async def second() -> None:
        for call in (client.enqueue(CLOSE), client.report("an-id"), client.wait("an-id", 1)):
            with pytest.raises(RuntimeError, match="belongs to another event loop"):
                await call
        for made in (lambda: client.as_completed(["an-id"]), lambda: client.reports("an-id")):
            with pytest.raises(RuntimeError, match="belongs to another event loop"):
                made()

    run(first)
    run(second)
    with server.client() as redis:
        assert redis.llen("orders.close") == 1


# -- cancelled sending -------------------------------------------------------------------------------------------------


def test_an_enqueue_cancelled_after_the_sending_has_the_ids_too(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the mark of a broken chain is looked for, the command is enqueued already."""
    server.flush()

    async def test() -> None:
        async with client_of(server) as client:
            looking = asyncio.Event()

            async def look(*_: Any) -> None:
                looking.set()
                await asyncio.sleep(BOUND_SECONDS)

            monkeypatch.setattr(client._results, "script", look)
            enqueue = asyncio.create_task(client.enqueue(Positions(account="main"), "mine"))
            await looking.wait()
            enqueue.cancel()
            with pytest.raises(asyncio.CancelledError) as cancelled:
                await enqueue
            assert isinstance(cancelled.value.__cause__, BrokerUnavailable)
            assert cancelled.value.__cause__.command_ids == ("mine",)

    run(test)


@pytest.mark.parametrize("more", [{}, {"intents": False}], ids=["transaction", "thread"])
def test_of_a_cancelled_enqueue_it_is_not_known_whether_it_was_enqueued(server: Server, more: dict[str, bool]) -> None:
    """The cause has the ids. The reply that comes late is nobody's: the next command is answered by its own."""
    server.flush()
    proxy = FaultyProxy(server.url())

    async def test() -> None:
        async with client_of(proxy, **more) as client:
            await client.enqueue(CANCEL, "0")
            sent = len(proxy.received)
            proxy.replies_pass.clear()
            enqueue = asyncio.create_task(client.enqueue(CANCEL, "1"))
            await asyncio.to_thread(until, lambda: len(proxy.received) > sent, "the sending")
            enqueue.cancel()
            with pytest.raises(asyncio.CancelledError) as cancelled:
                await enqueue
            cause = cancelled.value.__cause__
            assert isinstance(cause, BrokerUnavailable)
            assert cause.command_ids == ("1",)
            proxy.replies_pass.set()
            for command_id in (*cause.command_ids, "2"):
                await client.enqueue(CANCEL, command_id)

    try:
        run(test)
    finally:
        proxy.close()
    with server.client(0) as broker:
        assert broker.llen(CANCEL.task) == 4


def test_a_client_is_told_in_time_however_many_wait_for_a_connection(own_server: Server) -> None:
    """A server that hangs lends no connection to those that come later."""

    async def test() -> None:
        async with client_of(own_server) as client:
            await client.enqueue(CANCEL)
            own_server.kill("SIGSTOP")
            try:
                ended = await asyncio.gather(*(client.enqueue(CANCEL) for _ in range(50)), return_exceptions=True)
            finally:
                own_server.kill("SIGCONT")
            assert {type(each) for each in ended} == {BrokerUnavailable}
            await client.enqueue(CANCEL)

    run(test)


# -- the stream --------------------------------------------------------------------------------------------------------


def test_a_stream_gives_the_reports_of_what_is_added_as_they_come(server: Server) -> None:
    """An error is about one command, and does not end it."""

    async def test() -> None:
        server.flush()
        async with client_of(server) as client, client.reports() as reports:
            worker = OnServer(client, server)
            first, second = await client.enqueue_many([(CLOSE, "1"), CANCEL])
            reports.add(first, second)
            worker.ends(second, "rejected")
            assert (await anext(reports)).command_id == second.command_id
            worker.ends(await client.enqueue(CANCEL, "1"))
            with pytest.raises(IdReused):
                await anext(reports)
            assert reports.open == []
            third = await client.enqueue(CLOSE)
            reports.add(third)
            coming = asyncio.create_task(anext(reports))
            await listening(server, third)
            assert reports.open == [third.command_id]
            worker.ends(third)
            assert (await coming).command_id == third.command_id

    run(test)


def test_a_closed_stream_ends(server: Server) -> None:
    """Also for the task that iterates over it while another closes it."""

    async def test() -> None:
        async with client_of(server) as client:
            reports = client.reports("1")
            ended = asyncio.create_task(anext(reports, None))
            await asyncio.sleep(0)
            reports.close()
            assert await ended is None
            assert [each async for each in reports] == []
            with pytest.raises(ValueError, match="the stream of reports is closed"):
                reports.add("2")

    run(test)


def test_a_stream_is_bounded_and_ends_with_its_client(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with client_of(server) as client:
            reports = client._reader.stream(2)
            reports.add("1", "2", "1")
            with pytest.raises(asyncio.QueueFull, match="at most 2 commands"):
                reports.add("3")
            assert reports.open == ["1", "2"]
            ended = asyncio.create_task(anext(reports))
            await asyncio.sleep(0)
        with pytest.raises(StopAsyncIteration):
            await ended

    run(test)
