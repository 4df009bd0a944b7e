"""The client of the simulator's control API, for tests, the demo and benchmarks.

    with SimulatorServer() as server:                    # worker.simulator.server: its own process, a free port
        server.url, server.control                       # "http://127.0.0.1:PORT", SimulatorControl

    control = SimulatorControl("http://127.0.0.1:9100")  # any simulator that runs already

Prepare accounts (the demo accounts have positions and orders from the start, `--empty` leaves them out):

    account(venue, api_key, secret, passphrase="")
    position(api_key, pair, size, direction="BUY", **more)     size 0 removes it
    order(api_key, order_id, pair, **more)   trigger(…)   fill(…)   withdrawal(…)
    balance(api_key, asset, free)
    contracts(api_key, positions)                              Bit-Z positions; () is flat
    change(Change(...))                                        several of these at once
    exchange(venue, api_key) -> ExchangeControl                an account at Kraken Futures or OKX, see
                                                               `worker.simulator.derivatives_control`
    configure(latency_ms=, clock_offset_ms=, keep_alive_seconds=, nested_orders=) -> Settings
    visibility_delay(path, ms)        a read of `path` ("*": any) sees only effects at least `ms` old
    reset(demo=None)                  forgets everything, drops held requests; demo accounts as at the start

Inject faults (the fields and meaning of a fault: `worker.simulator.faults.Fault`, the JSON of `POST /_control/faults`):

    fault(kind, **fields) -> id       fault("status", path="withdraw", status=502, body="<html>", execute=True)
                                      fault("envelope", path="close", message="…", retry_after="1", times=3)
                                      fault("cut_after", where={"id": "order-1"}, skip=1, times=None)
                                      fault("hold", path="/auth/close", execute=False)
    lie(name, **fields) -> id         executes and gives a false answer: see `worker.simulator.false_answers`
                                      lie("doubtful_refusal", path="close"), lie("page_404", execute=False)
    arm(Fault) -> id    faults() -> list    clear_faults(id=None)
    release(action="proceed" | "drop", fault_id=None) -> how many held requests went on
    bitz_error(code, in_data=False, **fields) -> id            an error with HTTP 200, in `status` or in `data`
    reset_idle(rst=False) -> how many idle keep-alive connections were closed (FIN, or RST)

Limit the rate of requests, before they reach a fault (`worker.simulator.rate_rules.RateRule`):

    limit(requests, seconds, **fields) -> id    limit(10, 1, ban_seconds=30, status=418, by="address")
    ban(limit_id, sender, seconds=None)         bans a key or an address ("127.0.0.1") now
    limits() -> list    clear_limits(id=None)

Examine what happened:

    wait(arrivals=N, …) / wait(executions=N, …)   blocks until N match, else TimeoutError
    arrivals(path=, api_key=, since=, limit=) -> list[Arrival]     every venue request, also refused and cut ones
    executions(path=, api_key=, since=, limit=) -> list[Execution] what took effect, in order
    ages(path=) -> Ages                           arrival minus timestamp: count, p50, p99, max in ms
    holdings(api_key, venue="everstrike") -> dict everything that the account holds

Every method raises `ControlError` when the simulator refuses the call, and `requests.ConnectionError` when it does not
run.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import requests

from worker.simulator.derivatives_control import Exchange, ExchangeControl
from worker.simulator.faults import Fault, Kind
from worker.simulator.rate_rules import RateRule
from worker.simulator.records import (
    Arrival,
    Change,
    ContractPosition,
    Execution,
    Fill,
    Order,
    Position,
    Settings,
    Side,
    Trigger,
    VenueName,
    Withdrawal,
)

RESPONSE_MARGIN_SECONDS = 10.0
"""How much longer than the simulator the client waits, so that the simulator's own response comes first."""


class ControlError(Exception):
    """The simulator refused a control request; the text is its reason."""


@dataclass(frozen=True, slots=True)
class Ages:
    """The milliseconds between a request's timestamp and its arrival; None while no request had a timestamp."""

    count: int
    p50: int | None
    p99: int | None
    max: int | None


