"""Dead letters: messages that no worker could execute."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.broker.dead_letters import dead_letters
from worker.desk.views import PageError, render, services_of

TITLE, PATH = "Dead letters", "/dead"
LISTED = 50
"""How many of each queue are listed."""


def show(request: Request) -> Response:
    """The newest dead letters of each queue. Their arguments are not shown, because they may contain anything."""
    broker = services_of(request).broker
    if broker is None:
        raise PageError(409, "The broker is no Redis", "Look at its *.dead queues with its own tools.")
    return render(request, "dead.html", title=TITLE, queues=list(dead_letters(broker, LISTED)), listed=LISTED)


routes = [Route(PATH, show, methods=["GET"])]
