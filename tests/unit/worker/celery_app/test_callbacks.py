"""Callbacks of a command never change the command's own end, and have the same id each time."""

from queue import Empty
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from amqp.exceptions import AccessRefused, FrameSyntaxError, InternalError, NotAllowed, NotFound, PreconditionFailed
from celery import Celery, chain, chord, group, signature
from celery.app.trace import build_tracer
from celery.canvas import Signature
from kombu import Connection
from kombu.exceptions import OperationalError

from producers.report import Outcome, Reason, Report
from worker.celery_app.callbacks import allow_foreign_queues, with_stable_ids
from worker.celery_app.tasks import register_commands

ACCEPTED, REJECTED = Outcome.ACCEPTED, Outcome.REJECTED
AWAY, HERE = "redis://127.0.0.1:1/0", "memory://"


def as_sent(task: str, **options: Any) -> dict[str, Any]:
    """A signature as it is in a message."""
    return dict(signature(task, immutable=True, **options))


NEXT, OTHER, FOREIGN = as_sent("orders.close"), as_sent("orders.cancel"), as_sent("service.told", queue="service")
TWO = [NEXT, OTHER]
NO_SIGNATURE = {"strange": 1}


def app_of(broker: str, **conf: Any) -> Celery:
    """An app that creates no queue by itself."""
    app = Celery("test", broker=broker, backend="cache+memory://", set_as_current=False)
    app.conf.update(task_create_missing_queues=False, **conf)
    return app


def traced(outcome: Outcome, broker: str, **follows: Any) -> tuple[str | None, str, str]:
    """How Celery ends the task: its word for it, what is stored, and the kind of what is stored."""
    app = app_of(
        broker,
        task_publish_retry_policy={"max_retries": 0},
        broker_connection_max_retries=0,
        broker_transport_options={"max_retries": 0},
    )

    def execute(envelope: Any) -> Report:
        ended = {"outcome": outcome, "reason": Reason.OK, "message": "", "fingerprint": ""}
        return Report(command_id=envelope.command_id, command="cancel", **ended)

    register_commands(app, lambda: SimpleNamespace(execute=execute))  # type: ignore[arg-type, return-value]
    task = app.tasks["orders.cancel"]
    command_id = f"{outcome}-{'-'.join(follows)}-{broker}"
    request = {"id": command_id, "delivery_info": {}, "is_eager": False, **follows}
    told = build_tracer(task.name, task, app=app)(command_id, (), {}, request).info
    stored = app.backend.get_task_meta(command_id, cache=False)
    return told.state if told else None, stored["status"], type(stored["result"]).__name__


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


BACK = ("REJECTED", "PENDING", "NoneType")
ENDED = {ACCEPTED: (None, "SUCCESS", "dict"), REJECTED: ("FAILURE", "FAILURE", "OrderRejected")}


@pytest.mark.parametrize(
    ("outcome", "follows", "end"),
    [
        # The message goes back, and nothing is stored that is no report: an accepted cancel was a FAILURE, and the
        # close behind it gone.
        (ACCEPTED, {"chain": [NEXT]}, BACK),
        (ACCEPTED, {"callbacks": [NEXT]}, BACK),
        (REJECTED, {"errbacks": [NEXT]}, BACK),
        # A queue that the worker doesn't know, or no task at all, can never be sent: the report is the result.
        (ACCEPTED, {"callbacks": [FOREIGN]}, ENDED[ACCEPTED]),
        (ACCEPTED, {"chain": [FOREIGN]}, ENDED[ACCEPTED]),
        (ACCEPTED, {"callbacks": [NO_SIGNATURE]}, ENDED[ACCEPTED]),
        (REJECTED, {"errbacks": [FOREIGN]}, ENDED[REJECTED]),
        (REJECTED, {"errbacks": [NO_SIGNATURE]}, ENDED[REJECTED]),
    ],
)
def test_a_broker_that_is_away_is_waited_for_and_what_can_never_be_sent_changes_no_end(
    outcome: Outcome, follows: dict[str, Any], end: tuple[str | None, str, str]
) -> None:
    """Celery would make the failure the command's end."""
    assert traced(outcome, AWAY, **follows) == end


