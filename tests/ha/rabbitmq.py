"""RabbitMQ as a process: one broker with its own name, cookie, folders and port mapper."""

import contextlib
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


class RabbitNode(ProcessNode):
    """One broker. Data and port survive `kill` and `restart`; durable queues with them."""

    def __init__(self, folder: Path, tls: Sequence[str] = ()) -> None:
        """``tls`` are lines of the configuration; with them the broker listens for TLS, too."""
        super().__init__("rabbit", folder)
        self._mapper = PortMapper(folder)
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
            "ERL_EPMD_PORT": str(self._mapper.port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def arguments(self) -> Sequence[str]:
        """The script, a shell that waits for Erlang's virtual machine."""
        return [str(SCRIPT)]

    @property
    def url(self) -> str:
        """``ORDERS_BROKER_URL``."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def is_up(self) -> bool:
        """Whether the broker takes connections."""
        try:
            with Connection(self.url, connect_timeout=2) as connection:
                connection.connect()
                return True
        except (OSError, *Connection().connection_errors):
            return False

    def start(self) -> None:
        """Start the broker, and its port mapper before it."""
        if self._mapper.status == "exited":
            self._mapper.start()
        super().start()

    def _signal(self, number: signals.Signals) -> None:
        """Send a signal to the shell and to the virtual machine at once."""
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        super()._signal(number)

    def teardown(self) -> None:
        """End the broker and its port mapper."""
        self.kill()
        self._mapper.teardown()

    def cpu_seconds(self) -> float:
        """The processor's time that the broker has used."""
        return sum(sum(process.cpu_times()[:2]) for process in self._family())

    def _family(self) -> list[psutil.Process]:
        if self.status == "exited":
            return []
        shell = psutil.Process(self.pid)
        return [shell, *shell.children(recursive=True)]

    def waiting(self, queue: str) -> int:
        """How many messages wait in a queue; none in one that does not exist."""
        with Connection(self.url) as connection, contextlib.suppress(*connection.channel_errors):
            return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
        return 0

    def purge(self, queue: str) -> int:
        """Throw away what waits in a queue."""
        with Connection(self.url) as connection:
            return int(connection.default_channel.queue_purge(queue))

    def delete(self, queues: Iterable[str]) -> None:
        """Delete queues with everything in them, also what was given to a worker and not confirmed."""
        pools.reset()  # an open connection would take a queue for declared that is not there any more
        with Connection(self.url) as connection:
            for queue in queues:
                connection.default_channel.queue_delete(queue)
