"""The application of the desk: its pages, what is told when one can't be shown, and its style sheet."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache, wraps
from importlib.resources import files
from types import ModuleType

import anyio.to_thread
import redis
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from producers.redaction import redacted_url, server_error_text
from producers.signing import SigningError
from worker.desk.changes import repeated
from worker.desk.entrance import Entrance
from worker.desk.gate import Gate
from worker.desk.pages import accounts, command, dead, halts, held, home, login, parked, queues, search, unknowns
from worker.desk.services import DeskServices
from worker.desk.views import Frame, PageError, Place, error_page, services_of
from worker.ledger.base import LedgerUnavailable, NoSuchCommand, StillOpen
from worker.operations.approvals import NotHeld, NotYours
from worker.operations.dead_letters import BrokerRefuses, NoSuchLetter, NotResendable
from worker.operations.operator import NotUnknown
from worker.operations.outages import ledger_outage
from worker.operations.parked import NoCoolDown

PAGES: tuple[ModuleType, ...] = (home, unknowns, held, halts, parked, dead, queues, accounts, search, command)
"""The pages in the order of the navigation."""
THREADS = 16
"""Requests that are worked on at a time; others wait."""
CHANGED = (
    *(NoSuchCommand, StillOpen, NotUnknown, NotHeld, NotYours, NoCoolDown, SigningError),
    *(NoSuchLetter, NotResendable, BrokerRefuses),
)
"""What the services raise where something is not as a person thought; the text says how it is."""

Endpoint = Callable[[Request], Response]


def build_app(services: DeskServices, entrance: Entrance) -> ASGIApp:
    """The desk as an ASGI application."""
    places = [Place(each.TITLE, each.PATH) for each in PAGES if each.PATH]
    frame = Frame(services, places, entrance, f"/static/desk.css?v={_style()[1]}")
    routes = [*login.routes, *(route for page in PAGES for route in page.routes), Route("/static/desk.css", _css)]
    safe = [Route(each.path, told(each.endpoint), methods=sorted(each.methods or ())) for each in routes]
    router = Router(safe, redirect_slashes=False, default=_no_page, lifespan=_threads)
    return Gate(router, frame, entrance.address, entrance.sessions, entrance.proof_of)


@asynccontextmanager
async def _threads(_: object) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield


def told(endpoint: Endpoint) -> Endpoint:
    """The function of a page, with a page for each error that can be told."""

    @wraps(endpoint)
    def run(request: Request) -> Response:
        try:
            return repeated(request) or endpoint(request)
        except PageError as error:
            return repeated(request) or error_page(request, error)
        except CHANGED as error:
            not_done = PageError(409, "Not done", f"{error}.", "Go back and look at what there is now.")
            return repeated(request) or error_page(request, not_done)
        except LedgerUnavailable as error:
            return error_page(request, _ledger_is_down(request, error))
        except (redis.RedisError, OSError) as error:
            return error_page(request, _broker_is_down(request, error))

    return run


def _ledger_is_down(request: Request, error: LedgerUnavailable) -> PageError:
    settings = services_of(request).settings
    text = f"{redacted_url(settings.ledger_url)}: {ledger_outage(error)}."
    return PageError(
        503,
        "The ledger does not answer",
        text,
        "Workers send nothing without it, and nothing is lost: what is enqueued waits.",
        "Bring the server back; this desk goes on by itself. docs/runbook.md says how, at “ledger”.",
    )


def _broker_is_down(request: Request, error: Exception) -> PageError:
    settings = services_of(request).settings
    text = f"{redacted_url(settings.broker_url)}: {server_error_text(error)}."
    return PageError(
        503,
        "The broker does not answer",
        text,
        "What is enqueued is on its disk. Bring the server back; this desk goes on by itself.",
    )


async def _no_page(scope: Scope, receive: Receive, send: Send) -> None:
    page = error_page(Request(scope), PageError(404, "No such page", "This desk has no page of this address."))
    await page(scope, receive, send)


@cache
def _style() -> tuple[bytes, str]:
    content = files("worker.desk").joinpath("static/desk.css").read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:12]


def _css(_: Request) -> Response:
    return Response(_style()[0], media_type="text/css", headers={"cache-control": "private, max-age=86400"})
