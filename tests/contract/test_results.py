"""What stands in the result backend when several workers store their word on one command."""

import json
from typing import Any

import pytest
import redis
from celery import Celery

from producers.errors import error_for
from producers.report import Outcome, Reason, Report, report_in
from tests.servers import Server
from worker.report_backend import ReportBackend


def report(outcome: str, command_id: str = "id") -> Report:
    """A report with this end."""
    return Report(
        command_id=command_id,
        command="withdraw",
        outcome=Outcome(outcome),
        reason=Reason.OK,
        message="as said",
        fingerprint="f",
    )


@pytest.fixture
def backend(server: Server) -> Any:
    """The worker's backend on an empty server."""
    server.flush()
    app = Celery("test", set_as_current=False)
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
    ],
)
def test_unknown_is_never_stored_over_the_end_of_a_command(
    backend: Any, server: Server, first: str, then: str, stands: str
) -> None:
    """Who declared it unknown may be slower to store that than its sender, who came back with the venue's answer."""
    store(backend, report(first))
    store(backend, report(then))
    assert stored(server).outcome.value == stands


def test_unknown_is_stored_over_anothers_report(backend: Any, server: Server) -> None:
    """Celery stores the failure of a chain's link under the ids of those behind it."""
    store(backend, report("rejected", command_id="the link before"))
    store(backend, report("unknown"))
    assert (stored(server).command_id, stored(server).outcome) == ("id", Outcome.UNKNOWN)


def stored(server: Server) -> Report:
    """What a client reads."""
    with redis.Redis.from_url(server.url(1), decode_responses=True) as client:
        found = report_in(json.loads(str(client.get("celery-task-meta-id"))))
    assert found is not None
    return found
