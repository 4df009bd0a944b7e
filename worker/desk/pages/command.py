"""One command: what it asks for, how it stands, what to do, and all that happened to it."""

import json
import threading
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from producers.errors import BrokerUnavailable, ReportPending
from producers.report import Report
from worker.desk.changes import Change, change
from worker.desk.services import DeskServices
from worker.desk.views import PageError, form_of, render, services_of, session_of, url
from worker.operations.history import History
from worker.operations.operator import MAX_WHY_LENGTH, Unknown
from worker.operations.reconcile import NotPublished, publish_settled, run_by_worker, run_here
from worker.operations.unknown_words import WHY, advice, arguments_of, known_of, setting_line
from worker.reconciliation.reconciler import Reconciled
from worker.reconciliation.window import limits_of

TITLE = "A command"
PATH = ""
WORKER_SECONDS = 20.0
"""How long a page waits for a worker that looks a command up."""
MAX_RESULT = 4000
"""How many characters of a venue's result are shown."""
STATES = {
    "HELD": "It waits for persons who approve it. Nothing was sent.",
    "SENDING": "A worker has begun to send it. Look again in a minute.",
    "WAITING": "A worker waits for its next attempt, or asks the venue what became of the last one.",
    "PARKED": "It waits at the server for its next attempt or its time.",
    "ENQUEUED": "It is enqueued, and no worker has begun it.",
    "NO_RECORD": "The ledger has no record of it any more, or none that can be read; the journal has what is below.",
}
"""What each state of a command without a report means."""
OUTCOMES = {
    "accepted": "The venue took it.",
    "rejected": "The venue refused it; nothing was executed.",
    "not_sent": "It was not executed, and was given up.",
    "unknown": "It may or may not have been executed. Don't send it again.",
}
_looking = threading.BoundedSemaphore(2)
"""Looks at venues at a time: each holds a thread of the desk."""


def show(request: Request) -> Response:
    """The page of the command whose id is in the query."""
    return _page(request, request.query_params.get("id", ""))


def _page(request: Request, command_id: str, status: int = 200, problem: str = "") -> Response:
    services = services_of(request)
    found = History(services.client, services.ledger, services.keys).of(command_id)
    if found is None:
        text = "Neither the ledger nor the journal has a command with this id."
        raise PageError(404, "No such command", text, "Ids are compared letter by letter: copy it whole.")
    unknown = services.operator.open_unknown(command_id)
    asked = services.clock.now_ms()
    return render(
        request,
        "command.html",
        status,
        title=f"{found.command or 'A command'}{' for ' if found.account else ''}{found.account}",
        history=found,
        meaning=OUTCOMES.get(found.report.outcome.value, "") if found.report else STATES.get(found.state, ""),
        report=_report_rows(found.report) if found.report else [],
        unknown=unknown,
        why=WHY.get(found.report.reason, "") if unknown and found.report else "",  # type: ignore[call-overload]
        known=known_of(unknown) if unknown else [],
        advice=advice(unknown, limits_of(services.settings), asked) if unknown else None,
        setting=setting_line(unknown, services.settings.venues.refusals_of) if unknown else None,
        problem=problem,
        form=form_of(request),
        longest=MAX_WHY_LENGTH,
    )


def _report_rows(report: Report) -> list[tuple[str, object]]:
    """The fields of a report that are not shown elsewhere on the page, without those that are empty."""
    result = "" if report.result is None else json.dumps(report.result, ensure_ascii=False)
    rows: list[tuple[str, object]] = [
        ("venue", report.venue),
        ("HTTP status", report.http_status),
        ("venue's code", report.venue_code),
        ("venue's message", report.venue_message),
        ("venue's result", result if len(result) <= MAX_RESULT else f"{result[:MAX_RESULT]} … (orders show --json)"),
        ("requests on the wire", report.attempts),
        ("signed by", report.signature.by if report.signature else None),
        ("fingerprint", report.fingerprint),
    ]
    return [(name, value) for name, value in rows if value not in (None, "")]


# -- reconcile ---------------------------------------------------------------------------------------------------------


