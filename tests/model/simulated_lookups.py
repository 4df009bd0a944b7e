"""A venue with client order ids: its adapter, and what the venue does with the ids.

Venues document three rules for an id that was used: it can never be used again, only while the order is open, or always
(``RULES``). The venue refuses what arrives after the request's ``until``, by its own clock, and lists what it took
within :data:`SETTLE_MS`: orders and stops apart. For a moment at a time a replica may know nothing of the last minutes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from producers.commands import Cancel, Close, Command, Withdraw
from tests.model.scheduler import Scheduler
from worker.venues.accounts import Account
from worker.venues.base import Plan, PlanFailed, Proof, Verdict
from worker.venues.everstrike.adapter import FORM, Everstrike
from worker.venues.everstrike.auth import auth_headers
from worker.venues.http.base import Response, Send, SignedRequest
from worker.venues.lookups import Lookup, Sight, Sighting

RULES = ("unique", "unique while open", "not unique")
WINDOW_MS = 15_000
SETTLE_MS = 4_900
"""Within what time the venue lists what it took; less than :data:`worker.execution.looking.SETTLE_MS`."""
REPLICA_MS = 900
"""For how long a replica lags: not for two looks that are apart."""
SEEN, TOO_LATE = "Duplicate client order id", "The request is too late"


class WithLookups(Everstrike):
    """Everstrike, if it had client order ids."""

    knows_client_order_ids = True

    def plan(self, command: Command, command_id: str, account: Account, send: Send) -> Plan:
        """One read, as of a market or a position."""
        answer = send(account.base_url, lambda: SignedRequest("GET", f"{account.base_url}/market", {}))
        if not isinstance(answer, Response) or answer.status != 200:
            raise PlanFailed("the market can't be read")
        if isinstance(command, Cancel):
            return Plan(command, account)
        handle = hashlib.sha256(f"{account.digest}\n{command_id}".encode()).hexdigest()[:32]
        if isinstance(command, Withdraw):
            return Plan(command, account, Lookup(handle, command.asset))
        assert isinstance(command, Close)
        return Plan(command, account, Lookup(handle, command.pair, command.trigger_price is not None), WINDOW_MS)

    def request(self, plan: Plan, now_ms: int) -> SignedRequest:
        """The same form with the id and the time after which the venue is to refuse it, signed."""
        made, lookup = super().request(plan, now_ms), plan.lookup
        if lookup is None or made.body is None:
            return made
        body = made.body + f"&handle={lookup.handle}&until={lookup.until_ms}".encode()
        return replace(made, headers={"content-type": FORM, **auth_headers(plan.account.credentials, body)}, body=body)

    def judge(self, plan: Plan, response: Response) -> Verdict:
        """Two further answers are listed."""
        verdict = super().judge(plan, response)
        proofs = {SEEN: Proof.SEEN, TOO_LATE: Proof.NOT_EXECUTED}
        return replace(verdict, proof=proofs.get(verdict.venue_message or "", verdict.proof))

    def look(self, command: Command, lookup: Lookup, account: Account, send: Send) -> Sighting:
        """One list, of orders, stops or withdrawals."""
        place = "withdrawals" if isinstance(command, Withdraw) else "stops" if lookup.is_stop else "orders"
        url = f"{account.base_url}/by_id/{place}?handle={lookup.handle}"
        headers = {"x-api-key": account.credentials.api_key}
        answer = send(account.base_url, lambda: SignedRequest("GET", url, headers))
        try:
            assert isinstance(answer, Response)
            found = json.loads(answer.body)
            rows, time_ms = [row["status"] for row in found["rows"]], int(found["time"])
        except (AssertionError, ValueError, LookupError, TypeError):
            return Sighting(Sight.UNREADABLE, "the list can't be read")
        if not rows:
            return Sighting(Sight.ABSENT, "no record has its id", venue_time_ms=time_ms)
        taken = True if "TAKEN" in rows else None if "ODD" in rows else False
        return Sighting(Sight.FOUND, "a record has its id", taken, record=found["rows"], venue_time_ms=time_ms)


@dataclass
class Ids:
    """The venue's side: what it recorded under which id."""

    scheduler: Scheduler
    random: Random
    rule: str = RULES[0]
    skew_ms: int = 0
    """How far the venue's clock is ahead."""
    broken: float = 0.0
    """How often a look can't be read."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    _lags_until: float = 0.0

    @property
    def now(self) -> float:
        """The time on the venue's clock, UNIX ms."""
        return self.scheduler.now + self.skew_ms

    def obstacle(self, fields: Mapping[str, str]) -> str:
        """What the venue says of a request that it does not take; empty if it does."""
        until = int(fields["until"])
        if until and self.now > until:
            return TOO_LATE
        known = [row for row in self.rows if (row["handle"], row["key"]) == (fields["handle"], fields["key"])]
        if self.rule == RULES[0] and known:
            return SEEN
        if self.rule == RULES[1] and any(row["open_until"] > self.now for row in known):
            return SEEN
        return ""

    def sends_twice(self, fields: Mapping[str, str]) -> bool:
        """Whether something in front of the venue repeats the request, where that is harmless."""
        return self.rule == RULES[0] and "handle" in fields and self.random.random() < 0.05

    def record(self, fields: Mapping[str, str], path: str, status: str) -> None:
        """Record what was taken, or rejected for good."""
        if "handle" not in fields:
            return
        place = "withdrawals" if path == "/auth/withdraw" else "stops" if "trigger_price" in fields else "orders"
        lag, rests = self.random.choice((0, 300, SETTLE_MS)), self.random.choice((0, 0, 20_000, 10**9))
        if self.random.random() < 0.05:
            status = "ODD" if status == "TAKEN" else status
        row = {"handle": fields["handle"], "key": fields["key"], "place": place, "status": status}
        self.rows.append({**row, "seen_from": self.now + lag, "open_until": self.now + rests, "at": self.now})

    def read(self, request: SignedRequest) -> Response:
        """Answer a look, or another read."""
        url = urlsplit(request.url)
        if not url.path.startswith("/by_id/"):
            return Response(*self.random.choice(((503, b""), *[(200, b"{}")] * 9)))
        if self.random.random() < self.broken:
            return Response(*self.random.choice(((503, b"<html>"), (200, b'{"rows": [], "ti'), (200, b"null"))))
        handle, key = dict(parse_qsl(url.query))["handle"], request.headers["x-api-key"]
        place, now, rows = url.path.rpartition("/")[2], self.now, self.rows
        if self._lags_until + 60_000 < now and self.random.random() < 0.2:
            self._lags_until = now + REPLICA_MS
        if now < self._lags_until:
            rows = [row for row in rows if row["at"] < now - 60_000]
        shown = [
            row
            for row in rows
            if (row["handle"], row["key"], row["place"]) == (handle, key, place) and row["seen_from"] <= now
        ]
        self.scheduler.say(f"venue: LISTS {[row['status'] for row in shown]} of {len(self.rows)}")
        return Response(200, json.dumps({"rows": shown, "time": int(now) // 1000 * 1000}).encode())
