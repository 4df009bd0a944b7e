"""The checks of the simulated Everstrike: key, signature of the received bytes, fields, clock.

It is written from the venue's documents alone and shares no code with the adapter, so that their agreement is evidence.
Every refusal is the documented envelope. "I" marks what is inferred, because no public source states it.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle

from worker.simulator.accounts import Account, Accounts
from worker.simulator.messages import Examined, Reply, Request, read_fields, to_json

INVALID = "Invalid request"
DEFAULT_WINDOW_MS = 15_000
FUTURE_TOLERANCE_MS = 1_000
"""How far a timestamp may be ahead, because clocks differ a little. I."""

_DECIMAL = re.compile(r"[0-9]{1,30}(\.[0-9]{1,18})?")
_INTEGER = re.compile(r"[0-9]{1,15}")
_PRICE_EVENTS = frozenset({"MARK_PRICE", "INDEX_PRICE", "LAST_PRICE"})


class Refused(Exception):
    """Raised to respond with an error envelope; 503 is the documented status of every refusal."""

    def __init__(self, message: str = INVALID, status: int = 503) -> None:
        super().__init__(message)
        self.message = message
        self.status = status

    @property
    def reply(self) -> Reply:
        """The error envelope."""
        return Reply(self.status, envelope(self.status, self.message, {}))


def envelope(code: int, msg: str | None, result: object) -> bytes:
    """The body of every reply."""
    return to_json({"code": code, "msg": msg, "result": result})


def _text(value: str) -> bool:
    return 0 < len(value) <= 200 and value.isprintable()


def _amount(value: str) -> bool:
    """Whether a text is a positive number without a sign and an exponent."""
    return _DECIMAL.fullmatch(value) is not None and value.strip("0.") != ""


def _integer(value: str) -> bool:
    return _INTEGER.fullmatch(value) is not None


def _boolean(value: str) -> bool:
    return value in {"true", "false"}


_CLOCK: Mapping[str, Callable[[str], bool]] = {"timestamp": _integer, "recv_window": _integer}


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a request: a check for each, and which are required."""

    fields: Mapping[str, Callable[[str], bool]]
    required: frozenset[str] = field(default_factory=frozenset)

    def check(self, fields: Mapping[str, str]) -> None:
        """Raises Refused for an unknown, missing or malformed field."""
        if not self.required <= fields.keys():
            raise Refused
        for name, value in fields.items():
            valid = self.fields.get(name)
            if valid is None or not valid(value):
                raise Refused


FORMS: Mapping[str, Form] = {
    "/auth/close": Form(
        {
            "pair": _text,
            "qty": _amount,
            "price": _amount,
            "trigger_price": _amount,
            "trigger_event": _PRICE_EVENTS.__contains__,
            "close_on_trigger": _boolean,
            **_CLOCK,
        },
        # The page lists timestamp without saying that it is required; the 15 second rule needs one. I.
        frozenset({"pair", "timestamp"}),
    ),
    # The page's form is `id` alone; the venue's own client adds the clock fields to every private call.
    "/auth/cancel": Form({"id": _text, **_CLOCK}, frozenset({"id"})),
    "/auth/withdraw": Form(
        {"asset": _text, "qty": _amount, "address": _text, **_CLOCK},
        frozenset({"asset", "qty", "address", "timestamp"}),
    ),
}
_LISTING = Form({"pair": _text, "start": _integer, "end": _integer, "limit": _integer, **_CLOCK})
READS: Mapping[str, Form] = {
    "/position": Form({"pair": _text, **_CLOCK}, frozenset({"pair"})),
    "/order": Form({"id": _text, **_CLOCK}, frozenset({"id"})),
    "/active_positions": Form(_CLOCK),
    "/balances": Form(_CLOCK),
    "/withdrawals": _LISTING,
    "/orders": _LISTING,
    "/active_orders": _LISTING,
    "/completed_orders": _LISTING,
    "/fills": _LISTING,
    "/triggers": _LISTING,
}

