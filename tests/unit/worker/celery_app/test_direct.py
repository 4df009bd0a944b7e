"""The direct way of plain commands: it ends each as Celery's way does, and takes no other message."""

import base64
import gc
import json
import logging
import re
import time
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, signals
from celery.app.trace import reset_worker_optimizations, setup_worker_optimizations
from celery.utils.imports import instantiate
from celery.utils.timer2 import Timer
from celery.worker import state
from celery.worker.consumer.events import Events
from kombu.transport.virtual import Message

from producers import message_json
from producers.report import Report
from tests.support.waiting import until
from worker.broker.taken import TakenMessage
from worker.celery_app import direct
from worker.celery_app.config import celery_config
from worker.celery_app.direct_request import HEARD
from worker.celery_app.pool import use_own_threads
from worker.celery_app.request import authority_of
from worker.celery_app.results import use_report_backends
from worker.celery_app.tasks import register_commands
from worker.execution.context import Envelope
from worker.execution.holding import HeldForApproval
from worker.execution.outage import RequeueMessage
from worker.execution.parking import Parking, ParkMessage, WaitsFor
from worker.ledger.base import Following, NeverBegun
from worker.settings import WorkerSettings

ID = "a-plain-command"
ARGUMENTS = {"account": "main", "order_id": "7", "qty": "31.5"}
ALONE: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
HEADERS: dict[str, Any] = {
    "lang": "py",
    "task": "orders.cancel",
    "id": ID,
    "root_id": ID,
    "parent_id": None,
    "group": None,
    "eta": None,
    "expires": None,
    "shadow": None,
    "retries": 0,
    "timelimit": [None, None],
    "argsrepr": "x",
    "kwargsrepr": "y",
    "origin": "me",
    "ignore_result": False,
    "stamped_headers": None,
    "stamps": {},
    "enqueued_at": 1_700_000_000_000,
}


def report(outcome: str, **more: Any) -> Report:
    reasons = {"accepted": "ok", "rejected": "refused", "not_sent": "invalid", "unknown": "lost_reply"}
    fields = {"command": "cancel", "fingerprint": "0" * 64, "attempts": 1, "message": "no 31.5", "account": "main"}
    return Report(command_id=ID, outcome=outcome, reason=reasons[outcome], **{**fields, **more})


class Channel:
    """A channel that remembers what became of its messages."""

    no_ack_consumers = None
    accounts: dict[str, Any] = {"main": ("host", None), "other": ("host", None)}  # noqa: RUF012

    def __init__(self) -> None:
        self.ends: list[Any] = []
        self.qos = SimpleNamespace(
            park=lambda tag, text, **how: self.ends.append(("parked", how)) or True,
            ack_arguments=lambda tag: (0, "index", "hash", "", tag, "ended"),
            acked_at_server=lambda tag: self.ends.append(("acknowledged at the server", tag)),
        )

    def decode_body(self, body: str, _: Any) -> bytes:
        return base64.b64decode(body)

    def basic_ack(self, *_: Any, **__: Any) -> None:
        self.ends.append("acknowledged")

    def basic_reject(self, _: Any, requeue: bool = False) -> None:
        self.ends.append(("rejected", requeue))


class Auth:
    """Trusts everything, and remembers what was refused afterwards."""

    def __init__(self, ends: list[Any]) -> None:
        self.ends = ends

    def check(self, *_: Any, **__: Any) -> Any:
        return authority_of(None, "", ((), {}), {}, redelivered=False)

    def refuse(self, task: str, command_id: str, why: Exception) -> None:
        self.ends.append(("refused", task, command_id, str(why)))


