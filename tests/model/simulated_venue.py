"""The simulated venue: what it executes, answers of which some are untrue, and the lists that a reconcile reads."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.model.scheduler import Scheduler
from tests.model.simulated_lookups import Ids
from worker.venues.http.base import Response, SignedRequest

WINDOW_MS = 15_000
SECRET = "secret-of-main"
KEY = "key-of-main"
SECRETS = {KEY: SECRET, "key-of-another": "secret-of-another"}
"""By API key. The alias ``main`` means another account to some workers."""
FORGED = "Invalid signature"

DOUBTS = (
    "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    "Service unavailable",
    "Something odd",
    "",
)
"""Messages of a 503 in the venue's own envelope that are not listed as refusals."""
FRONTS = (400, 401, 403, 404, 422, 500, 502, 503, 504)
"""Statuses of a page from something in front of the venue."""
OTHER = {
    "/auth/cancel": {"id": "another-order"},
    "/auth/close": {"pair": "ANOTHER"},
    "/auth/withdraw": {"address": "0xother"},
}
"""Changes to a record by which it contradicts the command."""
LISTS = {"/withdrawals": "/auth/withdraw"} | dict.fromkeys(("/orders", "/completed_orders", "/fills"), "/auth/close")
"""The path of the command whose records a list shows; other lists are empty."""


