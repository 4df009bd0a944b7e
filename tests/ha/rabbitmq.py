"""RabbitMQ as a process: a node of its own, with its own name, cookie, folders and port mapper."""

import contextlib
import os
import shutil
import signal as signals
from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import uuid4

import psutil
from kombu import Connection, pools

from tests.support.processes import ProcessNode
from tests.support.servers import free_port

SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Debian's own wrapper around it changes the user and the folders."""
USER, PASSWORD = "guest", "guest"


def installed() -> bool:
    """Whether Debian's `rabbitmq-server` is here."""
    return SCRIPT.exists() and shutil.which("epmd") is not None


class PortMapper(ProcessNode):
    """Erlang's `epmd`, which would be started as a daemon, and stay, otherwise."""

    def __init__(self, folder: Path) -> None:
        super().__init__("epmd", folder)
        self.port = free_port()

    def arguments(self) -> Sequence[str]:
        """In the foreground, for this machine alone."""
        return [str(shutil.which("epmd")), "-port", str(self.port), "-address", "127.0.0.1"]

    def is_up(self) -> bool:
        """It is at once, and who comes too early tries again."""
        return self.status == "running"


class RabbitNode(ProcessNode):
    """One broker. Data and port survive `kill` and `restart`; durable queues with them."""

    def __init__(self, folder: Path, mapper: PortMapper, tls: Sequence[str] = ()) -> None:
        """``tls`` are lines of its configuration; it then listens for TLS beside."""
        super().__init__("rabbit", folder)
        self._home = self.folder / f"{self.name}.home"
        for part in ("mnesia", "log"):
            (self._home / part).mkdir(parents=True)
        self.port, self.tls_port, self.metrics_port = free_port(), free_port(), free_port()
        (self._home / "plugins").write_text("[rabbitmq_prometheus].\n", encoding="ascii")
        lines = ["prometheus.tcp.ip = 127.0.0.1", f"prometheus.tcp.port = {self.metrics_port}"]
        lines += [f"listeners.ssl.default = 127.0.0.1:{self.tls_port}", *tls] if tls else []
        (self._home / "rabbitmq.conf").write_text("\n".join([*lines, ""]), encoding="ascii")
        args = f"-setcookie {uuid4().hex} -kernel inet_dist_use_interface {{127,0,0,1}}"
        self.environment = {
            "HOME": str(self._home),
            "RABBITMQ_NODENAME": f"orders-{uuid4().hex[:8]}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self._home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._home / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._home / "plugins"),
            "RABBITMQ_PID_FILE": str(self._home / "pid"),
            "RABBITMQ_CONFIG_FILE": str(self._home / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(self._home / "env"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._home / "advanced.config"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": args,
            "ERL_CRASH_DUMP": str(self._home / "erl_crash.dump"),
            "ERL_EPMD_PORT": str(mapper.port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def arguments(self) -> Sequence[str]:
        """The program itself, which becomes the virtual machine."""
        return [str(SCRIPT)]

    @property
    def url(self) -> str:
        """``ORDERS_BROKER_URL``."""
        return f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.port}//"

    def is_up(self) -> bool:
        """Whether it takes connections."""
        try:
            with Connection(self.url, connect_timeout=2) as connection:
                connection.connect()
                return True
        except (OSError, *Connection().connection_errors):
            return False

    def waiting(self, queue: str) -> int:
        """How many messages wait in a queue."""
        with Connection(self.url) as connection:
            return int(connection.default_channel.queue_declare(queue, passive=True).message_count)

    def empty(self, queue: str) -> int:
        """Throw away what waits in a queue."""
        with Connection(self.url) as connection:
            return int(connection.default_channel.queue_purge(queue))

    def forget(self, queues: Iterable[str]) -> None:
        """Delete queues with everything in them, also what was given to a worker and not confirmed."""
        pools.reset()  # an open connection would take a queue for declared that is not there any more
        with Connection(self.url) as connection:
            for queue in queues:
                connection.default_channel.queue_delete(queue)

    def kill(self, signal: str | int | None = None) -> None:
        """SIGKILL to all of it at once: the process that was started is a shell, which waits for the machine."""
        self._signal(signals.SIGKILL)
        super().kill()

    def teardown(self) -> None:
        """The same."""
        self.kill()

    def cpu_seconds(self) -> float:
        """What it has used of the processor."""
        mine = [psutil.Process(pid) for pid in _processes_with(self.environment["RABBITMQ_NODENAME"])]
        return sum(each.cpu_times().user + each.cpu_times().system for each in mine)

    def freeze(self) -> None:
        """Stop it where it stands, as a machine that swaps or a network that is away."""
        self._signal(signals.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signals.SIGCONT)

    def _signal(self, number: signals.Signals) -> None:
        for pid in _processes_with(self.environment["RABBITMQ_NODENAME"]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _processes_with(mark: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                if mark.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