class Rig:
    """A consumer with a pool of its own, over a channel and a backend without servers."""

    def __init__(self, execute: Callable[[Envelope], Report | None]) -> None:
        self.channel, self.stored, self.envelopes = Channel(), [], []
        self.app = Celery("direct", set_as_current=False)
        self.app.conf.update(celery_config(WorkerSettings(redis_url="redis://127.0.0.1:1")))
        self.app.conf.result_backend_thread_safe = True
        use_report_backends(self.app)
        use_own_threads()
        message_json.use()

        def executing(envelope: Envelope) -> Report | None:
            self.envelopes.append((envelope, json.loads(envelope.kept_message())))
            return execute(envelope)

        register_commands(self.app, lambda: SimpleNamespace(execute=executing))  # type: ignore[arg-type, return-value]
        for task in self.app.tasks.values():
            task.producer_auth = Auth(self.channel.ends)
        setup_worker_optimizations(self.app, "here")
        backend = self.app.backend
        backend.get = lambda _: None
        backend._store = lambda _, value, *more: self.stored.append((json.loads(value), *more)) or 1
        self.pool = instantiate("worker.celery_app.pool:TaskPool", 1, app=self.app)
        self.pool.start()
        controller = SimpleNamespace(use_eventloop=False, state=state, semaphore=None)
        options = {"app": self.app, "timer": Timer(), "controller": controller, "pool": self.pool, "hostname": "here"}
        submit = lambda request: request.execute_using_pool(self.pool)  # noqa: E731
        self.consumer = instantiate(self.app.conf.worker_consumer, submit, initial_prefetch_count=1, **options)
        self.events: list[str] = []
        self.fields: list[dict[str, Any]] = []
        self.groups = {"worker"}
        self.consumer.event_dispatcher = SimpleNamespace(enabled=True, groups=self.groups, send=self.note_event)
        self.consumer._push_to_dead = lambda _, queue: self.channel.ends.append(queue)
        self.consumer.update_strategies()

    def note_event(self, kind: str, **fields: Any) -> None:
        """Celery's dispatcher sends what somebody has asked for."""
        if kind.partition("-")[0] in self.groups:
            self.events.append(kind)
            self.fields.append({**fields, "runtime": isinstance(fields.get("runtime"), float)})

    def message(self, body: Any = None, **headers: Any) -> TakenMessage:
        """A message as the transport delivers it."""
        text = json.dumps([[], ARGUMENTS, ALONE] if body is None else body)
        properties = {
            "delivery_tag": "tag",
            "body_encoding": "base64",
            "correlation_id": ID,
            "delivery_info": {"exchange": "", "routing_key": "orders.cancel"},
        }
        payload = {
            "headers": {**HEADERS, **headers},
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "body": base64.b64encode(text.encode()).decode(),
            "properties": properties,
        }
        message = TakenMessage(payload, self.channel, "orders.cancel", json.dumps(payload).encode())
        message.accept = {"application/json"}
        return message

    def receive(self, body: Any = None, **headers: Any) -> TakenMessage:
        """Have a message received; it may not have ended yet."""
        message = self.message(body, **headers)
        self.consumer.create_task_handler()(message)
        return message

    def idle(self) -> None:
        """Wait until the thread has nothing to do."""
        done: list[bool] = []
        self.pool.submit(lambda: done.append(True), None)
        until(lambda: done, "the thread being free")


@pytest.fixture
def make_rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Rig]]:
    """Rigs, whose threads end with the test."""
    rigs: list[Rig] = []

    def make(execute: Callable[[Envelope], Report | None], *, celerys_way: bool = False) -> Rig:
        monkeypatch.setattr(direct.DirectWay, "of", classmethod((lambda *_: None) if celerys_way else OF.__func__))
        state.reset_state()
        rigs.append(Rig(execute))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.pool.stop()
        reset_worker_optimizations(rig.app)
    state.reset_state()


OF: Any = direct.DirectWay.__dict__["of"]


def raising(error: BaseException) -> Callable[[Envelope], Report | None]:
    def execute(_: Envelope) -> Report | None:
        raise error

    return execute