Handler = Callable[[Account, str, dict[str, str]], object]


class Everstrike:
    """Checks requests and passes valid ones to `command` (POST) or `read` (GET), which return the result."""

    def __init__(self, accounts: Accounts, command: Handler, read: Handler) -> None:
        self._accounts = accounts
        self._command = command
        self._read = read
        self._messages = cycle(
            ("string", "null", None)
        )  # the message of a success varies, so that no client decides by it

    def examine(self, request: Request) -> Examined | None:
        """Check a request; None if its path does not belong to this venue."""
        if request.path in FORMS:
            return self._examine_command(request) if request.method == "POST" else _not_allowed(b"POST")
        if request.path in READS or request.path == "/time":
            return self._examine_read(request) if request.method == "GET" else _not_allowed(b"GET")
        return None

    def _examine_command(self, request: Request) -> Examined:
        api_key = request.header(b"x-api-key")
        account = self._accounts.account("everstrike", api_key)
        fields, clean = read_fields(request.body)
        signed = account is not None and _signature_ok(account.secret, request)
        stamp = fields.get("timestamp", "")
        timestamp = int(stamp) if _integer(stamp) else None
        try:
            if account is None or not signed:
                # The venue's own client lists 401; its body is not public. I.
                raise Refused("Unauthorized", 401)
            if not clean or not request.is_form:
                raise Refused
            FORMS[request.path].check(fields)
            _check_clock(fields, request.time_ms)
            run = partial(self._run_command, account, request.path, fields)
        except Refused as refusal:
            run = partial(_same, refusal.reply)
        return Examined(run, api_key or None, fields, timestamp, signed)

    def _examine_read(self, request: Request) -> Examined:
        if request.path == "/time":
            return Examined(partial(self._ok, request.time_ms))
        api_key = request.header(b"x-api-key")
        account = self._accounts.account("everstrike", api_key)
        fields, clean = read_fields(request.query)
        try:
            if account is None:
                raise Refused("Unauthorized", 401)
            if not clean:
                raise Refused
            READS[request.path].check(fields)
            run = partial(self._run_read, account, request.path, fields)
        except Refused as refusal:
            run = partial(_same, refusal.reply)
        return Examined(run, api_key or None, fields)

    def _run_command(self, account: Account, path: str, fields: dict[str, str]) -> Reply:
        try:
            result = self._command(account, path, fields)
        except Refused as refusal:
            return refusal.reply
        return self._ok(result, executed=True)

    def _run_read(self, account: Account, path: str, fields: dict[str, str]) -> Reply:
        try:
            return self._ok(self._read(account, path, fields))
        except Refused as refusal:
            return refusal.reply

    def _ok(self, result: object, *, executed: bool = False) -> Reply:
        return Reply(200, envelope(200, next(self._messages), result), executed=executed)


def _same(reply: Reply) -> Reply:
    return reply


def _not_allowed(allow: bytes) -> Examined:
    reply = Reply(405, b"Method Not Allowed", ((b"content-type", b"text/plain"), (b"allow", allow)))
    return Examined(partial(_same, reply))


def _signature_ok(secret: str, request: Request) -> bool:
    """Whether `x-signature` is the base64 of the HMAC-SHA256 of exactly the bytes received."""
    digest = hmac.digest(secret.encode(), request.body, hashlib.sha256)
    return hmac.compare_digest(base64.b64encode(digest), request.headers.get(b"x-signature", b""))


def _check_clock(fields: Mapping[str, str], now_ms: int) -> None:
    """Refuse a request that arrives after `timestamp + recv_window`.

    The API page states the opposite ("accepted if timestamp + recv_window <= now"), which would refuse every punctual
    order.
    """
    if "timestamp" not in fields:
        return
    timestamp = int(fields["timestamp"])
    if now_ms > timestamp + int(fields.get("recv_window", DEFAULT_WINDOW_MS)):
        raise Refused
    if timestamp > now_ms + FUTURE_TOLERANCE_MS:
        raise Refused
