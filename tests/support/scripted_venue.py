"""A venue of the seam with client order ids, and the exchange behind it: in memory, with faults that a test names.

Its contract is that of :class:`worker.venues.base.Venue` and :class:`worker.venues.inspection.Inspectable`. The
exchange answers one operation a request; a request is JSON, signed by a word, and its answers repeat keys and
signatures so that a test can see whether anybody passes them on.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

from producers.commands import Cancel, Command, Positions, Submit
from producers.report import Direction, Position
from worker.clock import Clock
from worker.rate_limits import RateLimit
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Overload, Plan, PlanFailed, PlanRefused, Proof, Verdict
from worker.venues.http.base import NoResponse, Response, Send, SignedRequest
from worker.venues.inspection import MarketRules, Trait
from worker.venues.lookups import Lookup, Sight, Sighting

KEY, SECRET, SIGNATURE = "kqxwzvutrponmljihg", "secret-fedcba9876543210", "5f1e-00112233445566778899aabb"
ACCOUNT = Account("main", "scripted", "https://exchange.example", Credentials(KEY, SECRET))
TEST_URL = "https://demo.exchange.example"
PAIR = "BTC/USD:BTC"
UNSENT = NoResponse(bytes_left=False, message="no connection to the venue: connection refused")
LOST = NoResponse(bytes_left=True, message="the reply was lost: connection reset")


@dataclass
class ScriptedExchange:
    """Orders by handle. ``faults`` has, by operation, what happens in place of answers: the first for the first."""

    clock: Clock
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: dict[str, list[Callable[[Callable[[], Response]], Response | NoResponse]]] = field(default_factory=dict)
    operations: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    def send(self, base_url: str, make_request: Callable[[], SignedRequest]) -> Response | NoResponse:
        """As :data:`worker.venues.http.base.Send`."""
        request = make_request()
        asked = json.loads(request.body or b"{}")
        operation = asked["operation"]
        self.operations.append(operation)
        self.addresses.append(base_url)
        faults = self.faults.get(operation, [])
        answer: Callable[[], Response] = lambda: self._answer(operation, asked)  # noqa: E731
        return faults.pop(0)(answer) if faults else answer()

    def _answer(self, operation: str, asked: dict[str, Any]) -> Response:
        body = {"result": getattr(self, f"_{operation}")(asked), "echo": [KEY, SIGNATURE]}
        date = {"Date": formatdate(self.clock.now_ms() / 1000, usegmt=True)}
        return Response(200, json.dumps(body).encode(), date)

    def _markets(self, _: dict[str, Any]) -> Any:
        return [PAIR]

    def _price(self, _: dict[str, Any]) -> Any:
        return "60000.5"

    def _positions(self, _: dict[str, Any]) -> Any:
        return [{"symbol": PAIR, "size": "123.456", "entry": 41234.5, "owner": "somebody"}]

    def _submit(self, asked: dict[str, Any]) -> Any:
        self.orders[asked["handle"]] = {"id": f"order-{len(self.orders) + 1}", "status": "open", "filled": "0"}
        return self.orders[asked["handle"]]

    def _look(self, asked: dict[str, Any]) -> Any:
        by_id = {each["id"]: each for each in self.orders.values()}
        return (self.orders | by_id).get(asked["handle"])

    def _cancel(self, asked: dict[str, Any]) -> Any:
        order = next((each for each in self.orders.values() if each["id"] == asked["id"]), None)
        if order is None or order["status"] != "open":
            return "not found"
        order["status"] = "canceled"
        return order


def lose_before(_: Callable[[], Response]) -> NoResponse:
    """The request never arrives, and nobody knows."""
    return LOST


def lose_after(answer: Callable[[], Response]) -> NoResponse:
    """It is executed, and the answer is lost."""
    answer()
    return LOST


def refuse(_: Callable[[], Response]) -> Response:
    """It is refused."""
    return Response(200, b'{"result": "refused"}')


def interrupt_before(_: Callable[[], Response]) -> Response:
    """Ctrl-C, before it arrives."""
    raise KeyboardInterrupt


def interrupt_after(answer: Callable[[], Response]) -> Response:
    """Ctrl-C, after it was executed."""
    answer()
    raise KeyboardInterrupt


def only_accept(_: Callable[[], Response]) -> Response:
    """A cancel that is said to be accepted, and does nothing."""
    return Response(200, b'{"result": {}}')


def show(answer: Callable[[], Response]) -> Response:
    """No fault."""
    return answer()


def hide(_: Callable[[], Response]) -> Response:
    """A list that does not show the order."""
    return Response(200, b'{"result": null}')


class ScriptedVenue:
    """The venue, as the seam wants it."""

    name, base_url, test_url, library = "scripted", ACCOUNT.base_url, TEST_URL, "scripted 1.0"
    commands: tuple[str, ...] = (Positions.name, Submit.name, Cancel.name)
    rate_limits: tuple[RateLimit, ...] = ()
    overload_scope = Overload.ACCOUNT
    passes_cool_down: frozenset[str] = frozenset()

    def beliefs(self) -> tuple[Trait, ...]:
        """A trait that a check shows, one that it can't show, and one that was run before."""
        return (
            Trait("submit", "an order is taken", "https://exchange.example/api"),
            Trait("withdraw", "a withdrawal has no client order id", "https://exchange.example/api"),
            Trait("close", "reduce-only is honoured", run="2026-01-02, demo.exchange.example"),
        )

    def unsupported(self, command: Command) -> str | None:
        """Everything but three commands."""
        return None if command.name in self.commands else f"{self.name} takes no {command.name}"

    def plan(self, command: Command, command_id: str, account: Account, send: Send) -> Plan:
        """Without reads."""
        handle = hashlib.sha256(f"{account.digest}\n{command_id}".encode()).hexdigest()[:32]
        lookup = Lookup(handle, PAIR) if isinstance(command, Submit) else None
        return Plan(command, account, lookup, window_ms=5000)

    def request(self, plan: Plan, now_ms: int) -> SignedRequest:
        """One operation."""
        fields: dict[str, Any] = {"operation": plan.command.name}
        if plan.lookup:
            fields |= {"handle": plan.lookup.handle, "until": plan.lookup.until_ms, "qty": str(plan.command.qty)}  # type: ignore[attr-defined]
        if isinstance(plan.command, Cancel):
            fields |= {"id": plan.command.order_id}
        return _request(plan.account, fields)

    def judge(self, plan: Plan, response: Response) -> Verdict:
        """A text as the result is a refusal."""
        result = json.loads(response.body)["result"]
        if isinstance(result, str):
            return Verdict(Proof.REFUSED, result, http_status=response.status)
        positions = None
        if isinstance(plan.command, Positions):
            positions = tuple(Position(instrument=PAIR, direction=Direction.LONG, size=each["size"]) for each in result)
        return Verdict(Proof.EXECUTED, "the venue took it", result=result, positions=positions)

    def look(self, command: Command, lookup: Lookup, account: Account, send: Send) -> Sighting:
        """By the handle; for a cancel by the order's id."""
        response = _read(account, send, operation="look", handle=lookup.handle)
        if isinstance(response, NoResponse):
            return Sighting(Sight.UNREADABLE, response.message)
        record = json.loads(response.body)["result"]
        if isinstance(record, str):
            return Sighting(Sight.UNREADABLE, record)
        if record is None:
            now_ms = round(parsedate_to_datetime(response.date).timestamp() * 1000) if response.date else None
            return Sighting(Sight.ABSENT, "no order has this client order id", venue_time_ms=now_ms)
        if isinstance(command, Cancel) and record["status"] == "open":
            return Sighting(Sight.ABSENT, "it is still open")
        return Sighting(Sight.FOUND, "an order has it", taken=True, reference=record["id"], record=record)

    def load_markets(self, account: Account, send: Send) -> int:
        """One market."""
        response = _read(account, send, operation="markets")
        if isinstance(response, NoResponse):
            raise PlanFailed(response.message)
        return len(json.loads(response.body)["result"])

    def example_pair(self, account: Account, send: Send) -> str:
        """The only one."""
        return PAIR

    def rules(self, pair: str, account: Account, send: Send) -> MarketRules:
        """A contract is worth a unit and a half."""
        if pair != PAIR:
            raise PlanRefused(f"{pair} is no market here")
        return MarketRules(Decimal("0.5"), Decimal(1), Decimal(1), Decimal(100_000), Decimal("1.5"), quote="USD")

    def mark_price(self, pair: str, account: Account, send: Send) -> Decimal:
        """A read."""
        response = _read(account, send, operation="price")
        if isinstance(response, NoResponse):
            raise PlanFailed(response.message)
        return Decimal(json.loads(response.body)["result"])


def _read(account: Account, send: Send, **fields: Any) -> Response | NoResponse:
    return send(account.base_url, lambda: _request(account, fields))


def _request(account: Account, fields: dict[str, Any]) -> SignedRequest:
    headers = {"Content-Type": "application/json", "X-Key": account.credentials.api_key, "X-Signature": SIGNATURE}
    url = f"{account.base_url}/api/{fields['operation']}?signature={SIGNATURE}"
    return SignedRequest("POST", url, headers, json.dumps(fields).encode())
