"""From `unknown` to the truth, and the operator's commands: real server, real worker, real simulator, real programs."""

import json
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Connection, Exchange

from producers.errors import OrderNotSent
from tests.nodes import WorkerNode, demo_accounts
from tests.nodes.node import outer_environment, until
from tests.nodes.worker import QUICK
from tests.servers import Server
from worker.cli import halts as cli_halt
from worker.cli import unknowns as cli_desk
from worker.execution.lost_commands import LOCK_KEY as SWEEPING
from worker.simulator.records import Change, Order, Position, Withdrawal
from worker.simulator.server import SimulatorServer

KEY = "demo-everstrike-key"
PROGRAM = """
import sys
from worker.cli import unknowns as cli_desk
from worker.cli import halts as cli_halt
name = sys.argv.pop(1)
getattr(cli_desk if hasattr(cli_desk, name) else cli_halt, name)(prog_name=f"orders {name}")
"""
LOOKS = {
    "ORDERS_RECONCILE__SETTLE_SECONDS": "0",
    "ORDERS_RECONCILE__APART_SECONDS": "0.2",
    "ORDERS_RECONCILE__ARRIVAL_SECONDS": "0",
}
WITHDRAW = {"account": "main", "asset": "ETH", "qty": "1", "address": "0xabc"}
CLOSE = {"account": "main", "pair": "USD_BTC_PERP", "qty": "0.25"}


class Place:
    """Everything, and the programs that an operator types."""

    def __init__(self, server: Server, simulator: SimulatorServer, folder: Path) -> None:
        self.server = server
        self.venue = simulator.control
        self.environment = {**QUICK, **LOOKS, **demo_accounts(simulator.url), "ORDERS_REDIS_URL": server.url()}
        self.worker = WorkerNode(folder, self.environment)
        self.sender = Celery("foreign", broker=server.url(0), backend=server.url(1), set_as_current=False)
        self.broker = redis.Redis(port=server.port, db=0, decode_responses=True)

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """One of the operator's programs, to its end."""
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *words],
            env={**outer_environment(), **self.environment, **environment},
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def orders(self, *words: str, **environment: str) -> tuple[int, dict[str, Any]]:
        """The same with --json: exit code and document."""
        ran = self.run(*words, "--json", **environment)
        assert ran.stdout, ran.stderr
        return ran.returncode, json.loads(ran.stdout)

    def reconcile(self, command_id: str, **environment: str) -> tuple[int, dict[str, Any]]:
        """`orders reconcile ID`: exit code and what was found."""
        code, document = self.orders("reconcile", command_id, **environment)
        (found,) = document["reconciled"]
        return code, found

    def send(self, task: str, **arguments: Any) -> str:
        """As any Celery client."""
        command_id = str(uuid.uuid4())
        self.sender.send_task(task, kwargs=arguments, task_id=command_id, queue=task)
        return command_id

    def ended(self, command_id: str) -> dict[str, Any]:
        """The report in the result backend, waited for."""
        result = self.sender.AsyncResult(command_id)
        until(result.ready, lambda: f"the end of {command_id}\n{self.worker.tail()}", 30)
        return result.result if result.successful() else result.result.args[0]  # type: ignore[no-any-return]

    def unknown(self, task: str, **arguments: Any) -> str:
        """Send a command that ends in unknown."""
        command_id = self.send(task, **arguments)
        assert self.ended(command_id)["outcome"] == "unknown"
        return command_id


