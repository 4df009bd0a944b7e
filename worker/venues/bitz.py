"""Bit-Z: the open positions of one contract.

The exchange closed in October 2021. Requests equal those of its published clients byte for byte (``docs/venues.md``).
"""

import hashlib
import secrets
import string
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from producers.commands import Command, Positions
from producers.report import Direction, Position, Reason
from worker.rate_limits import RateLimit
from worker.venues.accounts import Account
from worker.venues.base import Overload, Plan, Proof, Verdict
from worker.venues.contradictions import contains_other_value, failure_in_message, failure_in_record
from worker.venues.http.base import Response, Send, SignedRequest, retry_after_seconds
from worker.venues.json_values import int_or_none, one_line, read_json, to_report_json
from worker.venues.listed_answers import find_listed, refusals_from_settings
from worker.venues.lookups import NO_CLIENT_ORDER_IDS, Lookup, Sighting
from worker.venues.overloads import with_overload
from worker.venues.positions import read_position
from worker.venues.response_freshness import NO_CACHE_HEADERS

NONCE_CHARACTERS = string.ascii_letters + string.digits

TRANSIENT_CODES = {
    -104: "network error at the venue",
    -106: "network error at the venue",
    -301001: "network error at the venue",
    -110: "too many requests",
    -112: "maintenance",
    -200025: "trading halt",
    -100044: "failed to fetch",
    -200032: "system error",
}
"""Negative statuses after which a read may be repeated (``docs/venues.md``)."""

OVERLOADS = frozenset({-110, -114, -112, -200025})
"""Codes that ask for no further requests: too many of them, now (-110) or today (-114), maintenance, and a trading halt
(``docs/venues.md``)."""

LONG_WAIT_SECONDS = 5.0
LONG_WAIT_CODES = frozenset({-112, -200025})
"""Maintenance and a trading halt last longer than a passing error, so the next attempt waits longer."""

FINAL_CODES = frozenset(
    {
        *(-114, -102, -103, -105, -109, -111, -117, -300069, -300101, -300102),
        *(-200003, -200005, *range(-200031, -200026), -200033, -200034, -200035, -200037, -200038, -200055),
        *(-100015, -300103),
    }
)
"""Negative statuses that are final refusals."""

DIRECTIONS = {"1": Direction.LONG, "-1": Direction.SHORT}


def new_nonce() -> str:
    """Exactly six letters and digits; the venue refuses a longer nonce with 203."""
    return "".join(secrets.choice(NONCE_CHARACTERS) for _ in range(6))


def sign(fields: Iterable[tuple[str, str]], secret_key: str) -> str:
    """The lower-case hex MD5 of ``k1=v1&k2=v2…`` and the secret key, with the fields sorted and not URL-encoded.

    The text of the API page is right, and its worked example is wrong (``docs/venues.md``).
    """
    text = "&".join(f"{key}={value}" for key, value in sorted(fields)) + secret_key
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


