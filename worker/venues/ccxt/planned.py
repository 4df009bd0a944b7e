"""What a plan of a ccxt venue holds, and how one request is made of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from worker.venues.base import Plan
from worker.venues.ccxt.binding import BuiltRequest, Captured, call, copy_for
from worker.venues.ccxt.requests import NotAsAsked, check_contains, check_side, is_read, is_reduce_only, name_of
from worker.venues.ccxt.traits import ORDER_ID, Call, InTime, Place, Traits
from worker.venues.http.base import Response

Numbers = Mapping[str, str | None]

IN_A_PATH = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the request must say, because the command says so."""

    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By what it is (``order id``) the texts of which one must be in the request."""
    amounts: Numbers = field(default_factory=dict)
    reduce_only: bool = False
    symbol: str = ""
    side: str = ""


@dataclass(frozen=True, slots=True)
class Planned:
    """The details of a :class:`~worker.venues.base.Plan`."""

    exchange: Any = field(repr=False)
    """ccxt's object with the markets as of the plan."""
    call: Call
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    asked: Asked = field(default_factory=Asked)
    window: str = ""
    """The name of the window in :attr:`Traits.windows`; empty where the exchange can't limit it."""
    handle: str = ""
    contract: str = ""
    """What one contract is worth, in words."""
    place: Place | None = None
    """For a query: the list that its one request reads; what other lists and pages hold was read by the plan."""
    symbol: str | None = None
    """For a query: the symbol, or None for all."""
    read: Sequence[Mapping[str, Any]] = ()
    """For a query: the positions that the plan has read."""
    feed: tuple[Response, ...] = ()
    """For a query: the answers to what ccxt reads before the one request."""


def details_of(plan: Plan) -> Planned:
    """The details of a plan that this package has made."""
    return cast("Planned", plan.details)


def copy_of(plan: Plan, now_ms: int, in_time: InTime, feed: Sequence[Response] = ()) -> Any:
    """ccxt's object for one use of a plan."""
    planned = details_of(plan)
    options = {**planned.options, **in_time.options}
    return copy_for(planned.exchange, plan.account.credentials, now_ms, options, (*planned.feed, *feed))


def run(exchange: Any, planned: Planned, in_time: InTime) -> Any:
    """Run the planned method of ccxt: it raises :class:`Captured`, or reads the answer that was fed."""
    this = planned.call
    if planned.place is not None:
        return call(exchange, this.method, this.args)
    return call(exchange, this.method, (*this.args, {**this.params, **in_time.params}))


def in_time_of(plan: Plan, traits: Traits | None, now_ms: int) -> InTime:
    """How a request of this plan says until when the exchange may take it."""
    planned = details_of(plan)
    if traits is None or not planned.window:
        return InTime()
    until_ms = plan.lookup.until_ms if plan.lookup is not None else 0
    return traits.in_time(planned.window, now_ms, until_ms or now_ms + plan.window_ms)


def build(plan: Plan, traits: Traits | None, now_ms: int) -> tuple[BuiltRequest, InTime]:
    """The one request of an attempt as of ``now_ms``.

    Raises:
        NotAsAsked: ccxt would send another request before it, or one that says something else than the command.
        Exception: whatever ccxt raises; its text must not be shown.
    """
    planned = details_of(plan)
    in_time = in_time_of(plan, traits, now_ms)
    try:
        run(copy_of(plan, now_ms, in_time), planned, in_time)
    except Captured as captured:
        request = captured.request
    else:
        raise NotAsAsked("ccxt would send nothing")
    if not plan.command.mutating:
        if not is_read(request, traits):
            raise NotAsAsked("ccxt would send a request that is no read")
        return request, in_time
    if name_of(request, traits) not in _allowed(plan, traits):
        raise NotAsAsked(f"ccxt would send another request before the {plan.command.name}")
    check_contains(request, planned.asked.texts, planned.asked.amounts)
    if planned.asked.side:
        check_side(request, planned.asked.side, planned.asked.amounts.get("amount") or "0")
    if planned.asked.reduce_only and not is_reduce_only(request):
        raise NotAsAsked("ccxt leaves out that it may only reduce a position")
    return request, in_time


def _allowed(plan: Plan, traits: Traits | None) -> frozenset[str]:
    """The requests that the command may come to. An order id in a path must not be able to change the path."""
    names = traits.mutating.get(plan.command.name, frozenset()) if traits is not None else frozenset()
    order_id = getattr(plan.command, "order_id", "")
    if not IN_A_PATH.fullmatch(order_id):
        return frozenset(each for each in names if ORDER_ID not in each)
    return frozenset(each.replace(ORDER_ID, order_id) for each in names)
