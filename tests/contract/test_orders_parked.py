"""`orders parked` on a real server: what it shows, in every width, and the end of a cool-down."""

import re
import time

import pytest
import redis

from producers.cli.output import when
from producers.commands import parse_command
from tests.model.conformance import HOLD, claim
from tests.support.orders_program import Orders, orders_in_process, set_width
from tests.support.parked_messages import message, park
from tests.support.servers import Server, free_port
from worker.ledger.journal import Journal
from worker.ledger.pacing import CoolDown, Pace
from worker.ledger.records import Progress
from worker.ledger.redis import RedisLedger
from worker.settings import load
from worker.venues.registry import account_of

LONG_ID = f"{'d' * 60}-e29b-41d4"
LANE_ID = f"{'1' * 50}-in-its-lane"
HOST = "venue.test:443"


@pytest.fixture
def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def ledger(client: redis.Redis) -> RedisLedger:
    return RedisLedger(client, disk_ms=0)


@pytest.fixture
def orders(server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Orders:
    """The program with the settings of workers that have two accounts at one host; nothing is there yet."""
    server.flush()
    monkeypatch.setenv("ORDERS_BROKER_URL", server.url(0))
    monkeypatch.setenv("ORDERS_LEDGER_URL", server.url(2))
    for alias in ("MAIN", "BZ"):
        account = {"VENUE": "everstrike", "API_KEY": f"key-{alias}", "SECRET_KEY": "s", "BASE_URL": f"https://{HOST}"}
        for name, value in account.items():
            monkeypatch.setenv(f"ORDERS_ACCOUNTS__{alias}__{name}", value)
    return orders_in_process(capsys)


def bucket(alias: str) -> str:
    return account_of(alias, load().accounts[alias]).bucket


def cool_down(ledger: RedisLedger, alias: str, seconds: float, *, by_address: bool = False, host: str = HOST) -> None:
    query = claim("q", command="positions", account=alias, pace=Pace(bucket(alias), host))
    ledger.cool_down(query, CoolDown(seconds, by_address, f"HTTP 429 for {alias}: slow down"))


@pytest.fixture
def filled(broker: redis.Redis, ledger: RedisLedger, orders: Orders, now_ms: int) -> None:
    """Something of everything."""
    park(broker, "orders.close", LONG_ID, "retry", "main", now_ms - 42_000, now_ms + 5_450_000)
    park(broker, "orders.close", "c-2", "retry", "main", now_ms - 5000, now_ms - 7_200_000)
    park(broker, "orders.cancel", "x-1", "cool_down", "bz", now_ms - 1000, now_ms + 3_600_000)
    broker.zadd("orders.close.waiting", {"main": 1})
    broker.lpush("orders.close.waiting:main", message("w-1", enqueued_at=now_ms - 3000), message("w-2"))
    broker.hset("orders.lane:main/book", mapping={"id": LANE_ID, "queue": "orders.close", "since": now_ms - 9000})
    broker.lpush("orders.lane:main/book.waiting", "orders.close", "orders.close")
    broker.zadd("orders.lanes", {"main/book": now_ms})
    ledger.begin(claim("held-1", account="main", hold=HOLD), 1)
    cool_down(ledger, "main", 600)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("columns", ["30", "60", "120", None])
def test_it_says_what_waits_and_why(orders: Orders, monkeypatch: pytest.MonkeyPatch, columns: str | None) -> None:
    """No id is cut or broken, however narrow the terminal; nothing of a body is shown."""
    set_width(monkeypatch, columns)
    done = orders("parked")
    assert done.code == 0
    for whole in (LONG_ID, LANE_ID, "book", "c-2", "x-1", "held-1", "approval", "cool_down", "orders.close"):
        assert re.search(rf"(^|\s){re.escape(whole)}(\s|$)", done.out), whole
    words = " ".join(done.out.split())
    for text in ("overdue by 2 h 0 min", "slow down", "in 1 h 30 min"):
        assert text in words
    assert bucket("main") not in done.out
    assert "c2VjcmV0" not in done.out + done.err


@pytest.mark.usefixtures("filled")
def test_the_same_as_json(orders: Orders) -> None:
    found = orders("parked", "--json").document
    groups = {(e["command"], e["account"], e["waits_for"]): e["count"] for e in found["summary"]}
    assert groups == {
        ("close", "main", "retry"): 2,
        ("cancel", "bz", "cool_down"): 1,
        ("withdraw", "main", "approval"): 1,
    }
    assert [each["command_id"] for each in found["commands"]][:3] == ["c-2", "x-1", LONG_ID]
    assert found["queued"][0] | {"next_enqueued_at": None} == {
        "command": "close",
        "account": "main",
        "count": 2,
        "next_enqueued_at": None,
    }
    assert [(each["holder"], each["waiting"]) for each in found["lanes"]] == [(LANE_ID, 2)]
    (running,) = found["cool_downs"]
    assert (running["accounts"], 0 < running["left_ms"] <= 600_000) == (["main"], True)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["--account", "Main"], {"c-2", LONG_ID, "held-1"}),
        (["--account", "bz"], {"x-1"}),
        (["--command", "close"], {"c-2", LONG_ID}),
        (["--command", "withdraw"], {"held-1"}),
        (["--command", "close", "--account", "bz"], set()),
        (["--limit", "1"], {"c-2"}),
    ],
)
def test_part_of_it(orders: Orders, words: list[str], ids: set[str]) -> None:
    found = orders("parked", "--json", *words).document
    assert {each["command_id"] for each in found["commands"]} == ids


