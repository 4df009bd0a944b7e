"""The commands that persons must approve: a list, and each with everything that a person decides by."""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from producers.signing import PrivateKey, SigningError
from worker.desk.changes import Change, change
from worker.desk.paging import page_count, page_number
from worker.desk.services import DeskServices
from worker.desk.views import PageError, form_of, render, services_of, url
from worker.operations.approvals import HeldCommand, NotYours
from worker.operations.held_words import MAX_SHOWN, approved_by, still_needed, what_it_does, who_may
from worker.operations.stored_decisions import Told, approvers_at_hand, told

TITLE = "Held for approval"
PATH = "/held"
PER_PAGE = 50
MAX_CHARACTERS = 10_000
"""How much the arguments of a command may be that a person decides about here; an honest one has a few hundred."""


@dataclass(frozen=True, slots=True)
class Row:
    """A held command as the list has it."""

    held: HeldCommand
    what: str
    approved_by: str
    who_may: str


def show(request: Request) -> Response:
    """A page of the list, the command that is held for longest first."""
    (found, unreadable), number = services_of(request).approvals.held_and_unreadable(), page_number(request)
    page = found[(number - 1) * PER_PAGE : number * PER_PAGE]
    rows = [Row(each, what_it_does(each), approved_by(each), who_may(each)) for each in page]
    pages = page_count(len(found), PER_PAGE)
    return render(
        request,
        "held.html",
        title=TITLE,
        rows=rows,
        count=len(found),
        number=number,
        pages=pages,
        unreadable=unreadable[:PER_PAGE],
        unreadable_count=len(unreadable),
    )


def show_one(request: Request) -> Response:
    """One held command, in full."""
    services = services_of(request)
    held = _find(services, request.query_params.get("id", ""))
    return render(
        request,
        "held_command.html",
        title=f"Approve or deny: {held.record.command} for {held.record.account}",
        held=held,
        facts=_facts(held),
        who_may=who_may(held),
        decisions=_decisions(services, held),
        obstacle=_obstacle(services, held),
    )


def _find(services: DeskServices, command_id: str) -> HeldCommand:
    held = services.approvals.find(command_id)
    if sum(len(str(value)) for value in held.arguments.values()) > MAX_CHARACTERS:
        raise PageError(
            422,
            "Its arguments are too long to be shown",
            "Nobody should approve what can't be read as a whole.",
            "Ask whoever sent it. It ends by itself when its time is over.",
        )
    return held


def _facts(held: HeldCommand) -> list[tuple[str, object]]:
    """What a person decides by: every argument, whole."""
    return [
        ("Command", held.record.command),
        ("Id", held.record.command_id),
        ("Account", held.record.account),
        *((name, value) for name, value in held.arguments.items() if name != "account"),
        ("Sent by", held.hold.sealed_by or "unknown: it is not sealed"),
        ("Fingerprint", held.fingerprint),
    ]


def _decisions(services: DeskServices, held: HeldCommand) -> list[Told]:
    approvers = approvers_at_hand(services.client, services.settings.policy_file)
    return told(held, approvers, services.approvals.now_ms())


def _obstacle(services: DeskServices, held: HeldCommand) -> str:
    """Why nobody can decide at this desk; empty if its owner can."""
    if services.key is None:
        return (
            "This desk has no key to sign with. Start it with ORDERS_OPERATOR_KEY_FILE, or decide on your own machine "
            "with `orders approve` or `orders deny`."
        )
    try:
        services.approvals.check_may_decide(held, services.key.by)
    except NotYours as error:
        return f"{error}."
    return ""


def decide(request: Request) -> Response:
    """Approve or deny: confirmed with everything that the page has shown."""
    form, services = form_of(request), services_of(request)
    approve = form.get("decision") == "approve"
    held = _find(services, form.get("id", ""))
    if form.get("decision") not in ("approve", "deny"):
        raise PageError(400, "Nothing was chosen", "A decision is to approve or to deny.")
    if form.get("fingerprint") != held.fingerprint:
        raise PageError(409, "It is not what you saw", "Its arguments are not those that were shown. Look at it again.")
    obstacle = _obstacle(services, held)
    if obstacle or services.key is None:
        raise PageError(403, "You can't decide about this command", obstacle)
    shown = _decision(held, services.key.by, approve=approve)
    return change(request, shown, _deciding(services, held, services.key, approve=approve))


def _decision(held: HeldCommand, who: str, *, approve: bool) -> Change:
    missing = still_needed(held, who) if approve else ""
    sent = f"It stays held until others approve it too: {missing}." if missing else "It is sent within seconds."
    denied = "It ends as not_sent/denied within seconds, and its sender reads your reason. Nothing is sent."
    warning = "Compare amount and address with what its sender tells you by another way, all of the address."
    return Change(
        title=f"{'Approve' if approve else 'Deny'} this {held.record.command}",
        effects=[sent if approve else denied, f"The decision is signed with the key of {who}."],
        facts=_facts(held),
        button="Approve" if approve else "Deny",
        back=url("/command", id=held.record.command_id),
        state=[held.fingerprint, held.hold.until],
        warning=warning if approve else "",
        asks_why=not approve,
    )


def _deciding(
    services: DeskServices, held: HeldCommand, key: PrivateKey, *, approve: bool
) -> Callable[[str, str], str]:
    def act(who: str, why: str) -> str:
        try:
            services.approvals.decide(held, key, approve=approve, reason="" if approve else why[:MAX_SHOWN])
        except SigningError as error:
            raise PageError(400, "It can't be signed", f"{error}.") from None
        missing = still_needed(held, who) if approve else ""
        if missing:
            return f"Approved by {who}. It stays held until others approve it too: {missing}."
        return f"{'Approved' if approve else 'Denied'} by {who}. Load this page again to see what becomes of it."

    return act


routes = [
    Route(PATH, show),
    Route("/held/command", show_one),
    Route("/held/decide", decide, methods=["POST"]),
]
