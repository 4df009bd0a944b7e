"""What a client tells of commands and their reports, whichever client it is: workers are the test."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import pytest

from producers.commands import COMMANDS, Cancel, Close, Positions
from producers.enqueued import EnqueuedCommand
from producers.errors import BrokerUnavailable, ChainBroken, IdReused, ReportPending, ReportUnverified
from producers.report import Outcome, error_for
from producers.report_signature import sign_report
from producers.results import RESULT_KEY
from producers.settings import QueueSettings, SettingsError
from producers.testing import InMemoryOrders
from tests.model.conformance import report
from tests.support.clients import CLIENTS, TWINS
from tests.support.servers import Server
from tests.support.signing_keys import fixed_key
from tests.support.waiting import until

CLOSE = Close(account="main", pair="P", qty="0.5")
CANCEL = Cancel(account="main", order_id="1")
WORKER = fixed_key("worker", "1")
WORKERS_KEYS = f"worker/1={WORKER.public().to_text()}"


class Orders(Protocol):
    """A client, and what happens to the commands that it sends: nothing, until the test says so."""

    client: Any

    def ends(self, sent: EnqueuedCommand, outcome: str = "accepted") -> None: ...

    def was_never_sent(self, command_id: str) -> None: ...


class OnServer:
    """A client of a real server. Workers are the test, which stores results as they do."""

    def __init__(self, client: Any, server: Server) -> None:
        self.client, self._results = client, server.client(1)

    def ends(self, sent: EnqueuedCommand, outcome: str = "accepted") -> None:
        own = {"command_id": sent.command_id, "command": sent.command.name, "fingerprint": sent.command.fingerprint}
        told = report(outcome, **own)
        error = error_for(told)
        self.stores(sent.command_id, told.to_json() if error is None else error)

    def was_never_sent(self, command_id: str) -> None:
        self.stores(command_id, ChainBroken(report("rejected", command_id="before").to_json()))

    def stores(self, command_id: str, end: Any) -> None:
        failed = isinstance(end, Exception)
        result = {"exc_type": type(end).__name__, "exc_message": list(end.args)} if failed else end
        # The order of the members, by which the mark of a chain's link is known, is Celery's.
        raw = json.dumps({"status": "FAILURE" if failed else "SUCCESS", "result": result})
        self._results.set(RESULT_KEY.format(command_id), raw)
        self._results.publish(RESULT_KEY.format(command_id), raw)


class InMemory:
    """A client in memory."""

    def __init__(self, client: Any, orders: InMemoryOrders) -> None:
        self.client, self._orders = client, orders
        for command in COMMANDS.values():
            orders.answers(command, outcome=None)

    def ends(self, sent: EnqueuedCommand, outcome: str = "accepted") -> None:
        self._orders.settle(sent, outcome)

    def was_never_sent(self, command_id: str) -> None:
        self._orders.breaks_chain(command_id, report("rejected", command_id="before"))


@pytest.fixture(params=[*CLIENTS, *TWINS])
def orders(request: pytest.FixtureRequest) -> Iterator[Orders]:
    """Each client, and each of their twins in memory."""
    if twin := TWINS.get(request.param):
        with twin(backend := InMemoryOrders()) as client:
            yield InMemory(client, backend)
        return
    server = request.getfixturevalue("server")
    server.flush()
    with CLIENTS[request.param](QueueSettings(redis_url=server.url())) as client:
        yield OnServer(client, server)


# -- one report --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", Outcome)
def test_a_report_is_the_commands_own(orders: Orders, outcome: str) -> None:
    sent = orders.client.enqueue(CLOSE)
    assert orders.client.report(sent) is None
    orders.ends(sent, outcome)
    told = orders.client.wait(sent)
    assert (told.command_id, told.outcome, told.fingerprint) == (sent.command_id, outcome, CLOSE.fingerprint)
    assert orders.client.report(sent) == orders.client.report(sent.command_id) == told


def test_waiting_in_vain_is_not_failing(orders: Orders) -> None:
    sent = orders.client.enqueue(CLOSE)
    with pytest.raises(ReportPending, match=f"no report for {sent.command_id} within 0.01 s[.] It is not lost") as told:
        orders.client.wait(sent, 0.01)
    assert (told.value.command_id, told.value.cause) == (sent.command_id, "")
    orders.ends(sent)
    assert orders.client.wait(sent, 0).outcome is Outcome.ACCEPTED


def test_a_wait_that_can_not_end_and_a_command_that_is_none_are_refused(orders: Orders) -> None:
    sent = orders.client.enqueue(CLOSE)
    with pytest.raises(ValueError, match="not NaN"):
        orders.client.wait(sent, float("nan"))
    with pytest.raises(TypeError, match="a command is what `enqueue` returned, or its id"):
        orders.client.report(None)


def test_an_id_of_another_command_is_told(orders: Orders) -> None:
    """Who asks by the id alone gets the report that stands."""
    first = orders.client.enqueue(CLOSE, "twice")
    orders.ends(first)
    second = orders.client.enqueue(CANCEL, "twice")
    for ask in (orders.client.report, orders.client.wait):
        with pytest.raises(IdReused, match=r"id twice already belongs to .*close, outcome accepted"):
            ask(second)
    assert orders.client.wait("twice").fingerprint == CLOSE.fingerprint


def test_a_link_that_was_never_sent_is_told_until_it_is_sent(orders: Orders) -> None:
    orders.was_never_sent("link")
    for ask in (orders.client.report, orders.client.wait):
        with pytest.raises(ChainBroken, match=r"link was never sent: .* ended in rejected/refused"):
            ask("link")
    sent = orders.client.enqueue(CLOSE, "link")
    for each in (sent, "link"):
        assert orders.client.report(each) is None
    orders.ends(sent, "unknown")
    assert orders.client.wait("link").outcome is Outcome.UNKNOWN


def test_the_mark_of_a_query_is_deleted(orders: Orders) -> None:
    """It has no intent that would tell that it was sent."""
    orders.was_never_sent("link")
    orders.client.enqueue(Positions(account="main"), "link")
    assert orders.client.report("link") is None


@pytest.mark.parametrize("given", ["", "a" * 256, "with\nbreak"], ids=["empty", "long", "line break"])
def test_an_id_that_can_not_be_one_is_refused(orders: Orders, given: str) -> None:
    with pytest.raises(ValueError, match="a command id is 1 to 255 printable characters"):
        orders.client.enqueue(CLOSE, given)
    with pytest.raises(ValueError, match="a lane is named by"):
        orders.client.enqueue(CLOSE, lane="two words")


# -- many reports ------------------------------------------------------------------------------------------------------


def test_reports_come_in_the_order_of_the_commands(orders: Orders) -> None:
    """Those that have an id of their own and those that have not; an id that is given twice, twice."""
    sent = orders.client.enqueue_many([CLOSE, (CANCEL, "mine"), Positions(account="main")])
    for each in reversed(sent):
        orders.ends(each, "rejected")
    awaited = [*sent, "mine"]
    ids = [told.command_id for told in orders.client.wait_many(awaited)]
    assert ids == [sent[0].command_id, "mine", sent[2].command_id, "mine"]
    assert orders.client.wait_many([]) == []


def test_reports_are_given_as_they_come(orders: Orders) -> None:
    sent = orders.client.enqueue_many([CLOSE, CLOSE, CLOSE])
    orders.ends(sent[1])
    coming = orders.client.as_completed(sent, 60)
    assert next(coming).command_id == sent[1].command_id
    orders.ends(sent[2])
    assert next(coming).command_id == sent[2].command_id
    orders.ends(sent[0])
    assert [each.command_id for each in coming] == [sent[0].command_id]
    assert list(orders.client.as_completed([])) == []


def test_what_has_no_report_in_time_is_told_after_those_that_have(orders: Orders) -> None:
    sent = orders.client.enqueue_many([CLOSE, CANCEL])
    orders.ends(sent[1])
    coming = orders.client.as_completed(sent, 0.01)
    assert next(coming).command_id == sent[1].command_id
    with pytest.raises(ReportPending, match=sent[0].command_id):
        next(coming)


def test_an_error_is_about_one_command(orders: Orders) -> None:
    """Those that are left can be asked for again."""
    sent = orders.client.enqueue_many([(CLOSE, "1"), (CLOSE, "2")])
    orders.ends(sent[0])
    reused = orders.client.enqueue(CANCEL, "1")
    with pytest.raises(IdReused) as told:
        list(orders.client.as_completed([reused, sent[1]]))
    assert told.value.command_id == "1"
    orders.ends(sent[1])
    assert [each.command_id for each in orders.client.as_completed([sent[1]])] == ["2"]


# -- a real server -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=CLIENTS)
def on_server(request: pytest.FixtureRequest, server: Server) -> Iterator[OnServer]:
    """A client that believes signed reports alone."""
    server.flush()
    settings = QueueSettings(redis_url=server.url(), report_keys=WORKERS_KEYS)
    with CLIENTS[request.param](settings) as client:
        yield OnServer(client, server)


def test_what_is_not_signed_is_not_believed(on_server: OnServer) -> None:
    """It may still be replaced by what is."""
    assert on_server.client.verifies_reports
    sent = on_server.client.enqueue(CLOSE)
    on_server.ends(sent)
    with pytest.raises(ReportUnverified, match="it is not signed"):
        on_server.client.report(sent)
    with pytest.raises(ReportUnverified, match="it is not signed"):
        on_server.client.wait(sent, 0.01)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(on_server.client.wait, sent, 60)
        told = report(command_id=sent.command_id, fingerprint=CLOSE.fingerprint).to_json()
        on_server.stores(sent.command_id, sign_report(told, WORKER))
        assert waiting.result(60).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("name", CLIENTS)
def test_keys_that_are_none_are_told_at_once(name: str) -> None:
    for wrong in ({"report_keys": "worker"}, {"seal_key_file": "/nowhere"}):
        with pytest.raises(SettingsError, match=r"ORDERS_REPORT_KEYS|ORDERS_SEAL_KEY_FILE"):
            CLIENTS[name](QueueSettings(redis_url="redis://127.0.0.1:1", **wrong))


@pytest.mark.parametrize("name", CLIENTS)
def test_sealed_commands_have_their_sealers_name(server: Server, name: str) -> None:
    with CLIENTS[name](QueueSettings(redis_url=server.url()), signer=fixed_key("payroll")) as client:
        assert client.enqueue(CLOSE).command_id.startswith("payroll.")
        with pytest.raises(ValueError, match=r"begins with 'payroll[.]'"):
            client.enqueue(CLOSE, "mine")


@pytest.mark.parametrize("name", CLIENTS)
def test_a_wait_survives_the_servers_death(name: str) -> None:
    """The report of the one command comes while the server is there again, that of the other before it dies."""
    with Server() as own, CLIENTS[name](QueueSettings(redis_url=own.url())) as client, ThreadPoolExecutor(1) as pool:
        orders = OnServer(client, own)
        sent = client.enqueue_many([CLOSE, CANCEL])
        waiting = pool.submit(client.wait_many, sent, 120)
        until(lambda: own.client().pubsub_numsub(RESULT_KEY.format(sent[1].command_id))[0][1], "the client listening")
        orders.ends(sent[0])
        own.kill()
        with pytest.raises(ReportPending, match="can't be reached") as told:
            client.report(sent[0])
        assert told.value.unreachable
        with pytest.raises(BrokerUnavailable, match=r"not known to be enqueued: 1[.]"):
            client.enqueue(CLOSE, "1")
        own.start()
        orders.ends(sent[1], "unknown")
        assert [each.outcome for each in waiting.result(120)] == ["accepted", "unknown"]


@pytest.mark.parametrize("name", CLIENTS)
def test_a_lost_announcement_delays_a_report_and_no_more(server: Server, name: str) -> None:
    server.flush()
    with CLIENTS[name](QueueSettings(redis_url=server.url())) as client, ThreadPoolExecutor(1) as pool:
        sent = client.enqueue(CLOSE)
        waiting = pool.submit(client.wait, sent, 120)
        until(lambda: server.client().pubsub_numsub(RESULT_KEY.format(sent.command_id))[0][1], "the client listening")
        told = report(command_id=sent.command_id, fingerprint=CLOSE.fingerprint).to_json()
        server.client(1).set(RESULT_KEY.format(sent.command_id), json.dumps({"status": "SUCCESS", "result": told}))
        assert waiting.result(120).outcome is Outcome.ACCEPTED
