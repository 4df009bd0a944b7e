"""Coming in and going out."""

import logging
import math

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from worker.desk.entrance import Entrance
from worker.desk.gate import is_local
from worker.desk.views import form_of, frame_of, render

logger = logging.getLogger("orders.desk")


def entrance_of(request: Request) -> Entrance:
    """How people come into this desk."""
    return frame_of(request).entrance


def ask(request: Request) -> Response:
    """The form for name and password; without logins, where the link is."""
    return _ask(request, request.query_params.get("next", "/"))


def _ask(request: Request, target: str, problem: str = "", status: int = 200, name: str = "") -> Response:
    has_logins = entrance_of(request).logins is not None
    title = "Log in" if has_logins else "Open the desk by its link"
    return render(
        request,
        "login.html",
        status,
        title=title,
        has_logins=has_logins,
        target=target,
        problem=problem,
        name=name,
    )


def log_in(request: Request) -> Response:
    """Open a session for a name and its password."""
    form = form_of(request)
    name, target = form.get("name", ""), form.get("next", "/")
    found = entrance_of(request).by_password(name, form.get("password", ""), _old_cookie(request))
    if isinstance(found, str):
        logger.info("%s has logged in", name)
        return _opened(request, found, target)
    if found is None:
        # A name that is none may be a password, typed into the wrong field.
        logins = entrance_of(request).logins
        logger.warning("a wrong password of %s", name if logins and logins.knows(name) else "a name that has no login")
        return _ask(request, target, "That is not a name with its password.", 403, name)
    seconds = math.ceil(found)
    problem = f"Too many attempts. The next one can be made in {seconds} s."
    answer = _ask(request, target, problem, 429, name)
    answer.headers["retry-after"] = str(seconds)
    return answer


def enter(request: Request) -> Response:
    """Open a session by a link that works once."""
    found = entrance_of(request).by_link(request.query_params.get("token", ""), _old_cookie(request))
    if found is None:
        return _ask(request, "/", "This link was used before, or is none.", 403)
    logger.info("the link was used; another one is printed")
    return _opened(request, found, "/")


def _old_cookie(request: Request) -> str:
    return str(getattr(request.state, "cookie", ""))


def _opened(request: Request, cookie: str, target: str) -> Response:
    answer = RedirectResponse(target if is_local(target) else "/", 303)
    answer.headers.append("set-cookie", entrance_of(request).address.cookie_header(cookie))
    return answer


def log_out(request: Request) -> Response:
    """End the session."""
    entrance_of(request).sessions.close(_old_cookie(request))
    answer = RedirectResponse("/login", 303)
    answer.headers.append("set-cookie", entrance_of(request).address.cookie_header(""))
    answer.headers["clear-site-data"] = '"cache", "storage"'
    return answer


def alive(_: Request) -> Response:
    """Whether the desk itself runs, for health checks: nothing is asked of a server."""
    return PlainTextResponse("alive\n")


routes = [
    Route("/login", ask, methods=["GET"]),
    Route("/login", log_in, methods=["POST"]),
    Route("/enter", enter, methods=["GET"]),
    Route("/logout", log_out, methods=["POST"]),
    Route("/alive", alive, methods=["GET"]),
]
