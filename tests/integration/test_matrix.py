"""The contract's table "What may be sent again", every row and every column, on the real stack.

A row is what happens to the attempt, here as a fault of the simulator or as a door that is shut. It happens once and
then all is fine, or it happens for ever. All columns of a row are sent together, each with an account of its own, and
every column is one test: its report, what Celery says, and what the venue saw.

What is expected is written down in `ENDS` by hand from the contract's text; nothing is asked of the worker's matrix.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import self_signed
from tests.support.stack import Ended, accounts
from tests.support.stack import Stack as Bed
from tests.support.tcp_proxy import FaultyProxy, ProxyFault
from tests.support.waiting import until
from worker.simulator.server import SimulatorServer

pytestmark = pytest.mark.integration

ATTEMPTS = 4
SETTINGS = {
    "ORDERS_RETRY__ATTEMPTS": str(ATTEMPTS),
    # Together long enough that a door can be opened between the first attempt and the last.
    "ORDERS_RETRY__INITIAL_SECONDS": "0.05",
    "ORDERS_RETRY__MAX_SECONDS": "0.2",
    "ORDERS_RETRY__BUDGET_SECONDS": "10",
    "ORDERS_HTTP__CONNECT_TIMEOUT_SECONDS": "0.5",
    "ORDERS_HTTP__READ_TIMEOUT_SECONDS": "1",
    "ORDERS_VENUES__EVERSTRIKE__REFUSALS": '["account \\\\d+ is frozen"]',
}

# -- columns ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A kind of command; `kind` is the contract's column."""

    name: str
    kind: str
    task: str
    arguments: dict[str, Any] = field(default_factory=dict)
    venue: str = "everstrike"


READ, WHOLE, OTHER, WITHDRAW = "read", "whole", "other", "withdraw"
"""`READ` and `WHOLE` are one column of the contract; they differ in what a second execution meets: a read is simply
answered again, the second cancel or close is told that there is nothing left."""

PAIR = "USD_BTC_PERP"
COLUMNS = (
    Column("positions", READ, "orders.positions"),
    Column("positions_bitz", READ, "orders.positions", {"contract_id": 101}, venue="bitz"),
    Column("cancel", WHOLE, "orders.cancel", {"order_id": "order-1"}),
    Column("close_whole", WHOLE, "orders.close", {"pair": PAIR}),
    Column("close_qty", OTHER, "orders.close", {"pair": PAIR, "qty": "0.5"}),
    Column("close_limit", OTHER, "orders.close", {"pair": PAIR, "price": "99.5"}),
    Column("close_stop", OTHER, "orders.close", {"pair": PAIR, "trigger_price": "80"}),
    Column("withdraw", WITHDRAW, "orders.withdraw", {"asset": "ETH", "qty": "0.001", "address": "0xabc"}),
)

# -- what the contract says --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class End:
    """How a command has to end."""

    outcome: str
    reason: str
    attempts: int
    executions: int


N = ATTEMPTS
ACCEPTED_FIRST = End("accepted", "ok", 1, 1)
ACCEPTED_SECOND = End("accepted", "ok", 2, 1)
REJECTED = End("rejected", "refused", 1, 0)
GAVE_UP = End("not_sent", "unavailable", N, 0)
NEVER_LEFT = End("not_sent", "unavailable", 0, 0)
LOST_ONE = End("unknown", "lost_reply", 1, 0)
LOST_ONE_EXECUTED = End("unknown", "lost_reply", 1, 1)
LOST_ALL = End("unknown", "lost_reply", N, 0)
LOST_ALL_EXECUTED = End("unknown", "lost_reply", N, 1)
ECHO = End("unknown", "refused_after_lost", 2, 1)
UNLISTED_ONE = End("unknown", "unlisted_answer", 1, 0)
UNLISTED_ALL = End("unknown", "unlisted_answer", N, 0)
UNLISTED_ONE_EXECUTED = End("unknown", "unlisted_answer", 1, 1)
UNLISTED_ALL_EXECUTED = End("unknown", "unlisted_answer", N, 1)