PARKING = Parking(1500, WaitsFor.RETRY, headers={})
ENDS: dict[str, Callable[[Envelope], Report | None]] = {
    **{each: lambda _, each=each: report(each) for each in ("accepted", "rejected", "not_sent", "unknown")},  # type: ignore[misc]
    "replayed": lambda _: report("accepted", replayed=True, fingerprint="1" * 64),
    "another's": lambda _: report("rejected", replayed=True),
    "another's without a report": lambda _: None,
    "requeued": raising(RequeueMessage("the worker is stopping")),
    "parked": raising(ParkMessage(PARKING)),
    "held": raising(HeldForApproval(1)),
    "never begun": raising(NeverBegun(ID)),
    "fault": raising(KeyError("31.5")),
}


@pytest.mark.parametrize("end", ["accepted", "rejected", "not_sent", "unknown", "replayed", "another's"])
def test_a_command_that_has_ended_leaves_the_memory_at_once(make_rig: Callable[..., Rig], end: str) -> None:
    """Python looks for cycles after twenty thousand objects: hundreds of messages, each of which may be long."""
    rig = make_rig(ENDS[end])
    gc.disable()
    try:
        left = weakref.ref(rig.receive())
        rig.idle()
        rig.envelopes.clear()
        assert left() is None
    finally:
        gc.enable()


