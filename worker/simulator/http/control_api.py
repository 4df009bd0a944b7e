"""The control API under `/_control/`, with JSON bodies. Its client is `control.SimulatorControl`.

A request that can't be read gets status 400 and the reason as text. There is no password, so the server listens on
loopback by default.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, fields
from typing import Literal, TypeVar

from pydantic import Field, JsonValue, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from worker.simulator.accounts import Holdings, ages_of
from worker.simulator.faults import ArmedFault, Fault
from worker.simulator.http.derivatives_api import body_of as _body
from worker.simulator.http.derivatives_api import derivatives_routes
from worker.simulator.rate_rules import ArmedRule, RateRule
from worker.simulator.records import Arrival, Change, Execution, Record, Settings, VenueName
from worker.simulator.simulator import Simulator

MAX_WAIT_SECONDS = 600.0

_JSON: TypeAdapter[object] = TypeAdapter(object)
_CHANGES = TypeAdapter(dict[str, JsonValue])
_HOLDINGS = TypeAdapter(Holdings)


class _AccountBody(Record):
    venue: VenueName
    api_key: str = Field(min_length=1)
    secret: str = Field(min_length=1)
    passphrase: str = ""


class _Visibility(Record):
    path: str
    ms: int = Field(ge=0)


class _Release(Record):
    action: Literal["proceed", "drop"] = "proceed"
    fault_id: int | None = None


class _Reset(Record):
    demo: bool | None = None


class _IdleReset(Record):
    rst: bool = False


class _Ban(Record):
    sender: str
    seconds: float | None = Field(default=None, gt=0, le=3600)


class _Filter(Record):
    """Selects arrivals or executions."""

    path: str | None = None
    api_key: str | None = None
    since: int = 0
    limit: int | None = Field(default=None, ge=0)

    def matches(self, record: Arrival | Execution) -> bool:
        return record.seq > self.since and self.path in (None, record.path) and self.api_key in (None, record.api_key)


class _Wait(_Filter):
    arrivals: int | None = Field(default=None, ge=1)
    executions: int | None = Field(default=None, ge=1)
    timeout: float = Field(default=10.0, ge=0, le=MAX_WAIT_SECONDS)


class _AccountQuery(Record):
    api_key: str
    venue: VenueName = "everstrike"


_K = TypeVar("_K", Arrival, Execution)


class ControlApi:
    """The endpoints. Each returns the JSON of a response with status 200."""

    def __init__(
        self,
        simulator: Simulator,
        close_idle: Callable[[bool], Awaitable[int]],
        keep_alive_for: Callable[[int], None],
    ) -> None:
        self._simulator = simulator
        self._close_idle = close_idle
        self._keep_alive_for = keep_alive_for

    async def health(self, _request: Request) -> object:
        """The venues' clock; also shows that the simulator runs."""
        return {"time_ms": self._simulator.now_ms()}

    async def accounts(self, request: Request) -> object:
        """Add an account."""
        body = await _body(request, _AccountBody)
        self._simulator.accounts.add_account(body.venue, body.api_key, body.secret, body.passphrase)
        return {}

    async def put_holdings(self, request: Request) -> object:
        """Put records into an account."""
        self._simulator.put(await _body(request, Change))
        return {}

    async def holdings(self, request: Request) -> object:
        """Everything that an account holds."""
        query = _AccountQuery.model_validate(dict(request.query_params))
        account = self._simulator.accounts.account(query.venue, query.api_key)
        if account is None:
            raise LookupError(f"no {query.venue} account has this key")
        return _HOLDINGS.dump_python(account.holdings, mode="json")

    async def settings(self, request: Request) -> object:
        """Change the given settings; returns all of them."""
        changes = _CHANGES.validate_json(await request.body())
        self._simulator.settings = Settings.model_validate({**self._simulator.settings.model_dump(), **changes})
        self._keep_alive_for(self._simulator.settings.keep_alive_seconds)
        return self._simulator.settings.model_dump()

    async def visibility(self, request: Request) -> object:
        """Delay the effects that reads of a path see."""
        body = await _body(request, _Visibility)
        self._simulator.accounts.set_delay(body.path, body.ms)
        return {}

    async def reset(self, request: Request) -> object:
        """Return to the initial state."""
        self._simulator.reset((await _body(request, _Reset)).demo)
        self._keep_alive_for(self._simulator.settings.keep_alive_seconds)
        return {}

    async def arm(self, request: Request) -> object:
        """Arm a fault."""
        return {"id": self._simulator.arm(await _body(request, Fault)).id}

    async def faults(self, _request: Request) -> object:
        """List the faults and their counts."""
        return {"faults": [_listed(armed) for armed in self._simulator.board.list()]}

    async def clear_faults(self, request: Request) -> object:
        """Disarm one fault or all."""
        return {"cleared": self._simulator.board.clear(request.path_params.get("fault_id"))}

    async def limit(self, request: Request) -> object:
        """Arm a rate limit."""
        return {"id": self._simulator.limits.arm(await _body(request, RateRule)).id}

    async def limits(self, _request: Request) -> object:
        """List the rate limits, what they let through and refused, and their bans."""
        return {"limits": [_listed_rule(armed) for armed in self._simulator.limits.list()]}

    async def clear_limits(self, request: Request) -> object:
        """Disarm one rate limit or all, with their bans."""
        return {"cleared": self._simulator.limits.clear(request.path_params.get("rule_id"))}

    async def ban(self, request: Request) -> object:
        """Ban a key or an address now."""
        body = await _body(request, _Ban)
        return asdict(self._simulator.limits.ban(request.path_params["rule_id"], body.sender, body.seconds))

    async def release(self, request: Request) -> object:
        """Let held requests proceed, or drop them."""
        body = await _body(request, _Release)
        proceed = body.action == "proceed"
        return {"released": self._simulator.held_requests.release(proceed=proceed, fault_id=body.fault_id)}

    async def reset_idle(self, request: Request) -> object:
        """Close idle connections."""
        return {"closed": await self._close_idle((await _body(request, _IdleReset)).rst)}

    async def arrivals(self, request: Request) -> object:
        """List the requests received."""
        query = _Filter.model_validate(dict(request.query_params))
        return {"arrivals": _rows(_chosen(self._simulator.accounts.arrivals, query))}

    async def executions(self, request: Request) -> object:
        """List the mutating requests that took effect."""
        query = _Filter.model_validate(dict(request.query_params))
        return {"executions": _rows(_chosen(self._simulator.accounts.executions, query))}

    async def ages(self, request: Request) -> object:
        """Summarise how old requests were on arrival."""
        query = _Filter.model_validate(dict(request.query_params))
        return ages_of(_chosen(self._simulator.accounts.arrivals, query))

    async def wait(self, request: Request) -> object:
        """Respond once enough records match, or when the time is up."""
        query = _Wait.model_validate(dict(request.query_params))
        kind, needed = (Arrival, query.arrivals) if query.arrivals else (Execution, query.executions)
        if needed is None:
            raise ValueError("say how many arrivals or executions to wait for")
        accounts = self._simulator.accounts
        known: Iterable[Arrival | Execution] = accounts.arrivals if kind is Arrival else accounts.executions
        seen = sum(map(query.matches, known))
        reached = asyncio.Event()

        def count(record: Arrival | Execution) -> None:
            nonlocal seen
            seen += isinstance(record, kind) and query.matches(record)
            if seen >= needed:
                reached.set()

        unwatch = accounts.watch(count)
        try:
            async with asyncio.timeout(query.timeout):
                if seen < needed:
                    await reached.wait()
        except TimeoutError:
            return {"reached": False, "seen": seen}
        finally:
            unwatch()
        return {"reached": True, "seen": seen}


