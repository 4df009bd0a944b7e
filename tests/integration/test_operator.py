"""The operator's commands: resolve, halt and resume, the journal, and what they print."""

import json
import re
import subprocess
import sys

import pytest

from tests.integration.conftest import Orders
from tests.support.node import ROOT, outer_environment
from tests.support.stack import Stack
from worker.execution.lost_commands import LOCK_KEYS as SWEEPING
from worker.ledger.held_queue import LOCK_KEY as RELEASING

WITHDRAW = {"account": "main", "asset": "ETH", "qty": "1", "address": "0xabc"}
CLOSE = {"account": "main", "pair": "USD_BTC_PERP", "qty": "0.25"}
CANCEL = {"account": "main", "order_id": "order-1"}


@pytest.fixture(autouse=True)
def empty_ledger(stack: Stack) -> None:
    stack.ledger.flushdb()


def unknown_withdrawal(stack: Stack) -> str:
    stack.venue.fault("cut_before", path="withdraw")
    command_id = stack.send("orders.withdraw", **WITHDRAW)
    assert stack.ended(command_id).report["outcome"] == "unknown"
    return command_id


def end_of(stack: Stack, task: str, **arguments: str) -> tuple[str, str]:
    return stack.ended(stack.send(task, **arguments)).outcome


def test_an_unknown_is_resolved_by_hand_once(stack: Stack, orders: Orders) -> None:
    """The sender reads it, the journal says who and why, and a second word changes nothing."""
    command_id = unknown_withdrawal(stack)
    words = ("resolve", command_id, "--not-executed", "--reason", "asked their support", "--who", "ann", "--json")
    ran = orders(*words)
    assert (ran.code, ran.document["error"]["type"]) == (2, "NotConfirmed"), "nobody was there to be asked"
    ran = orders(*words, "--yes")
    assert (ran.code, ran.document["outcome"]) == (4, "not_sent")
    assert stack.ended(command_id).report == ran.document
    last = orders("journal", command_id, "--json").document["entries"][-1]
    assert (last["event"], last["who"], last["why"]) == ("resolve", "ann", "asked their support")
    second = orders("resolve", command_id, "--executed", "7", "--reason", "no, there it is", "--json")
    assert (second.code, second.document["error"]["type"]) == (2, "NotUnknown")
    assert stack.ended(command_id).report == ran.document


BAD_USAGE = (
    "resolve x --reason r",
    "resolve x --reason r --executed 1 --not-executed",
    "resolve x --reason= --not-executed",
    "resolve nobody --reason r --not-executed",
    "reconcile",
    "reconcile x --all",
    "reconcile nobody",
    "halt",
    "halt --command trades --reason r",
    "halt --all --command close --reason r",
    "resume --account main",
    "resume --all --command close",
)


@pytest.mark.parametrize("words", BAD_USAGE)
def test_bad_usage_is_told_and_changes_nothing(stack: Stack, orders: Orders, words: str) -> None:
    ran = orders(*words.split(" "), "--json")
    assert ran.code == 2
    assert ran.document["error"]["message"]
    assert set(stack.ledger.keys("*")) <= {*SWEEPING.values(), RELEASING}


