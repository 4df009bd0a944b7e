"""Every change of the desk: shown on a page of its own, confirmed exactly as it was shown, done once."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import redis
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from producers.printable import printable
from worker.desk.sessions import Session
from worker.desk.views import PageError, form_of, frame_of, render, services_of, session_of
from worker.ledger.base import LedgerUnavailable
from worker.operations.operator import MAX_WHO_LENGTH, MAX_WHY_LENGTH

OWN_FIELDS = frozenset({"csrf", "nonce", "confirmed", "who", "why"})
"""Fields of the confirmation page itself."""
REPEATED_SECONDS = 10.0
"""How long a confirmation that came before waits for the end of the first one: longer than a server is waited for."""


@dataclass(frozen=True, slots=True)
class Change:
    """What will happen, as the confirmation page shows it."""

    title: str
    effects: Sequence[str]
    """What will happen, a sentence each."""
    facts: Sequence[tuple[str, object]]
    """To what it will happen: names and values, which are shown in full."""
    button: str
    back: str
    """The path of the page to go on with."""
    state: object = None
    """What else must be as it was when the page was shown; JSON."""
    warning: str = ""
    """What may go wrong, if there is something."""
    asks_why: bool = True
    """Whether a reason must be given."""


def change(request: Request, shown: Change, act: Callable[[str, str], str]) -> Response:
    """The confirmation page of a change; or, when it is confirmed, the change and a redirect to ``shown.back``.

    ``act`` is given who and why, and returns a sentence about what it has done.
    """
    form, session = form_of(request), session_of(request)
    nonce = form.get("nonce", "")
    if "confirmed" not in form:
        return _confirmation(request, shown)
    if not hmac.compare_digest(form["confirmed"].encode(), _digest(request, session, shown, nonce).encode()):
        return repeated(request) or _confirmation(
            request, shown, 409, "It has changed since it was shown. Look at it again."
        )
    who, why = _actor(request), form.get("why", "").strip()
    if problem := _problem(who, why, shown):
        return _confirmation(request, shown, 400, problem)
    begun = session.begin(nonce, shown.back)
    if begun is None:
        return repeated(request) or RedirectResponse(shown.back, 303)
    request.state.act, session.last_who = begun, who
    notice = ""
    try:
        notice = act(who, why)
    except (LedgerUnavailable, redis.RedisError, OSError) as error:
        raise PageError(
            503,
            "The server did not answer",
            f"Whether this was done is not known: {_cause(error)}.",
            "Wait until the server is back, look whether it was done, and only then repeat it.",
        ) from None
    finally:
        begun.end(notice)
    session.tell(notice)
    return RedirectResponse(shown.back, 303)


def repeated(request: Request) -> Response | None:
    """The answer to a confirmation that came before, by a second click say: where the first one leads, once that is
    over. None for every other request, and for the one that acted itself."""
    form, session = form_of(request), request.state.session
    act = session.act(form.get("nonce", "")) if session and "confirmed" in form else None
    if act is None or getattr(request.state, "act", None) is act:
        return None
    act.over.wait(REPEATED_SECONDS)
    session.tell(act.notice or "This was confirmed before; see what became of it.")
    return RedirectResponse(act.back, 303)


def _cause(error: Exception) -> str:
    return str(error) if isinstance(error, LedgerUnavailable) else type(error).__name__


def _actor(request: Request) -> str:
    """Who acts: the owner of the key, else the login, else the name that the form gives."""
    key, session = services_of(request).key, session_of(request)
    return key.by if key else session.name or form_of(request).get("who", "").strip()


def _problem(who: str, why: str, shown: Change) -> str:
    if not printable(who):
        return "Say who you are: the journal keeps it."
    if shown.asks_why and not printable(why):
        return "Say why: the journal keeps it."
    if len(printable(who)) > MAX_WHO_LENGTH or len(printable(why)) > MAX_WHY_LENGTH:
        return f"A name has at most {MAX_WHO_LENGTH} characters, a reason {MAX_WHY_LENGTH}."
    return ""


def _confirmation(request: Request, shown: Change, status: int = 200, problem: str = "") -> Response:
    form, session, nonce = form_of(request), session_of(request), secrets.token_urlsafe(16)
    key = services_of(request).key
    return render(
        request,
        "confirm.html",
        status,
        title=shown.title,
        change=shown,
        problem=problem,
        kept=[(name, value) for name, value in form.items() if name not in OWN_FIELDS],
        nonce=nonce,
        confirmed=_digest(request, session, shown, nonce),
        asks_who=not (key or frame_of(request).has_logins),
        key=key,
        given_who=form.get("who", "") or session.last_who,
        given_why=form.get("why", ""),
        longest_who=MAX_WHO_LENGTH,
        longest_why=MAX_WHY_LENGTH,
    )


def _digest(request: Request, session: Session, shown: Change, nonce: str) -> str:
    """What this session was shown, signed, so that nothing else can be confirmed."""
    facts = [(name, str(value)) for name, value in shown.facts]
    seen = [request.scope["path"], nonce, shown.title, *shown.effects, facts, shown.button, shown.state, shown.warning]
    return hmac.new(session.secret, json.dumps(seen, default=str).encode(), hashlib.sha256).hexdigest()