@pytest.fixture(scope="module")
def place(simulator: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One for all tests, each of which starts with an empty ledger."""
    with Server() as server:
        made = Place(server, simulator, tmp_path_factory.mktemp("desk"))
        try:
            made.worker.start()
            made.worker.ready()
            yield made
        finally:
            made.worker.stop()
            made.worker.teardown()
            made.broker.close()
            made.sender.close()


@pytest.fixture(autouse=True)
def _fresh(place: Place) -> None:
    place.venue.reset()
    for database in (1, 2):
        with redis.Redis(port=place.server.port, db=database) as client:
            client.flushdb()


# -- found -------------------------------------------------------------------------------------------------------------


def test_a_withdrawal_whose_reply_was_lost(place: Place) -> None:
    """It is found with the venue's id; the sender reads it as accepted, and the venue was asked once for money."""
    place.venue.fault("cut_after", path="withdraw")
    lost = place.unknown("orders.withdraw", **WITHDRAW)
    (paid,) = place.venue.holdings(KEY)["withdrawals"].values()
    code, found = place.reconcile(lost)
    assert (code, found["finding"], found["reference"]) == (0, "found", paid["id"])
    report = place.sender.AsyncResult(lost).get(timeout=10)
    assert (report["outcome"], report["result"]["id"], report["attempts"]) == ("accepted", paid["id"], 1)
    assert len(place.venue.executions(path="/auth/withdraw")) == 1
    _, journal = place.orders("journal", lost)
    assert [entry["event"] for entry in journal["entries"]] == ["begin", "settle", "resolve"]
    assert place.orders("unknown") == (0, {"unknown": []})


@pytest.mark.parametrize(
    "more",
    [{}, {"price": "99"}, {"trigger_price": "80"}, {"trigger_price": "80", "price": "79"}],
    ids=["market", "limit", "stop", "stop-limit"],
)
def test_a_close_whose_reply_was_lost(place: Place, more: dict[str, str]) -> None:
    """Wherever it stands: filled, resting in the book, or waiting as a trigger."""
    place.venue.fault("cut_after", path="close")
    lost = place.unknown("orders.close", **CLOSE, **more)
    code, found = place.reconcile(lost)
    assert (code, found["finding"]) == (0, "found"), found
    assert place.ended(lost)["result"]["id"] == found["reference"]


def test_a_cancel_that_was_refused_after_its_first_reply_was_lost(place: Place) -> None:
    """The order tells: it is cancelled."""
    place.venue.fault("cut_after", path="cancel")
    lost = place.unknown("orders.cancel", account="main", order_id="order-1")
    assert place.ended(lost)["reason"] == "refused_after_lost"
    assert place.reconcile(lost)[1]["outcome"] == "accepted"


def test_a_venue_that_shows_late(place: Place) -> None:
    """A look before everything can be seen does not count, and what is seen later is found, never "not executed"."""
    place.venue.visibility_delay("*", 600_000)
    place.venue.fault("cut_after", path="close")
    lost = place.unknown("orders.close", **CLOSE)
    patient = {"ORDERS_RECONCILE__SETTLE_SECONDS": "3600"}
    code, found = place.reconcile(lost, **patient)
    assert (code, found["finding"]) == (5, "absent")
    assert "counts only from" in found["words"]
    place.venue.visibility_delay("*", 0)
    code, found = place.reconcile(lost, **patient)
    assert (code, found["finding"], found["outcome"]) == (0, "found", "accepted")


# -- not found ---------------------------------------------------------------------------------------------------------


def test_a_close_that_never_arrived(place: Place) -> None:
    """Not found, twice: the first look changes nothing, the second says not_sent, and the sender reads it."""
    place.venue.fault("cut_before", path="close")
    lost = place.unknown("orders.close", **CLOSE)
    code, found = place.reconcile(lost)
    assert (code, found["finding"], found["outcome"]) == (5, "absent", "unknown")
    assert place.ended(lost)["outcome"] == "unknown"
    code, found = place.reconcile(lost)  # starting the program takes longer than the pause between two looks
    assert (code, found["outcome"]) == (4, "not_sent"), found
    with pytest.raises(OrderNotSent):
        place.sender.AsyncResult(lost).get(timeout=10)


def test_a_withdrawal_that_never_arrived_stays_unknown(place: Place) -> None:
    """However often nothing is found."""
    place.venue.fault("cut_before", path="withdraw")
    lost = place.unknown("orders.withdraw", **WITHDRAW)
    for _ in range(3):
        code, found = place.reconcile(lost)
        assert (code, found["outcome"]) == (5, "unknown")
    assert "proves nothing" in found["words"]


@pytest.mark.parametrize("path", ["/orders", "/active_orders", "/completed_orders", "/fills", "/triggers", "/position"])
def test_a_place_that_can_not_be_read(place: Place, path: str) -> None:
    """Two looks without it prove nothing."""
    place.venue.fault("cut_before", path="close")
    lost = place.unknown("orders.close", **CLOSE)
    place.venue.fault("envelope", path=path, times=None)
    for _ in range(2):
        code, found = place.reconcile(lost)
        assert (code, found["finding"]) == (5, "unreadable")
    assert path in found["words"]


# -- evidence that is none ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["REJECTED", "failed", "Cancelled", "EXPIRED"])
def test_a_withdrawal_that_the_venue_lists_as_come_to_nothing(place: Place, status: str) -> None:
    """Nobody reads it as paid; the person who has to decide reads its status."""
    place.venue.fault("cut_after", path="withdraw")
    lost = place.unknown("orders.withdraw", **WITHDRAW)
    (paid,) = place.venue.holdings(KEY)["withdrawals"].values()
    place.venue.withdrawal(KEY, Withdrawal.model_validate({**paid, "status": status}))
    code, found = place.reconcile(lost)
    assert (code, found["finding"], found["outcome"]) == (5, "ambiguous", "unknown")
    assert status in found["words"]
    assert place.ended(lost)["outcome"] == "unknown"


def test_an_order_as_it_stood_an_hour_ago(place: Place) -> None:
    """A cache tells that it is active, at both looks; it was cancelled since, by the very command that is unknown."""
    (order,) = [each for each in place.venue.holdings(KEY)["open_orders"].values() if each["id"] == "order-1"]
    place.venue.fault("cut_after", path="cancel")
    lost = place.unknown("orders.cancel", account="main", order_id="order-1")
    kept = {"code": 200, "msg": None, "result": order}
    cache = place.venue.fault("respond", path="/order", data=kept, headers={"Age": "600"}, times=None)
    for _ in range(2):
        code, found = place.reconcile(lost)
        assert (code, found["finding"], found["outcome"]) == (5, "unreadable", "unknown")
    assert "600 s old" in found["words"]
    place.venue.clear_faults(cache)
    assert place.reconcile(lost)[1]["outcome"] == "accepted"


def test_positions_as_they_stood_an_hour_ago(place: Place) -> None:
    """They are asked for again, and the venue's own are told."""
    kept = {"code": 200, "msg": None, "result": {}}
    place.venue.fault("respond", path="/active_positions", data=kept, headers={"Age": "3600"}, times=1)
    hour_ago = "Sun, 01 Mar 2026 12:00:00 GMT"
    place.venue.fault("respond", path="/active_positions", data=kept, headers={"Date": hour_ago}, times=1)
    report = place.ended(place.send("orders.positions", account="main"))
    assert (report["outcome"], report["attempts"], len(report["positions"])) == ("accepted", 3, 2)


def test_a_cancel_of_an_order_that_does_not_tell_its_age(place: Place) -> None:
    """How old it is does not matter."""
    place.venue.order(KEY, "order-2", "USD_ETH_PERP", time=0)
    place.venue.fault("cut_after", path="cancel", where={"id": "order-2"})
    lost = place.unknown("orders.cancel", account="main", order_id="order-2")
    code, document = place.orders("reconcile", lost, "--by-worker")
    assert (code, document["reconciled"][0]["outcome"]) == (0, "accepted"), document


# -- look-alikes -------------------------------------------------------------------------------------------------------


def test_commands_that_look_alike(place: Place) -> None:
    """One of two was executed and nobody can say which: both stay unknown, and each names the other."""
    place.venue.fault("cut_after", path="withdraw")
    first = place.unknown("orders.withdraw", **WITHDRAW)
    place.venue.fault("cut_before", path="withdraw")
    second = place.unknown("orders.withdraw", **WITHDRAW)
    code, document = place.orders("reconcile", "--all")
    words = {each["command_id"]: each["words"] for each in document["reconciled"]}
    assert code == 5
    assert (second in words[first], first in words[second]) == (True, True)
    _, document = place.orders("unknown")
    assert [each["command_id"] for each in document["unknown"]] == [first, second]


def test_a_record_that_nobody_here_made(place: Place) -> None:
    """Someone withdrew the same by hand in the same minute: two records, and neither is taken."""
    place.venue.fault("cut_after", path="withdraw")
    lost = place.unknown("orders.withdraw", **WITHDRAW)
    (paid,) = place.venue.holdings(KEY)["withdrawals"].values()
    place.venue.withdrawal(KEY, Withdrawal.model_validate({**paid, "id": "by-hand"}))
    code, found = place.reconcile(lost)
    assert (code, found["finding"]) == (5, "ambiguous")
    assert "by-hand" in found["words"]


def test_hundreds_of_unknowns_among_hundreds_of_other_commands(place: Place) -> None:
    """A bad night: the venue's lists of that time are longer than one read shows, each command finds its own, and each
    list is read once for all."""
    position = Position(pair=CLOSE["pair"], size=Decimal(10**6))
    place.venue.change(Change(api_key=KEY, positions=(position,)))
    fine = [place.send("orders.close", **{**CLOSE, "qty": f"2.{number:03}1"}) for number in range(90)]
    assert all(place.ended(each)["outcome"] == "accepted" for each in fine)
    place.venue.fault("cut_after", path="close", times=130)
    lost = [place.send("orders.close", **{**CLOSE, "qty": f"1.{number:03}1"}) for number in range(130)]
    assert {place.ended(each)["outcome"] for each in lost} == {"unknown"}
    before = place.venue.arrivals(limit=1)[-1].seq
    code, document = place.orders("reconcile", "--all")
    assert code == 0, document["reconciled"][:3]
    asked = place.venue.arrivals(since=before)
    assert (len(asked) <= 60, {each.method for each in asked}) == (True, {"GET"}), Counter(each.path for each in asked)
    assert {each["finding"] for each in document["reconciled"]} == {"found"}
    assert sorted(each["command_id"] for each in document["reconciled"]) == sorted(lost)
    for number, each in enumerate(lost):
        assert str(place.ended(each)["result"]["qty_orig"]) == f"1.{number:03}1"


def test_a_bad_night_of_every_kind_of_command(place: Place) -> None:
    """Closes of two markets, stops, withdrawals and cancels: still each place is read once for all of them."""
    pairs = ("USD_BTC_PERP", "USD_ETH_PERP")
    orders = tuple(Order(id=f"rests-{number}", pair=pairs[0]) for number in range(40))
    positions = tuple(Position(pair=pair, size=Decimal(10**6)) for pair in pairs)
    place.venue.change(Change(api_key=KEY, positions=positions, orders=orders, balances={"ETH": Decimal(10**6)}))
    for kind in ("close", "withdraw", "cancel"):
        place.venue.fault("cut_after", path=kind, times=None)
    lost = [place.send("orders.cancel", account="main", order_id=order.id) for order in orders]
    for qty in [f"1.{number:03}1" for number in range(30)]:
        lost.append(place.send("orders.withdraw", **{**WITHDRAW, "qty": qty}))
        lost += [place.send("orders.close", account="main", pair=pair, qty=qty) for pair in pairs]
    assert {place.ended(each)["outcome"] for each in lost} == {"unknown"}
    before = place.venue.arrivals(limit=1)[-1].seq
    code, document = place.orders("reconcile", "--all")
    assert code == 0, [each for each in document["reconciled"] if each["outcome"] != "accepted"][:3]
    assert sorted(each["command_id"] for each in document["reconciled"]) == sorted(lost)
    asked = place.venue.arrivals(since=before)
    assert len(asked) <= 60, Counter(each.path for each in asked)


def test_an_accepted_command_keeps_its_record(place: Place) -> None:
    """The same withdrawal was sent twice on purpose, and the reply to one was lost: each has its own record."""
    accepted = place.ended(place.send("orders.withdraw", **WITHDRAW))
    place.venue.fault("cut_after", path="withdraw")
    lost = place.unknown("orders.withdraw", **WITHDRAW)
    code, found = place.reconcile(lost)
    assert (code, found["finding"]) == (0, "found")
    assert found["reference"] not in ("", accepted["result"]["id"])


# -- by a worker -------------------------------------------------------------------------------------------------------


def test_reconciling_as_a_task(place: Place) -> None:
    """Any Celery client may ask for it: one command, or all; without keys of its own `orders reconcile` does so too."""
    place.venue.fault("cut_after", path="withdraw", times=2)
    lost = place.unknown("orders.withdraw", **WITHDRAW)
    asked = place.sender.send_task("orders.reconcile", kwargs={"command_id": lost}, queue="orders.reconcile")
    (found,) = asked.get(timeout=30)
    assert (found["command_id"], found["outcome"]) == (lost, "accepted")
    again = place.unknown("orders.withdraw", **{**WITHDRAW, "qty": "2"})
    (found,) = place.sender.send_task("orders.reconcile", queue="orders.reconcile").get(timeout=30)
    assert (found["command_id"], found["outcome"]) == (again, "accepted")
    code, document = place.orders("reconcile", lost, "--by-worker")
    assert (code, document["reconciled"][0]["finding"]) == (0, "settled")
    code, document = place.orders("reconcile", "nobody", "--by-worker")
    assert (code, document["error"]["type"]) == (2, "NoSuchCommand")


# -- the operator's hand -----------------------------------------------------------------------------------------------


def test_resolving_by_hand(place: Place) -> None:
    """The sender reads it, the journal says who and why, and a second word changes nothing."""
    place.venue.fault("cut_before", path="withdraw")
    lost = place.unknown("orders.withdraw", **WITHDRAW)
    words = ("--not-executed", "--reason", "asked their support", "--who", "ann")
    code, document = place.orders("resolve", lost, *words)
    assert (code, document["error"]["type"]) == (2, "NotConfirmed"), "nobody was there to be asked"
    words = (*words, "--yes")
    code, report = place.orders("resolve", lost, *words)
    assert (code, report["outcome"]) == (4, "not_sent")
    assert place.ended(lost) == report
    _, journal = place.orders("journal", lost)
    last = journal["entries"][-1]
    assert (last["event"], last["who"], last["why"]) == ("resolve", "ann", "asked their support")
    code, document = place.orders("resolve", lost, "--executed", "7", "--reason", "no, there it is")
    assert (code, document["error"]["type"]) == (2, "NotUnknown")
    assert place.ended(lost) == report


BAD = (
    ("resolve", "x", "--reason", "r"),
    ("resolve", "x", "--reason", "r", "--executed", "1", "--not-executed"),
    ("resolve", "x", "--reason", " ", "--not-executed"),
    ("resolve", "nobody", "--reason", "r", "--not-executed"),
    ("reconcile",),
    ("reconcile", "x", "--all"),
    ("reconcile", "nobody"),
    ("halt",),
    ("halt", "--command", "trades", "--reason", "r"),
    ("halt", "--all", "--command", "close", "--reason", "r"),
    ("resume", "--account", "main"),
    ("resume", "--all", "--command", "close"),
)


@pytest.mark.parametrize("words", BAD, ids=" ".join)
def test_bad_usage(
    place: Place, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 and a word, and nothing has happened."""
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    name, *arguments = words
    program = getattr(cli_desk if hasattr(cli_desk, name) else cli_halt, name)
    assert program([*arguments, "--json"], standalone_mode=False) == 2
    assert json.loads(capsys.readouterr().out)["error"]["message"]
    with redis.Redis(port=place.server.port, db=2) as client:
        assert set(client.keys("*")) <= {SWEEPING.encode()}


def test_a_ledger_that_is_away(place: Place) -> None:
    """Exit 1, in words, without a traceback."""
    for words in (("unknown",), ("halt", "--list"), ("journal",), ("reconcile", "--all"), ("dead",)):
        ran = place.run(*words, ORDERS_REDIS_URL="redis://:hidden@127.0.0.1:1")
        assert (ran.returncode, "Traceback" in ran.stderr, "hidden" in ran.stderr) == (1, False, False), ran.stderr
        assert ran.stderr.startswith(f"orders {words[0]}: ")


def test_a_halt(place: Place) -> None:
    """The next withdrawal is not sent and says why, a cancel passes; after the resume everything goes again."""
    code, document = place.orders("halt", "--reason", "wallet incident", "--who", "ann")
    assert (code, document["halts"][0]["who"]) == (0, "ann")
    assert [each["command"] for each in document["passes"]] == ["cancel", "close", "positions"]
    report = place.ended(place.send("orders.withdraw", **WITHDRAW))
    assert (report["outcome"], report["reason"]) == ("not_sent", "halted")
    assert ("ann" in report["message"], "wallet incident" in report["message"]) == (True, True)
    assert place.ended(place.send("orders.cancel", account="main", order_id="order-1"))["outcome"] == "accepted"
    place.orders("halt", "--account", "main", "--command", "close", "--reason", "by name")
    assert place.ended(place.send("orders.close", **CLOSE))["reason"] == "halted"
    resumed = place.orders("resume", "--all")[1]
    assert (resumed["resumed"], resumed["halts"], len(resumed["passes"])) == (["*/*", "main/close"], [], 4)
    assert place.ended(place.send("orders.withdraw", **WITHDRAW))["outcome"] == "accepted"
    assert [e.path for e in place.venue.executions()] == ["/auth/cancel", "/auth/withdraw"]


def test_a_halt_of_everything(place: Place) -> None:
    """Not a single request leaves, positions included; the same of one account; and it ends as a whole."""
    commands = {
        "orders.withdraw": WITHDRAW,
        "orders.close": CLOSE,
        "orders.cancel": {"account": "main", "order_id": "order-1"},
        "orders.positions": {"account": "main"},
    }
    for scope in ((), ("--account", "main")):
        code, document = place.orders("halt", "--all", *scope, "--reason", "fire")
        assert (code, [each["except_accounts"] for each in document["passes"]]) == (0, [["main"]] * 4 if scope else [])
        for task, arguments in commands.items():
            report = place.ended(place.send(task, **arguments))
            assert (report["outcome"], report["reason"], report["attempts"]) == ("not_sent", "halted", 0), task
        assert place.venue.arrivals() == []
        assert len(place.orders("resume", "--all", *scope)[1]["resumed"]) == 4
    assert place.ended(place.send("orders.positions", account="main"))["outcome"] == "accepted"


def test_a_halt_of_an_account_that_is_not_here(place: Place) -> None:
    """A slip of the finger: whoever believes that main is halted is told. On another machine there may be one."""
    slipped = place.run("halt", "--account", "mian", "--reason", "wrong sizes")
    assert (slipped.returncode, "account mian is not configured here; the accounts are bz, main" in slipped.stderr) == (
        0,
        True,
    )
    assert "configured" not in place.run("halt", "--account", "Main", "--reason", "wrong sizes").stderr
    place.run("resume", "--all")


def test_what_a_person_sees(place: Place) -> None:
    """Tables and sentences: the unknown with its arguments, the halt, the journal in one line each."""
    place.venue.fault("cut_before", path="withdraw")
    lost = place.unknown("orders.withdraw", **WITHDRAW)
    shown = place.run("unknown")
    assert shown.returncode == 5
    assert ("lost_reply" in shown.stdout, "asset=ETH" in shown.stdout) == (True, True)
    assert "proves nothing" in " ".join(place.run("reconcile", "--all").stdout.split())
    halted = place.run("halt", "--reason", "r", COLUMNS="200").stdout
    assert "everything but cancels, closes and positions" in halted
    assert "Still sent: cancel, close, positions." in halted
    lines = place.run("journal").stdout.splitlines()
    assert [line.split()[3] for line in lines] == ["begin", "settle", "halt"]
    assert lost in lines[0]
    assert "Resumed" in place.run("resume").stdout


def test_following_the_journal(place: Place) -> None:
    """What was, and then what happens."""
    place.ended(place.send("orders.close", **CLOSE))
    following = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "journal", "--follow", "--json"],
        env={**outer_environment(), **place.environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert following.stdout is not None
        events = [json.loads(following.stdout.readline())["event"] for _ in range(2)]
        place.send("orders.close", **CLOSE)
        events += [json.loads(following.stdout.readline())["event"] for _ in range(2)]
        assert events == ["begin", "settle"] * 2
    finally:
        following.kill()
        following.communicate()


# -- what no worker can read -------------------------------------------------------------------------------------------


def publish(place: Place, body: bytes, content_type: str = "application/json", **headers: Any) -> None:
    """Put any message on a queue."""
    with Connection(place.server.url(0)) as connection, connection.Producer() as producer:
        producer.publish(
            body,
            exchange=Exchange(""),
            routing_key="orders.close",
            content_type=content_type,
            content_encoding="utf-8",
            headers=headers,
        )


BODY = b'[[], {"account": "main", "pair": "USD_BTC_PERP", "note": "s3cret-in-the-body"}, {}]'
SECRET = b"s3cret-in-the-body"
JSON, PICKLE = "application/json", "application/x-python-serialize"
UNREADABLE: dict[str, tuple[bytes, str, dict[str, Any]]] = {
    "unknown task": (BODY, JSON, {"task": "orders.nonsense", "id": "id-of-nonsense"}),
    "no task": (b'{"hello": "s3cret-in-the-body"}', JSON, {}),
    "not JSON": (SECRET, JSON, {"id": "x"}),
    "pickled": (SECRET, PICKLE, {"id": "x"}),
    "a command, not JSON": (SECRET, JSON, {"id": "y", "task": "orders.close"}),
    "a command, pickled": (SECRET, PICKLE, {"id": "z", "task": "orders.close"}),
    "a command in another shape": (b'{"pair": "s3cret-in-the-body"}', JSON, {"id": "v", "task": "orders.close"}),
    "a command without an id": (BODY, JSON, {"task": "orders.close"}),
    "a task that is no word": (BODY, JSON, {"id": "t", "task": ["orders.close"]}),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_message_that_can_not_be_executed_is_kept(place: Place, case: str) -> None:
    """It goes to the dead list and is told, nothing of its body is logged, and the worker goes on."""
    place.broker.delete("orders.close.dead")
    mark = place.worker.log_size()
    body, content_type, headers = UNREADABLE[case]
    publish(place, body, content_type, **headers)
    until(lambda: place.broker.llen("orders.close.dead") == 1, lambda: f"the dead list\n{place.worker.tail()}", 20)
    until(lambda: not place.broker.hlen("unacked"), "the acknowledgement", 20)
    code, document = place.orders("dead")
    (queue,) = document["dead"]
    assert (code, queue["queue"], queue["count"], len(queue["messages"])) == (0, "orders.close", 1, 1)
    task = headers.get("task")
    assert queue["messages"][0]["task"] == (task if isinstance(task, str) else None)
    told = place.worker.logs_from(mark)
    assert "orders.close.dead" in told
    assert "s3cret-in-the-body" not in told + json.dumps(document)
    assert place.ended(place.send("orders.close", **CLOSE))["outcome"] == "accepted"
    kept = json.loads(place.broker.lindex("orders.close.dead", 0))
    assert kept["headers"].get("id") == headers.get("id")


def test_an_unknown_task_with_a_known_id_overwrites_no_report(place: Place) -> None:
    """Its sender would be told something false about another command."""
    place.venue.fault("cut_before", path="withdraw")
    lost = place.unknown("orders.withdraw", **WITHDRAW)
    place.broker.delete("orders.close.dead")
    publish(place, BODY, task="orders.nonsense", id=lost)
    until(lambda: place.broker.llen("orders.close.dead") == 1, "the dead list", 20)
    until(lambda: not place.broker.hlen("unacked"), "the acknowledgement", 20)
    assert place.ended(lost)["outcome"] == "unknown"
