"""The worker under test: the product's app, with a hook between its parts (``celery -A tests.faults.app worker``).

The real composition root builds it. Its transport and clock are replaced by subclasses that tell the hook of each step;
the ledger's moves, the bytes leaving, the result and the ack are wrapped where they happen. The product itself knows
nothing of this.
"""

import functools
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import celery.backends.redis
import kombu.message
import kombu.transport.redis
import redis
import requests
from celery import signals
from celery.worker.state import task_reserved

import worker.bootstrap as product
import worker.broker.take
from tests.faults.fleet import READY_FILE
from tests.faults.steps import FOLDER, Hook, Outage
from worker.broker.acks import QoS
from worker.celery_app import direct, direct_request
from worker.celery_app.direct_request import DirectRequest
from worker.celery_app.parked import AGAIN_HEADER
from worker.clock import SystemClock
from worker.ledger.base import LedgerUnavailable
from worker.ledger.redis import RedisLedger
from worker.simulator.faults import mutates
from worker.venues.http.connections import CountingConnection
from worker.venues.http.outgoing import SentBytes
from worker.venues.http.transport import Transport


def cut() -> None:
    """Cut every client off the broker's server, this worker too; another that cuts at the same time does the same."""
    with suppress(redis.RedisError), redis.Redis.from_url(app.conf.broker_url, socket_timeout=2) as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        client.execute_command("CLIENT", "KILL", "TYPE", "normal")


hook = Hook(Path(os.environ[FOLDER]), cut)


class OffsetClock(SystemClock):
    """The machine's clock, wrong by as much as the rig wants."""

    def now_ms(self) -> int:
        """UNIX milliseconds, more or less."""
        return super().now_ms() + hook.clock_ms

    def sleep(self, seconds: float) -> None:
        """Wait; a step when a command does."""
        hook.at("waiting")
        super().sleep(seconds)


class SteppedTransport(Transport):
    """The real transport, with steps inside an exchange."""

    def send(self, base_url: str, prepare: Callable[[], Any]) -> Any:
        """Steps once it is connected, once it is signed, and once the answer is read."""

        def prepared() -> Any:
            hook.at("connected")
            request = prepare()
            hook.at("signed")
            return request

        answer = super().send(base_url, prepared)
        hook.at("answered")
        return answer


def add_steps(owner: Any, name: str, before: str, after: str, command_id: Callable[..., str]) -> None:
    """Put steps around a method; ``command_id`` finds the command in its arguments, or says that it is the thread's."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def stepped(*args: Any, **kwargs: Any) -> Any:
        try:
            hook.at(before, command_id(*args, **kwargs))
            answer = method(*args, **kwargs)
            hook.at(after, command_id(*args, **kwargs))
        except Outage:
            raise LedgerUnavailable("ordered") from None
        return answer

    setattr(owner, name, stepped)


def id_in(text: str | bytes) -> str:
    """The command's id in the text of its message."""
    return str(json.loads(text)["headers"]["id"])


def shift_clock(module: Any) -> None:
    """Let a module's ``time()`` be as wrong as the workers' clocks."""
    real_time = module.time
    module.time = lambda: real_time() + hook.clock_ms / 1000


# These receivers are no listeners for whose sake a command has to go Celery's way.
direct_request.HEARD = ()


@signals.task_received.connect
def _received(request: Any = None, **_: object) -> None:
    hook.at("received", request.id)
    if (request.message.headers or {}).get(AGAIN_HEADER):
        hook.at("again", request.id)


@signals.task_prerun.connect
def _taken(task_id: str = "", **_: object) -> None:
    hook.command_id = task_id
    hook.at("taken")


def _reserved(request: DirectRequest) -> None:
    """On the direct way, in place of the signals."""
    task_reserved(request)
    _received(request)


@functools.wraps(run := DirectRequest.run)
def _run(request: DirectRequest) -> None:
    _taken(request.id)
    run(request)


@functools.wraps(send := CountingConnection.send_request)
def _sent(connection: CountingConnection, sent: SentBytes) -> requests.PreparedRequest:
    request = send(connection, sent)
    # Reads have a name of their own: an attempt is a request that changes something.
    hook.at("left" if mutates(str(request.method), urlsplit(request.path_url).path) else "asked")
    return request


for move in ("begin", "pause", "park", "settle", "take_to_look"):
    add_steps(RedisLedger, move, f"{move}.before", f"{move}.after", lambda _, claim, *__: claim.command_id)
CountingConnection.send_request = _sent  # type: ignore[method-assign]
direct.task_reserved, DirectRequest.run = _reserved, _run  # type: ignore[method-assign]
backend, message = celery.backends.redis.RedisBackend, kombu.message.Message
add_steps(backend, "store_result", "store.before", "store.after", lambda _, task_id, *__, **___: task_id)
add_steps(QoS, "park", "parked.before", "parked.after", lambda _, __, text, **___: id_in(text))
add_steps(QoS, "acked_at_server", "acked", "ack.after", lambda _, tag: hook.command_id)
add_steps(message, "ack", "ack.before", "ack.after", lambda it, *_, **__: str((it.headers or {}).get("id", "")))
shift_clock(kombu.transport.redis)
shift_clock(worker.broker.take)
signals.worker_ready.connect(lambda **_: Path(os.environ[READY_FILE]).touch(), weak=False)
product.Transport = SteppedTransport  # type: ignore[misc]
product.SystemClock = OffsetClock  # type: ignore[misc]
app = product.build_app()
app.conf.broker_transport_options.update(json.loads(os.environ.get("FAULTS_CELERY", "{}")))