LOST = {"memory": MemoryError(), "exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "generator": GeneratorExit()}


def seen(rig: Rig, caplog: pytest.LogCaptureFixture, *, by_a_monitor: bool, **headers: Any) -> dict[str, Any]:
    """Everything that a command leaves."""
    if by_a_monitor:
        rig.groups.add("task")
    caplog.clear()
    message = rig.receive(**headers)
    rig.idle()
    stored = [({**value, "date_done": "", "traceback": None}, *more) for value, *more in rig.stored]
    shown = [
        (record.name, record.levelname, re.sub(r"\d\.\d+(e-\d+)?s", "…s", record.getMessage()))
        for record in caplog.records
        if record.name.startswith(("celery.app", "celery.worker", "orders."))
    ]
    data = [record.data for record in caplog.records if hasattr(record, "data")]
    return {
        "stored": stored,
        "message": rig.channel.ends,
        "logs": shown,
        "group": message.group,
        "left": [list(state.reserved_requests), list(state.active_requests)],
        "requests": dict(state.requests),
        "counted": dict(state.total_count),
        "events": list(zip(rig.events, rig.fields, strict=True)),
        "data": [{name: each[name] for name in each if name not in ("runtime", "traceback")} for each in data],
    }


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("by_a_monitor", [False, True], ids=["unwatched", "Flower runs"])
def test_a_command_ends_as_on_celerys_way(
    make_rig: Callable[..., Rig], caplog: pytest.LogCaptureFixture, end: str, by_a_monitor: bool
) -> None:
    """The stored result, the message, the log, events, what is counted: no difference; and nothing stays in memory."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "celery.pool")
    headers = {"parent_id": "p", "root_id": "r", "retries": 2, "expires": "2100-01-01T05:00:00.25+05:00"}
    own, celerys = (
        seen(make_rig(ENDS[end], celerys_way=each), caplog, by_a_monitor=by_a_monitor, **headers)
        for each in (False, True)
    )
    for ended in own, celerys:
        assert "31.5" not in str(ended["events"])
        for _, fields in ended["events"]:
            # The lines of a fault's differ.
            fields["traceback"] = bool(fields.get("traceback"))
    assert own == celerys
    assert (own["left"], own["requests"], len(own["message"]) > 0) == ([[], []], {}, True)
    told = [kind for kind, _ in own["events"]]
    assert told[:2] == (["task-received", "task-started"] if by_a_monitor else [])


def test_a_command_of_which_monitors_are_told_makes_no_request(
    make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery's request is what its way costs."""
    rig = make_rig(lambda _: report("accepted"))
    rig.groups.add("task")
    rig.receive()
    rig.idle()
    request = direct.DirectRequest
    monkeypatch.setattr(request, "whole", lambda *_: pytest.fail("a request was made"))
    monkeypatch.setattr(request, "_envelope", lambda _: SimpleNamespace(kept_message=lambda: "{}"))
    for _ in range(3):
        rig.receive()
        rig.idle()
    assert rig.events == 4 * ["task-received", "task-started", "task-succeeded"]


@pytest.mark.parametrize("error", [OSError(), KeyError("x"), AttributeError("None has no send")])
@pytest.mark.parametrize("outcome", ["accepted", "rejected"])
def test_a_command_ends_whether_monitors_can_be_told_or_not(
    make_rig: Callable[..., Rig], error: Exception, outcome: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    rig = make_rig(lambda _: report(outcome))
    rig.groups.add("task")
    rig.consumer.event_dispatcher.send = fail
    rig.receive()
    rig.idle()
    assert (rig.channel.ends, len(rig.stored), dict(state.requests)) == (["acknowledged"], 1, {})


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("celerys_way", [False, True], ids=["direct", "Celery's"])
def test_whatever_ends_a_thread_its_message_goes_back_and_its_slot_is_free(
    make_rig: Callable[..., Rig], how: str, celerys_way: bool
) -> None:
    """Python is out of memory, say. The next command is executed by the same thread."""
    errors = [LOST[how]]

    def execute(_: Envelope) -> Report:
        if errors:
            raise errors.pop()
        return report("accepted")

    rig = make_rig(execute, celerys_way=celerys_way)
    rig.receive()
    rig.idle()
    assert (rig.channel.ends, rig.stored, dict(state.requests)) == ([("rejected", True)], [], {})
    rig.receive()
    rig.idle()
    assert rig.channel.ends[1:] == ["acknowledged"]
    assert [list(state.reserved_requests), list(state.active_requests)] == [[], []]


NOT_PLAIN: dict[str, dict[str, Any]] = {
    **{
        name: {"body": [[], ARGUMENTS, {**ALONE, name: [{"task": "x"}]}]} for name in ("callbacks", "errbacks", "chain")
    },
    "chord": {"body": [[], ARGUMENTS, {**ALONE, "chord": {"task": "x"}}]},
    "an unknown part": {"body": [[], ARGUMENTS, {"expires": "2020-01-01T00:00:00"}]},
    "group": {"group": "g"},
    "a lane": {"orders_lane": "l"},
    "deep": {"stamps": json.loads("[" * 101 + "]" * 101)},
    "no id": {"id": None},
    "a bad expiry": {"expires": "never"},
    "no arguments": {"body": [[], [], ALONE]},
    "two parts": {"body": [[], ARGUMENTS]},
}


@pytest.mark.parametrize("what", NOT_PLAIN)
def test_what_is_not_plain_goes_celerys_way(
    make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    rig = make_rig(lambda _: report("accepted"))
    submitted: list[Any] = []
    monkeypatch.setattr(rig.pool, "submit", lambda *job: submitted.append(job))
    way = direct.DirectWay.of(rig.consumer)
    assert way is not None
    taken: list[bool] = []
    monkeypatch.setattr(direct.DirectWay, "take", lambda self, message: taken.append(TAKE(self, message)) or taken[-1])
    rig.receive(**NOT_PLAIN[what])
    assert taken == [False]


TAKE = direct.DirectWay.take


def test_what_our_transport_has_not_taken_goes_celerys_way(make_rig: Callable[..., Rig]) -> None:
    """It has no place to be freed, and cannot be parked: on RabbitMQ, say."""
    rig = make_rig(lambda _: report("accepted"))
    way = direct.DirectWay.of(rig.consumer)
    assert way is not None
    taken = rig.message()
    other = Message(taken._raw, channel=rig.channel)
    vars(other).update(vars(taken))
    assert [way.take(other), way.take(taken)] == [False, True]
    rig.idle()


@pytest.mark.parametrize("celerys_way", [False, True], ids=["direct", "Celery's"])
def test_a_command_takes_its_place_from_its_own_account(make_rig: Callable[..., Rig], celerys_way: bool) -> None:
    """Until it is read, from the first that its text names."""
    rig = make_rig(lambda _: report("accepted"), celerys_way=celerys_way)
    body = [[], {"x": {"account": "other"}, **ARGUMENTS}, ALONE]
    assert rig.message(body).group == "other"
    message = rig.receive(body)
    rig.idle()
    assert message.group == "main"


@pytest.mark.parametrize("signal", HEARD, ids=lambda signal: signal.name)
def test_who_listens_to_celerys_signals_hears_them(make_rig: Callable[..., Rig], signal: Any) -> None:
    rig = make_rig(lambda _: report("rejected" if signal is signals.task_failure else "accepted"))
    heard: list[Any] = []
    receiver = lambda **_: heard.append(1)  # noqa: E731
    signal.connect(receiver, weak=False)
    try:
        rig.receive()
        rig.idle()
    finally:
        signal.disconnect(receiver)
    assert heard == [1]


@pytest.mark.parametrize("outcome", ["accepted", "rejected"])
def test_events_that_are_switched_on_in_the_middle_tell_of_the_end(make_rig: Callable[..., Rig], outcome: str) -> None:
    """Flower does it when it starts."""

    def execute(_: Envelope) -> Report:
        rig.groups.add("task")
        return report(outcome)

    rig = make_rig(execute)
    rig.receive()
    rig.idle()
    assert rig.events == ["task-succeeded" if outcome == "accepted" else "task-failed"]
    assert (rig.channel.ends, len(rig.stored)) == (["acknowledged"], 1)
    rig.receive()
    rig.idle()
    assert rig.events[1:3] == ["task-received", "task-started"]


def test_a_command_outlives_its_connection(make_rig: Callable[..., Rig]) -> None:
    """With all that Celery does with its requests when the connection is lost, and made again."""

    eventers: list[Any] = []

    def execute(_: Envelope) -> Report:
        rig.consumer.on_connection_error_after_connected(OSError())
        rig.consumer.on_close()
        lost = rig.consumer.event_dispatcher
        lost.connection, lost.disable = None, lambda: setattr(lost, "enabled", False)
        rig.consumer.connection_for_write = lambda **_: SimpleNamespace(supports_heartbeats=False)
        events = Events(rig.consumer)
        rig.consumer.event_dispatcher = lost
        events.start(rig.consumer)
        (request,) = state.reserved_requests
        eventers.append(request.eventer)
        rig.consumer.event_dispatcher = SimpleNamespace(enabled=True, groups={"task"}, send=rig.note_event)
        rig.groups.add("task")
        return report("accepted")

    rig = make_rig(execute)
    rig.consumer.connection = SimpleNamespace(collect=lambda **_: None, close=lambda: None)
    new = SimpleNamespace(extend_buffer=lambda _: None, flush=lambda: None)
    rig.app.events.Dispatcher = lambda *_, **__: new
    rig.receive()
    rig.idle()
    assert eventers == [new]
    assert (rig.channel.ends, rig.events, dict(state.requests)) == (["acknowledged"], ["task-succeeded"], {})


def test_who_looks_sees_a_whole_request(make_rig: Callable[..., Rig]) -> None:
    """`inspect active` and the like, with redacted arguments; and nothing that they call ends it."""
    shown: list[Any] = []

    def execute(_: Envelope) -> Report:
        (request,) = state.active_requests
        assert state.requests[ID] is request
        assert request in state.reserved_requests
        assert not request.revoked()
        request.terminate(rig.pool)
        request.cancel(rig.pool)
        shown.append((request.info(), str(request), request.stamps, request.task.acks_late, request.acknowledged))
        return report("accepted")

    infos = []
    for celerys_way in (False, True):
        rig = make_rig(execute, celerys_way=celerys_way)
        rig.receive()
        rig.idle()
        infos.append({**shown[-1][0], "time_start": 0})
        assert shown[-1][1:] == (f"orders.cancel[{ID}]", {}, True, False)
        assert time.time() - shown[-1][0]["time_start"] < 60
        assert rig.channel.ends == ["acknowledged"]
    assert infos[0] == infos[1]
    assert infos[0]["kwargs"] == "{'account': 'main', 'order_id': '7', 'qty': '***'}"


def test_the_executor_is_told_the_same(make_rig: Callable[..., Rig]) -> None:
    """Of a message with everything that a plain one may have."""
    headers = {"expires": "2100-01-01T00:00:00", "orders_parked_since": 5, "redelivered": True, "headers": {"a": 1}}
    told = []
    for celerys_way in (False, True):
        rig = make_rig(lambda _: report("accepted"), celerys_way=celerys_way)
        rig.receive([["positional"], ARGUMENTS, None], **headers)
        rig.idle()
        ((envelope, kept),) = rig.envelopes
        told.append({name: getattr(envelope, name) for name in Envelope._fields if name != "following"})
        told[-1]["kept_message"] = kept
    assert told[0] == told[1]
    assert (told[0]["expires_at"], told[0]["positional"], told[0]["parks"]) == (4_102_444_800_000, 1, True)


def following(envelope: Envelope) -> Following:
    """What the ledger is to do besides, and is told to have done."""
    assert envelope.following is not None
    return envelope.following


@pytest.mark.parametrize("outcome", ["accepted", "rejected", "not_sent", "unknown"])
@pytest.mark.parametrize("acked", [True, False])
def test_what_has_followed_the_end_at_the_server_is_not_done_again(
    make_rig: Callable[..., Rig], caplog: pytest.LogCaptureFixture, outcome: str, acked: bool
) -> None:
    caplog.set_level(logging.INFO)
    stored: list[Any] = []

    def execute(envelope: Envelope) -> Report:
        follows = following(envelope)
        stored.append([json.loads(each) if index == 1 else each for index, each in enumerate(follows.store(ended))])
        assert follows.ack(ended) == (0, "index", "hash", "", "tag", "ended")
        follows.stored, follows.acked = True, acked
        return ended

    ended = report(outcome)
    rig = make_rig(execute)
    rig.receive(parent_id="a parent")
    rig.idle()
    assert rig.channel.ends == [("acknowledged at the server", "tag") if acked else "acknowledged"]
    assert (rig.stored, dict(state.requests)) == ([], {})
    words = "succeeded in" if outcome == "accepted" else "raised expected"
    assert [words in each.getMessage() for each in caplog.records if each.name == "celery.app.trace"] == [True]
    late = make_rig(lambda _: ended, celerys_way=True)
    late.receive(parent_id="a parent")
    late.idle()
    ((value, *more),) = late.stored
    ((key, same, *others),) = stored
    assert key == late.app.backend.get_key_for_task(ID)
    assert ({**same, "date_done": ""}, others) == ({**value, "date_done": ""}, more)


@pytest.mark.parametrize("how", ["fault", "memory", "events"])
def test_what_the_server_has_acknowledged_keeps_no_place_whatever_comes_then(
    make_rig: Callable[..., Rig], how: str
) -> None:
    """The place is freed once, and the message does not go back."""

    def execute(envelope: Envelope) -> Report:
        following(envelope).stored = following(envelope).acked = True
        if how == "events":
            rig.groups.add("task")
            return report("accepted")
        raise {"fault": KeyError("x"), "memory": MemoryError()}[how]

    rig = make_rig(execute)
    rig.receive()
    rig.idle()
    assert rig.channel.ends == [("acknowledged at the server", "tag")]
    assert (dict(state.requests), list(state.active_requests)) == ({}, [])
    assert rig.events == (["task-succeeded"] if how == "events" else [])


def test_another_celery_goes_its_own_way(make_rig: Callable[..., Rig]) -> None:
    """The private parts are those of the version that was tested."""
    rig = make_rig(lambda _: report("accepted"))
    assert direct.is_tested(rig.consumer)
    assert not direct.is_tested(rig.consumer, "5.8.0")
    assert not direct.is_tested(SimpleNamespace())
