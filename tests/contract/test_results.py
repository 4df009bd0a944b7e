"""What stands in the result backend when several workers store their word on one command."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from celery import Celery, chain, group, signature
from celery.app.task import Context
from celery.exceptions import ChordError

from producers.errors import ChainBroken
from producers.report import Outcome, Reason, Report, error_for
from producers.results import NeverSent, read_result
from tests.support.servers import Server
from worker.celery_app.results import ReportBackend


def report(outcome: str, command_id: str = "id", command: str = "withdraw", **more: Any) -> Report:
    """A report with this end."""
    return Report(
        command_id=command_id,
        command=command,
        outcome=Outcome(outcome),
        reason=Reason.OK,
        message="as said",
        fingerprint="f",
        **more,
    )


@pytest.fixture
def backend(server: Server) -> Any:
    """The worker's backend on an empty server."""
    server.flush()
    app = Celery("test", broker="memory://", set_as_current=False)
    app.conf.update(result_serializer="json", accept_content=["json"])
    return ReportBackend(app=app, url=server.url(1))


def store(backend: Any, told: Report) -> None:
    """As a task ends in it, under the id ``id``."""
    error = error_for(told)
    if error is None:
        backend.store_result("id", told.to_json(), "SUCCESS")
    else:
        backend.mark_as_failure("id", error)


@pytest.mark.parametrize(
    ("first", "then", "stands"),
    [
        ("unknown", "accepted", "accepted"),
        ("unknown", "rejected", "rejected"),
        ("unknown", "not_sent", "not_sent"),
        ("accepted", "unknown", "accepted"),
        ("rejected", "unknown", "rejected"),
        ("not_sent", "unknown", "not_sent"),
        ("unknown", "unknown", "unknown"),
        ("not_sent", "rejected", "rejected"),
        ("rejected", "not_sent", "rejected"),
        ("accepted", "rejected", "accepted"),
        ("rejected", "accepted", "accepted"),
    ],
)
def test_only_a_better_report_takes_the_place_of_a_report(
    backend: Any, server: Server, first: str, then: str, stands: str
) -> None:
    """Who declared it unknown may be slower to store that than its sender, who came back with the venue's answer."""
    store(backend, report(first))
    store(backend, report(then))
    assert stored(server).outcome.value == stands


@pytest.mark.parametrize("outcome", ["unknown", "accepted"])
def test_a_query_leaves_the_report_of_its_id_alone(backend: Any, server: Server, outcome: str) -> None:
    """What changes something has the last word on its id, whichever is stored first."""
    for reports in ([report("unknown"), report(outcome, command="positions")],) * 2:
        for each in reports:
            store(backend, each)
        assert stored(server).command == "withdraw"
        reports.reverse()
        server.flush()


# -- what Celery stores by itself --------------------------------------------------------------------------------------

LINK = dict(signature("orders.withdraw", task_id="id"))
BEFORE = signature("orders.cancel", task_id="first")
CHORD = signature("celery.chord", kwargs={"header": [], "body": LINK})
REFUSED = error_for(report("rejected", command_id="the link before"))
assert REFUSED is not None


def broken(*links: Any, error: Exception = REFUSED) -> Callable[[Any], None]:
    """The end of a command with these behind it, last first as in a message."""
    request = Context(id="the link before", task="orders.cancel", chain=list(links), delivery_info={})
    return lambda backend: backend.mark_as_failure("the link before", error, request=request)


def no_body(body: Any, cause: Exception | None) -> Callable[[Any], None]:
    """A chord with this body, a part of which failed."""

    def told(backend: Any) -> None:
        try:
            raise ChordError("Dependency r raised") from cause
        except ChordError as error:
            backend.chord_error_from_stack(signature(body, app=backend.app), error)

    return told


def state(name: str, value: Any = None) -> Callable[[Any], None]:
    """A state, stored as whoever likes to may."""
    return lambda backend: backend.store_result("id", value, name)