def reconcile(request: Request) -> Response:
    """Look a command up at its venue, here where its account is configured, else by a worker. It only reads there, and
    settles by what the venue shows; so nobody is asked who and why."""
    command_id = form_of(request).get("id", "")
    session_of(request).tell(_looked_up(services_of(request), command_id))
    return RedirectResponse(url("/command", id=command_id), 303)


def _looked_up(services: DeskServices, command_id: str) -> str:
    if not _looking.acquire(blocking=False):
        return "Two commands are being looked up already. Try again in a few seconds."
    try:
        (found,) = _look(services, command_id)
    except ReportPending as error:
        return f"No worker has answered within {WORKER_SECONDS:.0f} s ({error.cause}). Load this page again later."
    except BrokerUnavailable as error:
        raise PageError(503, "No worker could be asked", f"{error.trouble}.") from None
    finally:
        _looking.release()
    return f"Looked up: {found.outcome}. {found.words}."


def _look(services: DeskServices, command_id: str) -> list[Reconciled]:
    account = services.operator.unknown(command_id).account
    if account in services.accounts:
        return run_here(services.settings, command_id)
    return run_by_worker(services.settings, command_id, WORKER_SECONDS)


# -- resolve -----------------------------------------------------------------------------------------------------------


def resolve(request: Request) -> Response:
    """Settle an unknown by a person's word: executed as the venue's id, or not executed."""
    form, services = form_of(request), services_of(request)
    command_id, executed = form.get("id", ""), form.get("decision") == "executed"
    reference = form.get("reference", "").strip() if executed else None
    unknown = services.operator.open_unknown(command_id)
    report = services.operator.unknown(command_id)
    if unknown is None:
        raise PageError(409, "It is not in the list", "It is unknown, but not in the list of unknowns. Reconcile it.")
    if problem := _problem(form.get("decision", ""), reference):
        return _page(request, command_id, 400, problem)
    shown = _resolution(unknown, report, reference)
    return change(request, shown, _resolving(services, command_id, reference))


def _problem(decision: str, reference: str | None) -> str:
    if decision not in ("executed", "not_executed"):
        return "Choose whether it was executed."
    if reference == "":
        return "Give the venue's id of what was executed."
    return "The venue's id is too long." if len(reference or "") > MAX_WHY_LENGTH else ""


def _resolution(unknown: Unknown, report: Report, reference: str | None) -> Change:
    decision = "NOT executed" if reference is None else f"executed as {reference}"
    outcome = "not_sent" if reference is None else "accepted"
    withdraws = reference is None and report.command == "withdraw"
    warning = "Its sender may withdraw again. Be sure that it can't be paid any more: absence from a list is no proof."
    return Change(
        title="Settle this unknown command",
        effects=[
            f"It is recorded as {decision}, by your word. Its report becomes {outcome}, and its sender reads that.",
            "Nothing is sent to the venue. It can't be taken back.",
        ],
        facts=[
            ("Command", report.command),
            ("Id", report.command_id),
            ("Account", report.account or ""),
            *((name, value) for name, value in arguments_of(unknown.record).items() if name != "account"),
            ("Unknown because", f"{report.reason}: {report.message}"),
            ("Your word", decision),
        ],
        button="Record that it was NOT executed" if reference is None else "Record that it was executed",
        back=url("/command", id=report.command_id),
        state=report.fingerprint,
        warning=warning if withdraws else "",
    )


def _resolving(services: DeskServices, command_id: str, reference: str | None) -> Callable[[str, str], str]:
    def act(who: str, why: str) -> str:
        settled = services.operator.resolve(command_id, reference=reference, who=who, why=why)
        try:
            publish_settled(services.settings, settled)
        except NotPublished as error:
            return f"{str(error)[0].upper()}{str(error)[1:]}."
        return f"Settled: it is {settled.outcome.value} now, and its sender can read that."

    return act


routes = [
    Route("/command", show),
    Route("/command/reconcile", reconcile, methods=["POST"]),
    Route("/command/resolve", resolve, methods=["POST"]),
]
