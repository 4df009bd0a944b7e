"""Halts: what is halted, by whom and why; halting, and lifting a halt."""

from dataclasses import asdict, dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.desk.changes import Change, change
from worker.desk.views import PageError, form_of, render, services_of
from worker.ledger.base import Halted
from worker.ledger.halts import ANY, COMMANDS, parse_halt_scope
from worker.operations.operator import all_scopes, still_sent_in_words
from worker.operations.signed_words import halt_verdict

TITLE, PATH = "Halts", "/halts"
EVERYTHING = "all"


@dataclass(frozen=True, slots=True)
class HaltLine:
    """A halt as it is listed."""

    scope: str
    words: str
    halt: Halted
    verdict: str


def show(request: Request) -> Response:
    """The halts, and the form for another."""
    services = services_of(request)
    halts = services.operator.halts()
    lines = [
        HaltLine(scope.field, scope.in_words(), halt, halt_verdict(scope, halt, services.keys)) for scope, halt in halts
    ]
    return render(
        request,
        "halts.html",
        title=TITLE,
        halts=lines,
        still=still_sent_in_words([scope for scope, _ in halts]),
        accounts=sorted(services.accounts),
        commands=COMMANDS,
    )


def halt(request: Request) -> Response:
    """Halt an account, a command, or everything."""
    services, form = services_of(request), form_of(request)
    account, command = form.get("account", "").strip(), form.get("command", "")
    try:
        named = parse_halt_scope(account or None, None if command in ("", EVERYTHING) else command)
    except ValueError as error:
        raise PageError(400, "Nothing was halted", f"{str(error).removeprefix('--').capitalize()}.") from None
    scopes = all_scopes(named.account) if command == EVERYTHING else [named]
    standing = dict(services.operator.halts())
    still = still_sent_in_words([*standing, *scopes])
    replaced = [
        f"Replaces the halt of {each.in_words()} by {standing[each].who}." for each in scopes if each in standing
    ]
    shown = Change(
        title="Halt",
        effects=[
            *(f"Workers send nothing more of this: {each.in_words()}." for each in scopes),
            *replaced,
            "What is halted ends as not_sent/halted; its sender is told your reason.",
            f"Still sent: {still}.",
        ],
        facts=[
            ("Account", "every account" if named.account == ANY else named.account),
            ("Commands", ", ".join(each.in_words() for each in scopes)),
        ],
        button="Halt",
        back=PATH,
        state=[asdict(standing[each]) for each in scopes if each in standing],
    )

    def act(who: str, why: str) -> str:
        services.operator.halt(*scopes, who=who, why=why)
        return f"Halted: {', '.join(each.in_words() for each in scopes)}."

    return change(request, shown, act)


def lift(request: Request) -> Response:
    """Lift one halt."""
    services, field = services_of(request), form_of(request).get("scope", "")
    found = {scope.field: (scope, halt) for scope, halt in services.operator.halts()}
    if field not in found:
        raise PageError(409, "There is no such halt", "It was lifted meanwhile, or never set.")
    scope, standing = found[field]
    others = [each for each, _ in found.values() if each != scope]
    shown = Change(
        title="Lift a halt",
        effects=[
            f"Workers send this again: {scope.in_words()}; what was ended as not_sent/halted stays so.",
            f"Sent from then on: {still_sent_in_words(others)}.",
        ],
        facts=[
            ("Halt", scope.in_words()),
            ("Set by", f"{standing.who} ({halt_verdict(scope, standing, services.keys)})"),
            ("Because", standing.why),
        ],
        button="Lift the halt",
        back=PATH,
        state=asdict(standing),
    )

    def act(who: str, why: str) -> str:
        if not services.operator.resume(scope, who=who, why=why, seen=standing):
            return f"Nothing was lifted: that halt of {scope.in_words()} was lifted or replaced meanwhile."
        return f"Lifted: the halt of {scope.in_words()}."

    return change(request, shown, act)


routes = [
    Route(PATH, show, methods=["GET"]),
    Route("/halts/set", halt, methods=["POST"]),
    Route("/halts/lift", lift, methods=["POST"]),
]