@dataclass
class Venue:
    """A venue. The seed decides what it answers, and its book tells what it executed."""

    scheduler: Scheduler
    book: list[str] = field(default_factory=list)  # ids of commands, one for each execution
    rows: list[dict[str, Any]] = field(default_factory=list)
    """The records of what was executed, as the lists show them."""
    undone: dict[str, int] = field(default_factory=dict)  # ids of withdrawals that were rejected later, and when
    pace: Random = field(default_factory=lambda: Random(0))
    busy: float = 0  # how often it wants no more requests for a while
    cached: bool = False  # whether reads are answered out of a cache now
    ids: Ids | None = None  # where it has client order ids
    delays: tuple[int, ...] = (4_000, 12_000, 20_000, 90_000)
    """How many milliseconds a late request may be on its way."""

    def answer(self, request: SignedRequest) -> Response:
        """Check signature and clock, then execute, refuse or fail."""
        random = self.scheduler.random
        fields, path, command_id = fields_of(request), "/" + request.url.split("/", 3)[3], id_of(request)
        fields["key"] = request.headers["x-api-key"]
        if obstacle := self._obstacle(request, fields):
            self.scheduler.say(f"venue: {obstacle}")
            return _envelope(401 if obstacle == FORGED else 503, obstacle, {})
        again = command_id in self.book and (path == "/auth/cancel" or "qty" not in fields)
        if again and random.random() < 0.8:
            return _envelope(503, "The order was not found", {})
        if self.pace.random() < self.busy:
            return self._overloaded()
        record = self._record(path, fields)
        if random.random() < self.scheduler.chances.lies:
            if random.random() < 0.6:
                self._execute(command_id, path, record, fields)
            elif self.ids and self.ids.random.random() < 0.5:
                self.ids.record(fields, path, "REJECTED")
            return self._lie(path, record)
        roll = random.random()
        if roll < 0.7:
            self._execute(command_id, path, record, fields)
            return _envelope(200, None, record)
        if roll < 0.82:
            return self._overloaded()
        return _envelope(503, "Your request was rejected due to insufficient balance", {})

    def _obstacle(self, request: SignedRequest, fields: Mapping[str, str]) -> str:
        """In what words a request is refused because of its signature, its age or its client order id, if it is."""
        expected = base64.b64encode(hmac.digest(SECRETS[fields["key"]].encode(), request.body, hashlib.sha256))
        if request.headers["x-signature"] != expected.decode():
            return FORGED
        if "handle" in fields and self.ids:
            return self.ids.obstacle(fields)
        too_old = "timestamp" in fields and self.scheduler.now > int(fields["timestamp"]) + WINDOW_MS
        return "Invalid request" if too_old else ""

    def _overloaded(self) -> Response:
        """More requests than the venue wants; a ban proves nothing."""
        roll = self.pace.random()
        seconds = self.pace.choice(("", "", "1", "4", "20"))
        headers = {"retry-after": seconds} if seconds else {}
        return Response(418 if roll < 0.1 else 429, b"", headers)

    def _record(self, path: str, fields: Mapping[str, str]) -> dict[str, Any]:
        record: dict[str, Any] = {"id": f"record-{len(self.rows)}", "time": int(self.scheduler.now)}
        if path == "/auth/withdraw":
            asked = {name: fields[name] for name in ("asset", "address", "qty")}
            return {**record, **asked, "net": fields["qty"], "status": "pending confirmation"}
        if path == "/auth/cancel":
            return {**record, "id": fields["id"], "status": "CANCELLED"}
        order = {"side": "SELL", "type": "MARKET", "price": "2", "status": "COMPLETED", "reduce_only": True}
        return {**record, **order, "pair": fields["pair"], "qty_orig": fields.get("qty", "100")}

    def _execute(self, command_id: str, path: str, record: dict[str, Any], fields: Mapping[str, str]) -> None:
        self.scheduler.say(f"venue: EXECUTES {command_id}")
        if self.ids:
            self.ids.record(fields, path, "TAKEN")
        self.book.append(command_id)
        row = {**record, "path": path}
        self.rows.append(row)
        if path == "/auth/withdraw" and self.scheduler.random.random() < self.scheduler.chances.undone:
            delay = self.scheduler.random.choice((5_000, 100_000))
            self.scheduler.at(self.scheduler.now + delay, lambda: self._undo(command_id, row))

    def _undo(self, command_id: str, row: dict[str, Any]) -> None:
        self.scheduler.say(f"venue: REJECTS {command_id} after all")
        row["status"] = "REJECTED"
        self.undone.setdefault(command_id, int(self.scheduler.now))

    def _lie(self, path: str, record: dict[str, Any]) -> Response:
        """An answer that proves nothing, whether or not the request was executed."""
        contradictions = ({**record, **OTHER[path]}, {**record, "status": "REJECTED"}, None, [], "ok")
        lies = [
            *(_envelope(503, words, {}) for words in DOUBTS),
            *(Response(status, b"<html><h1>Nothing to see here</h1></html>") for status in FRONTS),
            *(_envelope(200, "null", result) for result in contradictions),
        ]
        said = self.scheduler.random.choice(lies)
        self.scheduler.say(f"venue: LIES {said.status} {said.body.decode()[:60]}")
        return said

    def read(self, _: str, prepare: Callable[[], SignedRequest]) -> Response:
        """Answer a read of a reconcile; stands for :meth:`worker.venues.http.transport.Transport.send`."""
        url = urlsplit(str(prepare().url))
        query = dict(parse_qsl(url.query))
        rows = [] if self.cached else self.rows
        if url.path == "/time":
            return _envelope(200, None, int(self.scheduler.now))
        if url.path == "/position":
            closed = any(row.get("pair") == query["pair"] and row["qty_orig"] == "100" for row in rows)
            result: Any = {"stats": {"size": "0" if closed else "100", "direction": "BUY"}}
        else:
            start, end = int(query.get("start", 0)), int(query.get("end", 10**15))
            listed = [row for row in rows if row["path"] == LISTS.get(url.path) and start <= row["time"] <= end]
            result = [{**row, "order_id": row["id"]} for row in listed if query.get("pair") in (None, row.get("pair"))]
        return _envelope(200, None, result, {"Age": "600"} if self.cached else {})


def fields_of(request: SignedRequest) -> dict[str, str]:
    """The form fields of a request."""
    return dict(parse_qsl(request.body.decode() if isinstance(request.body, bytes) else ""))


def id_of(request: SignedRequest) -> str:
    """The id of the command, which the simulation uses as address, order id or pair."""
    fields = fields_of(request)
    return fields.get("address") or fields.get("id") or fields["pair"]


def _envelope(status: int, message: str | None, result: Any, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps({"code": status, "msg": message, "result": result}).encode()
    return Response(status, body, {"content-type": "application/json", **(headers or {})})
