"""From values to HTML: every value is made printable and escaped, whoever wrote it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, cast
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from producers.printable import printable
from worker.desk.entrance import Entrance
from worker.desk.services import DeskServices
from worker.desk.sessions import Session
from worker.operations.times import duration


class PageError(Exception):
    """A page that says why there is no other."""

    def __init__(self, status: int, title: str, text: str, *advice: str) -> None:
        super().__init__(f"{title}: {text}")
        self.status = status
        self.title = title
        self.text = text
        self.advice = advice


@dataclass(frozen=True, slots=True)
class Place:
    """A page in the navigation."""

    title: str
    path: str


@dataclass(frozen=True, slots=True)
class Frame:
    """What every page of one desk has."""

    services: DeskServices
    places: Sequence[Place]
    entrance: Entrance
    style: str
    """The path of the style sheet, which changes with its content."""

    @property
    def has_logins(self) -> bool:
        """Whether people log in by name."""
        return self.entrance.logins is not None


def frame_of(request: Request) -> Frame:
    """What this desk is made of."""
    return cast("Frame", request.state.frame)


def services_of(request: Request) -> DeskServices:
    """The services that pages look at and act by."""
    return frame_of(request).services


def session_of(request: Request) -> Session:
    """The session of the request; pages are shown in none but with one."""
    return cast("Session", request.state.session)


def form_of(request: Request) -> Mapping[str, str]:
    """The fields of the form, each of which may be missing."""
    return cast("Mapping[str, str]", request.state.form)


def render(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """A page by its template; ``title`` is among the values."""
    session: Session | None = getattr(request.state, "session", None)
    frame = frame_of(request)
    key = frame.services.key
    page = {
        "places": frame.places if session else (),
        "path": request.scope["path"],
        "here": _here(request),
        "is_form": request.method == "POST",
        "style": frame.style,
        "who": key.by if key else session.name if session else "",
        "signs": key is not None,
        "session": session,
        "notice": session.take_notice() if session else "",
        "now": frame.services.clock.now_ms(),
        "csrf": lambda: _csrf(session),
    }
    return HTMLResponse(_environment().get_template(template).render({**page, **values}), status)


def error_page(request: Request, error: PageError) -> Response:
    """The page of an error."""
    return render(request, "error.html", error.status, title=error.title, text=error.text, advice=error.advice)


def url(path: str, **query: object) -> str:
    """A path with its query; empty values are left out."""
    given = {name: str(value) for name, value in query.items() if value not in ("", None)}
    return f"{path}?{urlencode(given, errors='replace')}" if given else path


def moment(milliseconds: int | None, now: int | None = None) -> Markup:
    """UNIX ms as a time in UTC, with its age."""
    if not milliseconds:
        return Markup("—")
    try:
        at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return Markup("{} ms").format(milliseconds)
    machine, people = at.isoformat(timespec="milliseconds"), at.strftime("%Y-%m-%d %H:%M:%S UTC")
    ago = Markup(' <span class="age">({})</span>').format(span(milliseconds, now)) if now else ""
    return Markup('<time datetime="{}">{}</time>{}').format(machine, people, ago)


def span(milliseconds: int, now: int) -> str:
    """How long ago something was, or how soon it will be."""
    return f"{duration(now - milliseconds)} ago" if milliseconds <= now else f"in {duration(milliseconds - now)}"


def exact(value: object) -> Markup:
    """A value that the browser sends back: escaped, and otherwise as it is."""
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = printable(text)
    return escape(text)


def _here(request: Request) -> str:
    """The path and the query of the request, as they came."""
    path, query = bytes(request.scope["raw_path"]), bytes(request.scope["query_string"])
    return (path + b"?" + query if query else path).decode("latin-1")


def _csrf(session: Session | None) -> Markup:
    token = session.csrf if session else ""
    return Markup('<input type="hidden" name="csrf" value="{}">').format(token)


def _shown(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, Markup | Undefined) or hasattr(value, "__html__"):
        return value
    return printable(value)


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("worker.desk"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.filters |= {"exact": exact, "duration": duration}
    found.globals |= {"url": url, "moment": moment}
    return found
