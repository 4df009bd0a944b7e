"""What an answer proves: of a command by the exchange's own codes as its traits list them, and by nothing else.

ccxt sorts errors by the kind of problem, and never says whether a command was executed. So what is not listed is
unknown. Only a query, which may be repeated, is also judged by few of ccxt's classes of errors.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from producers.commands import Cancel
from producers.report import Position, Reason
from worker.venues.base import FRONT_STATUSES, Overload, Plan, Proof, Verdict
from worker.venues.ccxt.binding import Captured
from worker.venues.ccxt.planned import Planned, copy_of, details_of, in_time_of, run
from worker.venues.ccxt.positions import open_positions, to_position
from worker.venues.ccxt.reading import ReadFailed, listed_rows, read_envelope
from worker.venues.ccxt.records import contradiction
from worker.venues.ccxt.traits import Envelope, Listed, Traits
from worker.venues.contradictions import failure_in_message, failure_within
from worker.venues.http.base import Response, retry_after_seconds
from worker.venues.json_values import MAX_DEPTH, UNREADABLE, one_line, read_json, to_report_json
from worker.venues.listed_answers import ListedAnswer, expresses_uncertainty, find_listed
from worker.venues.overloads import with_overload

REFUSING = frozenset(
    {
        *("InsufficientFunds", "BadSymbol", "PermissionDenied", "AccountSuspended", "InvalidAddress", "MarketClosed"),
        "ArgumentsRequired",
    }
)
"""ccxt's classes that are believed to mean that a query is refused for good."""
NOT_NOW = frozenset({"RateLimitExceeded", "DDoSProtection", "InvalidNonce"})
"""ccxt's classes that are believed to mean that a query was turned away unread."""
IDS = ("orderId", "ordId", "algoId", "wdId", "id")
"""The names of an order's or a withdrawal's id that exchanges leave empty in a refusal."""
ALL_IDS = frozenset({*IDS, "order_id"})
"""Of these, Kraken Futures shows ``order_id`` in refusals as well."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer, read in every way, before anything is concluded."""

    plan: Plan
    response: Response
    envelope: Envelope | None
    """As the traits read it."""
    listed: Listed | None
    parsed: Any = None
    """What ccxt's method returned; None if it raised an exception."""
    error: tuple[str, ...] | None = None
    """The names of the classes of the exception; None if there was none."""

    @property
    def said(self) -> str:
        """Status, code and message in words."""
        if self.envelope is None:
            return f"the venue answered {self.response.status} without its own envelope"
        code = one_line(self.envelope.code, 64)
        message = one_line(self.envelope.message, 200)
        return f"the venue answered {' '.join(filter(None, [str(self.response.status), code and f'({code})']))}" + (
            f": {message}" if message else ""
        )

    def verdict(
        self,
        proof: Proof,
        words: str,
        reason: Reason = Reason.UNLISTED_ANSWER,
        *,
        result: Any = None,
        positions: tuple[Position, ...] | None = None,
    ) -> Verdict:
        """The verdict, with what the exchange said."""
        envelope = self.envelope or Envelope("")
        return Verdict(
            proof,
            words,
            reason,
            self.response.status,
            _shown_code(envelope.code),
            one_line(envelope.message) if envelope.message else None,
            to_report_json(envelope.record) if result is None else result,
            positions,
            retry_after_seconds(self.response.headers),
            own_refusal=self.envelope is not None and proof is not Proof.EXECUTED,
        )


def judge(plan: Plan, traits: Traits | None, response: Response, operators: Sequence[ListedAnswer]) -> Verdict:
    """What a response proves; ``operators`` are the refusals that the settings list. Never raises an exception."""
    try:
        reading = read(plan, traits, response)
        verdict = _judge(reading, operators) if plan.command.mutating else _judge_query(reading)
    except Exception as error:  # noqa: BLE001 - what can't be judged proves nothing
        why = f"an answer {response.status} that can't be judged ({type(error).__name__})"
        return Verdict(Proof.UNKNOWN, why, http_status=response.status)
    listed = reading.listed is not None and reading.listed.overload
    return with_overload(verdict, traits.overload_scope if traits else Overload.ACCOUNT, listed=listed)