ENDS: dict[str, dict[str, dict[str, End]]] = {
    # "never left (DNS, refused, connect timeout, TLS)": again, again, again. Such a try is no attempt on the wire.
    "never left": {
        "once": {READ: ACCEPTED_FIRST, WHOLE: ACCEPTED_FIRST, OTHER: ACCEPTED_FIRST, WITHDRAW: ACCEPTED_FIRST},
        "for ever": {READ: NEVER_LEFT, WHOLE: NEVER_LEFT, OTHER: NEVER_LEFT, WITHDRAW: NEVER_LEFT},
    },
    # "or 429", and "listed as transient, with its source": again, again, again.
    "not taken": {
        "once": {READ: ACCEPTED_SECOND, WHOLE: ACCEPTED_SECOND, OTHER: ACCEPTED_SECOND, WITHDRAW: ACCEPTED_SECOND},
        "for ever": {READ: GAVE_UP, WHOLE: GAVE_UP, OTHER: GAVE_UP, WITHDRAW: GAVE_UP},
    },
    # "listed as final, with its source": rejected.
    "refused": {
        "once": {READ: REJECTED, WHOLE: REJECTED, OTHER: REJECTED, WITHDRAW: REJECTED},
        "for ever": {READ: REJECTED, WHOLE: REJECTED, OTHER: REJECTED, WITHDRAW: REJECTED},
    },
    # "anything else: an unlisted 503 of the venue's own": again and remembered, unknown, unknown.
    "unlisted": {
        "once": {READ: ACCEPTED_SECOND, WHOLE: ACCEPTED_SECOND, OTHER: UNLISTED_ONE, WITHDRAW: UNLISTED_ONE},
        "for ever": {READ: UNLISTED_ALL, WHOLE: UNLISTED_ALL, OTHER: UNLISTED_ONE, WITHDRAW: UNLISTED_ONE},
    },
    # The same, executed: the second try of what may be sent again is refused by the venue in other words.
    "unlisted, executed": {
        "once": {READ: ACCEPTED_SECOND, WHOLE: ECHO, OTHER: UNLISTED_ONE_EXECUTED, WITHDRAW: UNLISTED_ONE_EXECUTED},
        "for ever": {
            READ: UNLISTED_ALL,
            WHOLE: UNLISTED_ALL_EXECUTED,
            OTHER: UNLISTED_ONE_EXECUTED,
            WITHDRAW: UNLISTED_ONE_EXECUTED,
        },
    },
    # "4xx without the envelope, 5xx, a lost or unreadable reply": again and remembered, unknown, unknown.
    # The request was lost on the way in, so that a second try finds everything as it was.
    "lost": {
        "once": {READ: ACCEPTED_SECOND, WHOLE: ACCEPTED_SECOND, OTHER: LOST_ONE, WITHDRAW: LOST_ONE},
        "for ever": {READ: LOST_ALL, WHOLE: LOST_ALL, OTHER: LOST_ONE, WITHDRAW: LOST_ONE},
    },
    # The same, and only the reply was lost: "a refusal proves nothing about an earlier attempt".
    "lost, executed": {
        "once": {READ: ACCEPTED_SECOND, WHOLE: ECHO, OTHER: LOST_ONE_EXECUTED, WITHDRAW: LOST_ONE_EXECUTED},
        "for ever": {READ: LOST_ALL, WHOLE: LOST_ALL_EXECUTED, OTHER: LOST_ONE_EXECUTED, WITHDRAW: LOST_ONE_EXECUTED},
    },
}

# -- rows --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What happens to the attempt, and which of `ENDS` it must lead to."""

    name: str
    ends: str
    fault: dict[str, Any] | None = None
    door: str = "direct"
    modes: tuple[str, ...] = ("once", "for ever")
    venues: tuple[str, ...] = ("everstrike", "bitz")
    attempts_for_ever: int | None = None
    """When it differs: the venue asks for more patience than the budget has."""
    waits_ms: int = 0
    """How long the second request must stay away."""


