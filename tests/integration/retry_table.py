"""The contract's table "What may be sent again" as cases: what happens to each attempt, and how the command must end.

`ENDS` is written by hand from the contract's text; nothing is asked of the worker's own table.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

ATTEMPTS = 4
PAIR = "USD_BTC_PERP"
DIRECT = "direct"
"""The door of a row whose trouble is a fault of the simulator."""

READ, REPEATABLE, ONCE = range(3)
"""The contract's columns. Its first is two here, which differ in what a second execution meets: a read is simply
answered again, the second cancel or close is told that nothing is left. "Other closes" and withdrawals are `ONCE`."""


@dataclass(frozen=True)
class Column:
    """A command of one of the contract's columns."""

    name: str
    kind: int
    task: str
    arguments: dict[str, Any] = field(default_factory=dict)
    venue: str = "everstrike"


COLUMNS = (
    Column("positions", READ, "orders.positions"),
    Column("positions_bitz", READ, "orders.positions", {"contract_id": 101}, venue="bitz"),
    Column("cancel", REPEATABLE, "orders.cancel", {"order_id": "order-1"}),
    Column("close_whole", REPEATABLE, "orders.close", {"pair": PAIR}),
    Column("close_qty", ONCE, "orders.close", {"pair": PAIR, "qty": "0.5"}),
    Column("close_limit", ONCE, "orders.close", {"pair": PAIR, "price": "99.5"}),
    Column("close_stop", ONCE, "orders.close", {"pair": PAIR, "trigger_price": "80"}),
    Column("withdraw", ONCE, "orders.withdraw", {"asset": "ETH", "qty": "0.001", "address": "0xabc"}),
)


@dataclass(frozen=True)
class End:
    """How a command has to end, and how often the venue has to have executed it."""

    outcome: str
    reason: str
    attempts: int
    executions: int


@dataclass(frozen=True)
class Case:
    """One command, the fault that each of its attempts meets, and its end."""

    name: str
    column: Column
    expected: End
    faults: tuple[dict[str, Any], ...] = ()
    door: str = DIRECT
    waits_ms: int = 0
    """How long the second request must stay away."""
    venue_code: int | None = None


ALL = ATTEMPTS
ACCEPTED = End("accepted", "ok", 1, 1)
ACCEPTED_AT_LAST = End("accepted", "ok", 2, 1)
REJECTED = End("rejected", "refused", 1, 0)
NEVER_LEFT = End("not_sent", "unavailable", 0, 0)
GAVE_UP = End("not_sent", "unavailable", ALL, 0)
ECHO = End("unknown", "refused_after_lost", 2, 1)


def unknown(reason: str, attempts: int, executions: int = 0) -> End:
    """An end that nobody knows."""
    return End("unknown", reason, attempts, executions)


def again(reason: str, executions: int, then: End) -> tuple[tuple[End, ...], tuple[End, ...]]:
    """ "Again and remembered" for reads and what may be repeated, `unknown` for the rest."""
    doubt = unknown(reason, 1, executions)
    all_doubtful = unknown(reason, ALL, executions)
    return (ACCEPTED_AT_LAST, then, doubt), (all_doubtful, all_doubtful, doubt)


ENDS = {
    # What happened: the ends of read, repeatable, once when it happens once, and when it happens for ever.
    # "never left (DNS, refused, connect timeout, TLS)": again. Such a try is no attempt on the wire.
    "never left": ([ACCEPTED] * 3, [NEVER_LEFT] * 3),
    # "or 429", and "listed as transient, with its source": again.
    "not taken": ([ACCEPTED_AT_LAST] * 3, [GAVE_UP] * 3),
    "past the budget": ([], [End("not_sent", "unavailable", 1, 0)] * 3),
    # "listed as final, with its source".
    "refused": ([REJECTED] * 3, [REJECTED] * 3),
    # "anything else", in the venue's own envelope.
    "unlisted": again("unlisted_answer", 0, ACCEPTED_AT_LAST),
    # Executed, so the second try is refused: "a refusal proves nothing about an earlier attempt".
    "unlisted, executed": again("unlisted_answer", 1, ECHO),
    # "4xx without the envelope, 5xx, a lost or unreadable reply". The request was lost on its way in.
    "lost": again("lost_reply", 0, ACCEPTED_AT_LAST),
    "lost, executed": again("lost_reply", 1, ECHO),
}


@dataclass(frozen=True)
class Row:
    """What happens to the attempt, and which of `ENDS` it must lead to."""

    name: str
    ends: str
    fault: dict[str, Any] | None = None
    venues: tuple[str, ...] = ("everstrike", "bitz")
    modes: tuple[str, ...] = ("once", "for ever")
    door: str = DIRECT
    waits_ms: int = 0


