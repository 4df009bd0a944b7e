"""The stack of compose/compose.yaml as local processes: its server, its two kinds of workers with their logins, and the
simulator in the place of the venues."""

import base64
import json
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import yaml

from producers.settings import QueueSettings
from tests.support.compose_server import COMPOSE, ComposeServer
from tests.support.node import running
from tests.support.stack import QUEUES, Ended, demo_accounts, ended_from, foreign_app
from tests.support.waiting import until
from tests.support.workers import QUICK, WorkerNode
from worker.simulator.control import SimulatorControl
from worker.simulator.server import SimulatorServer

SERVICES = {"worker": "worker", "withdraw": "worker-withdraw"}
"""Each worker's login, and its service in compose.yaml."""
CONTAINERS_OWN = ("ORDERS_SECRETS_DIR", "ORDERS_CONFIG_FILE", "ORDERS_ALIVE_FILE", "ORDERS_METRICS__")
"""Settings of the services that name what only a container has."""
CANCEL = {"account": "main", "order_id": "order-1"}
POSITIONS = {"account": "main", "pair": "USD_BTC_PERP"}
"""A command that is accepted however often it is sent."""
CLOSE = {"account": "main", "pair": "USD_BTC_PERP"}
WITHDRAW = {"account": "main", "asset": "ETH", "qty": "0.01", "address": "0xabc"}


class ComposeStack:
    """The server, a worker of each service and a simulator; they live as long as the block.

    ``settings`` are further settings of the workers, ``calls`` the options of each call of compose/prepare.
    """

    def __init__(self, folder: Path, calls: Sequence[Sequence[str]] = ((),), **settings: str) -> None:
        self.server = ComposeServer(calls=calls)
        self.folder, self.settings = folder, settings
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as ends:
            ends.enter_context(self.server)
            self.simulator = ends.enter_context(SimulatorServer())
            nodes = {login: self._worker(login, service) for login, service in SERVICES.items()}
            ends.enter_context(running(*nodes.values()))
            self.workers = nodes
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def _worker(self, login: str, service: str) -> WorkerNode:
        found = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))["services"][service]
        theirs = {name: text for name, text in found["environment"].items() if not name.startswith(CONTAINERS_OWN)}
        if "waitaof" not in self.admin(0).command_list():
            theirs["ORDERS_LEDGER__WITHDRAW_DISK"] = "auto"
        # A venue that is there answers within this time on any machine, however busy.
        quick = {**QUICK, "ORDERS_HTTP__READ_TIMEOUT_SECONDS": "20"}
        ours = {**demo_accounts(self.simulator.url), "ORDERS_REDIS_URL": self.server.urls[login]}
        return WorkerNode(self.folder, {**theirs, **quick, **ours, **self.settings}, found["command"][1:])

    # -- who asks the server -------------------------------------------------------------------------------------------

    def admin(self, database: int) -> Any:
        """A client of a database that may do everything: 0 queues, 1 results, 2 ledger."""
        return self._clients.setdefault(database, self.server.client(database))

    @cached_property
    def _clients(self) -> dict[int, Any]:
        return {}

    @property
    def venue(self) -> SimulatorControl:
        """The simulator's remote control."""
        return self.simulator.control

    def queue_settings(self, login: str) -> QueueSettings:
        """What a client of the product needs to know, with somebody's login."""
        return QueueSettings(redis_url=self.server.urls[login])

    # -- messages ------------------------------------------------------------------------------------------------------

    def put(self, text: str | bytes, queue: str, login: str = "producer") -> None:
        """Put a message on a queue's list with somebody's login."""
        with self.server.login(login) as client:
            client.lpush(queue, text)

    def send(self, task: str, login: str = "producer", command_id: str = "", **changes: Any) -> str:
        """Send a command as any client may write it; its id. ``changes`` are those of :func:`message`."""
        command_id = command_id or str(uuid4())
        self.put(message(task, command_id, **changes), task, login)
        return command_id

    def begin_chord(self, size: str | bytes = "1", login: str = "producer") -> dict[str, Any]:
        """Write how many parts a chord has, as its sender does; the headers of its first part."""
        group = str(uuid4())
        with self.server.login(login, 1) as client:
            client.set(f"celery-taskset-meta-{group}.s", size)
        return {"group": group, "group_index": 0}

    def ended(self, command_id: str, seconds: float = 60.0) -> Ended:
        """The command's end, waited for."""

        def found() -> Ended | None:
            return ended_from(command_id, self.admin(1).get(f"celery-task-meta-{command_id}"))

        logs = "\n".join(node.tail() for node in self.workers.values())
        return until(found, lambda: f"the report of {command_id}\n{logs}", seconds)  # type: ignore[return-value]

    def drained(self, seconds: float = 60.0) -> None:
        """Wait until no message is queued, parked or unacknowledged."""
        broker = self.admin(0)
        beside = [f"{queue}{suffix}" for queue in QUEUES for suffix in (".parked", ".waiting")]
        until(lambda: not broker.exists("unacked", *QUEUES, *beside), "all done", seconds)

    def ping(self, login: str = "flower") -> list[dict[str, Any]]:
        """What the workers answer to Celery's ``ping`` of somebody with this login."""
        with foreign_app(self.server.urls[login], "disabled://") as app:
            found = app.control.inspect(timeout=60, limit=len(self.workers)).ping() or {}
        return list(found.values())

    def check_alive(self, seconds: float = 60.0) -> None:
        """A cancel and a withdrawal that are sent now come to an end, by the same processes as before."""
        sent = [self.send("orders.cancel", kwargs=CANCEL), self.send("orders.withdraw", kwargs=WITHDRAW)]
        assert [self.ended(each, seconds).report["outcome"] in ("accepted", "rejected") for each in sent] == [True] * 2
        assert [node.status for node in self.workers.values()] == ["running"] * 2


def message(
    task: str,
    command_id: str,
    kwargs: Any = None,
    *,
    body: bytes | None = None,
    embed: Any = None,
    headers: dict[str, Any] | None = None,
    properties: dict[str, Any] | None = None,
    **envelope: Any,
) -> str:
    """A command's message as kombu writes it, with changes to its parts. A header or property that is ``...`` is left
    out."""
    content = body if body is not None else json.dumps([[], kwargs or {}, embed or {}]).encode()
    given = {"lang": "py", "task": task, "id": command_id, **(headers or {})}
    usual = {
        "delivery_tag": str(uuid4()),
        "body_encoding": "base64",
        "priority": 0,
        "delivery_info": {"exchange": "", "routing_key": task},
    }
    return json.dumps(
        {
            "body": base64.b64encode(content).decode(),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {name: value for name, value in given.items() if value is not ...},
            "properties": {name: value for name, value in {**usual, **(properties or {})}.items() if value is not ...},
            **envelope,
        }
    )
