"""The worker under test: the product's app, with a hook between its parts (``celery -A tests.faults.app worker``).

The real composition root builds it. What it builds with, ledger, transport and clock, is replaced by proxies that do
the same and tell the hook of each step; what has no seam, the bytes leaving, the result and the ack, is wrapped where
Celery and the transport do it. The product itself knows nothing of this.
"""

import functools
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import celery.backends.redis
import kombu.message
import kombu.transport.redis as stock
import redis
from celery import signals

import worker.bootstrap as product
import worker.broker.take
from tests.faults.fleet import READY_FILE
from tests.faults.steps import FOLDER, Hook, Ordered
from worker.clock import SystemClock
from worker.ledger.base import Claim, LedgerUnavailable
from worker.ledger.redis import RedisLedger
from worker.settings import WorkerSettings
from worker.venues.http.connections import CountingConnection
from worker.venues.http.transport import Transport

CHANGES = "FAULTS_CELERY"
"""Environment variable: a JSON object of ``broker_transport_options`` to change; recovery must not take a minute
here."""

hook = Hook(Path(os.environ[FOLDER]))


class Clock(SystemClock):
    """The machine's clock, wrong by as much as the rig wants."""

    def now_ms(self) -> int:
        """UNIX milliseconds, more or less."""
        return super().now_ms() + hook.clock_ms

    def sleep(self, seconds: float) -> None:
        """Wait; a step when a command does."""
        hook.at("waiting")
        super().sleep(seconds)


class Ledger:
    """The real ledger, with steps around its moves."""

    def __init__(self, real: RedisLedger) -> None:
        self._real = real

    def begin(self, claim: Claim, *more: Any) -> Any:
        """A step before and after."""
        return _step("begin", claim, lambda: self._real.begin(claim, *more))

    def pause(self, claim: Claim, *more: Any) -> Any:
        """A step before and after."""
        return _step("pause", claim, lambda: self._real.pause(claim, *more))

    def settle(self, claim: Claim, *more: Any) -> Any:
        """A step before and after."""
        return _step("settle", claim, lambda: self._real.settle(claim, *more))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def _step(name: str, claim: Claim, move: Callable[[], Any]) -> Any:
    try:
        with hook.around(name, claim.command_id):
            return move()
    except Ordered as outage:
        raise LedgerUnavailable(f"ordered: {outage}") from None


class Steps(Transport):
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


def _wrap(owner: Any, name: str, steps: Callable[..., tuple[str, str]], *, before: bool = True) -> None:
    """Put steps around a method."""
    real = getattr(owner, name)

    @functools.wraps(real)
    def stepped(*args: Any, **kwargs: Any) -> Any:
        step, command_id = steps(*args, **kwargs)
        if before:
            hook.at(f"{step}.before", command_id)
        answer = real(*args, **kwargs)
        hook.at(f"{step}.after" if before else step, command_id)
        return answer

    setattr(owner, name, stepped)


def _cut() -> None:
    """Cut every client off the broker's server, this worker too; another that cuts at the same time does the same."""
    with suppress(redis.RedisError), redis.Redis.from_url(app.conf.broker_url, socket_timeout=2) as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        client.execute_command("CLIENT", "KILL", "TYPE", "normal")


def _ready(**_: object) -> None:
    Path(os.environ[READY_FILE]).touch()


def _received(request: Any = None, **_: object) -> None:
    hook.at("received", request.id)


def _taken(task_id: str = "", **_: object) -> None:
    hook.command_id = task_id
    hook.at("taken", task_id)


def build() -> Any:
    """The product's app, hooked."""
    real_ledger = product.build_ledger

    def build_ledger(settings: WorkerSettings) -> Any:
        return Ledger(real_ledger(settings))

    product.build_ledger = build_ledger
    product.Transport = Steps  # type: ignore[misc]
    product.SystemClock = Clock  # type: ignore[misc]
    for module in (stock, worker.broker.take):
        real_time = module.time
        module.time = lambda real_time=real_time: real_time() + hook.clock_ms / 1000
    _wrap(CountingConnection, "request", lambda *_, **__: ("left", ""), before=False)
    _wrap(celery.backends.redis.RedisBackend, "store_result", lambda _, task_id, *__, **___: ("store", task_id))
    _wrap(kombu.message.Message, "ack", lambda message, *_, **__: ("ack", str((message.headers or {}).get("id", ""))))
    signals.worker_ready.connect(_ready)
    signals.task_received.connect(_received)
    signals.task_prerun.connect(_taken)
    hook.cut = _cut
    built = product.build_app()
    built.conf.broker_transport_options.update(json.loads(os.environ.get(CHANGES, "{}")))
    return built


app = build()
