"""Queues, and what the doctor says of servers and workers, when it is asked."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.desk.views import PageError, render, services_of
from worker.operations.doctor.diagnose import diagnose
from worker.operations.doctor.findings import Level
from worker.operations.queue_states import queue_lines

TITLE, PATH = "Queues", "/queues"
LEVELS = {Level.OK: "ok", Level.WARNING: "look", Level.FAULT: "act"}


def show(request: Request) -> Response:
    """How much waits in each queue."""
    broker = services_of(request).broker
    if broker is None:
        raise PageError(409, "The broker is no Redis", "Use its own tools for queues and workers.")
    return render(request, "queues.html", title="Queues and workers", queues=queue_lines(broker))


def ask(request: Request) -> Response:
    """What `orders doctor` finds. It changes nothing, and takes up to ten seconds, so it is asked for by a button."""
    found = [(LEVELS[each.level], each) for each in diagnose()]
    return render(request, "doctor.html", title="What the doctor finds", found=found)


routes = [Route(PATH, show, methods=["GET"]), Route("/doctor", ask, methods=["POST"])]