BY_ITSELF: dict[str, Callable[[Any], None]] = {
    "link of a chain": broken(LINK),
    "later link": broken(LINK, dict(signature("orders.cancel", task_id="between"))),
    "link after a fault": broken(LINK, error=RuntimeError("a fault")),
    "body in a chain": broken(
        dict(signature("celery.chord", kwargs={"header": [], "body": LINK}), subtask_type="chord")
    ),
    "chord's body": no_body(LINK, REFUSED),
    "body after another service's part": no_body(LINK, ValueError("not ours")),
    "body in a group": no_body(dict(group(signature(LINK))), REFUSED),
    "body in a chain's end": no_body(dict(chain(BEFORE, signature(LINK))), REFUSED),
    "revoked": lambda backend: backend.mark_as_revoked("id", "revoked", request=Context(id="id", task="orders.close")),
    "retry": lambda backend: backend.mark_as_retry("id", ValueError("again")),
    "started": lambda backend: backend.mark_as_started("id", pid=1),
    "pending": state("PENDING"),
    "another's state": state("PROGRESS", {"done": 1}),
    "no report": state("SUCCESS", "done"),
    "another's report": state("SUCCESS", report("accepted", command_id="another").to_json()),
    "failure by hand": state("FAILURE", REFUSED),
    "own fault": lambda backend: backend.mark_as_failure(
        "id", OverflowError("eta"), request=Context(id="id", task="orders.withdraw", delivery_info={})
    ),
}
NEVER_SENT = [name for name in BY_ITSELF if "link" in name or "body" in name]


@pytest.mark.parametrize("way", BY_ITSELF)
@pytest.mark.parametrize("outcome", ["unknown", "not_sent", "rejected", "accepted"])
def test_a_report_stands_whatever_celery_stores(backend: Any, server: Server, outcome: str, way: str) -> None:
    """An `unknown` withdrawal, executed, was told as another command's refusal, or as revoked."""
    first = report(outcome)
    store(backend, first)
    BY_ITSELF[way](backend)
    assert stored(server) == first


@pytest.mark.parametrize("way", BY_ITSELF)
@pytest.mark.parametrize("outcome", ["unknown", "accepted"])
def test_a_report_takes_the_place_of_whatever_celery_stored(
    backend: Any, server: Server, outcome: str, way: str
) -> None:
    """It never answers for a command that is sent later under that id."""
    BY_ITSELF[way](backend)
    store(backend, report(outcome))
    assert stored(server) == report(outcome)


@pytest.mark.parametrize("way", NEVER_SENT)
def test_what_was_never_sent_is_no_report(backend: Any, server: Server, way: str) -> None:
    """A client that looks for a report finds none, and why; every Celery client sees a FAILURE that names itself."""
    BY_ITSELF[way](backend)
    found = told(server)
    assert isinstance(found, NeverSent)
    known = found.report.get("command_id") == "the link before"
    assert known or found.report["message"].split(":")[0] in ("RuntimeError", "ChordError")
    failed = backend.get_task_meta("id")
    assert (failed["status"], type(failed["result"])) == ("FAILURE", ChainBroken)


@pytest.mark.parametrize("way", ["revoked", "own fault"])
def test_celery_ends_no_command(backend: Any, server: Server, way: str) -> None:
    """Raised, the first ended the worker that stored it. Nothing is stored, and its report may still come."""
    BY_ITSELF[way](backend)
    assert told(server) is None
    assert backend.get("celery-task-meta-id") is None


