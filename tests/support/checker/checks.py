"""What one report claims, held against what is known otherwise. Each function yields what is wrong, in words."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

from tests.faults.traffic import KEYS, Sent
from worker.simulator.simulator import DEMO_BITZ_KEY, DEMO_BITZ_SECRET, DEMO_EVERSTRIKE_SECRET

VENUES = {**dict.fromkeys(KEYS, "everstrike"), "bz": "bitz"}
STALE_MARK = {"leverage": 7777}
"""What the rig has changed in each stale answer about positions, so that it is known again."""
SAYS_NO = frozenset({"rejected", "failed", "expired"})
"""Statuses of a record that was not executed."""
SECRETS = tuple(secret[:12] for secret in (*KEYS.values(), DEMO_EVERSTRIKE_SECRET, DEMO_BITZ_KEY, DEMO_BITZ_SECRET))
"""How the keys begin: what is left of one that was cut is a secret still."""
ERRORS = {"rejected": "OrderRejected", "not_sent": "OrderNotSent", "unknown": "OrderUnknown"}
ENDINGS = frozenset({"settle", "abandon", "refuse", "resolve"})
CLOCK_MS = 2
"""By how much the server's and the venue's stamps of two things in order may differ on one machine."""


def number(value: Any) -> Decimal | None:
    """An amount, however it was written."""
    return None if value is None else Decimal(repr(value) if isinstance(value, float) else str(value))


def repeatable(command: Sent) -> bool:
    """The contract's second column."""
    if command.kind == "close":
        return not {"qty", "price", "trigger_price"} & command.kwargs.keys()
    return command.kind in {"cancel", "positions"}


def wrong_form(command: Sent, meta: Mapping[str, Any], report: Mapping[str, Any]) -> Iterable[str]:
    """It is this command's report, and Celery says the same as it."""
    account = str(command.kwargs["account"])
    if report["command_id"] != command.command_id or report["command"] != command.kind:
        yield f"the report of {report['command']} {report['command_id']}"
    if str(report["account"]).lower() != account.lower() or report["venue"] != VENUES[account.lower()]:
        yield f"account {report['account']}, venue {report['venue']}"
    if report["fingerprint"] != _fingerprint(command):
        yield "another command's fingerprint"
    text = json.dumps(meta)
    if any(secret in text for secret in SECRETS):
        yield "a key is in it"
    error = (meta.get("result") or {}).get("exc_type")
    status, expected = meta.get("status"), ERRORS.get(report["outcome"])
    if (status, error) != (("FAILURE", expected) if expected else ("SUCCESS", None)):
        yield f"Celery says {status} {error}"


