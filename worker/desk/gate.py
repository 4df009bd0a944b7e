"""What every request passes before a page sees it: its host, its size, where it comes from, its session.

An ASGI application around that of the pages. It refuses before it reads, and puts the headers that confine the browser
on every answer.
"""

import hmac
import logging
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from markupsafe import Markup
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producers.printable import printable
from worker.desk import forms
from worker.desk.sessions import Session, Sessions

logger = logging.getLogger("orders.desk")

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
ALIVE = "/alive"
PUBLIC = frozenset({"/login", "/enter", ALIVE})
"""Paths that need no session; besides those of static files."""
METHODS = frozenset({"GET", "HEAD", "POST"})
MAX_PATH_BYTES = 1024


class Refused(Exception):
    """A request that goes no further."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class Address:
    """Where this desk is reached."""

    hosts: frozenset[str]
    """Values of the header Host, in lower case."""
    origins: frozenset[str]
    secure: bool
    """Whether browsers reach it by TLS."""

    @property
    def cookie(self) -> str:
        """The name of the session's cookie."""
        return "__Host-desk" if self.secure else "desk"

    def cookie_header(self, value: str) -> str:
        """The header that sets the session's cookie; or, without a value, removes it."""
        ends = "" if value else "; Max-Age=0"
        return f"{self.cookie}={value}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if self.secure else ''}{ends}"