def status(code: int, **fields: Any) -> dict[str, Any]:
    """A fault: a status with a page of HTML, as a proxy in front of the venue answers."""
    return {"kind": "status", "status": code, "body": f"<html><h1>{code}</h1></html>", **fields}


def own(message: str, code: int = 503, **fields: Any) -> dict[str, Any]:
    """A fault: Everstrike's own envelope."""
    return {"kind": "envelope", "status": code, "message": message, **fields}


def garbage(body: str) -> dict[str, Any]:
    """A fault: the command is executed, and answered by a 200 with this body."""
    return {"kind": "garbage", "body": body}


ONLY_ONCE, FOR_EVER = ("once",), ("for ever",)
EVERSTRIKE = ("everstrike",)
"""Venues of a row with Everstrike's envelope; at Bit-Z it would be a page of some proxy."""
DENIED_BY_A_200 = {"code": 503, "msg": "Invalid request", "result": {}}
HALF_AN_ENVELOPE = '{"code":503,"msg":"Invalid request"}'
DELIVERY_UNKNOWN = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."

ROWS = (
    Row("refused port", "never left", door="refuses"),
    Row("name not resolved", "never left", door="nowhere", modes=FOR_EVER),
    Row("connect timeout", "never left", door="ignores"),
    Row("no TLS", "never left", door="no_tls"),
    Row("untrusted certificate", "never left", door="untrusted", modes=FOR_EVER),
    Row("429", "not taken", status(429)),
    Row("429 own", "not taken", own("Too many requests", 429), venues=EVERSTRIKE),
    *(
        Row(f"429 retry-after {wait}", "not taken", fault, venues=EVERSTRIKE, modes=ONLY_ONCE, waits_ms=waits_ms)
        for wait, waits_ms, fault in (
            ("a second", 1000, status(429, retry_after="1")),
            ("a fraction", 500, own("Send status unknown", 429, retry_after="0.5")),
        )
    ),
    Row("429 retry-after an hour", "past the budget", status(429, retry_after="3600"), EVERSTRIKE, FOR_EVER),
    *(
        Row(f"own {code} {words}", "refused", own(words, code), venues=EVERSTRIKE)
        for code, words in (
            (503, "Invalid request"),
            (404, "The order was not found"),
            (503, "The order was not found"),
            (503, "Your request was rejected due to insufficient balance."),
            (401, "Unauthorized"),
            (400, "Invalid request"),
            (503, "Account 7 is frozen."),  # listed by the operator, see SETTINGS of the test
        )
    ),
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
    Row("200 with code 503", "unlisted", {"kind": "respond", "data": DENIED_BY_A_200}, EVERSTRIKE),
    Row("redirect", "unlisted", status(307, headers={"Location": "/auth/withdraw"}), EVERSTRIKE, ONLY_ONCE),
    *(
        Row(f"own {code} {words} executed", "unlisted, executed", own(words, code, execute=True), venues=EVERSTRIKE)
        for code, words in (
            (503, DELIVERY_UNKNOWN),
            (503, "Nothing to do"),
            (401, "Your order is being processed"),
            (409, "Account 7 is frozen, or pending"),
        )
    ),
    *(
        Row(f"200 {name}", "unlisted, executed", garbage(body), venues=EVERSTRIKE)
        for name, body in (
            ("null", '{"code":200,"msg":"string","result":null}'),
            ("says no", '{"code":200,"msg":"string","result":{"status":"REJECTED"}}'),
            ("another thing", '{"code":200,"msg":null,"result":{"id":"x","pair":"X_Y","asset":"X","address":"0x1"}}'),
        )
    ),
    *(Row(f"{code}", "lost", status(code)) for code in (400, 401, 403, 404, 422, 500, 502, 504)),
    Row("own 500", "lost", own("Invalid request", 500), venues=EVERSTRIKE),
    Row("gateway 503", "lost", status(503, retry_after="0")),
    Row("cut before", "lost", {"kind": "cut_before"}),
    Row("closed before", "lost", {"kind": "cut_before", "reset": False}),
    Row("silent", "lost", {"kind": "silent"}),
    *(
        Row(f"{code} executed", "lost, executed", status(code, execute=True))
        for code in (400, 403, 404, 500, 502, 503, 504)
    ),
    Row("503 half an envelope", "lost, executed", {**status(503, execute=True), "body": HALF_AN_ENVELOPE}),
    Row("cut after", "lost, executed", {"kind": "cut_after"}),
    Row("closed after", "lost, executed", {"kind": "cut_after", "reset": False}),
    Row("silent executed", "lost, executed", {"kind": "silent", "execute": True}, modes=ONLY_ONCE),
    Row("drip", "lost, executed", {"kind": "drip", "delay_ms": 200}, modes=ONLY_ONCE),
    Row("half", "lost, executed", {"kind": "half"}),
    Row("half chunked", "lost, executed", {"kind": "half", "chunked": True}),
    Row("huge", "lost, executed", {"kind": "huge", "size_mib": 5, "execute": True}, modes=ONLY_ONCE),
    Row("garbage", "lost, executed", {"kind": "garbage"}),
    Row("no JSON object", "lost, executed", garbage("[200]")),
    Row("not JSON", "lost, executed", garbage('{"code":200,"msg":"","result":NaN}')),
    Row("empty 200", "lost, executed", garbage("")),
)


