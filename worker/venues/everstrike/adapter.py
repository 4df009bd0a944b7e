"""Everstrike: close, cancel, withdraw and positions.

The facts and their sources are in ``docs/venues.md``. These shape the adapter: the signature covers exactly the bytes
of the body; ``timestamp`` is integer milliseconds; amounts are plain decimals; the refusal of a bad request looks like
an outage (503 with the venue's own envelope); and there is no client order id by which a lost reply could be looked up.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from producers.arguments import plain_notation
from producers.commands import Cancel, Close, Command, Positions, Withdraw
from producers.report import Direction, Position, Reason
from worker.rate_limits import RateLimit
from worker.venues.accounts import Account
from worker.venues.base import FRONT_STATUSES, Overload, Plan, Proof, Verdict
from worker.venues.contradictions import (
    contains_other_value,
    contains_record,
    contradiction,
    failure_in_message,
    failure_in_record,
    shows_success,
    texts_except_message,
)
from worker.venues.everstrike.auth import auth_headers
from worker.venues.http.base import Response, Send, SignedRequest, retry_after_seconds
from worker.venues.json_values import UNREADABLE, int_or_none, one_line, read_json, to_report_json
from worker.venues.listed_answers import (
    ListedAnswer,
    exact_message,
    expresses_uncertainty,
    find_listed,
    refusals_from_settings,
    status_may_refuse,
)
from worker.venues.lookups import NO_CLIENT_ORDER_IDS, Lookup, Sighting
from worker.venues.overloads import with_overload
from worker.venues.positions import read_position
from worker.venues.response_freshness import NO_CACHE_HEADERS

FORM = "application/x-www-form-urlencoded"

_CLIENT = "github.com/everstrikeio/market_maker"
LISTED = (
    exact_message("Invalid request", Proof.REFUSED, "the API pages' example of a 503, on every page"),
    exact_message("The order was not found", Proof.REFUSED, f"{_CLIENT}, index.js, should_log"),
    exact_message(
        "Your request was rejected due to insufficient balance",
        Proof.REFUSED,
        f"{_CLIENT}, index.js, is_insufficient_balance",
    ),
    # RFC 9110, 15.5.2: not applied, for lack of valid credentials.
    ListedAnswer(Proof.REFUSED, f"{_CLIENT}, js/Everstrike.js, exceptions: '401'", code=401),
)
"""Final refusals in the complete envelope (``docs/venues.md``). No transient message is documented."""

UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]*")
"""Characters that are not percent-encoded in a form (RFC 3986, 2.3)."""

DIRECTIONS = {"BUY": Direction.LONG, "SELL": Direction.SHORT}

BREAKDOWNS = frozenset({500, 502, 504})
"""Statuses that report a failure on the way. The envelope beside them proves nothing."""


class Everstrike:
    """The venue ``everstrike``."""

    name = "everstrike"
    rate_limits: tuple[RateLimit, ...] = (RateLimit(10, 1_000), RateLimit(50, 20_000), RateLimit(500, 200_000))
    overload_scope = Overload.ACCOUNT
    passes_cool_down: frozenset[str] = frozenset()
    knows_client_order_ids = False
    base_url = "https://api.everstrike.io"
    commands: tuple[str, ...] = (Cancel.name, Close.name, Positions.name, Withdraw.name)

    def __init__(self, refusals: Iterable[str] = ()) -> None:
        """``refusals`` are patterns of further messages that are final refusals.

        Raises:
            ValueError: one of the patterns can't be used.
        """
        self._listed = (*LISTED, *refusals_from_settings(self.name, refusals))

    def unsupported(self, command: Command) -> str | None:
        """Everything on the venue's pages is supported. Other commands, and arguments for other venues, are refused."""
        if command.name not in self.commands:
            return f"Everstrike takes no {command.name}: its pages describe no request for new orders"
        for name in ("direction", "network", "tag") if not isinstance(command, Cancel) else ("pair",):
            if vars(command).get(name) is not None:  # asking a model for a field that it has not takes time
                return f"{name} is an argument for other venues; Everstrike's {command.name} has nothing like it"
        if isinstance(command, Positions) and command.contract_id is not None:
            return "contract_id is an argument for Bit-Z; Everstrike takes pair, or neither for all positions"
        return None

    def plan(self, command: Command, command_id: str, account: Account, send: Send) -> Plan:  # noqa: ARG002
        """Nothing is read: a request says all that the venue needs."""
        return Plan(command, account)

    def request(self, plan: Plan, now_ms: int) -> SignedRequest:
        """A signed POST, or for positions a GET with the API key and without a signature."""
        command, account = plan.command, plan.account
        if isinstance(command, Positions):
            path = f"/position?{urlencode({'pair': command.pair})}" if command.pair else "/active_positions"
            return SignedRequest(
                "GET", account.base_url + path, {**NO_CACHE_HEADERS, **auth_headers(account.credentials)}
            )
        path, fields = _mutation(command, now_ms)
        body = form(fields)
        headers = {"content-type": FORM, **auth_headers(account.credentials, body)}
        return SignedRequest("POST", account.base_url + path, headers, body)

    def judge(self, plan: Plan, response: Response) -> Verdict:
        """Decide by status, envelope and message, as listed in ``docs/venues.md``."""
        return with_overload(self._judge(plan.command, response), self.overload_scope)

    def look(self, command: Command, lookup: Lookup, account: Account, send: Send) -> Sighting:  # noqa: ARG002
        """Everstrike knows no client order ids, so that no plan has a lookup."""
        return NO_CLIENT_ORDER_IDS

    def _judge(self, command: Command, response: Response) -> Verdict:
        payload = read_json(response.body)
        envelope = payload if isinstance(payload, Mapping) else {}
        code, message = envelope.get("code"), envelope.get("msg")
        reply = _Reply(
            http_status=response.status,
            venue_code=one_line(code, 64) if isinstance(code, str) else int_or_none(code),
            venue_message=one_line(message) if isinstance(message, str) else None,
            result=to_report_json(envelope.get("result")),
            retry_after=retry_after_seconds(response.headers),
        )
        if response.status == 429 and code != 200 and not contains_record(envelope.get("result")):
            return reply.verdict(Proof.NOT_EXECUTED, "the venue limits the rate of requests (429)")
        if response.status == 200:
            return _judge_success(command, payload, envelope, reply)
        if response.status in BREAKDOWNS:
            return reply.verdict(Proof.UNKNOWN, f"an error {response.status}, which says nothing about the command")
        if reply.venue_code == response.status and isinstance(message, str) and "result" in envelope:
            return self._judge_refusal(message, envelope, reply)
        why = f"the response {response.status} is not the venue's own reply"
        lost = response.status in FRONT_STATUSES
        return reply.verdict(Proof.UNKNOWN, why, Reason.LOST_REPLY if lost else Reason.UNLISTED_ANSWER)

    def _judge_refusal(self, message: str, envelope: Mapping[str, Any], reply: "_Reply") -> Verdict:
        """Judge a complete error envelope: a listed message proves something, unless the envelope contradicts it.

        A refusal that contains a record contradicts itself; documented refusals contain none.
        """
        contradicts = contains_record(envelope["result"]) or shows_success(envelope)
        doubtful = any(map(expresses_uncertainty, texts_except_message(envelope)))
        counts = status_may_refuse(reply.http_status) and not contradicts and not doubtful
        listed = find_listed(self._listed, reply.http_status, message) if counts else None
        if listed is not None:
            return reply.verdict(listed.proof, f"the venue refused it: {reply.text}{listed.note}", own_refusal=True)
        why = f"the venue answered {reply.http_status} with an unlisted message: {reply.text}"
        return reply.verdict(Proof.UNKNOWN, why, Reason.UNLISTED_ANSWER, own_refusal=True)


