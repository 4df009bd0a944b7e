"""The simulated OKX: routes, the gate (key, passphrase, signature, clock), and the envelopes of replies.

Written from www.okx.com/docs-v5/en alone (#overview-rest-authentication, #overview-transaction-timeouts, #error-code
and the section of each endpoint). It shares no code with the adapter, so that their agreement is evidence. "I" marks
what is inferred, because the page does not state it.

`OK-ACCESS-SIGN` is the base64 of the HMAC-SHA256 of timestamp, method, path with query, and body. A timestamp that is
more than 30 s away from the exchange's clock, and an order later than its `expTime`, are refused by the time at which
the request is executed, so that one that was on its way for long is late.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import partial

from worker.simulator.accounts import Account, Accounts
from worker.simulator.messages import Examined, Refusals, Reply, Request, read_fields, to_json
from worker.simulator.venues.okx_trading import Answer, Body, Refused, Trading

API = "/api/v5/"
WINDOW_MS = 30_000

TIMEOUTS = frozenset({"trade/order"})
"""The requests that heed `expTime`: of those served here, placing an order (#overview-transaction-timeouts)."""

GATE: Mapping[str, tuple[int, str]] = {
    "50036": (200, "The expTime can't be earlier than the current system time."),
    "50102": (401, "Timestamp request expired"),
    "50103": (401, "Request header OK-ACCESS-KEY can't be empty."),
    "50105": (401, "Request header OK-ACCESS-PASSPHRASE incorrect."),
    "50111": (401, "Invalid OK-ACCESS-KEY"),
    "50112": (401, "Invalid OK-ACCESS-TIMESTAMP"),
    "50113": (401, "Invalid Sign"),
    "50000": (400, "Body for POST request can't be empty."),
    "50011": (429, "Too Many Requests"),
}
"""HTTP status and words of the refusals in front of the trading (#error-code-rest-api)."""

_CODE = re.compile(r"(5[0-9]{4}) ?(.*)", re.DOTALL)


class Okx:
    """Checks requests and passes valid ones to `trading`. `clock` returns UNIX ms."""

    def __init__(self, accounts: Accounts, trading: Trading, clock: Callable[[], int]) -> None:
        self._accounts = accounts
        self._trading = trading
        self._clock = clock
        self._refusals = Refusals(body=_worded, too_many=lambda _status: _error("50011").body)

    def examine(self, request: Request) -> Examined | None:
        """Check a request; None if its path does not belong to this venue."""
        if not request.path.startswith(API):
            return None
        name = request.path.removeprefix(API)
        fields, _ = read_fields(request.query)
        if self._trading.is_public(request.method, name):
            return Examined(partial(self._answer, None, request, name, fields), fields=fields, refusals=self._refusals)
        if not self._trading.is_served(request.method, name):
            return None
        api_key = request.header(b"ok-access-key")
        account = self._accounts.account("okx", api_key)
        sign = request.headers.get(b"ok-access-sign", b"")
        signed = account is not None and hmac.compare_digest(sign, sign_of(account.secret, request))
        stamp = _milliseconds(request.header(b"ok-access-timestamp"))
        body = _json(request.body) if request.method == "POST" else fields
        code = _refusal(account, request, signed=signed, stamp=stamp, body=body)
        if code is None and account is not None and stamp is not None and body is not None:
            run = partial(self._in_time, account, request, name, body, stamp)
        else:
            run = partial(_error, code or "50113")
        return Examined(run, api_key or None, _flat(body), stamp, signed, self._refusals)

    def _in_time(self, account: Account, request: Request, name: str, body: Body, stamp: int) -> Reply:
        now, limit = self._clock(), request.header(b"exptime")
        if abs(now - stamp) > WINDOW_MS:
            return _error("50102")
        if limit and name in TIMEOUTS and request.method == "POST" and (not limit.isdigit() or int(limit) < now):
            return _error("50036")
        return self._answer(account, request, name, body)

    def _answer(self, account: Account | None, request: Request, name: str, body: Body) -> Reply:
        demo = request.header(b"x-simulated-trading") == "1"
        try:
            answer = self._trading.answer(account, request.method, name, request.path, body, demo=demo)
        except Refused as refusal:
            return Reply(200, to_json({"code": refusal.code, "msg": refusal.words, "data": []}))
        return Reply(200, to_json(_envelope(answer, self._clock())), executed=answer.executed)


def _envelope(answer: Answer, now_ms: int) -> dict[str, object]:
    """A success; or, where an element has a code of its own, "1": Operation failed."""
    failed = answer.failed
    times = {"inTime": f"{now_ms}000", "outTime": f"{now_ms}500"} if answer.is_operation else {}
    return {"code": "1" if failed else "0", "msg": "Operation failed." if failed else "", "data": answer.data, **times}


def sign_of(secret: str, request: Request) -> bytes:
    """The `OK-ACCESS-SIGN` header of a request."""
    target = request.path.encode() + (b"?" + request.query if request.query else b"")
    text = request.headers.get(b"ok-access-timestamp", b"") + request.method.encode() + target + request.body
    return base64.b64encode(hmac.digest(secret.encode(), text, hashlib.sha256))


def _refusal(
    account: Account | None, request: Request, *, signed: bool, stamp: int | None, body: Body | None
) -> str | None:
    """The code with which the gate refuses a request."""
    if not request.header(b"ok-access-key"):
        return "50103"
    if account is None:
        return "50111"
    if stamp is None:
        return "50112"
    if request.header(b"ok-access-passphrase") != account.passphrase:
        return "50105"
    if not signed:
        return "50113"
    return "50000" if body is None else None


def _milliseconds(text: str) -> int | None:
    """UNIX ms of an ISO 8601 time in UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return round(moment.timestamp() * 1000) if text.endswith("Z") else None


def _json(raw: bytes) -> Body | None:
    """The body of a POST; None if it can't be read."""
    try:
        body = json.loads(raw, parse_float=Decimal)
    except ValueError:
        return None
    rows = body if isinstance(body, list) else [body]
    return body if rows and all(isinstance(row, dict) for row in rows) else None


def _flat(body: Body | None) -> dict[str, str]:
    """The texts of a body, for the criteria of faults."""
    row = body[0] if isinstance(body, list) else body or {}
    return {name: value for name, value in row.items() if isinstance(value, str)}


def _error(code: str) -> Reply:
    status, words = GATE[code]
    return Reply(status, to_json({"code": code, "msg": words}))


def _worded(status: int, message: str) -> bytes:
    """A refusal of the gate whose message may begin with its code."""
    found = _CODE.fullmatch(message)
    code, words = found.groups() if found else (str(status), message)
    return to_json({"code": code, "msg": words})