def expected_end(row: Row, mode: str, column: Column) -> End:
    end: End = ENDS[row.ends][mode == "for ever"][column.kind]
    if end == ECHO and column.name == "close_whole":
        # The venue's words for a close that finds nothing are not listed: it is sent again until that is used up.
        end = replace(end, attempts=ALL)
    return replace(end, executions=0) if column.kind == READ else end


def cells() -> Iterator[Case]:
    for row in ROWS:
        for mode in row.modes:
            faults = () if row.fault is None else ({**row.fault, "times": 1 if mode == "once" else None},)
            door = row.door if row.door == DIRECT else f"{row.door} {mode}"
            for column in COLUMNS:
                if column.venue in row.venues:
                    name = f"{row.name}-{mode}-{column.name}".replace(" ", "_")
                    yield Case(name, column, expected_end(row, mode, column), faults, door, row.waits_ms)


NOT_FOUND, NO_POSITION = own("The order was not found"), own("The position was not found")
LIMITED, DENIED, UNSURE = own("Too many requests", 429), own("Unauthorized", 401), own(DELIVERY_UNKNOWN, execute=True)
CUT = {"kind": "cut_before"}
SEQUENCES: dict[str, tuple[str, list[dict[str, Any]], End]] = {
    # Attempts that end differently. Only proofs so far: the refusal is the whole truth.
    "limited, refused": ("cancel", [LIMITED, NOT_FOUND], End("rejected", "refused", 2, 0)),
    "two proofs, accepted": ("withdraw", [LIMITED, status(429)], End("accepted", "ok", 3, 1)),
    # An attempt of unknown fate is never forgotten.
    "lost, refused": ("cancel", [status(502), NOT_FOUND], unknown("refused_after_lost", 2)),
    "lost, limited, refused": ("close_whole", [CUT, LIMITED, DENIED], unknown("refused_after_lost", 3)),
    "lost, accepted": ("cancel", [status(504)], End("accepted", "ok", 2, 1)),
    "lost, then used up": ("close_whole", [status(500), *[status(429)] * 3], unknown("lost_reply", ALL)),
    # Executed with an unlisted answer, and then nothing is left; listed as a refusal or not.
    "unlisted, refused": ("cancel", [UNSURE, NOT_FOUND], unknown("refused_after_lost", 2, 1)),
    "unlisted, unlisted": ("close_whole", [UNSURE, *[NO_POSITION] * 3], unknown("refused_after_lost", ALL, 1)),
    # What must not run twice ends with its first doubt.
    "limited, lost": ("close_qty", [LIMITED, status(502)], unknown("lost_reply", 2)),
    "limited, unlisted": ("withdraw", [status(429), own("Who knows")], unknown("unlisted_answer", 2)),
}


def sequences() -> Iterator[Case]:
    columns = {column.name: column for column in COLUMNS}
    for name, (column, faults, expected) in SEQUENCES.items():
        yield Case(name.replace(" ", "_"), columns[column], expected, tuple(faults))


BITZ_CODES = {
    # An error's number decides, whether it stands in `status` or in `data` of a 200, and it never means "flat".
    **dict.fromkeys((-104, -106, -301001, -110, -100044, -200032, -31337), End("accepted", "ok", 2, 0)),
    **dict.fromkeys((-114, -102, -105, -300069, -200031, -300103), End("rejected", "refused", 1, 0)),
}


def bitz_errors() -> Iterator[Case]:
    """Bit-Z's errors on HTTP 200: transient ones, an unlisted one (`-31337`, a read is asked again), final ones."""
    (column,) = (column for column in COLUMNS if column.venue == "bitz")
    for code, end in BITZ_CODES.items():
        for place, numbers in (("status", {"status": code, "data": ""}), ("data", {"status": 200, "data": code})):
            body = {"msg": "", "time": 0, "microtime": "0.00000000 0", "source": "api", **numbers}
            fault = {"kind": "respond", "data": body}
            venue_code = code if end.outcome == "rejected" else 200
            yield Case(f"bitz{code}_in_{place}", column, end, (fault,), venue_code=venue_code)


CASES = (*cells(), *sequences(), *bitz_errors())
