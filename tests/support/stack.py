"""A stack: server, workers and simulator together, and a sender that knows Celery and the contract, nothing else."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from uuid import uuid4

import redis
from celery import Celery
from kombu import Connection
from kombu.pools import producers
from pytest_celery import CeleryTestSetup

from producers.commands import COMMANDS
from producers.settings import QueueSettings
from tests.support.waiting import until
from worker.ledger.keys import COOL_DOWNS_KEY
from worker.simulator.control import SimulatorControl
from worker.simulator.server import SimulatorServer
from worker.simulator.simulator import DEMO_ACCOUNTS

QUEUES = tuple(COMMANDS)
NOTHING_FOLLOWS = '{"callbacks": null, "errbacks": null, "chain": null, "chord": null}'


def foreign_app(broker: str, backend: str) -> Celery:
    """A Celery client that knows no task of the worker, as any service in any language would be."""
    return Celery("foreign", broker=broker, backend=backend, set_as_current=False)


class Setup(CeleryTestSetup):
    """pytest-celery's setup with a foreign client app."""

    @classmethod
    def create_setup_app(cls, celery_setup_config: dict[str, Any], celery_setup_app_name: str) -> Celery:
        """The client app; it has no name of pytest-celery's."""
        return foreign_app(celery_setup_config["broker_url"], celery_setup_config["result_backend"])


def accounts(rows: Mapping[str, tuple[str, str, str, str]]) -> dict[str, str]:
    """Accounts as settings: alias to venue, API key, secret key, URL."""
    names = ("VENUE", "API_KEY", "SECRET_KEY", "BASE_URL", "ALLOW_HTTP")
    return {
        f"ORDERS_ACCOUNTS__{alias.upper()}__{name}": value
        for alias, row in rows.items()
        for name, value in zip(names, (*row, "true"), strict=True)
    }


def demo_accounts(url: str) -> dict[str, str]:
    """`main` (Everstrike) and `bz` (Bit-Z), which the simulator knows from the start."""
    venues = {"main": "everstrike", "bz": "bitz"}
    return accounts({alias: (v, f"demo-{v}-key", f"demo-{v}-secret", url) for alias, v in venues.items()})


def exchange_accounts(url: str) -> dict[str, str]:
    """`kraken` (Kraken Futures) and `okx`, which the simulator knows from the start, too."""
    exchanges = [DEMO_ACCOUNTS[alias] for alias in ("kraken", "okx")]
    allowed = {f"ORDERS_ACCOUNTS__{demo.alias.upper()}__ALLOW_HTTP": "true" for demo in exchanges}
    return {name: value for demo in exchanges for name, value in demo.settings(url).items()} | allowed


def ledger_url(broker_url: str) -> str:
    """The ledger's database on the broker's server."""
    return broker_url.rpartition("/")[0] + "/2"


@dataclass(frozen=True)
class Ended:
    """How a command ended, as it is stored: nothing here is decoded by the product."""

    command_id: str
    state: str
    report: dict[str, Any]
    error: str | None
    """`module.Class` of the stored exception, None after SUCCESS."""
    stored_at: datetime
    """When the result was stored, by the worker's clock."""

    @property
    def outcome(self) -> tuple[str, str]:
        """Outcome and reason."""
        return self.report["outcome"], self.report["reason"]