def read(plan: Plan, traits: Traits | None, response: Response) -> Reading:
    """Read an answer by the traits and by ccxt, at the exchange's own address: ccxt chooses its table of errors by the
    host."""
    value = read_json(response.body)
    envelope = read_envelope(traits, value)
    listed = find(traits.listed, plan.command.name, response.status, envelope) if traits and envelope else None
    in_time = in_time_of(plan, traits, 1)
    try:
        parsed = run(copy_of(plan, 1, in_time, [response]), plan.details, in_time)
    except Captured:
        return Reading(plan, response, envelope, listed, error=("MoreRequests",))
    except Exception as error:  # noqa: BLE001 - ccxt's texts quote requests; the names of the classes say enough
        return Reading(plan, response, envelope, listed, error=tuple(each.__name__ for each in type(error).__mro__))
    return Reading(plan, response, envelope, listed, parsed)


def find(listed: Sequence[Listed], command: str, status: int, envelope: Envelope) -> Listed | None:
    """The listed answer that an envelope is, the most precise one first."""
    fitting = [each for each in listed if _is(each, command, status, envelope)]
    return max(fitting, key=lambda each: (bool(each.message), bool(each.status), bool(each.commands)), default=None)


def _is(listed: Listed, command: str, status: int, envelope: Envelope) -> bool:
    # A timeout or a breakdown says nothing about the command, unless the exchange documents this very answer.
    counts = listed.status == status or (not listed.status and status < 500 and status != 408)
    message = listed.message.casefold().rstrip(". ")
    return (
        listed.code == envelope.code
        and counts
        and (not listed.commands or command in listed.commands)
        and (not message or " ".join(envelope.message.split()).casefold().rstrip(". ") == message)
    )


def _judge(reading: Reading, operators: Sequence[ListedAnswer]) -> Verdict:
    listed, status = reading.listed, reading.response.status
    if listed is not None and listed.proof is Proof.EXECUTED:
        return _judge_success(reading)
    if listed is not None:
        return _judge_listed(reading, listed)
    if status == 429 and not shows_any(read_json(reading.response.body), ALL_IDS):
        return reading.verdict(Proof.NOT_EXECUTED, f"the venue limits the rate of requests ({status})")
    if reading.envelope is None or status >= 500:
        lost = status in FRONT_STATUSES or status >= 500 or reading.envelope is None
        words = f"{reading.said}, which says nothing about the command"
        return reading.verdict(Proof.UNKNOWN, words, Reason.LOST_REPLY if lost else Reason.UNLISTED_ANSWER)
    if reading.error is not None and not expresses_uncertainty(reading.envelope.message) and status != 408:
        by_operator = find_listed(operators, 0, reading.envelope.message) if reading.envelope.message else None
        if by_operator is not None and not _has_order(reading):
            return reading.verdict(Proof.REFUSED, f"the venue refused it: {reading.said}{by_operator.note}")
    return reading.verdict(Proof.UNKNOWN, f"{reading.said}, which is not listed")


def proof_by_class(names: Sequence[str]) -> Proof | None:
    """What ccxt's class of an error proves of a query; None for nothing."""
    if not NOT_NOW.isdisjoint(names):
        return Proof.NOT_EXECUTED
    return None if REFUSING.isdisjoint(names) else Proof.REFUSED


def _judge_listed(reading: Reading, listed: Listed) -> Verdict:
    message = reading.envelope.message if reading.envelope else ""
    if listed.proof is Proof.UNKNOWN:
        return reading.verdict(Proof.UNKNOWN, f"{reading.said}, after which the outcome is not known")
    if not listed.message and expresses_uncertainty(message):
        return reading.verdict(Proof.UNKNOWN, f"{reading.said}, which expresses uncertainty")
    if listed.proof is not Proof.SEEN and _has_order(reading):
        return reading.verdict(Proof.UNKNOWN, f"{reading.said}, and yet it shows an order")
    words = {
        Proof.REFUSED: "the venue refused it: ",
        Proof.SEEN: "the venue knows the client order id already: ",
    }.get(listed.proof, "")
    return reading.verdict(listed.proof, words + reading.said)