class Gate:
    """The outermost application of the desk."""

    def __init__(
        self,
        app: ASGIApp,
        frame: object,
        address: Address,
        sessions: Sessions,
        proof_of: Callable[[str], str | None],
    ) -> None:
        """``frame`` is what pages find in the request's state."""
        self._app = app
        self._frame = frame
        self._address = address
        self._sessions = sessions
        self._proof_of = proof_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        started = False

        async def send_safely(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = _with_headers(message["headers"])
            await send(message)

        try:
            await self._pass(scope, receive, send_safely)
        except Refused as refusal:
            await _answer(send_safely, refusal.status, refusal.text)
        except Exception as error:
            number = secrets.token_hex(4)
            logger.error("error %s: %s at %s", number, type(error).__name__, where(error))  # noqa: TRY400 - no values
            if started:
                raise
            await _answer(send_safely, 500, f"Something went wrong. Its number in the log of the desk is {number}.")

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _once(scope["headers"])
        self._check_request(scope, headers)
        state = scope["state"] = {"frame": self._frame, "form": {}}
        state["session"] = session = self._session(scope, headers)
        path = scope["path"]
        if scope["method"] == "POST":
            self._check_origin(headers)
            if session is None and path not in PUBLIC:
                raise Refused(403, "Your session has ended. Open the desk again, look, and repeat what you did.")
            form = state["form"] = await _read_form(headers, receive)
            if session is not None:
                _check_csrf(form, session)
        elif session is None and path not in PUBLIC and not path.startswith("/static/"):
            await self._to_login(scope, headers, send)
            return
        await self._app(scope, receive, send)

    def _check_request(self, scope: Scope, headers: Mapping[str, str]) -> None:
        # A health check of a container asks by the container's address, and is told nothing.
        if headers.get("host", "").lower() not in self._address.hosts and scope["path"] != ALIVE:
            raise Refused(421, "This desk is not reached by that name. ORDERS_DESK__PUBLIC_URL sets another.")
        if scope["method"] not in METHODS:
            raise Refused(405, "A desk is asked by GET, HEAD and POST.")
        if len(scope["query_string"]) > forms.MAX_QUERY_BYTES or len(scope.get("raw_path") or b"") > MAX_PATH_BYTES:
            raise Refused(414, "The address is too long.")

    def _check_origin(self, headers: Mapping[str, str]) -> None:
        """A page of another origin must not be able to post. Without Referrer, browsers may send ``Origin: null``; then
        ``Sec-Fetch-Site``, which no page can set, tells whose page it is."""
        origin, site = headers.get("origin", ""), headers.get("sec-fetch-site", "")
        from_here = origin in self._address.origins or (origin in ("", "null") and site == "same-origin")
        if not from_here or site not in ("", "same-origin"):
            logger.warning("refused a form of another site: origin %s", printable(origin, 100) or "none")
            raise Refused(403, "This form is not one of this desk's.")

    def _session(self, scope: Scope, headers: Mapping[str, str]) -> Session | None:
        pairs = (each.strip().partition("=") for each in headers.get("cookie", "").split(";"))
        found = [value for name, _, value in pairs if name == self._address.cookie]
        if len(found) != 1:  # two of one name: another page of this host has set one
            return None
        session = self._sessions.find(found[0], self._proof_of)
        scope["state"]["cookie"] = found[0] if session else ""
        return session

    async def _to_login(self, scope: Scope, headers: Mapping[str, str], send: Send) -> None:
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        target = (scope["raw_path"] + query).decode("latin-1")
        if headers.get("sec-fetch-site") == "cross-site":
            # A link in a mail: the browser keeps the cookie back until a link of ours is followed.
            await _answer(send, 200, "This link comes from another site.", link=target)
            return
        location = "/login" if target == "/" else f"/login?next={quote(target, safe='/')}"
        await send({"type": "http.response.start", "status": 303, "headers": [(b"location", location.encode())]})
        await send({"type": "http.response.body", "body": b""})


def is_local(target: str) -> bool:
    """Whether this is the path of a page here, whatever a browser makes of slashes and blanks."""
    return re.fullmatch(r"/([!-.0-\[\]-~][!-~]*)?", target) is not None


def _once(headers: list[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """The headers; one that must be there once and is there twice is refused."""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name in found and name in ("host", "origin", "sec-fetch-site", "content-length", "content-type"):
            raise Refused(400, f"The header {name} is there twice.")
        found[name] = f"{found[name]}; {value}" if name in found and name == "cookie" else value
    return found


async def _read_form(headers: Mapping[str, str], receive: Receive) -> Mapping[str, str]:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise Refused(415, "A form is application/x-www-form-urlencoded.")
    length = headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 12 or int(length) > forms.MAX_BODY_BYTES:
        raise Refused(413, f"A form has at most {forms.MAX_BODY_BYTES:,} bytes.")
    content, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "The form did not arrive.")
        content += message.get("body", b"")
        more = message.get("more_body", False)
        if len(content) > forms.MAX_BODY_BYTES:
            raise Refused(413, f"A form has at most {forms.MAX_BODY_BYTES:,} bytes.")
    try:
        return forms.parse(bytes(content))
    except forms.BadForm as problem:
        raise Refused(400, str(problem).capitalize() + ".") from None


def _check_csrf(form: Mapping[str, str], session: Session) -> None:
    if not hmac.compare_digest(form.get("csrf", "").encode("utf-8", "replace"), session.csrf.encode()):
        logger.warning("refused a form without the session's token")
        raise Refused(403, "This form does not belong to your session. Go back, load the page again, and repeat it.")


def _with_headers(headers: Any) -> list[tuple[bytes, bytes]]:
    found = [(name, value) for name, value in headers if name.decode("latin-1").lower() not in HEADERS]
    if not any(name.lower() == b"cache-control" for name, _ in found):
        found.append((b"cache-control", b"no-store"))
    return found + [(name.encode(), value.encode()) for name, value in HEADERS.items()]


def where(error: BaseException) -> str:
    """The place that raised an error, without any value."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"


async def _answer(send: Send, status: int, text: str, link: str = "") -> None:
    """A page by itself, for what goes no further."""
    more = Markup('<p><a href="{}">Open it</a></p>').format(link) if is_local(link) else Markup("")
    page = Markup(
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        '<link rel="stylesheet" href="/static/desk.css"><title>Orders desk</title><main><h1>Orders desk</h1><p>{}</p>{}'
        '<p><a href="/">The first page of this desk</a></p></main></html>'
    ).format(text, more)
    content = str(page).encode()
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(content)).encode())]
    if status >= 400:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