def status(code: int, **fields: Any) -> dict[str, Any]:
    """A fault: a status with a page of HTML, as a proxy in front of the venue answers."""
    return {"kind": "status", "status": code, "body": f"<html><h1>{code}</h1></html>", **fields}


def own(message: str, code: int = 503, **fields: Any) -> dict[str, Any]:
    """A fault: the venue's own envelope."""
    return {"kind": "envelope", "status": code, "message": message, **fields}


EVERSTRIKE = ("everstrike",)
"""The envelope is Everstrike's; at Bit-Z it would be a page of some proxy."""

ROWS = (
    Row("refused port", "never left", door="refuses"),
    Row("name not resolved", "never left", door="nowhere", modes=("for ever",)),
    Row("connect timeout", "never left", door="ignores"),
    Row("no TLS", "never left", door="no_tls"),
    Row("untrusted certificate", "never left", door="untrusted", modes=("for ever",)),
    Row("429", "not taken", status(429)),
    Row("429 own", "not taken", own("Too many requests", 429), venues=EVERSTRIKE),
    Row(
        "429 retry-after",
        "not taken",
        status(429, retry_after="1"),
        venues=EVERSTRIKE,
        waits_ms=1000,
        modes=("once",),
    ),
    Row(
        "429 retry-after past the budget",
        "not taken",
        status(429, retry_after="60"),
        venues=EVERSTRIKE,
        modes=("for ever",),
        attempts_for_ever=1,
    ),
    Row(
        "429 retry-after a fraction",
        "not taken",
        own("Send status unknown", 429, retry_after="0.5"),
        venues=EVERSTRIKE,
        waits_ms=500,
        modes=("once",),
    ),
    Row("own 503 invalid request", "refused", own("Invalid request"), venues=EVERSTRIKE),
    Row("own 404 order not found", "refused", own("The order was not found", 404), venues=EVERSTRIKE),
    Row("own 503 order not found", "refused", own("The order was not found"), venues=EVERSTRIKE),
    Row(
        "own 503 balance",
        "refused",
        own("Your request was rejected due to insufficient balance."),
        venues=EVERSTRIKE,
    ),
    Row("401 own", "refused", own("Unauthorized", 401), venues=EVERSTRIKE),
    Row("400 own invalid request", "refused", own("Invalid request", 400), venues=EVERSTRIKE),
    Row("own 503 listed by an operator", "refused", own("Account 7 is frozen."), venues=EVERSTRIKE),
    *(
        Row(f"own {code} {words}", "unlisted", own(words, code), venues=EVERSTRIKE)
        for code, words in (
            (503, "Matching engine lost its marbles"),
            (503, "Invalid request: upstream gone"),
            (503, ""),
            (503, "Service unavailable"),
            (503, "The system is busy."),
            (403, "Forbidden"),
            (422, "qty"),
        )
    ),
    *(
        Row(
            f"own {code} {words[:20]} executed", "unlisted, executed", own(words, code, execute=True), venues=EVERSTRIKE
        )
        for code, words in (
            (503, "Timeout waiting for response from backend server. Send status unknown; execution status unknown."),
            (503, "Nothing to do"),
            (401, "Your order is being processed"),
            (409, "Account 7 is frozen, or pending"),
        )
    ),
    *(
        Row(f"200 {name}", "unlisted, executed", {"kind": "garbage", "body": body}, venues=EVERSTRIKE)
        for name, body in (
            ("null", '{"code":200,"msg":"string","result":null}'),
            ("says no", '{"code":200,"msg":"string","result":{"status":"REJECTED"}}'),
            ("another thing", '{"code":200,"msg":null,"result":{"id":"x","pair":"X_Y","asset":"X","address":"0x1"}}'),
        )
    ),
    *(Row(f"{code}", "lost", status(code)) for code in (400, 401, 403, 404, 422, 500, 502, 504)),
    *(Row(f"{code} front", "lost, executed", status(code, execute=True)) for code in (400, 403, 404)),
    *(Row(f"{code} executed", "lost, executed", status(code, execute=True)) for code in (500, 502, 504)),
    Row("own 500", "lost", own("Invalid request", 500), venues=EVERSTRIKE),
    Row("gateway 503", "lost", status(503, retry_after="0")),
    Row("gateway 503 executed", "lost, executed", status(503, execute=True)),
    Row(
        "503 half an envelope",
        "lost, executed",
        {"kind": "status", "status": 503, "body": '{"code":503,"msg":"Invalid request"}', "execute": True},
    ),
    Row("cut before", "lost", {"kind": "cut_before"}),
    Row("closed before", "lost", {"kind": "cut_before", "reset": False}),
    Row("cut after", "lost, executed", {"kind": "cut_after"}),
    Row("closed after", "lost, executed", {"kind": "cut_after", "reset": False}),
    Row("silent", "lost", {"kind": "silent"}),
    Row("silent executed", "lost, executed", {"kind": "silent", "execute": True}, modes=("once",)),
    Row("drip", "lost, executed", {"kind": "drip", "delay_ms": 200}, modes=("once",)),
    Row("half", "lost, executed", {"kind": "half"}),
    Row("half chunked", "lost, executed", {"kind": "half", "chunked": True}),
    Row("huge", "lost, executed", {"kind": "huge", "size_mib": 5, "execute": True}, modes=("once",)),
    Row("garbage", "lost, executed", {"kind": "garbage"}),
    Row("no JSON object", "lost, executed", {"kind": "garbage", "body": "[200]"}),
    Row("not JSON", "lost, executed", {"kind": "garbage", "body": '{"code":200,"msg":"","result":NaN}'}),
    Row("empty 200", "lost, executed", {"kind": "garbage", "body": ""}),
    Row(
        "200 with code 503",
        "unlisted",
        {"kind": "respond", "data": {"code": 503, "msg": "Invalid request", "result": {}}},
        venues=EVERSTRIKE,
    ),
    Row(
        "redirect",
        "unlisted",
        status(307, headers={"Location": "/auth/withdraw"}),
        venues=EVERSTRIKE,
        modes=("once",),
    ),
)