def _has_order(reading: Reading) -> bool:
    """Whether there is an order or a withdrawal in an answer that says no. A refused cancel may show its order."""
    parsed = reading.parsed
    if isinstance(reading.plan.command, Cancel):
        return False
    record = reading.envelope.record if reading.envelope else None
    return (isinstance(parsed, Mapping) and bool(parsed.get("id"))) or shows_any(record, frozenset(IDS), depth=1)


def shows_any(value: Any, names: frozenset[str], *, depth: int = MAX_DEPTH) -> bool:
    """Whether a JSON value has a field of one of these names that is not empty, within so many levels."""
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    if isinstance(value, Mapping) and any(value.get(name) not in (None, "") for name in names):
        return True
    return depth > 1 and any(shows_any(each, names, depth=depth - 1) for each in items)


def _judge_success(reading: Reading) -> Verdict:
    planned = details_of(reading.plan)
    if reading.error is not None or not 200 <= reading.response.status < 300:
        why = reading.error[0] if reading.error else "its status"
        return reading.verdict(Proof.UNKNOWN, f"{reading.said}, which means success, but for {why}")
    record = reading.envelope.record if reading.envelope else None
    if not isinstance(record, Mapping) or not record:
        return reading.verdict(Proof.UNKNOWN, f"{reading.said}, which means success, but shows no record")
    parsed = reading.parsed if isinstance(reading.parsed, Mapping) else {}
    found_id = str(parsed.get("id") or record.get("id") or "")
    said = reading.envelope.message if reading.envelope else None
    wrong = contradiction(reading.plan, parsed, found_id) or failure_within(record) or failure_in_message(said)
    if wrong:
        return reading.verdict(Proof.UNKNOWN, f"the venue accepted it, but {wrong}")
    named = f": {one_line(found_id, 80)}" if found_id else ""
    amount = planned.asked.amounts.get("amount")
    count = f", {amount} contracts ({planned.contract})" if planned.contract and amount else ""
    return reading.verdict(Proof.EXECUTED, f"the venue took it{named}{count}")


def _judge_query(reading: Reading) -> Verdict:
    planned = details_of(reading.plan)
    status, listed = reading.response.status, reading.listed
    if status == 429:
        return reading.verdict(Proof.NOT_EXECUTED, f"the venue limits the rate of requests ({status})")
    if listed is not None and listed.proof in (Proof.REFUSED, Proof.NOT_EXECUTED):
        return _judge_listed(reading, listed)
    if reading.error is not None or status != 200:
        proof = proof_by_class(reading.error or ()) if reading.envelope and status < 500 else None
        return reading.verdict(proof or Proof.UNKNOWN, reading.said, Reason.LOST_REPLY)
    try:
        positions, rows = read_positions(reading, planned)
    except ReadFailed as error:
        return reading.verdict(Proof.UNKNOWN, f"the venue's positions can't be read: {error}")
    sizes = {each["symbol"]: str(each["contractSize"]) for each in rows if each.get("contractSize") is not None}
    unit = f", in contracts ({', '.join(f'{symbol}: {size} each' for symbol, size in sizes.items())})" if sizes else ""
    shown = [to_report_json(each.get("info")) for each in rows]
    return reading.verdict(Proof.EXECUTED, one_line(f"{len(positions)} open{unit}"), result=shown, positions=positions)


def read_positions(reading: Reading, planned: Planned) -> tuple[tuple[Position, ...], list[Mapping[str, Any]]]:
    """The open positions in a query's answer and in what its plan has read.

    Raises:
        ReadFailed: it is not known what is open.
    """
    place, symbol = planned.place, planned.symbol
    value = read_json(reading.response.body, fractions=str)
    if place is None or value is UNREADABLE:
        raise ReadFailed("an answer that can't be read")
    rows = listed_rows(place, value)
    if not place.parser:
        rows = reading.parsed if isinstance(reading.parsed, list) else []
    exchange = copy_of(reading.plan, 1, in_time_of(reading.plan, None, 1))
    found = [*open_positions(exchange, place.parser, rows, symbol), *planned.read]
    if len({(each["symbol"], each["side"]) for each in found}) < len(found):
        raise ReadFailed("they changed while they were read")
    return tuple(map(to_position, found)), found


def _shown_code(code: str) -> int | str | None:
    if re.fullmatch(r"-?[0-9]{1,9}", code):
        return int(code)
    return one_line(code, 64) if code else None
