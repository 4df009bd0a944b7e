"""What the nights need: a venue that misbehaves, a worker, and the desk as `orders desk` starts it."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis
import requests
from celery import Celery

from tests.support.desk_data import ADDRESS
from tests.support.policies import APPROVERS, KEYS
from tests.support.processes import ProcessNode
from tests.support.servers import Server, free_port
from tests.support.stack import demo_accounts, foreign_app
from tests.support.waiting import until
from tests.support.workers import QUICK, WorkerNode
from worker.simulator.control import SimulatorControl
from worker.simulator.server import SimulatorServer

API_KEY = "demo-everstrike-key"
STRANGER = "0xf00dBabe00000000000000000000000000000bad"
POLICY = f"""
[withdrawals.main]
unlisted = "approve"
[[withdrawals.main.to]]
name = "treasury"
asset = "ETH"
address = "{ADDRESS}"
"""


class DeskNode(ProcessNode):
    """The desk of a person whose key it has, on this machine alone."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        super().__init__("desk", folder, environment)
        self.port = free_port()

    def arguments(self) -> Sequence[str]:
        """The command line of the documentation, with this test's port."""
        return [str(Path(sys.executable).with_name("orders")), "desk", "--port", str(self.port), "--json"]

    @property
    def links(self) -> list[str]:
        """The links that it has announced, each of which works once."""
        lines = [line for line in self.logs_since_start().splitlines() if line.startswith("{")]
        return [json.loads(line)["link"] for line in lines]

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            return bool(self.links) and requests.get(f"{self.url}/alive", timeout=5).ok
        except requests.RequestException:
            return False

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"


@dataclass
class DeskStack:
    """Everything, started once for all nights."""

    server: Server
    simulator: SimulatorServer
    worker: WorkerNode
    desk: DeskNode
    app: Celery
    ledger: Any

    @property
    def venue(self) -> SimulatorControl:
        """The venue's remote control."""
        return self.simulator.control

    def quiet(self) -> None:
        """A venue with enough to trade, and nothing that an earlier night has left open."""
        self.venue.reset()
        self.venue.position(API_KEY, "USD_BTC_PERP", 50)
        self.venue.balance(API_KEY, "ETH", 1000)
        self.ledger.delete("orders:unknown", "orders:halts", "orders:venue_cool_downs")

    def send(self, name: str, command_id: str = "", **arguments: str) -> str:
        """Send a command of `main` as any Celery client does; its id."""
        kwargs = {"account": "main", **arguments}
        task, command_id = f"orders.{name}", command_id or f"{name}-{uuid4().hex[:8]}"
        headers = {"enqueued_at": time.time_ns() // 1_000_000}
        self.app.send_task(task, kwargs=kwargs, task_id=command_id, queue=task, headers=headers)
        return command_id

    def withdraw(self, address: str = ADDRESS, qty: str = "1.5", command_id: str = "") -> str:
        """Send a withdrawal."""
        return self.send("withdraw", command_id, asset="ETH", qty=qty, address=address)

    def close(self, qty: str = "0.5", command_id: str = "") -> str:
        """Send a close of a part, which is never repeated."""
        return self.send("close", command_id, pair="USD_BTC_PERP", qty=qty)

    def state(self, command_id: str) -> str:
        """The state of the command's record."""
        return str(self.ledger.hget(f"orders:command:{command_id}", "state") or "")

    def ended(self, command_id: str) -> tuple[str, str]:
        """Outcome and reason, waited for."""
        key = f"orders:command:{command_id}"
        until(lambda: self.ledger.hget(key, "report"), lambda: f"the end of {command_id}\n{self.worker.tail()}", 60)
        report = json.loads(self.ledger.hget(key, "report"))
        return report["outcome"], report["reason"]

    def all_end(self, command_ids: Sequence[str]) -> set[tuple[str, str]]:
        """The different ends of several commands."""
        return {self.ended(each) for each in command_ids}


def settings(folder: Path, url: str, venue: str) -> dict[str, str]:
    """Those of the worker and of the desk."""
    (folder / "policy.toml").write_text(POLICY + APPROVERS)
    (folder / "anna.key").write_text(KEYS["anna"].to_file_text())
    (folder / "anna.key").chmod(0o600)
    (folder / "keys.toml").write_text(f'[operators]\nanna = "{KEYS["anna"].public().to_text()}"\n')
    return {
        **demo_accounts(venue),
        **QUICK,
        "ORDERS_REDIS_URL": url,
        "ORDERS_POLICY__MODE": "require",
        "ORDERS_POLICY_FILE": str(folder / "policy.toml"),
        "ORDERS_AUTH__KEYS_FILE": str(folder / "keys.toml"),
    }


def desk_settings(of_worker: dict[str, str]) -> dict[str, str]:
    """The desk has no account, and the key of its owner."""
    mine = {name: value for name, value in of_worker.items() if not name.startswith("ORDERS_ACCOUNTS__")}
    key = Path(mine["ORDERS_POLICY_FILE"]).with_name("anna.key")
    return {**mine, "ORDERS_OPERATOR_KEY_FILE": str(key)}


def sender(url: str) -> Celery:
    """A service that enqueues."""
    return foreign_app(f"{url}/0", f"{url}/1")


def ledger_of(server: Server) -> redis.Redis:
    """A client of the ledger."""
    client: redis.Redis = server.client(2)
    return client