@pytest.mark.parametrize("words", ["unknown", "halt --list", "journal", "reconcile --all", "dead"])
def test_a_server_that_is_away_is_told_in_words(orders: Orders, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ORDERS_BROKER_URL", "ORDERS_RESULT_BACKEND", "ORDERS_LEDGER_URL"):
        monkeypatch.setenv(name, "redis://:hidden@127.0.0.1:1/0")
    ran = orders(*words.split())
    assert (ran.code, "Traceback" in ran.err, "hidden" in ran.err) == (1, False, False), ran.err
    assert ran.err.startswith(f"orders {words.split()[0]}: ")
    assert re.search(r"Start it, or correct ORDERS_(LEDGER|BROKER)_URL", ran.err), ran.err


def test_a_halt_stops_what_it_names_until_it_is_resumed(stack: Stack, orders: Orders) -> None:
    """The next withdrawal is not sent and says why, a cancel passes; after the resume everything goes again."""
    halted = orders("halt", "--reason", "wallet incident", "--who", "ann", "--json")
    assert (halted.code, halted.document["halts"][0]["who"]) == (0, "ann")
    assert [each["command"] for each in halted.document["passes"]] == ["cancel", "close", "positions"]
    report = stack.ended(stack.send("orders.withdraw", **WITHDRAW)).report
    assert (report["outcome"], report["reason"]) == ("not_sent", "halted")
    assert ("ann" in report["message"], "wallet incident" in report["message"]) == (True, True)
    assert end_of(stack, "orders.cancel", **CANCEL) == ("accepted", "ok")
    orders("halt", "--account", "main", "--command", "close", "--reason", "by name")
    assert end_of(stack, "orders.close", **CLOSE) == ("not_sent", "halted")
    resumed = orders("resume", "--all", "--json").document
    assert (resumed["resumed"], resumed["halts"], len(resumed["passes"])) == (["*/*", "main/close"], [], 5)
    assert end_of(stack, "orders.withdraw", **WITHDRAW) == ("accepted", "ok")
    assert [each.path for each in stack.venue.executions()] == ["/auth/cancel", "/auth/withdraw"]


@pytest.mark.parametrize("scope", [(), ("--account", "main")], ids=["everywhere", "one account"])
def test_a_halt_of_everything_lets_no_request_out(stack: Stack, orders: Orders, scope: tuple[str, ...]) -> None:
    """Positions are halted too, and one resume ends all of it."""
    halted = orders("halt", "--all", *scope, "--reason", "fire", "--json")
    assert halted.code == 0
    assert [each["except_accounts"] for each in halted.document["passes"]] == ([["main"]] * 5 if scope else [])
    commands = {"withdraw": WITHDRAW, "close": CLOSE, "cancel": CANCEL, "positions": {"account": "main"}}
    ends = stack.all_ended([stack.send(f"orders.{name}", **arguments) for name, arguments in commands.items()])
    assert [(*end.outcome, end.report["attempts"]) for end in ends] == [("not_sent", "halted", 0)] * 4
    assert stack.venue.arrivals() == []
    assert len(orders("resume", "--all", *scope, "--json").document["resumed"]) == 4
    assert end_of(stack, "orders.positions", account="main") == ("accepted", "ok")


def test_a_halt_of_an_account_that_is_not_here_says_so(orders: Orders) -> None:
    """A slip of the finger: whoever believes that main is halted is told. On another machine there may be one."""
    slipped = orders("halt", "--account", "mian", "--reason", "wrong sizes")
    assert (slipped.code, "account mian is not configured here; the accounts are bz, main" in slipped.err) == (0, True)
    assert "configured" not in orders("halt", "--account", "Main", "--reason", "wrong sizes").err


def test_a_person_reads_tables_and_sentences(stack: Stack, orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    command_id = unknown_withdrawal(stack)
    shown = orders("unknown")
    assert (shown.code, "lost_reply" in shown.out, "asset=ETH" in shown.out) == (5, True, True)
    assert "proves nothing" in " ".join(orders("reconcile", "--all").out.split())
    halted = orders("halt", "--reason", "r").out
    assert "everything but cancels, closes and positions" in halted
    assert "Still sent: cancel, close, positions." in halted
    lines = orders("journal").out.splitlines()
    assert [line.split()[3] for line in lines] == ["begin", "settle", "halt"]
    assert command_id in lines[0]
    assert "Resumed" in orders("resume").out


def test_the_journal_is_followed(stack: Stack) -> None:
    """Past entries are printed first, then each new one."""
    stack.ended(stack.send("orders.close", **CLOSE))
    program = "from producers.cli.app import main; main()"
    following = subprocess.Popen(
        [sys.executable, "-c", program, "journal", "--follow", "--json"],
        cwd=ROOT,
        env={**outer_environment(), **stack.worker.environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert following.stdout is not None
        events = [json.loads(following.stdout.readline())["event"] for _ in range(2)]
        stack.send("orders.close", **CLOSE)
        events += [json.loads(following.stdout.readline())["event"] for _ in range(2)]
        assert events == ["begin", "settle"] * 2
    finally:
        following.kill()
        following.communicate()