class SimulatorControl:
    """The client of one running simulator. Several threads may use it.

    Each call has a connection of its own, because `reset_idle` would also close the idle connections of a pool.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def account(self, venue: VenueName, api_key: str, secret: str, passphrase: str = "") -> None:
        """Add an empty account; an existing one keeps its holdings and gets the new secret."""
        body = {"venue": venue, "api_key": api_key, "secret": secret, "passphrase": passphrase}
        self._call("PUT", "accounts", body)

    def exchange(self, venue: Exchange, api_key: str) -> ExchangeControl:
        """The control of an account at Kraken Futures or OKX."""
        return ExchangeControl(venue, api_key, self._call)

    def change(self, change: Change) -> None:
        """Put records into an account's holdings."""
        self._call("PUT", "holdings", change.model_dump(mode="json"))

    def position(
        self, api_key: str, pair: str, size: Decimal | str | int, direction: Side = "BUY", **more: Decimal | str | int
    ) -> None:
        """Set an Everstrike position; size 0 removes it."""
        row = Position.model_validate({"pair": pair, "size": size, "direction": direction, **more})
        self.change(Change(api_key=api_key, positions=(row,)))

    def order(self, api_key: str, order_id: str, pair: str = "USD_BTC_PERP", **more: Any) -> None:
        """Put an order, ACTIVE by default, for instance a look-alike that no request made."""
        row = Order.model_validate({"id": order_id, "pair": pair, **more})
        self.change(Change(api_key=api_key, orders=(row,)))

    def trigger(self, api_key: str, trigger_id: str, pair: str, trigger_price: Decimal | str, **more: Any) -> None:
        """Put a trigger, for instance with `status="CANCELLED", msg="…"` one that failed after it was accepted."""
        row = Trigger.model_validate({"id": trigger_id, "pair": pair, "trigger_price": trigger_price, **more})
        self.change(Change(api_key=api_key, triggers=(row,)))

    def fill(self, api_key: str, fill: Fill) -> None:
        """Put a fill."""
        self.change(Change(api_key=api_key, fills=(fill,)))

    def withdrawal(self, api_key: str, withdrawal: Withdrawal) -> None:
        """Put a withdrawal, for instance a look-alike that no request made."""
        self.change(Change(api_key=api_key, withdrawals=(withdrawal,)))

    def balance(self, api_key: str, asset: str, free: Decimal | str | int) -> None:
        """Set how much of an asset can be withdrawn."""
        self.change(Change(api_key=api_key, balances={asset: Decimal(free)}))

    def contracts(self, api_key: str, positions: tuple[ContractPosition, ...]) -> None:
        """Replace all Bit-Z positions of an account; `()` leaves none open."""
        self.change(Change(venue="bitz", api_key=api_key, contracts=positions))

    def configure(self, **settings: int | bool) -> Settings:
        """Change the named settings, keep the others; returns them all."""
        return Settings.model_validate(self._call("PUT", "settings", settings))

    def visibility_delay(self, path: str, ms: int) -> None:
        """Let reads of `path` ("*": any) see only effects that are at least `ms` old; 0 ends the delay.

        It must be set before the effects; earlier effects are visible at once.
        """
        self._call("PUT", "visibility", {"path": path, "ms": ms})

    def reset(self, *, demo: bool | None = None) -> None:
        """Forget holdings, records, faults and settings, and drop held requests; `demo`: whether demo accounts
        exist."""
        self._call("POST", "reset", {"demo": demo})

    def fault(self, kind: Kind | str, **fields: Any) -> int:
        """Arm a fault by its fields; returns the id of the fault."""
        return self.arm(Fault.model_validate({"kind": kind, **fields}))

    def lie(self, name: str, **fields: Any) -> int:
        """Arm a false response by its name (`worker.simulator.false_answers.LIES`); `execute=False`: nothing is
        executed."""
        return self.arm(Fault.model_validate({"lie": name, **fields}))

    def arm(self, fault: Fault) -> int:
        """Arm a fault; returns the id of the fault."""
        return int(self._call("POST", "faults", fault.model_dump(mode="json"))["id"])

    def bitz_error(self, code: int, *, in_data: bool = False, **fields: Any) -> int:
        """Arm a Bit-Z error with HTTP 200: a negative `status`, or status 200 and the number in `data`."""
        status, data = (200, code) if in_data else (code, "")
        body = {"status": status, "msg": "", "data": data, "time": 0, "microtime": "0.00000000 0", "source": "api"}
        path = "/Contract/getContractActivePositions"
        return self.arm(Fault.model_validate({"kind": Kind.RESPOND, "path": path, "data": body, **fields}))

    def faults(self) -> list[dict[str, Any]]:
        """Every fault since they were cleared last: `{"id", "matched", "applied", "fault"}`."""
        return list(self._call("GET", "faults")["faults"])

    def clear_faults(self, fault_id: int | None = None) -> int:
        """Disarm one fault or all, and return how many there were; requests that are held stay held."""
        return int(self._call("DELETE", "faults" if fault_id is None else f"faults/{fault_id}")["cleared"])

    def limit(self, requests: int, seconds: float = 1.0, **fields: Any) -> int:
        """Arm a rate limit; returns its id. The others fields are those of `RateRule`."""
        rule = RateRule.model_validate({"requests": requests, "seconds": seconds, **fields})
        return int(self._call("POST", "limits", rule.model_dump(mode="json"))["id"])

    def limits(self) -> list[dict[str, Any]]:
        """Every rate limit: `{"id", "passed", "limited", "bans", "rule"}`, a ban with `sender`, `began` and `ends` in
        seconds on the monotonic clock of the machine, and how many further requests it `refused`."""
        return list(self._call("GET", "limits")["limits"])

    def clear_limits(self, limit_id: int | None = None) -> int:
        """Disarm one rate limit or all, with their bans; returns how many there were."""
        return int(self._call("DELETE", "limits" if limit_id is None else f"limits/{limit_id}")["cleared"])

    def ban(self, limit_id: int, sender: str, seconds: float | None = None) -> dict[str, Any]:
        """Ban a key or an address now, for the `ban_seconds` of the limit or for other `seconds`; returns the ban."""
        return self._call("POST", f"limits/{limit_id}/ban", {"sender": sender, "seconds": seconds})

    def release(self, action: str = "proceed", fault_id: int | None = None) -> int:
        """Let held requests `proceed`, or `drop` them (RST, never executed if not yet executed); returns how many."""
        return int(self._call("POST", "release", {"action": action, "fault_id": fault_id})["released"])

    def reset_idle(self, *, rst: bool = False) -> int:
        """Close every connection that waits for its next request; returns how many, after they are closed."""
        return int(self._call("POST", "reset-idle", {"rst": rst})["closed"])

    def wait(
        self,
        *,
        arrivals: int | None = None,
        executions: int | None = None,
        path: str | None = None,
        api_key: str | None = None,
        since: int = 0,
        timeout: float = 10.0,
    ) -> None:
        """Wait until so many arrivals or executions with `seq > since` match; TimeoutError after `timeout` seconds."""
        query = {"arrivals": arrivals, "executions": executions, "path": path, "api_key": api_key, "since": since}
        response = self._call(
            "GET", "wait", query={**query, "timeout": timeout}, timeout=timeout + RESPONSE_MARGIN_SECONDS
        )
        if not response["reached"]:
            raise TimeoutError(f"the simulator saw {response['seen']} of {arrivals or executions} in {timeout} s")

    def arrivals(
        self, *, path: str | None = None, api_key: str | None = None, since: int = 0, limit: int | None = None
    ) -> list[Arrival]:
        """Venue requests with `seq > since` in the order of arrival; of more than `limit`, the last ones."""
        query = {"path": path, "api_key": api_key, "since": since, "limit": limit}
        return [Arrival(**row) for row in self._call("GET", "arrivals", query=query)["arrivals"]]

    def executions(
        self, *, path: str | None = None, api_key: str | None = None, since: int = 0, limit: int | None = None
    ) -> list[Execution]:
        """Mutating requests that took effect, with `seq > since`, in order; of more than `limit`, the last ones."""
        query = {"path": path, "api_key": api_key, "since": since, "limit": limit}
        return [Execution(**row) for row in self._call("GET", "executions", query=query)["executions"]]

    def ages(self, *, path: str | None = None, api_key: str | None = None, since: int = 0) -> Ages:
        """How old requests were on arrival, among the last 200,000."""
        return Ages(**self._call("GET", "ages", query={"path": path, "api_key": api_key, "since": since}))

    def holdings(self, api_key: str, venue: VenueName = "everstrike") -> dict[str, Any]:
        """The account's positions, orders, triggers, fills, withdrawals, balances, contracts; decimals as strings."""
        return dict(self._call("GET", "holdings", query={"api_key": api_key, "venue": venue}))

    def _call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: dict[str, Any] | None = None,
        timeout: float = RESPONSE_MARGIN_SECONDS,
    ) -> dict[str, Any]:
        with requests.Session() as session:
            session.trust_env = False  # no proxy of the environment between a test and its simulator
            url = f"{self.url}/_control/{path}"
            response = session.request(method, url, json=body, params=query, timeout=timeout)
        if response.status_code != requests.codes.ok:
            raise ControlError(response.text)
        return dict(response.json())
