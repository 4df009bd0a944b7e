"""Docker and compose as a person uses them: by their programs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "compose" / "compose.yaml"
SERVICES = ("server", "worker", "worker-withdraw", "flower", "prometheus", "alertmanager", "simulator")
"""All but Grafana, whose image comes from its makers' registry alone."""
STEP_SECONDS = 120.0


class StackError(Exception):
    """Something did not do what it was told; the text says what."""


def run(
    words: Sequence[str],
    *,
    text: str | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = STEP_SECONDS,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a program.

    Raises:
        StackError: it failed, or took longer than ``seconds``.
    """
    try:
        done = subprocess.run(
            list(words), input=text, env=dict(env) if env else None, capture_output=True, text=True,
            timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise StackError(f"{' '.join(words)}: not done within {seconds:g} s") from None
    if check and done.returncode:
        raise StackError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return done


def docker(*words: str, **options: Any) -> str:
    """``docker …``; its standard output."""
    return run([need("docker"), *words], **options).stdout.strip()


def need(program: str) -> str:
    """The path of a program. StackError when it is not installed."""
    path = shutil.which(program)
    if path is None:
        raise StackError(f"{program} is missing: apt-get install docker.io docker-compose debootstrap")
    return path


def compose_program() -> list[str]:
    """``docker compose`` where it is installed, else ``docker-compose``; COMPOSE overrules."""
    if named := os.environ.get("COMPOSE"):
        return named.split()
    if run([need("docker"), "compose", "version"], check=False).returncode == 0:
        return [need("docker"), "compose"]
    return [need("docker-compose")]


class Stack:
    """One project of compose, its images and its secrets."""

    def __init__(self, name: str, secrets: Path, images: Mapping[str, str]) -> None:
        """``images`` are the settings that compose/offline/build prints."""
        self.name = name
        self.secrets = secrets
        self.images = images
        self._program = compose_program()
        ports = dict.fromkeys(("FLOWER_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT", "GRAFANA_PORT"), "0")
        own = {"COMPOSE_PROJECT_NAME": name, "SECRETS": str(secrets), **ports, **images}
        self._env = {**os.environ, **own}

    def compose(self, *words: str, **options: Any) -> str:
        """``docker compose …`` on this stack; its standard output."""
        base = [*self._program, "-f", str(FILE), "--profile", "sandbox"]
        return run([*base, *words], env=self._env, **options).stdout.strip()

    def run_client(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``orders …`` with a producer's login, as docs/deploying.md says to do it."""
        base = [*self._program, "-f", str(FILE), "--profile", "tools", "run", "--rm", "-T", "client"]
        return run([*base, *words], env=self._env, check=False)

    @property
    def compose_version(self) -> str:
        """Which compose this is."""
        return run([*self._program, "version"], env=self._env).stdout.splitlines()[0]

    def up(self, *words: str) -> None:
        """Start what is missing."""
        self.compose("up", "-d", "--no-build", *words)

    def ids(self, service: str = "", *, running: bool = True) -> list[str]:
        """Ids of the containers of a service, or of all."""
        labels = [f"label=com.docker.compose.project={self.name}", "label=com.docker.compose.oneoff=False"]
        if service:
            labels.append(f"label=com.docker.compose.service={service}")
        filters = [word for label in labels for word in ("--filter", label)]
        return docker("ps", *([] if running else ["-a"]), "-q", "--no-trunc", *filters).split()

    def one(self, service: str) -> str:
        """Id of the only container of a service."""
        ids = self.ids(service)
        if len(ids) != 1:
            raise StackError(f"{len(ids)} containers of {service} are running, and one should")
        return ids[0]

    def inspect(self, container: str) -> dict[str, Any]:
        """What docker knows of a container."""
        found: list[dict[str, Any]] = json.loads(docker("inspect", container))
        return found[0]

    def health(self, service: str) -> list[str]:
        """The health of each container of a service."""
        return [self.inspect(each)["State"]["Health"]["Status"] for each in self.ids(service)]

    def healthy(self, service: str, count: int = 1, seconds: float = 90.0) -> None:
        """Wait until so many containers of a service are healthy."""
        until(lambda: self.health(service) == ["healthy"] * count, f"{service}: {count} healthy", seconds, every=0.5)

    def port(self, service: str, inside: int) -> str:
        """Where a published port is on this machine: ``http://127.0.0.1:PORT``."""
        return "http://" + docker("port", self.one(service), f"{inside}/tcp").splitlines()[0]

    def network(self, name: str) -> str:
        """Docker's name of one of the networks."""
        return f"{self.name}_{name}"

    def secret(self, name: str) -> str:
        """A secret's text."""
        return (self.secrets / name).read_text(encoding="utf-8").strip()

    def password(self, login: str) -> str:
        """The password of a login at the server."""
        return self.secret(f"{login}_url").partition("@")[0].rpartition(":")[2]

    def server(self, login: str, *words: str) -> str:
        """What the server answers to a command of this login."""
        words = ("exec", "-e", f"REDISCLI_AUTH={self.password(login)}", self.one("server"), "valkey-cli",
                 "--user", login, *words)  # fmt: skip
        return docker(*words, check=False)

    def tails(self) -> str:
        """The last lines of every container, for a failure's sake."""
        parts = []
        for each in self.ids(running=False):
            logs = run([need("docker"), "logs", "--tail", "15", each], check=False)
            parts.append(f"--- {self.inspect(each)['Name']}\n{logs.stdout}{logs.stderr}")
        return "\n".join(parts)

    def remove(self) -> None:
        """Everything that belongs to it: containers, networks, volumes. Goes on when a part of it fails."""
        mine = f"label=com.docker.compose.project={self.name}"
        for what, listing in (
            ("rm -f -v", "ps -aq"),
            ("network rm", "network ls -q"),
            ("volume rm -f", "volume ls -q"),
        ):
            if found := docker(*listing.split(), "--filter", mine, check=False).split():
                left = run([need("docker"), *what.split(), *found], check=False)
                if left.returncode:
                    sys.stderr.write(left.stderr)
