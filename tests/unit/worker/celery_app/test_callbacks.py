"""What a sender wants sent after a command never changes the command's own end."""

from queue import Empty
from typing import Any

import pytest
import redis
from amqp.exceptions import AccessRefused, NotFound, PreconditionFailed
from celery import Celery, chain, chord, group, signature
from celery.app.trace import build_tracer
from celery.canvas import Signature
from kombu import Connection
from kombu.exceptions import OperationalError

from producers.report import Outcome, Reason, Report
from worker.celery_app.callbacks import allow_foreign_queues, with_stable_ids
from worker.celery_app.tasks import register_commands

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
    register_commands(app, lambda: Ended(outcome))  # type: ignore[arg-type, return-value]
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


def sent(outcome: Outcome, times: int = 1, **follows: Any) -> list[str]:
    """Ids of what followed a command that came so often, each once."""
    for _ in range(times):
        traced(outcome, HERE, **follows)
    ids = []
    with Connection(HERE) as connection, connection.SimpleQueue("celery") as queue:
        while True:
            try:
                message = queue.get(block=False)
            except Empty:
                return list(dict.fromkeys(ids))
            message.ack()
            ids.append(message.headers["id"])


HERE = "memory://"
TWO = [NEXT, dict(signature("orders.cancel", immutable=True))]


@pytest.mark.parametrize(
    ("outcome", "follows", "messages"),
    [
        (Outcome.ACCEPTED, {"callbacks": TWO}, 2),
        (Outcome.ACCEPTED, {"callbacks": [NEXT, NEXT]}, 2),
        (Outcome.ACCEPTED, {"chain": [NEXT]}, 1),
        (Outcome.ACCEPTED, {"callbacks": [dict(group(*TWO))]}, 2),
        (Outcome.ACCEPTED, {"callbacks": [dict(chain(*TWO))]}, 1),
        (Outcome.ACCEPTED, {"callbacks": [dict(group(chain(*TWO), NEXT))]}, 2),
        (Outcome.REJECTED, {"errbacks": TWO}, 2),
    ],
)
def test_what_follows_has_the_same_id_each_time(outcome: Outcome, follows: dict[str, Any], messages: int) -> None:
    """A plain Celery client gives a link no id: a cancel that was delivered twice had the close behind it executed
    twice."""
    assert len(sent(outcome, times=3, **follows)) == messages


def test_other_arguments_have_another_id() -> None:
    """The second sender's link is not taken for the first one's."""
    others = [dict(signature("orders.close", immutable=True, kwargs={"pair": pair})) for pair in ("A", "B")]
    assert sent(Outcome.ACCEPTED, callbacks=[others[0]]) != sent(Outcome.ACCEPTED, callbacks=[others[1]])


def test_an_id_of_the_sender_stays() -> None:
    """He will ask for it."""
    mine = dict(signature("orders.close", immutable=True).set(task_id="mine"))
    assert sent(Outcome.ACCEPTED, chain=[mine]) == ["mine"]


def test_every_task_of_a_chord_is_named() -> None:
    """Its body too, which is sent by whoever ends the last part."""
    whole = dict(chord([dict(each) for each in TWO], dict(NEXT)))
    ids = [
        [part["options"]["task_id"] for part in (*made["kwargs"]["header"], made["kwargs"]["body"])]
        for made in (with_stable_ids(whole, "x"), with_stable_ids(whole, "x"), with_stable_ids(whole, "y"))
    ]
    assert ids[0] == ids[1]
    assert len({*ids[0], *ids[2]}) == 6


@pytest.mark.parametrize(
    ("outcome", "follows"),
    [
        (Outcome.ACCEPTED, {"callbacks": [STRANGE, NEXT]}),
        (Outcome.ACCEPTED, {"callbacks": [STRANGE], "chain": [NEXT]}),
        (Outcome.REJECTED, {"errbacks": [STRANGE, NEXT]}),
    ],
)
def test_one_that_cannot_be_sent_keeps_back_no_other(outcome: Outcome, follows: dict[str, Any]) -> None:
    """The close of a chain was lost with a strange link beside it."""
    assert len(sent(outcome, **follows)) == 1


@pytest.mark.parametrize(
    "refusal", [redis.exceptions.NoPermissionError("no"), redis.ResponseError("WRONGTYPE Operation against a key")]
)
def test_what_the_broker_always_refuses_does_not_go_round(refusal: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """kombu calls it operational, and the message went back to its queue and came again, for ever."""

    def refused(*_: Any, **__: Any) -> None:
        raise OperationalError("refused") from refusal

    monkeypatch.setattr(Signature, "apply_async", refused)
    assert traced(Outcome.ACCEPTED, HERE, callbacks=[NEXT], chain=[NEXT])[:2] == (None, "SUCCESS")


@pytest.mark.parametrize(
    "refusal", [NotFound("no exchange"), PreconditionFailed("other arguments"), AccessRefused("no")]
)
def test_what_rabbitmq_always_refuses_does_not_go_round(refusal: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of RabbitMQ: the queue is another's, or was made otherwise."""
    test_what_the_broker_always_refuses_does_not_go_round(refusal, monkeypatch)


class Channel:
    """RabbitMQ's, as far as declaring goes; a queue that is there, made with other arguments, or none."""

    def __init__(self, there: bool) -> None:
        self.there = there
        self.connection = self
        self.asked: list[tuple[str, bool]] = []

    def channel(self) -> "Channel":
        """Another one of the same connection."""
        return self

    def queue_declare(self, queue: str, passive: bool = False, **_: Any) -> Any:
        """Refused where it is made again with other arguments, or not there to be looked at."""
        self.asked.append((queue, passive))
        if passive and not self.there:
            raise NotFound("no queue")
        if not passive and self.there:
            raise PreconditionFailed("other arguments")
        return queue, 0, 0

    def prepare_queue_arguments(self, arguments: Any, **_: Any) -> Any:
        """None of ours."""
        return arguments

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


@pytest.mark.parametrize(("there", "asked"), [(True, [("q", True)]), (False, [("q", True), ("q", False)])])
def test_another_services_queue_is_taken_as_it_is(there: bool, asked: list[tuple[str, bool]]) -> None:
    """Declared as ours is, a queue with priorities refused the message; one that is not there is made."""
    app = Celery("test", broker="memory://", set_as_current=False)
    app.conf.task_create_missing_queues = False
    allow_foreign_queues(app)
    queue = app.amqp.router.route({"queue": "q"}, "notify.done")["queue"]
    channel = Channel(there)
    queue.declare(channel=channel)
    assert channel.asked == asked
    assert "q" not in app.amqp.queues


def test_a_task_that_names_no_queue_goes_where_celery_sends_it() -> None:
    """And ours where they are served."""
    app = Celery("test", broker="memory://", set_as_current=False)
    app.conf.update(task_default_queue="orders.positions", task_routes={"orders.close": {"queue": "orders.close"}})
    allow_foreign_queues(app)
    route = app.amqp.router.route
    assert route({}, "notify.done")["queue"].name == "celery"
    assert route({}, "orders.close")["queue"].name == "orders.close"
    assert route({"queue": "elsewhere"}, "orders.close")["queue"].name == "elsewhere"
    with pytest.raises(ValueError, match="JSON alone"):
        route({"serializer": "pickle"}, "notify.done")