def _judge_success(command: Command, payload: Any, envelope: Mapping[str, Any], reply: "_Reply") -> Verdict:
    if payload is UNREADABLE or not isinstance(payload, Mapping):
        return reply.verdict(Proof.UNKNOWN, "the venue's reply (200) can't be read")
    # On success `msg` is "string", "null" or null, so its value decides nothing.
    complete = "result" in envelope and "msg" in envelope and isinstance(envelope["msg"], str | None)
    if reply.venue_code != 200 or not complete:
        why = f"a reply with status 200 and code {one_line(envelope.get('code'), 40)}, which is not listed"
        return reply.verdict(Proof.UNKNOWN, why, Reason.UNLISTED_ANSWER)
    result = envelope["result"]
    wrong = failure_in_record({**envelope, "result": None}) or failure_in_message(envelope["msg"])
    if wrong:
        return reply.verdict(Proof.UNKNOWN, f"the venue accepted it, but {wrong}", Reason.UNLISTED_ANSWER)
    if isinstance(command, Positions):
        positions = read_positions(command, result)
        if positions is None:
            return reply.verdict(Proof.UNKNOWN, "the venue's positions can't be read", Reason.UNLISTED_ANSWER)
        return reply.verdict(Proof.EXECUTED, f"{len(positions)} open", positions=positions)
    wrong = contradiction(command, result) if isinstance(result, Mapping) else "it has no record"
    if wrong:
        return reply.verdict(Proof.UNKNOWN, f"the venue accepted it, but {wrong}", Reason.UNLISTED_ANSWER)
    return reply.verdict(Proof.EXECUTED, "the venue took it")