CELLS = [
    pytest.param(row, mode, column, id=f"{row.name}-{mode}-{column.name}".replace(" ", "_"))
    for row in ROWS
    for mode in row.modes
    for column in COLUMNS
    if column.venue in row.venues
]

# -- the bed -----------------------------------------------------------------------------------------------------------

DIRECT = "direct"
SECRET = "a-secret-key"


@dataclass(frozen=True)
class Way:
    """How an account reaches the venue: its URL, and the door there when that can be opened."""

    url: str
    door: FaultyProxy | None = None


@dataclass(frozen=True)
class Ways:
    """The ways of all accounts, by door (and how long it stays shut) and column."""

    by_account: dict[tuple[str, str], Way]
    certificate: Path


def key(door: str, column: Column) -> str:
    """The alias and the API key of a column's account behind a door."""
    return f"{door}_{column.name}".replace(" ", "_")


@pytest.fixture(scope="module")
def ways(simulator: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    """Every way to the venue. A door that opens is one account's own, so that it can open at the right moment."""
    certificate = self_signed(tmp_path_factory.mktemp("certificate"))
    other = self_signed(tmp_path_factory.mktemp("other_certificate"))
    refuses, ignores = (
        FaultyProxy(simulator.url, ProxyFault.CONNECTION_REFUSED),
        FaultyProxy(simulator.url, ProxyFault.SYN_DROPPED),
    )
    untrusted = FaultyProxy(simulator.url, ProxyFault.NONE, other)
    made = [refuses, ignores, untrusted]
    found: dict[tuple[str, str], Way] = {}
    for column in COLUMNS:
        once = {
            "refuses once": FaultyProxy(simulator.url, ProxyFault.CONNECTION_REFUSED),
            "ignores once": FaultyProxy(simulator.url, ProxyFault.SYN_DROPPED),
            "no_tls once": FaultyProxy(simulator.url, ProxyFault.NO_TLS, certificate),
        }
        made.extend(once.values())
        found |= {(name, column.name): Way(door.url, door) for name, door in once.items()}
        for_ever = {
            DIRECT: simulator.url,
            "refuses for ever": refuses.url,
            "ignores for ever": ignores.url,
            "untrusted for ever": untrusted.url,
            "no_tls for ever": simulator.url.replace("http:", "https:"),
            "nowhere for ever": "https://venue.invalid",  # RFC 2606: a name that nobody can have
        }
        found |= {(name, column.name): Way(url) for name, url in for_ever.items()}
    yield Ways(found, certificate.certificate)
    for door in made:
        door.close()


@pytest.fixture(scope="module")
def bed(make_bed: Callable[..., Bed], ways: Ways) -> Bed:
    """One worker with an account for each column behind each door."""
    columns = {column.name: column for column in COLUMNS}
    rows = {
        key(door, columns[name]): (columns[name].venue, key(door, columns[name]), SECRET, way.url)
        for (door, name), way in ways.by_account.items()
    }
    return make_bed(**{**SETTINGS, **accounts(rows), "ORDERS_HTTP__CA_FILE": str(ways.certificate)})


@dataclass(frozen=True)
class Seen:
    """What a command came to."""

    end: Ended
    arrivals: list[Any]
    executions: list[Any]


class Runs:
    """Rows that ran already: the first test of a row sends all of its columns, the others look."""

    def __init__(self, bed: Bed, ways: Ways) -> None:
        self._bed = bed
        self._ways = ways
        self._done: dict[tuple[str, str], dict[str, Seen]] = {}

    def of(self, row: Row, mode: str) -> dict[str, Seen]:
        """What the row's columns came to."""
        if (row.name, mode) not in self._done:
            self._done[row.name, mode] = self._run(row, mode)
        return self._done[row.name, mode]

    def _run(self, row: Row, mode: str) -> dict[str, Seen]:
        bed, venue = self._bed, self._bed.venue
        door = row.door if row.door == DIRECT else f"{row.door} {mode}"
        columns = [column for column in COLUMNS if column.venue in row.venues]
        venue.reset(demo=False)
        keys = {column.name: key(door, column) for column in columns}
        for column in columns:
            self._furnish(column, keys[column.name])
            if row.fault is not None:
                venue.fault(**row.fault, api_key=keys[column.name], times=1 if mode == "once" else None)
        mark = bed.worker.log_size()
        ids = {column.name: bed.send(column.task, account=key(door, column), **column.arguments) for column in columns}
        if mode == "once" and row.fault is None:
            self._open_after_first_attempts(door, ids, mark)
        ends = dict(zip(ids, bed.all_ended(list(ids.values())), strict=True))
        return {
            name: Seen(end, venue.arrivals(api_key=keys[name]), venue.executions(api_key=keys[name]))
            for name, end in ends.items()
        }

    def _furnish(self, column: Column, api_key: str) -> None:
        """Something to cancel, to close, to withdraw, at the account's place in the book."""
        venue = self._bed.venue
        venue.account(column.venue, api_key, SECRET)  # type: ignore[arg-type]
        if column.venue == "everstrike":
            venue.position(api_key, PAIR, "1")
            venue.order(api_key, "order-1", PAIR)
            venue.balance(api_key, "ETH", "10")

    def _open_after_first_attempts(self, door: str, ids: dict[str, str], mark: int) -> None:
        """Open each command's door as soon as its first attempt is over."""
        shut = dict(ids)

        def all_open() -> bool:
            log = self._bed.worker.logs_from(mark)
            for name in [name for name, command_id in shut.items() if f"attempt id={command_id} " in log]:
                way = self._ways.by_account[door, name]
                assert way.door is not None
                way.door.remove_fault()
                del shut[name]
            return not shut

        until(all_open, "a first attempt of every command", 10, every=0.005)


@pytest.fixture(scope="module")
def runs(bed: Bed, ways: Ways) -> Runs:
    """The rows of this module."""
    return Runs(bed, ways)


# -- the tests ---------------------------------------------------------------------------------------------------------

STATES = {
    "accepted": ("SUCCESS", None),
    "rejected": ("FAILURE", "producers.errors.OrderRejected"),
    "not_sent": ("FAILURE", "producers.errors.OrderNotSent"),
    "unknown": ("FAILURE", "producers.errors.OrderUnknown"),
}


@pytest.mark.parametrize(("row", "mode", "column"), CELLS)
def test_cell(runs: Runs, row: Row, mode: str, column: Column) -> None:
    """A cell of the matrix: report, Celery's state and the venue's book say what the contract says."""
    seen = runs.of(row, mode)[column.name]
    expected = ENDS[row.ends][mode][column.kind]
    if mode == "for ever" and row.attempts_for_ever is not None:
        expected = dataclasses.replace(expected, attempts=row.attempts_for_ever)
    if expected == ECHO and column.name == "close_whole":
        # The venue's words for a close that finds nothing are not listed: it is sent again until that is used up.
        expected = dataclasses.replace(expected, attempts=N)
    if column.kind == READ:
        expected = dataclasses.replace(expected, executions=0)  # a read takes no effect
    report = seen.end.report
    told = End(report["outcome"], report["reason"], report["attempts"], len(seen.executions))
    assert told == expected, f"{report['message']}\n{json.dumps(report)}"
    assert (seen.end.state, seen.end.error) == STATES[expected.outcome]
    check_arrivals(seen, row)
    check_report(report, column)


def check_arrivals(seen: Seen, row: Row) -> None:
    """The venue saw as many requests as the report says, each freshly and rightly signed."""
    report, arrivals = seen.end.report, seen.arrivals
    assert len(arrivals) == report["attempts"]
    assert all(arrival.signature_ok in (True, None) for arrival in arrivals)
    stamps = [arrival.timestamp_ms for arrival in arrivals if arrival.timestamp_ms is not None]
    if not arrivals or arrivals[0].path.startswith("/auth/"):
        assert stamps == sorted(set(stamps)), "each attempt reads the clock and signs anew"
    if len(arrivals) > 1:
        assert arrivals[1].time_ms - arrivals[0].time_ms >= row.waits_ms


def check_report(report: dict[str, Any], column: Column) -> None:
    """The times agree with what happened, and the rest of the report with what was sent."""
    assert report["command"] == column.task.removeprefix("orders.")
    assert report["venue"] == column.venue
    assert report["replayed"] is False
    assert (report["first_sent_at"] is None) == (report["attempts"] == 0)
    if report["attempts"]:
        assert report["enqueued_at"] <= report["first_sent_at"] <= report["last_signed_at"] <= report["finished_at"]
        assert (report["last_signed_at"] > report["first_sent_at"]) == (report["attempts"] > 1)
    assert report["finished_at"] <= time.time() * 1000
    assert report["message"]
    assert "\n" not in report["message"]
    assert SECRET not in json.dumps(report)


# -- what one row alone does not show ----------------------------------------------------------------------------------

NOT_FOUND = own("The order was not found")
TRANSIENT = own("Too many requests", 429)
NO_POSITION = own("The position was not found")
EXECUTED_AND_LOST = own("Send status unknown; execution status unknown.", execute=True)

SEQUENCES = [
    # Only proofs so far: the refusal is the whole truth.
    pytest.param("cancel", [TRANSIENT, NOT_FOUND], End("rejected", "refused", 2, 0), id="transient-refused"),
    pytest.param("withdraw", [TRANSIENT, status(429), None], End("accepted", "ok", 3, 1), id="two-proofs-accepted"),
    # An attempt of unknown fate is never forgotten.
    pytest.param("cancel", [status(502), NOT_FOUND], End("unknown", "refused_after_lost", 2, 0), id="lost-refused"),
    pytest.param(
        "close_whole",
        [{"kind": "cut_before"}, TRANSIENT, own("Unauthorized", 401)],
        End("unknown", "refused_after_lost", 3, 0),
        id="lost-transient-refused",
    ),
    pytest.param("cancel", [status(504), None], End("accepted", "ok", 2, 1), id="lost-accepted"),
    pytest.param(
        "close_whole", [status(500), *[status(429)] * 3], End("unknown", "lost_reply", N, 0), id="lost-then-used-up"
    ),
    # Executed with an unlisted answer, and then there is nothing left; listed as a refusal or not.
    pytest.param(
        "cancel", [EXECUTED_AND_LOST, NOT_FOUND], End("unknown", "refused_after_lost", 2, 1), id="unlisted-refused"
    ),
    pytest.param(
        "close_whole",
        [EXECUTED_AND_LOST, *[NO_POSITION] * 3],
        End("unknown", "refused_after_lost", N, 1),
        id="unlisted-unlisted",
    ),
    # Again is over with the first doubt.
    pytest.param("close_qty", [TRANSIENT, status(502)], End("unknown", "lost_reply", 2, 0), id="transient-lost"),
    pytest.param(
        "withdraw", [status(429), own("Who knows")], End("unknown", "unlisted_answer", 2, 0), id="limited-unlisted"
    ),
]


@pytest.mark.parametrize(("name", "faults", "expected"), SEQUENCES)
def test_sequence(bed: Bed, runs: Runs, name: str, faults: list[dict[str, Any] | None], expected: End) -> None:
    """Attempts that end differently, one after the other."""
    column = next(column for column in COLUMNS if column.name == name)
    bed.venue.reset(demo=False)
    api_key = key(DIRECT, column)
    runs._furnish(column, api_key)
    for fault in faults:
        if fault is not None:
            bed.venue.fault(**fault, api_key=api_key)
    end = bed.ended(bed.send(column.task, account=key(DIRECT, column), **column.arguments))
    executions = len(bed.venue.executions(api_key=api_key))
    assert End(*end.outcome, end.report["attempts"], executions) == expected, end.report
    assert len(bed.venue.arrivals(api_key=api_key)) == expected.attempts


BITZ_CODES = [
    *(pytest.param(code, "again", id=str(code)) for code in (-104, -106, -301001, -110, -100044, -200032)),
    *(pytest.param(code, "final", id=str(code)) for code in (-114, -102, -105, -300069, -200031, -300103)),
    pytest.param(-31337, "unlisted", id="unlisted"),
]


@pytest.mark.parametrize("in_data", [False, True], ids=["status", "data"])
@pytest.mark.parametrize(("code", "group"), BITZ_CODES)
def test_bitz_code(bed: Bed, runs: Runs, code: int, group: str, in_data: bool) -> None:
    """Bit-Z's errors arrive on HTTP 200, in `status` or in `data`; the number decides, and never means "flat"."""
    column = next(column for column in COLUMNS if column.venue == "bitz")
    bed.venue.reset(demo=False)
    api_key = key(DIRECT, column)
    runs._furnish(column, api_key)
    bed.venue.bitz_error(code, in_data=in_data, api_key=api_key)
    end = bed.ended(bed.send(column.task, account=key(DIRECT, column), **column.arguments))
    expected = {
        "again": End("accepted", "ok", 2, 0),
        "final": End("rejected", "refused", 1, 0),
        "unlisted": End("accepted", "ok", 2, 0),  # "reads: bounded"
    }[group]
    assert End(*end.outcome, end.report["attempts"], 0) == expected, end.report
    assert end.report["venue_code"] == (code if group == "final" else 200)
    assert end.report["positions"] == ([] if expected.outcome == "accepted" else None)


def test_bitz_maintenance(bed: Bed, runs: Runs) -> None:
    """Maintenance is waited out with a long delay, inside the deadline: one that is near is not waited for."""
    column = next(column for column in COLUMNS if column.venue == "bitz")
    bed.venue.reset(demo=False)
    runs._furnish(column, key(DIRECT, column))
    bed.venue.bitz_error(-112, times=None)
    deadline = int(time.time() * 1000) + 3000
    command = bed.send(column.task, account=key(DIRECT, column), deadline=deadline, **column.arguments)
    end = bed.ended(command)
    assert end.report["outcome"] == "not_sent"
    assert end.report["attempts"] == 1
    assert end.report["finished_at"] < deadline
