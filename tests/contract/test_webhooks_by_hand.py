"""What a person and the monitoring see of the webhooks: `orders webhooks`, the doctor and the gauges; and TLS."""

import json
import ssl
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
import redis

from producers.report import Outcome
from producers.report_signature import ReportKeys, sign_report
from tests.contract.conftest import OperatorFixture
from tests.support.certificates import CertificateAuthority, self_signed
from tests.support.orders_program import Orders, orders_in_process
from tests.support.raw_http_server import answer, peer
from tests.support.receiver import SECRET, Receiver
from tests.support.servers import Server
from tests.support.signing_keys import fixed_key
from worker.clock import SystemClock
from worker.ledger.keys import RECORD_KEY
from worker.ledger.stats import LedgerProbe
from worker.ledger.webhooks import Delivery, WebhookQueue
from worker.operations.doctor.findings import Level
from worker.operations.doctor.webhooks import check_receiver, check_webhook_queues
from worker.settings import WorkerSettings
from worker.webhook_settings import WebhookSettings
from worker.webhooks.sending import Result, Sending

ALL = tuple(outcome.value for outcome in Outcome)
LEASE_MS = 3_600_000
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as started:
        yield started


@pytest.fixture
def orders(
    server: Server, client: redis.Redis, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Orders:
    monkeypatch.setenv("ORDERS_REDIS_URL", server.url())
    return orders_in_process(capsys)


@pytest.fixture
def queue(operator: OperatorFixture) -> WebhookQueue:
    """A webhook with a report that waits, of ``waits``, and one that was given up, of ``gone``."""
    made = WebhookQueue(operator.client, "books")
    made.take(ALL, LEASE_MS)
    for name in ("gone", "waits"):
        operator.unknown(name)
    first = made.take(ALL, LEASE_MS).delivery
    assert first is not None
    made.give_up(first, "HTTP 500; tried for 24 h")
    return made


def settings(url: str, **changes: str) -> WebhookSettings:
    return WebhookSettings(url=url, secret=SECRET, **changes)  # type: ignore[arg-type]


def test_orders_webhooks_lists_what_waits_and_what_was_given_up(orders: Orders, queue: WebhookQueue) -> None:
    queue.take(ALL, LEASE_MS)
    assert "books" in orders("webhooks").out
    listed = orders("webhooks", "BOOKS").out
    assert [word in listed for word in ("gone", "waits", "given up", "HTTP 500; tried for 24 h")] == [True] * 4
    (found,) = orders("webhooks", "--json").document["webhooks"]
    assert (found["name"], found["waiting"], found["dead"], found["missed"]) == ("books", 1, 1, 0)
    document = orders("webhooks", "books", "--json").document
    assert [each["command_id"] for each in document["waiting_reports"]] == ["waits"]
    assert [each["command_id"] for each in document["dead_reports"]] == ["gone"]


def test_what_was_given_up_is_sent_again_by_hand(
    orders: Orders, queue: WebhookQueue, operator: OperatorFixture
) -> None:
    ran = orders("webhooks", "books", "--resend-dead", "--reason", "it is up", "--who", "ann", "--json")
    assert (ran.code, ran.document["resent"], ran.document["who"]) == (0, ["gone"], "ann")
    assert queue.state().dead == 0
    entry = operator.journal("gone")[-1]
    assert (entry["event"], entry["who"], entry["why"]) == ("webhook_resent", "ann", "it is up")
    assert orders("webhooks", "books", "--resend", "gone", "--reason", "again").code == 0
    assert {each.command_id for each in queue.waiting(10)} == {"gone", "waits"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("other",), "there is no webhook other; there are books"),
        (("books", "--resend", "gone"), "give NAME and --reason"),
        (("--resend-dead", "--reason", "x"), "give NAME and --reason"),
        (("books", "--resend", "nobody", "--reason", "x"), "the ledger has no report of nobody"),
    ],
)
def test_what_cannot_be_done_is_refused(orders: Orders, queue: WebhookQueue, words: tuple[str, ...], said: str) -> None:
    queue.take(ALL, LEASE_MS)
    ran = orders("webhooks", *words)
    assert ran.code != 0
    assert said in ran.err


