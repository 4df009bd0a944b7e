"""The endpoints of the control API for the derivatives exchanges, Kraken Futures and OKX."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Annotated, Literal, TypeVar

from pydantic import Field
from starlette.requests import Request

from worker.simulator.accounts import Account
from worker.simulator.derivatives import tally
from worker.simulator.records import Record
from worker.simulator.simulator import Simulator

Exchange = Literal["krakenfutures", "okx"]
Route = tuple[str, str, Callable[[Request], Awaitable[object]]]

_B = TypeVar("_B", bound=Record)
_Positive = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]


async def body_of(request: Request, model: type[_B]) -> _B:
    """The JSON of a request; no body is an empty object. Raises pydantic's ValidationError."""
    return model.model_validate_json(await request.body() or b"{}")


class _Holder(Record):
    venue: Exchange
    api_key: str


class _Fill(_Holder):
    """Which order to fill, by either id, and how much of it (null: all that is left)."""

    order_id: str | None = None
    client_id: str | None = None
    size: _Positive | None = None


class _Mark(Record):
    venue: Exchange
    symbol: str
    price: _Positive


def derivatives_routes(simulator: Simulator) -> tuple[Route, ...]:
    """Method, path and handler of each endpoint."""

    def account_of(holder: _Holder) -> Account:
        account = simulator.accounts.account(holder.venue, holder.api_key)
        if account is None:
            raise LookupError(f"no {holder.venue} account has this key")
        return account

    async def fill(request: Request) -> object:
        body = await body_of(request, _Fill)
        account = account_of(body)
        holdings = account.holdings.derivatives
        order = holdings.orders.get(body.order_id or "") or holdings.by_client_id(body.client_id or "")
        if order is None:
            raise LookupError("the account has no such order")
        return simulator.matching[body.venue].fill(account, order, body.size).model_dump(mode="json")

    async def mark(request: Request) -> object:
        body = await body_of(request, _Mark)
        simulator.marks[body.venue, body.symbol] = body.price
        return {}

    async def tallied(request: Request) -> object:
        account = account_of(_Holder.model_validate(dict(request.query_params)))
        return tally(account.holdings.derivatives)

    return ("POST", "fill", fill), ("PUT", "mark", mark), ("GET", "tally", tallied)