@dataclass(frozen=True, slots=True)
class _Reply:
    """What the venue sent, separate from what it proves."""

    http_status: int
    venue_code: int | str | None
    venue_message: str | None
    result: Any
    retry_after: float | None

    @property
    def text(self) -> str:
        return self.venue_message or "no message"

    def verdict(
        self,
        proof: Proof,
        message: str,
        unknown_reason: Reason = Reason.LOST_REPLY,
        positions: tuple[Position, ...] | None = None,
        *,
        own_refusal: bool = False,
    ) -> Verdict:
        return Verdict(
            proof,
            message,
            unknown_reason,
            self.http_status,
            self.venue_code,
            self.venue_message,
            self.result,
            positions,
            self.retry_after,
            own_refusal=own_refusal,
        )


def _mutation(command: Command, now_ms: int) -> tuple[str, list[tuple[str, str]]]:
    """The path and the form fields, in the order of the venue's pages. Each value is the text that is sent."""
    if isinstance(command, Close):
        optional = {
            "qty": plain_notation(command.qty) if command.qty is not None else None,
            "price": plain_notation(command.price) if command.price is not None else None,
            "trigger_price": plain_notation(command.trigger_price) if command.trigger_price is not None else None,
            "trigger_event": command.trigger_event,
            "close_on_trigger": str(command.close_on_trigger).lower() if command.close_on_trigger is not None else None,
        }
        fields = [("pair", command.pair), *((k, v) for k, v in optional.items() if v is not None)]
        window = [("recv_window", str(command.recv_window))] if command.recv_window is not None else []
        return "/auth/close", [*fields, ("timestamp", str(now_ms)), *window]
    if isinstance(command, Cancel):
        # The documented form has only the id.
        return "/auth/cancel", [("id", command.order_id)]
    if isinstance(command, Withdraw):
        fields = [("asset", command.asset), ("qty", plain_notation(command.qty)), ("address", command.address)]
        return "/auth/withdraw", [*fields, ("timestamp", str(now_ms))]
    raise TypeError(f"Everstrike has no request for {command.task}")


def form(fields: Sequence[tuple[str, str]]) -> bytes:
    """The same as :func:`urllib.parse.urlencode`, which is only called if a value must be percent-encoded.

    It would take half of the time of building a request.
    """
    if UNRESERVED.fullmatch("".join([value for _, value in fields])):
        return "&".join([f"{name}={value}" for name, value in fields]).encode("ascii")
    return urlencode(fields).encode("ascii")


def read_positions(command: Positions, result: Any) -> tuple[Position, ...] | None:
    """The positions in ``/position`` (one object) or ``/active_positions`` (such objects by pair).

    None if the reply can't be read or is about another pair, which must not be taken for "no position is open".
    """
    if not isinstance(result, Mapping):
        return None
    by_pair = {command.pair: result} if command.pair else result
    try:
        positions = [_position(str(pair), entry) for pair, entry in by_pair.items()]
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    return tuple(position for position in positions if position is not None)


def _position(pair: str, entry: Any) -> Position | None:
    stats = entry["stats"]
    if not isinstance(stats, Mapping):
        raise TypeError("no position")
    if contains_other_value(entry, "pair", pair) or contains_other_value(stats, "pair", pair):
        raise ValueError("it is about another pair")
    return read_position(
        pair,
        stats["size"],
        stats.get("direction"),
        DIRECTIONS,
        entry_price=stats.get("avg_entry"),
        liquidation_price=stats.get("lp"),
        leverage=stats.get("leverage"),
        margin=stats.get("margin"),
        realized_pnl=stats.get("rpnl"),
        unrealized_pnl=stats.get("upnl"),
    )