def _chosen(records: Iterable[_K], query: _Filter) -> list[_K]:
    chosen = [record for record in records if query.matches(record)]
    return chosen if query.limit is None else chosen[max(0, len(chosen) - query.limit) :]


def _rows(records: Sequence[Arrival | Execution]) -> list[dict[str, object]]:
    """The records as JSON objects. `asdict`, which copies each value, would take most of the time of a long list."""
    names = [each.name for each in fields(records[0])] if records else []
    return [{name: getattr(record, name) for name in names} for record in records]


def _listed_rule(armed: ArmedRule) -> dict[str, object]:
    counts = {"id": armed.id, "passed": armed.passed, "limited": armed.limited}
    return {**counts, "bans": [asdict(ban) for ban in armed.bans], "rule": armed.rule.model_dump(mode="json")}


def _listed(armed: ArmedFault) -> dict[str, object]:
    fault = armed.fault.model_dump(mode="json")
    return {"id": armed.id, "matched": armed.matched, "applied": armed.applied, "fault": fault}


def _in_words(refusal: ValidationError) -> str:
    """A line for each wrong field with the reason; pydantic's own text would also repeat the input."""
    wrong = ((".".join(map(str, each["loc"])), each["msg"].removeprefix("Value error, ")) for each in refusal.errors())
    return "\n".join(f"{field}: {why}" if field else why for field, why in wrong)


def _endpoint(handler: Callable[[Request], Awaitable[object]]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            result = await handler(request)
        except ValidationError as refusal:
            return PlainTextResponse(_in_words(refusal), 400)
        except (LookupError, ValueError) as refusal:
            return PlainTextResponse(str(refusal), 400)
        return Response(_JSON.dump_json(result), media_type="application/json")

    return endpoint


def control_app(
    simulator: Simulator, close_idle: Callable[[bool], Awaitable[int]], keep_alive_for: Callable[[int], None]
) -> Starlette:
    """The application behind `/_control/`."""
    api = ControlApi(simulator, close_idle, keep_alive_for)
    table: tuple[tuple[str, str, Callable[[Request], Awaitable[object]]], ...] = (
        ("GET", "health", api.health),
        ("PUT", "accounts", api.accounts),
        ("PUT", "holdings", api.put_holdings),
        ("GET", "holdings", api.holdings),
        ("PUT", "settings", api.settings),
        ("PUT", "visibility", api.visibility),
        ("POST", "reset", api.reset),
        ("POST", "faults", api.arm),
        ("GET", "faults", api.faults),
        ("DELETE", "faults", api.clear_faults),
        ("DELETE", "faults/{fault_id:int}", api.clear_faults),
        ("POST", "limits", api.limit),
        ("GET", "limits", api.limits),
        ("DELETE", "limits", api.clear_limits),
        ("DELETE", "limits/{rule_id:int}", api.clear_limits),
        ("POST", "limits/{rule_id:int}/ban", api.ban),
        ("POST", "release", api.release),
        ("POST", "reset-idle", api.reset_idle),
        ("GET", "arrivals", api.arrivals),
        ("GET", "executions", api.executions),
        ("GET", "ages", api.ages),
        ("GET", "wait", api.wait),
        *derivatives_routes(simulator),
    )
    return Starlette(routes=[Route(f"/_control/{path}", _endpoint(handler), methods=[m]) for m, path, handler in table])
