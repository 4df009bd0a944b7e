"""Callbacks of a command: its ``link``, the rest of its ``chain``, its ``link_error``, the body of its chord.

Stock Celery sends callbacks while it ends the task, and a failure to send becomes the task's result: an
``OperationalError`` in place of the report of an order that was executed, with the rest of the chain lost. A
``link_error`` that can't be sent even keeps the message unacknowledged and its slot taken for as long as the worker
lives. Here callbacks are sent before the task ends. While the broker accepts nothing, the command's message is
requeued: the ledger knows its report, and each callback has the same id every time, so that sending it twice does no
harm. A callback that can never be sent is logged and, if it is a command, recorded as the result of its id; the report
is stored all the same, and the other callbacks are sent.

Callbacks are sent as JSON to any queue that they name, other services' queues included.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from celery import Celery, Task, states
from celery.app.amqp import AMQP
from celery.app.routes import Router
from celery.app.task import Context
from celery.canvas import maybe_signature, signature
from celery.exceptions import QueueNotFound, Reject
from kombu import Exchange, Queue
from kombu.exceptions import ChannelError
from kombu.transport.virtual import Channel as VirtualChannel

from producers.commands import COMMANDS
from producers.redis.url import is_redis
from worker.broker.dead_letters import DEAD_SUFFIX
from worker.broker.envelope_check import DEFAULT_QUEUE
from worker.celery_app.broker_errors import is_transient

logger = logging.getLogger("orders.following")

RESERVED_PREFIXES = ("unacked", "_kombu.", "orders:", "celery-task", "celeryev")
RESERVED_SUFFIXES = (DEAD_SUFFIX, "celery.pidbox")
"""How queues and exchanges begin or end that are the broker's own, or the workers': its keys, the ledger, results, dead
letters, remote control and events. A message in the place of kombu's lock, for example, ends all redelivery."""
RESEND_SECONDS = 1.0
"""Between two tries to send the body of a chord while the broker takes nothing."""


def send_callbacks(task: Task, result: Any) -> None:
    """Send the callbacks of an accepted command, in place of Celery.

    Raises:
        Reject: the broker accepts nothing for now; the command's message is to be requeued.
    """
    request = task.request
    ids = {"parent_id": request.id, "root_id": request.root_id or request.id}

    def send(link: Any, position: str, **more: Any) -> None:
        signature(with_stable_ids(link, f"{request.id}/{position}"), app=task.app).apply_async((result,), **more, **ids)

    for index, link in enumerate(_as_list(request.callbacks)):
        _send_or_log(task, partial(send, link, f"link/{index}"), [link])
    if request.chain:
        _send_or_log(task, lambda: send(request.chain[-1], "chain", chain=request.chain[:-1]), request.chain)
    request.callbacks = request.chain = None


def discard_callbacks(task: Task, reason: str) -> None:
    """Fail the chain and the chord of a message that was not executed because its id belongs to another command."""
    request = task.request
    error = LookupError(reason)
    _fail_links(task, request.chain, error)
    if request.chord:
        task.backend.on_chord_part_return(request, states.FAILURE, error)
    request.callbacks = request.chain = request.chord = None


def send_errbacks(task: Task) -> None:
    """Send the error callbacks of a command that was not accepted. Celery itself fails the rest of its chain.

    Raises:
        Reject: the broker accepts nothing for now; the command's message is to be requeued.
    """
    request = task.request
    ids = {"parent_id": request.id, "root_id": request.root_id or request.id}

    def send(link: Any, position: str) -> None:
        # Celery itself would call a task that this worker has, its own built-in ones included, here and now: past the
        # queue, what is checked of its messages, and the id that is executed once.
        signature(with_stable_ids(link, f"{request.id}/{position}"), app=task.app).apply_async((request.id,), **ids)

    for index, link in enumerate(_as_list(request.errbacks)):
        _send_or_log(task, partial(send, link, f"link_error/{index}"), [link])
    request.errbacks = None


def with_stable_ids(link: Any, seed: str) -> Any:
    """The same signature with an id for each task in it that has none, derived from ``seed``, task and arguments.

    Celery would generate a new id each time that it sends the signature: the callbacks of a command that is delivered
    twice, or sent again by a cautious sender, would be executed twice.
    """
    if not isinstance(link, Mapping):
        return link
    arguments, options = link.get("kwargs") or {}, link.get("options") or {}
    part_names = ("tasks", "header", "body") if link.get("subtask_type") in ("chain", "group", "chord") else ()
    parts = {name: _all_with_stable_ids(arguments[name], f"{seed}/{name}") for name in part_names if name in arguments}
    if parts:
        return {**link, "kwargs": {**arguments, **parts}}
    identity = json.dumps([seed, link.get("task"), link.get("args"), arguments], sort_keys=True, default=str)
    return {**link, "options": {"task_id": str(uuid5(NAMESPACE_OID, identity)), **options}}


def _all_with_stable_ids(links: Any, seed: str) -> Any:
    if isinstance(links, list | tuple):
        return [with_stable_ids(each, f"{seed}/{index}") for index, each in enumerate(links)]
    return with_stable_ids(links, seed)


def _as_list(links: Any) -> list[Any]:
    return list(links) if isinstance(links, list | tuple) else [links] if links else []


