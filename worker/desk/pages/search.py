"""Commands, the last one first, by account, command, outcome, time and the beginning of their ids."""

import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from producers.commands import COMMANDS
from producers.printable import MAX_ID_LENGTH
from producers.report import Outcome
from worker.desk.views import render, services_of
from worker.operations.history import Filter, History
from worker.operations.history_search import OPEN

TITLE = "All commands"
PATH = "/commands"
PER_PAGE = 50
SINCE = {"": "any time", "1": "the last hour", "24": "the last 24 hours", "168": "the last 7 days"}
"""Choices of the form, in hours."""
POSITION = re.compile(r"[0-9]{1,16}-[0-9]{1,16}")
"""Of an entry in the journal."""


def show(request: Request) -> Response:
    """A page of what is found."""
    services, query = services_of(request), request.query_params
    given = {name: query.get(name, "").strip()[:MAX_ID_LENGTH] for name in ("account", "command", "outcome", "id")}
    since = query.get("since", "") if query.get("since", "") in SINCE else ""
    wanted = Filter(
        account=given["account"],
        command=given["command"],
        outcome=given["outcome"],
        since_ms=services.clock.now_ms() - int(since) * 3_600_000 if since else 0,
        id_prefix=given["id"],
    )
    before = query.get("before", "")
    history = History(services.client, services.ledger, services.keys)
    found = history.search(wanted, PER_PAGE, before if POSITION.fullmatch(before) else "")
    return render(
        request,
        "search.html",
        title=TITLE,
        found=found,
        given={**given, "since": since},
        before=before,
        commands=[each.name for each in COMMANDS.values()],
        outcomes=[OPEN, *(each.value for each in Outcome)],
        since=SINCE,
        longest=MAX_ID_LENGTH,
    )


routes = [Route(PATH, show)]