def test_nothing_waits(orders: Orders) -> None:
    assert orders("parked").out == "Nothing waits.\n"


def test_a_cool_down_is_ended_by_hand_and_the_journal_says_by_whom(
    orders: Orders, ledger: RedisLedger, client: redis.Redis
) -> None:
    """That of the account's key and that of its host; the other account's own stays."""
    cool_down(ledger, "main", 60)
    cool_down(ledger, "main", 120, by_address=True)
    cool_down(ledger, "bz", 60, host="another.test:443")
    done = orders("parked", "--end-cool-down", "MAIN", "--reason", "support lifted it", "--who", "ann")
    assert (done.code, sorted(done.out.splitlines())) == (
        0,
        [
            "Ended: the cool-down of bz, main. What waits begins again within the workers' retry budget.",
            "Ended: the cool-down of main. What waits begins again within the workers' retry budget.",
        ],
    )
    assert [each["accounts"] for each in orders("parked", "--json").document["cool_downs"]] == [["bz"]]
    entries = [entry.fields for entry in Journal(client).entries() if entry.fields["event"] == "cool_down_lifted"]
    assert {(entry["who"], entry["why"]) for entry in entries} == {("ann", "support lifted it")}
    assert {entry["key"] for entry in entries} == {bucket("main"), HOST}
    assert orders("parked", "--end-cool-down", "main", "--reason", "again").code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--end-cool-down", "main"], "--reason is required"),
        (["--end-cool-down", "main", "--reason", "x"], "main is in no cool-down"),
        (["--end-cool-down", "a b", "--reason", "x"], "the accounts that are configured here are bz, main"),
        (["--account", "a b"], "--account must be an alias"),
        (["--command", "closes"], "--command must be one of"),
    ],
)
def test_what_it_refuses(orders: Orders, words: list[str], said: str) -> None:
    done = orders("parked", "--json", *words)
    assert done.code == 2
    assert said in done.message


def test_a_cool_down_of_accounts_that_are_configured_elsewhere(orders: Orders, ledger: RedisLedger) -> None:
    """It is named, and ended, by its host; of a key nothing but a digest is known."""
    query = claim("q", command="positions", pace=Pace("0" * 16, "far.test:443"))
    for by_address in (False, True):
        ledger.cool_down(query, CoolDown(60, by_address, "HTTP 418"))
    assert {line.split()[0] for line in orders("parked").out.splitlines()[1:]} == {"0" * 16, "far.test:443"}
    done = orders("parked", "--end-cool-down", "far.test:443", "--reason", "x")
    assert (
        done.out == "Ended: the cool-down of far.test:443. What waits begins again within the workers' retry budget.\n"
    )
    assert orders("parked", "--end-cool-down", "0" * 16, "--reason", "x").code == 0
    assert orders("parked").out == "Nothing waits.\n"


def test_a_broker_that_is_away_is_named_without_its_password(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_BROKER_URL", f"redis://:a-password@127.0.0.1:{free_port()}/0")
    done = orders("parked", "--json")
    assert (done.code, done.document["error"]["type"]) == (1, "BrokerUnavailable")
    assert "a-password" not in done.out + done.err


def test_on_rabbitmq_nothing_is_parked(orders: Orders, ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cool-downs and held commands are in the ledger, and are shown."""
    cool_down(ledger, "main", 60)
    monkeypatch.setenv("ORDERS_BROKER_URL", "amqp://127.0.0.1:1//")
    done = orders("parked")
    assert "nothing is parked there" in done.err
    assert (done.code, "slow down" in done.out) == (0, True)


def test_orders_show_says_until_when_a_command_is_parked(
    orders: Orders, ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """And so does the program that waits for its report in vain."""
    monkeypatch.setenv("ORDERS_RESULT_BACKEND", server.url(1))
    close = parse_command("orders.close", {"account": "main", "pair": "P"})
    mine = claim("p-1", command="close", fingerprint=close.fingerprint)
    ledger.begin(mine, 1)
    assert ledger.park(mine, Progress(tries=1, sent=1), 3_600_000)
    until = when((ledger.read("p-1") or pytest.fail("no record")).lease_until)
    done = orders("show", "p-1")
    attempts = "close for main, attempts begun: 1, requests sent: 1"
    words = f"it is parked until {until} and waits for its next attempt or look ({attempts})"
    assert (done.code, words in done.err) == (6, True), done.err
    assert orders("show", "p-1", "--json").document["error"]["ledger"]["state"] == "PARKED"
    done = orders("close", "-a", "main", "--pair", "P", "--id", "p-1", "--wait", "--timeout", "0.1")
    assert (done.code, f"p-1: {words}" in done.err) == (6, True), done.err