@dataclass
class Stack:
    """Everything that a test of the whole way needs."""

    setup: CeleryTestSetup
    simulator: SimulatorServer
    _clients: list[Any] = field(default_factory=list)

    # -- sending ------------------------------------------------------------------------------------------------------

    def send(
        self,
        task: str,
        *,
        command_id: str | None = None,
        args: tuple[Any, ...] = (),
        headers: dict[str, Any] | None = None,
        app: Celery | None = None,
        **kwargs: Any,
    ) -> str:
        """Send a command as a foreign Celery client does; its id."""
        command_id = command_id or str(uuid4())
        stamped = {"enqueued_at": int(time.time() * 1000)} if headers is None else headers
        (app or self.setup.app).send_task(
            task, args=args, kwargs=kwargs, task_id=command_id, queue=task, headers=stamped
        )
        return command_id

    def send_json(self, task: str, kwargs: str, command_id: str | None = None, follows: str = NOTHING_FOLLOWS) -> str:
        """Send a command whose keyword arguments, and what is to follow it, are these texts: no JSON library needs to
        agree with them."""
        command_id = command_id or str(uuid4())
        headers = {"lang": "other", "task": task, "id": command_id, "root_id": command_id, "parent_id": None}
        with Connection(self.broker_url) as connection, producers[connection].acquire(block=True) as producer:
            producer.publish(
                f"[[], {kwargs}, {follows}]".encode(),
                content_type="application/json",
                content_encoding="utf-8",
                headers=headers,
                correlation_id=command_id,
                exchange="",
                routing_key=task,
            )
        return command_id

    # -- what became of it --------------------------------------------------------------------------------------------

    def ended(self, command_id: str, seconds: float = 30.0) -> Ended:
        """The command's end, waited for."""
        return self.all_ended([command_id], seconds)[0]

    def all_ended(self, command_ids: list[str], seconds: float = 30.0) -> list[Ended]:
        """The commands' ends in their order, waited for."""
        ends: list[Ended | None] = []

        def all_there() -> bool:
            ends[:] = self.peek(command_ids)
            return None not in ends

        def missing() -> str:
            lost = [cid for cid, end in zip(command_ids, ends, strict=False) if end is None]
            tails = "\n".join(worker.container.tail() for worker in self.workers)
            return f"the reports of {len(lost)} of {len(command_ids)} commands, {lost[:3]}\n{tails}"

        until(all_there, missing, seconds, every=0.01 if len(command_ids) < 100 else 0.1)
        return [end for end in ends if end is not None]

    def peek(self, command_ids: list[str]) -> list[Ended | None]:
        """The commands' ends as far as they are stored; a backend that is away stores nothing."""
        try:
            found = self.results.mget([f"celery-task-meta-{command_id}" for command_id in command_ids])
        except redis.RedisError:
            return [None] * len(command_ids)
        return [ended_from(command_id, raw) for command_id, raw in zip(command_ids, found, strict=True)]

    def reset_venue(self) -> None:
        """A fresh venue, which has asked nobody to wait."""
        self.venue.reset()
        self.ledger.delete(COOL_DOWNS_KEY)

    def drained(self, seconds: float = 30.0) -> None:
        """Wait until no command is queued, parked or unacknowledged."""
        # Asked at once: a message that moves from one key to another would be in none of them.
        keys = ["unacked", *(queue + beside for queue in QUEUES for beside in ("", ".parked", ".waiting"))]
        what = "nothing queued, parked or unacknowledged"
        until(lambda: not self.broker.exists(*keys), lambda: f"{what}: {self.unacked()}", seconds)

    def unacked(self) -> str:
        """What is unacknowledged, what waits, and what the workers said last."""
        waiting = {key: self.broker.type(key) for key in self.broker.scan_iter("orders.*")}
        tails = "\n".join(worker.container.tail() for worker in self.workers)
        return f"{self.broker.hgetall('unacked')}, {self.broker.zrange('unacked_index', 0, -1)}, {waiting}\n{tails}"

    def queued(self, task: str) -> int:
        """How many commands wait in a queue, by account or in order of arrival."""
        by_account = (f"{task}.waiting:{group}" for group in self.broker.zrange(f"{task}.waiting", 0, -1))
        return sum(int(self.broker.llen(key)) for key in (task, *by_account))

    # -- the parts ----------------------------------------------------------------------------------------------------

    @property
    def venue(self) -> SimulatorControl:
        """The simulator's remote control."""
        return self.simulator.control

    @property
    def workers(self) -> list[Any]:
        """The worker nodes."""
        return list(self.setup.worker_cluster)

    @property
    def worker(self) -> Any:
        """The first worker's process."""
        return self.workers[0].container

    @property
    def broker_url(self) -> str:
        """Where commands are queued."""
        return str(self.setup.broker.config()["host_url"])

    @property
    def backend_url(self) -> str:
        """Where results are stored."""
        return str(self.setup.backend.config()["host_url"])

    @property
    def queue_settings(self) -> QueueSettings:
        """What the product's own client needs to know."""
        return QueueSettings(
            broker_url=self.broker_url, result_backend=self.backend_url, ledger_url=ledger_url(self.broker_url)
        )

    @cached_property
    def broker(self) -> Any:
        """A client of the broker's database."""
        return self._connect(self.broker_url)

    @cached_property
    def results(self) -> Any:
        """A client of the results' database."""
        return self._connect(self.backend_url)

    @cached_property
    def ledger(self) -> Any:
        """A client of the ledger's database."""
        return self._connect(ledger_url(self.broker_url))

    def _connect(self, url: str) -> Any:
        client = redis.Redis.from_url(url, decode_responses=True, socket_timeout=5)
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Close this side's connections."""
        for client in self._clients:
            client.close()
        self.setup.app.close()


def ended_from(command_id: str, raw: str | None) -> Ended | None:
    meta = json.loads(raw) if raw else {}
    state, report, error = meta.get("status"), meta.get("result"), None
    if state not in ("SUCCESS", "FAILURE"):
        return None
    if state == "FAILURE":
        error = f"{report['exc_module']}.{report['exc_type']}"
        (report,) = report["exc_message"]
    stored_at = datetime.fromisoformat(meta["date_done"]) if meta.get("date_done") else datetime.now(UTC)
    return Ended(command_id, state, report, error, stored_at)
