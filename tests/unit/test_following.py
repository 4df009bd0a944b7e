"""What a sender wants sent after a command never changes the command's own end."""

from typing import Any

import pytest
from celery import Celery, signature
from celery.app.trace import build_tracer

from producers.report import Outcome, Reason, Report
from worker.tasks import register

ENDS = {Outcome.ACCEPTED: "SUCCESS", Outcome.REJECTED: "FAILURE"}


class Ended:
    """An executor whose command has ended."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def execute(self, envelope: Any) -> Report:
        """Its report."""
        return Report(
            command_id=envelope.command_id,
            command="cancel",
            outcome=self.outcome,
            reason=Reason.OK,
            message="",
            fingerprint="",
        )


def traced(outcome: Outcome, broker: str, **follows: Any) -> tuple[str | None, str, str]:
    """How Celery ends the task: its word for it, what is stored, and the kind of what is stored."""
    app = Celery("test", broker=broker, backend="cache+memory://", set_as_current=False)
    app.conf.update(
        task_create_missing_queues=False,
        task_publish_retry_policy={"max_retries": 0},
        broker_connection_max_retries=0,
        broker_transport_options={"max_retries": 0},
    )
    register(app, lambda: Ended(outcome))  # type: ignore[arg-type, return-value]
    task = app.tasks["orders.cancel"]
    command_id = f"{outcome}-{'-'.join(follows)}-{broker}"
    request = {"id": command_id, "delivery_info": {}, "is_eager": False, **follows}
    told = build_tracer(task.name, task, app=app)(command_id, (), {}, request).info
    stored = app.backend.get_task_meta(command_id, cache=False)
    return told.state if told else None, stored["status"], type(stored["result"]).__name__


AWAY = "redis://127.0.0.1:1/0"
# As they are in a message.
NEXT = dict(signature("orders.close", immutable=True))
STRANGE = dict(signature("service.told", queue="service"))


@pytest.mark.parametrize(
    ("outcome", "follows"),
    [
        (Outcome.ACCEPTED, {"chain": [NEXT]}),
        (Outcome.ACCEPTED, {"callbacks": [NEXT]}),
        (Outcome.REJECTED, {"errbacks": [NEXT]}),
    ],
)
def test_a_broker_that_is_away_is_waited_for(outcome: Outcome, follows: dict[str, Any]) -> None:
    """The message goes back, and nothing is stored that is no report: an accepted cancel was a FAILURE, and the close
    behind it gone."""
    assert traced(outcome, AWAY, **follows) == ("REJECTED", "PENDING", "NoneType")


@pytest.mark.parametrize(
    ("outcome", "follows"),
    [
        (Outcome.ACCEPTED, {"callbacks": [STRANGE]}),
        (Outcome.ACCEPTED, {"chain": [STRANGE]}),
        (Outcome.ACCEPTED, {"callbacks": [{"strange": 1}]}),
        (Outcome.REJECTED, {"errbacks": [STRANGE]}),
        (Outcome.REJECTED, {"errbacks": [{"strange": 1}]}),
    ],
)
def test_what_can_never_be_sent_changes_no_end(outcome: Outcome, follows: dict[str, Any]) -> None:
    """A queue that the worker doesn't know, or no task at all: the report is the result all the same."""
    state, stored, kind = traced(outcome, AWAY, **follows)
    assert (state, stored) == ({"SUCCESS": None, "FAILURE": "FAILURE"}[ENDS[outcome]], ENDS[outcome])
    assert kind == ("dict" if outcome is Outcome.ACCEPTED else "OrderRejected")