@pytest.mark.parametrize("task", ["notify.done", "orders.reconcile"])
def test_another_task_ends_as_celery_ends_it(backend: Any, task: str) -> None:
    """Other services' tasks in the same chain or chord are theirs."""
    link = dict(signature(task, task_id="id"))
    broken(link)(backend)
    assert type(backend.get_task_meta("id")["result"]).__name__ == "OrderRejected"
    no_body(link, REFUSED)(backend)
    assert type(backend.get_task_meta("id")["result"]).__name__ == "ChordError"
    backend.mark_as_revoked("id", "expired", request=Context(id="id", task=task))
    assert backend.get_task_meta("id")["status"] == "REVOKED"
    backend.store_result("id", "done", "SUCCESS")
    backend.store_result("id", ValueError("late"), "FAILURE")
    assert backend.get_task_meta("id")["result"] == "done"


def test_a_command_that_is_sent_after_all_is_no_longer_told_as_never_sent(backend: Any, server: Server) -> None:
    """Neither by a link that is sent, nor by a worker that takes it; a report stays."""
    BY_ITSELF["link of a chain"](backend)
    backend.on_task_call(None, "id")
    assert told(server) is None
    store(backend, report("rejected"))
    backend.on_task_call(None, "id")
    assert stored(server) == report("rejected")


# -- what else may stand there -----------------------------------------------------------------------------------------


def deep(levels: int = 3000) -> str:
    """A result of a venue that goes deeper than most readers."""
    return "[" * levels + "]" * levels


@pytest.mark.parametrize("outcome", ["unknown", "accepted"])
def test_a_report_stands_however_strange_the_venues_answer_in_it(backend: Any, server: Server, outcome: str) -> None:
    """The server's JSON ends at a thousand levels, and what it could not read was no report to it."""
    store(backend, report(outcome))
    with redis.Redis.from_url(server.url(1)) as client:
        whole = client.get("celery-task-meta-id").replace(b'"result": null', b'"result": ' + deep().encode())
        client.set("celery-task-meta-id", whole)
        for way in BY_ITSELF.values():
            way(backend)
        assert client.get("celery-task-meta-id") == whole


def test_a_report_stands_in_whichever_way_it_is_written(backend: Any, server: Server) -> None:
    """By another program, with other blanks and another order."""
    meta = {"result": {"exc_message": [report("unknown").to_json()], "exc_type": "OrderUnknown"}, "status": "FAILURE"}
    written = json.dumps(meta, separators=(",", ":"))
    with redis.Redis.from_url(server.url(1), decode_responses=True) as client:
        client.set("celery-task-meta-id", written)
        for way in BY_ITSELF.values():
            way(backend)
        assert client.get("celery-task-meta-id") == written
    store(backend, report("accepted"))
    assert stored(server) == report("accepted")


RUBBISH = {
    "no JSON": "{",
    "no text": b"\xff\xfe\x00",
    "a number": "5",
    "a list": "[[]]",
    "no result": '{"status": "FAILURE"}',
    "odd error": '{"status": "FAILURE", "result": {"exc_type": 5, "exc_message": {"a": 1}}}',
    "odd report": '{"status": "SUCCESS", "result": {"command_id": "id", "command": 5}}',
    "odd status": '{"status": {}, "result": null}',
    "deep": deep(100_000),
    "long number": '{"status": "SUCCESS", "result": ' + "9" * 200_000 + "}",
}


@pytest.mark.parametrize("what", [*RUBBISH, "another type"])
def test_rubbish_gives_way_to_a_report(backend: Any, server: Server, what: str) -> None:
    """Whatever somebody has stored there."""
    with redis.Redis.from_url(server.url(1)) as client:
        if what in RUBBISH:
            client.set("celery-task-meta-id", RUBBISH[what])
        else:
            client.rpush("celery-task-meta-id", "x")
    store(backend, report("rejected"))
    assert stored(server) == report("rejected")


def told(server: Server) -> Report | NeverSent | None:
    """What a client reads."""
    with redis.Redis.from_url(server.url(1)) as client:
        return read_result(client.get("celery-task-meta-id"), "id")


def stored(server: Server) -> Report:
    """The report that a client reads."""
    found = told(server)
    assert isinstance(found, Report)
    return found
