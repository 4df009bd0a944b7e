"""A server that crashes, hangs and loses connections, and the consumers, workers and proxy of the transport's tests."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import psutil
import redis
from celery import Celery
from kombu import Connection, Queue

from tests.support.processes import ProcessNode
from tests.support.servers import Server
from tests.support.waiting import until as wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

OURS, STOCK = "worker.broker.transport:Transport", "redis"


def until(condition: Callable[[], Any], what: str, worker: Worker | None = None) -> Any:
    """Return the first true value of `condition`; a server that is away counts as not yet."""

    def answered() -> Any:
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
            return condition()

    return wait_until(answered, lambda: f"{what}\n{worker.logs() if worker else ''}", 90)


class Broker(Server):
    """A durable server, seen as a broker: database 0 messages, 1 results, 2 traces of executions."""

    def db(self, number: int = 0) -> Any:
        return redis.Redis(port=self.port, db=number, socket_timeout=5, decode_responses=True)

    def signal(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def executed(self) -> Counter[str]:
        """Return how often each number was executed."""
        return Counter(self.db(2).lrange("executed", 0, -1))

    def settled(self) -> bool:
        """Tell whether nothing is queued and nothing is unacked."""
        keys = self.db().scan_iter()
        return not [key for key in keys if key.endswith(("unacked", "unacked_index")) or "orders." in key.split("_")[0]]

    def done(self, ids: Iterable[str]) -> bool:
        stored = self.db(1).mget([f"celery-task-meta-{one}" for one in ids])
        return all(value and json.loads(value)["status"] == "SUCCESS" for value in stored)


# -- outages of the server ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def crash(broker: Broker) -> Iterator[None]:
    """Kill the server, and bring it back after the block."""
    broker.kill()
    yield
    broker.start()


@contextlib.contextmanager
def freeze(broker: Broker) -> Iterator[None]:
    """Stop the server's process for the block, its connections open."""
    broker.signal(signal.SIGSTOP)
    yield
    broker.signal(signal.SIGCONT)


@contextlib.contextmanager
def cut(broker: Broker) -> Iterator[None]:
    """Cut every connection while the server lives."""
    broker.db().execute_command("CLIENT", "KILL", "TYPE", "normal")
    broker.db().execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    yield


# -- workers of `channel_app` ------------------------------------------------------------------------------------------


class Worker(ProcessNode):
    """A worker process, and the log of all it said."""

    def __init__(self, folder: Path, environment: dict[str, str], options: Sequence[str]) -> None:
        super().__init__("worker", folder, environment)
        self._options = options

    def arguments(self) -> Sequence[str]:
        app = ("-A", "tests.integration.channel_app", "worker", "-l", "INFO")
        return [*self.celery, *app, "-n", f"{self.id[:8]}@%h", *self._options]

    def is_up(self) -> bool:
        return " ready." in self.logs()

    @property
    def alive(self) -> bool:
        return self.status == "running"

    def teardown(self) -> None:
        """End it and its children at once."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid).children(recursive=True):
                child.kill()
        super().teardown()


class Gate:
    """What tasks wait at, so that a test decides when they end."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._path = path

    def open(self) -> None:
        self._path.touch()

    def passed(self) -> int:
        """How many tasks have gone through, or are about to."""
        return len(list(self._path.parent.glob(f"{self._path.name}.*")))


class Fleet:
    """Workers of one server, and the client that sends to them."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.broker = broker
        self._folder = folder
        self.workers: list[Worker] = []
        self._gates = 0
        self.client = Celery("client", broker=broker.url(0), backend=broker.url(1), set_as_current=False)

    def worker(self, *options: str, **environment: str) -> Worker:
        """Start a worker; it may not be ready yet."""
        self.workers.append(Worker(self._folder, {"CHANNEL_URL": self.broker.url(), **environment}, options))
        self.workers[-1].start()
        return self.workers[-1]

    def gate(self) -> Gate:
        self._gates += 1
        return Gate(self._folder / f"gate{self._gates}")

    def send(self, number: int, gate: Gate | None = None, queue: str = "orders.close", **options: Any) -> str:
        """Send one `work`; return its id."""
        arguments = (number, gate.path) if gate else (number,)
        return str(self.client.send_task("work", arguments, queue=queue, **options).id)

    def stop(self) -> None:
        for worker in self.workers:
            worker.teardown()
        self.client.close()


# -- a consumer in this process ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def consumer(broker: Broker, *queues: str, **options: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Consume from `queues`; yield the connection and the list of the messages that came.

    `url`, `transport` and `no_ack` are the connection's and the consumer's; all other options the transport's.
    """
    messages: list[Any] = []
    url, transport = options.pop("url", broker.url(0)), options.pop("transport", OURS)
    no_ack = options.pop("no_ack", False)
    options = {"queue_order_strategy": "priority", **options}
    with Connection(url, transport=transport, transport_options=options) as connection:
        wanted = [Queue(name) for name in queues]
        with connection.Consumer(wanted, callbacks=[lambda _, message: messages.append(message)], no_ack=no_ack):
            yield connection, messages


def send(broker: Broker, queue: str, body: Any, **options: Any) -> None:
    """Publish as stock kombu does."""
    with Connection(broker.url(0)) as connection, connection.SimpleQueue(queue) as target:
        target.put(body, **options)


def turn(connection: Any) -> None:
    """One turn of the poller."""
    with contextlib.suppress(socket.timeout):
        connection.drain_events(timeout=0.1)


def drain(connection: Any, messages: list[Any], count: int) -> None:
    """Turn until `count` messages are there."""
    until(lambda: turn(connection) or len(messages) >= count, f"{count} messages")


# -- a proxy that holds answers back -----------------------------------------------------------------------------------


class Proxy:
    """A TCP proxy that can hold the server's answers to takes, and let them out in one piece or never."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._lock = threading.Lock()
        self._holding = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._held: dict[socket.socket, bytes] = {}
        self._takers: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    @property
    def held(self) -> bytes:
        with self._lock:
            return b"".join(self._held.values())

    def hold(self) -> None:
        """Let no answer to a take through from now on, nor whatever else comes on its connection."""
        with self._lock:
            self._holding = True

    def release(self) -> None:
        """Let out what was held, to each client by one write, and hold nothing any more."""
        with self._lock:
            self._holding = False
            for client, said in self._held.items():
                client.sendall(said)
            self._held.clear()

    def cut(self) -> None:
        """Cut every connection; what was held is lost."""
        with self._lock:
            self._holding = False
            self._held.clear()
            pairs, self._pairs = self._pairs, []
        for each in (side for pair in pairs for side in pair):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._pairs.append((client, server))
                for pump in (self._to_server, self._to_client):
                    threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while said := client.recv(65536):
                if b"\x06\x16" in said and b"unacked_index" in said:  # what parts a name from a priority
                    with self._lock:
                        self._takers.add(client)
                server.sendall(said)
            server.shutdown(socket.SHUT_RDWR)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while said := server.recv(65536):
                with self._lock:
                    if self._holding and client in self._takers:
                        self._held[client] = self._held.get(client, b"") + said
                    else:
                        client.sendall(said)
            client.shutdown(socket.SHUT_RDWR)
