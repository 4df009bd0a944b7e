"""What waits at the servers and why; and ending a cool-down."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.desk.changes import Change, change
from worker.desk.views import PageError, form_of, render, services_of
from worker.operations.parked import AccountCoolDown
from worker.operations.times import duration

TITLE, PATH = "Parked", "/parked"
LISTED = 100
"""How many commands are listed by their ids."""


def show(request: Request) -> Response:
    """Cool-downs, and what waits: by what it waits for, by account, by lane, and by id."""
    service = services_of(request).parked
    wanted = request.query_params.get("account", "").strip().lower()
    found = service.overview(wanted, limit=LISTED)
    more = sum(each.count for each in found.groups) + found.unread - len(found.commands)
    cool_downs = [(each, _left(each)) for each in found.cool_downs]
    return render(
        request,
        "parked.html",
        title="Parked, and cool-downs",
        found=found,
        cool_downs=cool_downs,
        more=more,
        wanted=wanted,
    )


def _left(each: AccountCoolDown) -> str:
    if each.stored.left_ms:
        return f"{duration(each.stored.left_ms)} left"
    return "over: a probe is under way" if each.stored.probe else "over: the next command is the probe"


def end(request: Request) -> Response:
    """End one cool-down."""
    service, key = services_of(request).parked, form_of(request).get("key", "")
    found = next((each for each in service.cool_downs() if each.stored.key == key), None)
    if found is None:
        raise PageError(409, "There is no such cool-down", "It has ended meanwhile.")
    stored = found.stored
    shown = Change(
        title="End a cool-down",
        effects=[
            f"Commands of {found.named} are sent again at once, without a probe.",
            "What waits begins again within the workers' retry budget.",
        ],
        facts=[("Of", found.named), ("Counted under", stored.key), ("Why it was begun", stored.why)],
        button="End the cool-down",
        back=PATH,
        state=[stored.key, stored.since_ms],
        warning="If the venue still wants no requests, this makes it worse: it may block the address or the key.",
    )

    def act(who: str, why: str) -> str:
        ended = service.end_cool_down(stored.key, who=who, why=why)
        return f"Ended: the cool-down of {', '.join(each.named for each in ended)}."

    return change(request, shown, act)


routes = [Route(PATH, show, methods=["GET"]), Route("/parked/end", end, methods=["POST"])]
