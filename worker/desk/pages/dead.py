"""Dead letters: messages that no worker could execute; one is looked at, sent again or dropped."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.desk.changes import Change, change
from worker.desk.views import PageError, form_of, moment, render, services_of
from worker.operations.dead_letters import DeadLetterService, FoundLetter

TITLE, PATH = "Dead letters", "/dead"
LISTED = 50
"""How many of each queue are listed."""


def _service(request: Request) -> DeadLetterService:
    service = services_of(request).dead_letters
    if service is None:
        raise PageError(409, "The broker is no Redis", "Look at its *.dead queues with its own tools.")
    return service


def show(request: Request) -> Response:
    """The newest dead letters of each queue."""
    return render(request, "dead.html", title=TITLE, queues=list(_service(request).list(LISTED)), listed=LISTED)


def show_one(request: Request) -> Response:
    """One dead letter, and what can be done with it."""
    query = request.query_params
    found = _service(request).find(query.get("queue", ""), query.get("digest", ""))
    return render(request, "dead_letter.html", title="A dead letter", found=found, facts=_facts(found))


def _facts(found: FoundLetter) -> list[tuple[str, object]]:
    letter = found.letter
    return [
        ("Queue", letter.queue),
        ("Id", letter.command_id or "none"),
        ("Task or text", letter.task or letter.beginning),
        ("Arguments", found.arguments or "they can't be read"),
        ("Why it is here", letter.why or "the worker's log has the reason"),
        ("Enqueued", moment(found.enqueued_at)),
        ("Bytes", letter.size),
        ("Digest", letter.digest),
    ]


def _found(request: Request) -> FoundLetter:
    form = form_of(request)
    return _service(request).find(form.get("queue", ""), form.get("digest", ""))


def resend(request: Request) -> Response:
    """Put one dead letter on its queue again."""
    service, found = _service(request), _found(request)
    if found.refusal:
        raise PageError(409, "It can't be sent again", f"{found.refusal}.")
    shown = Change(
        title="Send a dead letter again",
        effects=[
            f"The same bytes go to {found.letter.queue} again, and off the dead letters, in one step.",
            "Every check is made again: a worker executes it only if nothing is wrong with it now.",
        ],
        facts=_facts(found),
        button="Send it again",
        back=PATH,
    )

    def act(who: str, why: str) -> str:
        service.resend(found, who=who, why=why)
        return f"Sent again: {found.letter.command_id or found.letter.digest}."

    return change(request, shown, act)


def drop(request: Request) -> Response:
    """Remove one dead letter for ever."""
    service, found = _service(request), _found(request)
    shown = Change(
        title="Drop a dead letter",
        effects=["Exactly this message is removed for ever. It was not executed, and never will be."],
        facts=_facts(found),
        button="Drop it",
        back=PATH,
        warning="Its sender gets no report: tell them first.",
    )

    def act(who: str, why: str) -> str:
        service.drop(found, who=who, why=why)
        return f"Dropped: {found.letter.command_id or found.letter.digest}."

    return change(request, shown, act)


routes = [
    Route(PATH, show, methods=["GET"]),
    Route("/dead/letter", show_one, methods=["GET"]),
    Route("/dead/resend", resend, methods=["POST"]),
    Route("/dead/drop", drop, methods=["POST"]),
]
