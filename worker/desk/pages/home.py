"""The first page: what needs a person, and what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass

import redis
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from producers.redaction import server_error_text
from worker.desk.services import DeskServices
from worker.desk.views import render, services_of
from worker.operations.queue_states import QueueLine, queue_lines, unacked_dead
from worker.operations.times import duration

TITLE, PATH = "Home", "/"
FORGOTTEN_HALT_MS = 24 * 3_600_000
"""A halt older than this may be forgotten; the alert OrdersHaltForgotten says so."""
OVERDUE_MS = 60_000
"""A parked command that is overdue for longer shows that no worker takes it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that may need a person."""

    name: str
    path: str
    level: str
    """``ok``, ``look`` (when there is time) or ``act`` (now); the page shows the word and a colour."""
    text: str
    advice: str = ""


def show(request: Request) -> Response:
    """The counts, each with its page."""
    services = services_of(request)
    lines = [*_ledger_lines(services), *_broker_lines(services)]
    return render(request, "home.html", title="What needs a person", lines=lines)


def _ledger_lines(services: DeskServices) -> Iterator[Line]:
    now, operator = services.clock.now_ms(), services.operator
    oldest, count = operator.unknowns(limit=1), operator.count_unknowns()
    text = f"{count}, the oldest for {duration(now - oldest[0].since)}" if oldest else "none"
    advice = "Settle each by what the venue shows, the oldest first; nothing is sent again until then." if count else ""
    yield Line("Unknown commands", "/unknowns", "act" if count else "ok", text, advice)
    yield _held(services, now)
    halts = operator.halts()
    old = [each for _, each in halts if now - each.at > FORGOTTEN_HALT_MS]
    text = f"{len(halts)}, {len(old)} for more than a day" if halts else "none"
    advice = "Lift each when its reason is gone; its commands end as not_sent/halted." if halts else ""
    yield Line("Halts", "/halts", "act" if old else "look" if halts else "ok", text, advice)
    cool_downs = services.parked.cool_downs()
    advice = "They end by themselves. End one by hand only if the venue is known to answer again." if cool_downs else ""
    text = f"{len(cool_downs)}: {', '.join(each.named for each in cool_downs[:5])}" if cool_downs else "none"
    yield Line("Cool-downs", "/parked", "look" if cool_downs else "ok", text, advice)


def _held(services: DeskServices, now: int) -> Line:
    held, unreadable = services.approvals.held_and_unreadable()
    advice = "Approve or deny each before its time is over; it is not sent until then." if held else ""
    texts = [f"{len(held)}, the first ends in {duration(min(e.hold.until for e in held) - now)}"] if held else []
    texts += [f"{len(unreadable)} that can't be read"] if unreadable else []
    return Line("Held for approval", "/held", "act" if texts else "ok", "; ".join(texts) or "none", advice)


def _broker_lines(services: DeskServices) -> Iterator[Line]:
    broker = services.broker
    if broker is None:
        yield Line(
            "Queues", "/queues", "look", "the broker is no Redis", "Use its own tools for queues and dead letters."
        )
        return
    try:
        queues, beside = queue_lines(broker), unacked_dead(broker)
    except (redis.RedisError, OSError) as error:
        text = f"the broker does not answer: {server_error_text(error)}"
        yield Line("Queues", "/queues", "act", text, "Bring the server back: nothing can be enqueued without it.")
        return
    yield _parked(queues)
    dead = sum(each.dead or 0 for each in queues) + beside
    advice = "Each is a command that was not executed and has no report: tell its sender." if dead else ""
    yield Line("Dead letters", "/dead", "act" if dead else "ok", str(dead) if dead else "none", advice)
    yield _waiting(queues)


def _parked(queues: list[QueueLine]) -> Line:
    parked = sum(each.parked for each in queues)
    overdue = [each.name for each in queues if each.beside and each.beside.overdue_ms > OVERDUE_MS]
    if overdue:
        advice = f"No worker takes them: start one for {', '.join(overdue)}."
        return Line("Parked", "/parked", "act", f"{parked}, some overdue", advice)
    return Line("Parked", "/parked", "ok", f"{parked}, each is taken when it is due" if parked else "none")


def _waiting(queues: list[QueueLine]) -> Line:
    counted: list[tuple[str, int]] = [(each.name, (each.waiting or 0) + each.by_account) for each in queues]
    text = ", ".join(f"{count} in {name}" for name, count in counted if count)
    hidden = [each.name for each in queues if each.waiting is None]
    if hidden:
        advice = "This login may not count what waits in some queues: give it LLEN there (docs/deploying.md#logins)."
        return Line("Waiting in queues", "/queues", "look", text or "not known", advice)
    advice = "If it does not shrink, see whether a worker serves the queue." if text else ""
    return Line("Waiting in queues", "/queues", "look" if text else "ok", text or "none", advice)


routes = [Route(PATH, show, methods=["GET"])]
