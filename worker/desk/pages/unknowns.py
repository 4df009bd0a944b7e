"""The open unknowns, oldest first: what is known of each and what to do next."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from producers.errors import BrokerUnavailable
from worker.desk.paging import page_count, page_number
from worker.desk.views import PageError, render, services_of, session_of
from worker.operations.held_words import MAX_SHOWN
from worker.operations.operator import Unknown
from worker.operations.reconcile import ask_worker
from worker.operations.unknown_words import Advice, advice, arguments_of
from worker.reconciliation.window import limits_of

TITLE = "Unknown commands"
PATH = "/unknowns"
PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class Row:
    """An open unknown as the list has it."""

    unknown: Unknown
    arguments: list[tuple[str, str]]
    advice: Advice


def show(request: Request) -> Response:
    """A page of the list."""
    services = services_of(request)
    count, number = services.operator.count_unknowns(), page_number(request)
    limits, now = limits_of(services.settings), services.clock.now_ms()
    rows = [
        Row(each, _arguments(each), advice(each, limits, now))
        for each in services.operator.unknowns((number - 1) * PER_PAGE, PER_PAGE)
    ]
    pages = page_count(count, PER_PAGE)
    return render(request, "unknowns.html", title=TITLE, rows=rows, count=count, number=number, pages=pages)


def _arguments(each: Unknown) -> list[tuple[str, str]]:
    return [(name, str(value)[:MAX_SHOWN]) for name, value in arguments_of(each.record).items() if name != "account"]


def reconcile_all(request: Request) -> Response:
    """Ask a worker to look all of them up; nothing is waited for."""
    services = services_of(request)
    try:
        ask_worker(services.settings)
    except BrokerUnavailable as error:
        raise PageError(503, "The broker does not answer", f"No worker was asked: {error.trouble}.") from None
    session_of(request).tell(
        "A worker was asked to look all of them up, oldest first. Load this page again to see which are left."
    )
    return RedirectResponse(PATH, 303)


routes = [Route(PATH, show), Route("/unknowns/reconcile", reconcile_all, methods=["POST"])]