@pytest.mark.parametrize(
    ("outcome", "follows", "messages"),
    [
        (ACCEPTED, {"callbacks": TWO}, 2),
        (ACCEPTED, {"callbacks": [NEXT, NEXT]}, 2),
        (ACCEPTED, {"chain": [NEXT]}, 1),
        (ACCEPTED, {"callbacks": [dict(group(*TWO))]}, 2),
        (ACCEPTED, {"callbacks": [dict(chain(*TWO))]}, 1),
        (ACCEPTED, {"callbacks": [dict(group(chain(*TWO), NEXT))]}, 2),
        (REJECTED, {"errbacks": TWO}, 2),
        # One that can't be sent keeps back no other: the close of a chain was lost with a strange link beside it.
        (ACCEPTED, {"callbacks": [FOREIGN, NEXT]}, 1),
        (ACCEPTED, {"callbacks": [FOREIGN], "chain": [NEXT]}, 1),
        (REJECTED, {"errbacks": [FOREIGN, NEXT]}, 1),
    ],
)
def test_what_follows_has_the_same_id_each_time(outcome: Outcome, follows: dict[str, Any], messages: int) -> None:
    """A plain Celery client gives a link no id: a cancel that was delivered twice had the close behind it executed
    twice."""
    assert len(sent(outcome, times=3, **follows)) == messages


def test_other_arguments_have_another_id_and_an_id_of_the_sender_stays() -> None:
    """The second sender's link is not taken for the first one's; and a sender will ask for his own id."""
    others = [as_sent("orders.close", kwargs={"pair": pair}) for pair in ("A", "B")]
    assert sent(ACCEPTED, callbacks=[others[0]]) != sent(ACCEPTED, callbacks=[others[1]])
    mine = dict(signature("orders.close", immutable=True).set(task_id="mine"))
    assert sent(ACCEPTED, chain=[mine]) == ["mine"]


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
    "refusal",
    [
        redis.exceptions.NoPermissionError("no"),
        redis.ResponseError("WRONGTYPE Operation against a key"),
        *(NotFound("no exchange"), PreconditionFailed("other arguments"), AccessRefused("no")),
        *(FrameSyntaxError("a header"), NotAllowed("no"), InternalError("an infinite header")),
        *(KeyError("an unknown type of exchange"), ValueError("no mode of delivery"), redis.DataError("a list")),
    ],
)
def test_what_the_broker_always_refuses_does_not_go_round(refusal: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """kombu calls it operational, and the message went back to its queue and came again, for ever."""

    def refused(*_: Any, **__: Any) -> None:
        raise OperationalError("refused") from refusal

    monkeypatch.setattr(Signature, "apply_async", refused)
    assert traced(ACCEPTED, HERE, callbacks=[NEXT], chain=[NEXT])[:2] == (None, "SUCCESS")


class Channel:
    """RabbitMQ's, as far as declaring goes; a queue that is there, made with other arguments, or none."""

    def __init__(self, there: bool) -> None:
        self.there = there
        self.connection = self
        self.asked: list[tuple[str, bool]] = []

    def queue_declare(self, queue: str, passive: bool = False, **_: Any) -> Any:
        """Refused where it is made again with other arguments, or not there to be looked at."""
        self.asked.append((queue, passive))
        if passive and not self.there:
            raise NotFound("no queue")
        if not passive and self.there:
            raise PreconditionFailed("other arguments")
        return queue, 0, 0

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self if name == "channel" else None


@pytest.mark.parametrize(("there", "asked"), [(True, [("q", True)]), (False, [("q", True), ("q", False)])])
def test_another_services_queue_is_taken_as_it_is(there: bool, asked: list[tuple[str, bool]]) -> None:
    """Declared as ours is, a queue with priorities refused the message; one that is not there is made."""
    app = app_of(HERE)
    allow_foreign_queues(app)
    channel = Channel(there)
    app.amqp.router.route({"queue": "q"}, "notify.done")["queue"].declare(channel=channel)
    assert channel.asked == asked
    assert "q" not in app.amqp.queues


def test_a_task_that_names_no_queue_goes_where_celery_sends_it() -> None:
    """And ours where they are served."""
    app = app_of(HERE, task_default_queue="orders.positions", task_routes={"orders.close": {"queue": "orders.close"}})
    allow_foreign_queues(app)
    route = app.amqp.router.route
    assert route({}, "notify.done")["queue"].name == "celery"
    assert route({}, "orders.close")["queue"].name == "orders.close"
    assert route({"queue": "elsewhere"}, "orders.close")["queue"].name == "elsewhere"
    with pytest.raises(ValueError, match="JSON alone"):
        route({"serializer": "pickle"}, "notify.done")