def test_no_webhook_is_said(orders: Orders) -> None:
    assert "No worker has served a webhook" in orders("webhooks").out


def test_the_gauges_tell_what_waits(queue: WebhookQueue, operator: OperatorFixture) -> None:
    state = LedgerProbe(operator.client)().webhooks["books"]
    assert (state.waiting, state.dead, state.missed) == (1, 1, 0)
    assert abs(state.oldest - SystemClock().now_ms()) < 3_600_000


def test_the_doctor_says_what_was_given_up(queue: WebhookQueue, server: Server) -> None:
    own = WorkerSettings(redis_url=server.url(), webhooks={"books": settings("http://127.0.0.1:1/")})
    (found,) = check_webhook_queues(own)
    assert (found.level, found.message) == (Level.WARNING, "1 reports were given up")


def test_the_doctor_looks_at_the_receiver_and_its_clock(receiver: Receiver) -> None:
    found = check_receiver("books", settings(receiver.url))
    assert found.level is Level.OK
    assert "HTTP 405" in found.message
    assert "to=books" not in found.message
    late = formatdate(SystemClock().now_ms() / 1000 - 3600, usegmt=True)
    with peer(answer(f"HTTP/1.1 405 No\r\ndate: {late}\r\ncontent-length: 0\r\n\r\n".encode())) as behind:
        assert check_receiver("books", settings(behind.url + "/")).level is Level.FAULT
    with peer(
        answer(f"HTTP/1.1 405 No\r\ndate: Mon, 01 Jan {'9' * 20} 00:00:00 GMT\r\ncontent-length: 0\r\n\r\n".encode())
    ) as lying:
        assert check_receiver("books", settings(lying.url + "/")).level is Level.OK
    gone = check_receiver("books", settings("http://127.0.0.1:1/secret"))
    assert (gone.level, "secret" in gone.message) == (Level.FAULT, False)


def test_a_certificate_is_verified(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    right, wrong = authority.issue("server"), self_signed(tmp_path)
    stored, delivery = json.dumps({"outcome": "accepted"}), Delivery("1-0", "a", "accepted", 1, 1)
    for certificate, result in ((right, Result.DELIVERED), (wrong, Result.FAILED)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        with peer(answer(OK), tls=context) as tls:
            own = settings(tls.url + "/", ca_file=str(authority.certificate))
            attempted = Sending(own, SystemClock()).attempt(delivery, stored, 2)
            assert attempted.result is result
    assert attempted.said.endswith("TLS failed")


def test_no_proxy_of_the_environment_is_asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    delivery = Delivery("1-0", "a", "accepted", 1, 1)
    attempted = Sending(settings(receiver.url), SystemClock()).attempt(delivery, '{"outcome": "accepted"}', 2)
    assert attempted.result is Result.DELIVERED


def test_the_workers_own_signature_of_the_report_is_sent_with_it(receiver: Receiver, operator: OperatorFixture) -> None:
    key = fixed_key("worker")
    told = operator.unknown("a")
    sending = Sending(settings(receiver.url), SystemClock(), lambda report: sign_report(report, key))
    sending.attempt(Delivery("1-0", "a", "unknown", 1, 1), told.model_dump_json(), 2)
    keys = ReportKeys(f"worker/{key.kid}={key.public().to_text()}")
    assert keys.verified(receiver.received[0].report)["command_id"] == "a"


@pytest.mark.parametrize("spoilt", [b"\xff", b"[1]", b'{"outcome":5', b"{}"])
def test_a_report_that_cannot_be_read_is_not_sent_again(
    queue: WebhookQueue, orders: Orders, client: redis.Redis, spoilt: bytes
) -> None:
    client.hset(RECORD_KEY.format("gone"), "report", spoilt)
    ran = orders("webhooks", "books", "--resend", "gone", "--reason", "x")
    assert (ran.code, "can't be read" in ran.err, queue.state().dead) == (2, True, 1)