class Bitz:
    """The venue ``bitz``."""

    name = "bitz"
    rate_limits: tuple[RateLimit, ...] = ()
    overload_scope = Overload.ACCOUNT
    passes_cool_down: frozenset[str] = frozenset()
    knows_client_order_ids = False
    base_url = "https://apiv2.bitz.com"
    commands: tuple[str, ...] = (Positions.name,)

    def __init__(self, nonce: Callable[[], str] = new_nonce, refusals: Iterable[str] = ()) -> None:
        """``refusals`` are patterns of further codes that are final refusals; Bit-Z's refusals have no message.

        Raises:
            ValueError: one of the patterns can't be used.
        """
        self._nonce = nonce
        self._listed = refusals_from_settings(self.name, refusals)

    def unsupported(self, command: Command) -> str | None:
        """Bit-Z supports positions of one contract, and nothing else."""
        if not isinstance(command, Positions):
            return f"Bit-Z takes no {command.name}, only positions"
        if command.pair is not None:
            return "pair is an argument for Everstrike; Bit-Z takes contract_id"
        if command.contract_id is None:
            return "contract_id is missing: Bit-Z asks for one contract at a time"
        return None

    def plan(self, command: Command, command_id: str, account: Account, send: Send) -> Plan:  # noqa: ARG002
        """Nothing is read: a request says all that the venue needs."""
        return Plan(command, account)

    def request(self, plan: Plan, now_ms: int) -> SignedRequest:
        """A form that contains the signature of its other fields; ``timeStamp`` is in seconds."""
        command, account = plan.command, plan.account
        if not isinstance(command, Positions):
            raise TypeError(f"Bit-Z has no request for {command.task}")
        fields = (
            ("apiKey", account.credentials.api_key),
            ("contractId", str(command.contract_id)),
            ("nonce", self._nonce()),
            ("timeStamp", str(now_ms // 1000)),
        )
        url = account.base_url + "/Contract/getContractActivePositions"
        headers = {"content-type": "application/x-www-form-urlencoded", **NO_CACHE_HEADERS}
        signed = [*fields, ("sign", sign(fields, account.credentials.secret_key))]
        return SignedRequest("POST", url, headers, urlencode(signed).encode("ascii"))

    def judge(self, plan: Plan, response: Response) -> Verdict:
        """Decide by the number in ``status`` or ``data``: errors arrive with HTTP 200, a negative number and an empty
        message."""
        verdict = self._judge(plan.command, response)
        listed = verdict.proof is not Proof.UNKNOWN and verdict.venue_code in OVERLOADS
        return with_overload(verdict, self.overload_scope, listed=listed)

    def look(self, command: Command, lookup: Lookup, account: Account, send: Send) -> Sighting:  # noqa: ARG002
        """Bit-Z takes queries alone, and no plan has a lookup."""
        return NO_CLIENT_ORDER_IDS

    def _judge(self, command: Command, response: Response) -> Verdict:
        payload = read_json(response.body)
        envelope = payload if isinstance(payload, Mapping) else {}
        status, data, message = envelope.get("status"), envelope.get("data"), envelope.get("msg")
        reply: dict[str, Any] = {
            "http_status": response.status,
            "venue_code": int_or_none(status),
            "venue_message": one_line(message) if isinstance(message, str) else None,
            "result": to_report_json(data),
            "retry_after": retry_after_seconds(response.headers),
        }
        if response.status == 429:
            return Verdict(Proof.NOT_EXECUTED, "the venue limits the rate of requests (429)", **reply)
        if reply["venue_code"] is None or not isinstance(message, str | None) or not envelope.keys() >= {"msg", "data"}:
            return Verdict(Proof.UNKNOWN, f"a reply with status {response.status} that can't be read", **reply)
        # A refusal may also be in `data`: {"status":200,"msg":"","data":-200031}.
        data_code = int_or_none(data) if status == 200 else None
        code: int = reply["venue_code"] if data_code is None else data_code
        if code == 200 and response.status == 200:
            wrong = failure_in_record({**envelope, "data": None}) or failure_in_message(message)
            if wrong:
                why = f"the venue accepted it, but {wrong}"
                return Verdict(Proof.UNKNOWN, why, Reason.UNLISTED_ANSWER, **reply)
            return _judge_data(command, data, reply)
        return self._judge_code(code, {**reply, "venue_code": code})

    def _judge_code(self, code: int, reply: dict[str, Any]) -> Verdict:
        if code in TRANSIENT_CODES:
            if reply["retry_after"] is None and code in LONG_WAIT_CODES:
                reply = {**reply, "retry_after": LONG_WAIT_SECONDS}
            return Verdict(Proof.NOT_EXECUTED, f"{TRANSIENT_CODES[code]} ({code})", **reply)
        reply, listed = {**reply, "own_refusal": True}, find_listed(self._listed, code, str(code))
        if code in FINAL_CODES or listed:
            note = listed.note if listed else ""
            return Verdict(Proof.REFUSED, f"the venue refused it ({code}){note}", **reply)
        return Verdict(
            Proof.UNKNOWN, f"the venue answered {code}, which is not listed", Reason.UNLISTED_ANSWER, **reply
        )


def _judge_data(command: Command, data: Any, reply: dict[str, Any]) -> Verdict:
    """A list or an object in ``data`` is success. Anything else is an error, and never means that no position is
    open."""
    contract = str(command.contract_id) if isinstance(command, Positions) else ""
    entries = list(data.values()) if isinstance(data, Mapping) and "positionId" not in data else data
    if isinstance(entries, Mapping):
        entries = [entries]
    try:
        if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
            raise TypeError("neither a list nor an object")
        read = [_position(contract, entry) for entry in entries]
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return Verdict(Proof.UNKNOWN, "the venue's positions can't be read", Reason.UNLISTED_ANSWER, **reply)
    positions = tuple(position for position in read if position is not None)
    return Verdict(Proof.EXECUTED, f"{len(positions)} open", **reply, positions=positions)


def _position(contract: str, entry: Mapping[str, Any]) -> Position | None:
    if contains_other_value(entry, "contractId", contract):
        raise ValueError("it is about another contract")
    pair = entry.get("pair")
    return read_position(
        pair if isinstance(pair, str) and pair else contract,
        entry["amount"],
        entry.get("direction"),
        DIRECTIONS,
        entry_price=entry.get("price"),
        liquidation_price=entry.get("liquidationPrice"),
        leverage=entry.get("leverage"),
        margin=entry.get("margin"),
        realized_pnl=entry.get("rlzPnl"),
        unrealized_pnl=entry.get("unrlzPnl"),
        cross={"1": True, "-1": False}.get(str(entry.get("isCross"))),
    )
