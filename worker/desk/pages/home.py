"""The first page: what needs a person, and what to do about it."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.desk.views import render, services_of

TITLE, PATH = "Home", "/"
WORDS = {"ok": "ok", "look": "look", "act": "act"}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that may need a person."""

    name: str
    path: str
    level: str
    """``ok``, ``look`` (when there is time) or ``act`` (now)."""
    text: str
    advice: str = ""

    @property
    def word(self) -> str:
        """The level in a word: a colour alone would not tell it to everybody."""
        return WORDS[self.level]


def show(request: Request) -> Response:
    """The counts, each with its page."""
    operator = services_of(request).operator
    halts = operator.halts()
    lines = [
        Line(
            "Halts",
            "/halts",
            "look" if halts else "ok",
            f"{len(halts)} in force" if halts else "none",
            "Lift each when its reason is gone." if halts else "",
        )
    ]
    return render(request, "home.html", title="What needs a person", lines=lines)


routes = [Route(PATH, show, methods=["GET"])]