def commands_in(link: Any) -> Iterator[str]:
    """The ids of the commands in a signature, at any depth."""
    if not isinstance(link, Mapping):
        return
    arguments, options = link.get("kwargs") or {}, link.get("options") or {}
    if link.get("task") in COMMANDS and isinstance(options.get("task_id"), str):
        yield options["task_id"]
    if link.get("subtask_type") not in ("chain", "group", "chord"):
        return
    for part in ("tasks", "header", "body"):
        links = arguments.get(part)
        for each in links if isinstance(links, list | tuple) else [links]:
            yield from commands_in(each)


@contextmanager
def resend_chord_body(backend: Any, request: Any) -> Iterator[None]:
    """Have the body of a chord sent again and again while the broker accepts nothing. Celery gives up after some tries,
    although every part is done, and one of the tries may have succeeded."""
    chord = request.chord
    if isinstance(chord, Mapping) and isinstance(request, Context):
        request.chord = body = maybe_signature(dict(chord), app=backend.app)
        send = body.delay

        def delay(*args: Any, **kwargs: Any) -> Any:
            while True:
                try:
                    return send(*args, **kwargs)
                except Exception as error:
                    if not is_transient(error):
                        raise
                    logger.warning("the body of a chord is sent later (%s)", type(error).__name__)
                    time.sleep(RESEND_SECONDS)

        body.delay = delay
    try:
        yield
    finally:
        if isinstance(request, Context):
            request.chord = chord


def _fail_links(task: Task, links: Any, error: Exception) -> None:
    """Store the failure as the result of each command among these links, and of the chords that they belong to."""
    try:
        task.backend._fail_chain(_as_list(links), error)  # noqa: SLF001 - no other way
    except Exception as malformed:  # noqa: BLE001 - a sender may write anything
        logger.error(  # noqa: TRY400
            "a callback of id=%s is malformed (%s), so no result says that it was not sent",
            task.request.id,
            type(malformed).__name__,
        )


def _send_or_log(task: Task, send: Callable[[], None], links: Any) -> None:
    try:
        send()
    except Exception as error:  # noqa: BLE001 - a sender may write anything, and the command has ended
        if is_transient(error):
            raise Reject(f"a callback can't be sent for now ({type(error).__name__})", requeue=True) from None
        # Its text may quote arguments.
        logger.error(  # noqa: TRY400
            "a callback of id=%s task=%s can't be sent (%s); the command's report is stored all the same",
            task.request.id,
            task.name,
            type(error).__name__,
        )
        _fail_links(task, links, LookupError(f"it can't be sent ({type(error).__name__})"))


class ForeignQueuesAMQP(AMQP):
    """Celery's AMQP, which sends to any queue. The queues that a worker consumes from are not affected."""

    def Router(self, queues: Any = None, create_missing: bool | None = None) -> Router:  # noqa: ARG002, N802 - Celery's
        """Celery's method, with another router."""
        return _AnyQueueRouter(self.routes, queues or self.queues, app=self.app)


class _AnyQueueRouter(Router):
    def route(self, options: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        """Celery's method, for JSON alone and for exchanges that this app does not know.

        Raises:
            ValueError: the callback asks for another serializer, or for a queue that is none.
        """
        if options.get("serializer") not in (None, "json"):
            raise ValueError("callbacks are sent as JSON alone")
        # A sender could have a callback tried for ever, which takes a slot.
        options = {key: value for key, value in options.items() if key != "retry_policy"}
        if any(map(_is_reserved, (options.get(name) for name in ("queue", "exchange", "routing_key")))):
            raise ValueError("callbacks are sent to other services' queues, and to those of commands")
        if options.get("exchange") and is_redis(self.app.conf.broker_url):
            # On Redis an exchange's type is known only to the connection that declares it.
            exchange = Exchange(options["exchange"], type=options.get("exchange_type") or "direct")
            options = {**options, "declare": [exchange]}
        known = options.get("queue") or options.get("exchange") or self.lookup_route(name, options=options)
        return super().route(options if known else {**options, "queue": DEFAULT_QUEUE}, name, *args, **kwargs)

    def expand_destination(self, route: Any) -> Any:
        """Celery's method as with `task_create_missing_queues`, but nothing is added to the queues of this app, so that
        `-Q` knows no further names."""
        name = route if isinstance(route, str) else route.get("queue")
        try:
            return super().expand_destination(route)
        except QueueNotFound:
            missing = self.queues.new_missing(name)
            return {
                **({} if isinstance(route, str) else route),
                "queue": _ForeignQueue(name, missing.exchange, missing.routing_key),
            }


def _is_reserved(name: Any) -> bool:
    return isinstance(name, str) and (name.startswith(RESERVED_PREFIXES) or name.endswith(RESERVED_SUFFIXES))


class _ForeignQueue(Queue):
    """Another service's queue: used as it is, and declared as Celery would only where it does not exist."""

    def declare(self, nowait: bool = False, channel: Any = None) -> str:
        """Declare the queue unless it exists: RabbitMQ refuses a declaration with other arguments, and the message with
        it."""
        channel = channel or self.channel
        if not isinstance(channel, VirtualChannel) and _queue_exists(self.name, channel):
            return str(self.name)
        return str(super().declare(nowait=nowait, channel=channel))


def _queue_exists(name: str, channel: Any) -> bool:
    # On a channel of its own, because the broker closes the channel when the queue is missing.
    probe = channel.connection.channel()
    try:
        probe.queue_declare(name, passive=True)
    except ChannelError:
        return False
    finally:
        probe.close()
    return True


def allow_foreign_queues(app: Celery) -> None:
    """Let this app send to queues that it does not consume from, other services' queues among them."""
    app.amqp_cls = f"{__name__}:{ForeignQueuesAMQP.__name__}"