def _fingerprint(command: Sent) -> str:
    """As the contract tells to make it: normalised arguments as canonical JSON."""
    arguments = {**command.kwargs, "account": str(command.kwargs["account"]).lower()}
    for name in ("qty", "price"):
        if name in arguments:
            text = format(number(arguments[name]) or Decimal(0), "f")
            arguments[name] = text.rstrip("0").rstrip(".") if "." in text else text
    canonical = json.dumps([command.task, arguments], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def wrong_outcome(
    command: Sent, report: Mapping[str, Any], took_effect: Sequence[Any], *, undone: bool = False
) -> Iterable[str]:
    """What is said to have happened has, and what is said not to have has not. Of what the venue took and rejected
    later (`undone`) nothing but an answer of before may say that it was taken."""
    outcome, executed = report["outcome"], bool(took_effect)
    if outcome not in {"accepted", *ERRORS}:
        yield f"outcome {outcome}"
    if command.kind == "positions":
        yield from _wrong_query(report)
        return
    if outcome == "accepted" and not executed:
        yield "it was never executed"
    if outcome in {"rejected", "not_sent"} and executed and not undone:
        yield f"it was executed at {took_effect[0].time_ms}"
    if executed and not report["attempts"]:
        yield "it was executed and nothing was sent"
    if outcome == "unknown" and not report["attempts"]:
        yield "unknown, and nothing was sent"
    if outcome == "accepted":
        yield from _wrong_answer(command, report["result"], settled_by_reconcile=report["http_status"] is None)
    yield from _too_late(command, took_effect)


def _wrong_query(report: Mapping[str, Any]) -> Iterable[str]:
    if report["outcome"] == "accepted" and not isinstance(report["positions"], list):
        yield "no positions"
    elif report["outcome"] == "accepted" and any(
        each["leverage"] == str(STALE_MARK["leverage"]) for each in report["positions"]
    ):
        yield "positions from a stale answer"
    if report["outcome"] == "unknown" and report["reason"] == "crashed":
        yield "a query can't be left unknown by a crash"


def _too_late(command: Sent, took_effect: Sequence[Any]) -> Iterable[str]:
    """Nothing is signed after the deadline, by the clock of whoever signed."""
    deadline = command.kwargs.get("deadline")
    for execution in took_effect:
        if deadline is not None and int(execution.fields.get("timestamp", 0)) >= deadline:
            yield f"signed at {execution.fields['timestamp']}, after the deadline {deadline}"


def _wrong_answer(command: Sent, result: Any, *, settled_by_reconcile: bool) -> Iterable[str]:
    """The venue's answer in the report is the answer to this command and not to its neighbour on the connection, and
    does not say no.

    A report that a reconcile settled has no answer, only a record.
    """
    said: Any = result if isinstance(result, dict) else {}
    status = str(said.get("status")).casefold()
    nothing_left = command.kind == "cancel" and status in ("completed", "filled")
    if status in SAYS_NO or nothing_left or (command.kind == "withdraw" and status == "cancelled"):
        yield f"the venue's record says {status}"
    if settled_by_reconcile:
        return
    match command.kind:
        case "withdraw":
            same_asset = said.get("asset") in (None, command.kwargs["asset"])
            matches = same_asset and said.get("address") == command.kwargs["address"]
        case "cancel":
            matches = said.get("id") == command.kwargs["order_id"]
        case _:
            asked = number(command.kwargs.get("qty"))
            matches = said.get("pair") == command.kwargs["pair"] and asked in (None, number(said.get("qty_orig")))
    if not matches:
        yield f"the venue's answer is about something else: {str(said)[:200]}"


def wrong_count(command: Sent, report: Mapping[str, Any], left: int | None, *, disturbed: bool) -> Iterable[str]:
    """``attempts`` counts every request on the wire; more than those only for what a worker died with."""
    if command.kind == "positions" or left is None:
        return
    attempts = report["attempts"]
    if attempts < left:
        yield f"{left} requests left"
    if attempts > left and not disturbed:
        yield f"only {left} requests left, and nothing disturbed its worker"


def wrong_journal(
    command: Sent,
    report: Mapping[str, Any],
    took_effect: Sequence[Any],
    entries: Sequence[tuple[int, Mapping[str, str]]],
) -> Iterable[str]:
    """The ledger said that a send begins before it took effect, and what ended there is what is reported."""
    if command.kind == "positions" or not entries:
        if took_effect:
            yield "it was executed and the journal has nothing of it"
        return
    begun = [at for at, fields in entries if fields["event"] == "begin"]
    for execution in took_effect:
        if not begun or execution.time_ms < begun[0] - CLOCK_MS:
            yield f"it was executed at {execution.time_ms}, before the journal's begin at {begun[:1]}"
    ends = [fields for _, fields in entries if fields["event"] in ENDINGS]
    if not ends:
        yield "the journal has no end of it"
    elif ends[-1]["outcome"] != report["outcome"]:
        yield f"the journal's last word is {ends[-1]['event']} {ends[-1]['outcome']}"
    for earlier, later in pairwise(ends):
        if earlier["outcome"] != "unknown" or later["event"] == "abandon":
            yield f"ended twice: {earlier['event']} {earlier['outcome']}, then {later['event']} {later['outcome']}"
    if not repeatable(command):
        yield from _second_owner([fields for _, fields in entries])


def _second_owner(entries: Sequence[Mapping[str, str]]) -> Iterable[str]:
    """Nobody begins to send what another began, unless that one put on record how its attempt ended."""
    open_by = ""
    for fields in entries:
        match fields["event"]:
            case "begin":
                if open_by not in ("", fields["token"]):
                    yield f"begun by {fields['token']} while {open_by} had begun"
                open_by = fields["token"]
            case "pause":
                open_by = ""
