"""The stack as a project of docker compose: compose by its program, everything else by Docker's API."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container
from docker.models.networks import Network

from tests.support.containers import engine
from tests.support.node import ROOT
from tests.support.servers import free_port
from tests.support.waiting import until

COMPOSE_FILE = ROOT / "compose" / "compose.yaml"
SERVICES = ("server", "worker", "worker-withdraw", "desk", "flower", "prometheus", "alertmanager", "simulator")
"""All but Grafana, whose image comes from its makers' registry alone."""


class StackError(Exception):
    """Something did not do what it was told; the text says what."""


def run(
    words: Sequence[str], *, text: str | None = None, seconds: float = 120.0, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program, with these variables beside this process's own.

    Raises:
        StackError: it failed, or took longer than ``seconds``.
    """
    env = {**os.environ, **environment}
    try:
        done = subprocess.run(
            words, input=text, env=env, capture_output=True, text=True, timeout=seconds, check=False
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise StackError(f"{' '.join(words)}: not done within {seconds:g} s") from None
    if check and done.returncode:
        raise StackError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return done


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


def output_of(container: Container, *words: str, **environment: str) -> str:
    """What a command prints in a container, to either stream."""
    return str(container.exec_run(list(words), environment=environment).output.decode().strip())


class ComposeProject:
    """One project of compose, its images and its secrets."""

    def __init__(self, name: str, secrets: Path, images: Mapping[str, str]) -> None:
        """``images`` are the settings that compose/offline/build prints."""
        self.name, self.secrets, self.images = name, secrets, images
        self._program = compose_program()
        ports = dict.fromkeys(("FLOWER_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT", "GRAFANA_PORT"), "0")
        # A desk knows the address by which it is reached, so its port is chosen before it starts.
        ports["DESK_PORT"] = str(free_port())
        self._environment = {"COMPOSE_PROJECT_NAME": name, "SECRETS": str(secrets), **ports, **images}
        self.version = run([*self._program, "version"], **self._environment).stdout.splitlines()[0]

    def compose(self, *words: str, seconds: float = 120.0) -> None:
        """``docker compose …`` on this project."""
        base = [*self._program, "-f", str(COMPOSE_FILE), "--profile", "sandbox"]
        run([*base, *words], seconds=seconds, **self._environment)

    def run_client(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``orders …`` with a producer's login, as docs/deploying.md says to do it."""
        base = [*self._program, "-f", str(COMPOSE_FILE), "--profile", "tools", "run", "--rm", "-T", "client"]
        return run([*base, *words], check=False, **self._environment)

    def up(self, *words: str) -> None:
        """Start what is missing."""
        self.compose("up", "-d", "--no-build", *words)

    @property
    def label(self) -> str:
        """What compose writes on everything that belongs to this project."""
        return f"com.docker.compose.project={self.name}"

    def containers(self, service: str = "", *, running: bool = True) -> list[Container]:
        """The containers of a service, or of all; those of `compose run` do not count."""
        labels = [self.label, "com.docker.compose.oneoff=False"]
        labels += [f"com.docker.compose.service={service}"] if service else []
        found: list[Container] = engine().containers.list(all=not running, filters={"label": labels})
        return found

    def container(self, service: str) -> Container:
        """The only container of a service."""
        (found,) = self.containers(service)
        return found

    def until_healthy(self, service: str, count: int = 1) -> None:
        """Wait until so many containers of a service are healthy."""

        def healthy() -> bool:
            found = self.containers(service)
            return [each.attrs["State"]["Health"]["Status"] for each in found] == ["healthy"] * count

        until(healthy, f"{service}: {count} healthy", 90, every=0.5)

    def url(self, service: str, port: int) -> str:
        """Where a published port is on this machine: ``http://127.0.0.1:PORT``."""
        (bound,) = self.container(service).ports[f"{port}/tcp"]
        return f"http://{bound['HostIp']}:{bound['HostPort']}"

    def network_name(self, name: str) -> str:
        """Docker's name of one of the networks."""
        return f"{self.name}_{name}"

    def network(self, name: str) -> Network:
        """One of the networks."""
        return engine().networks.get(self.network_name(name))

    def address(self, service: str, network: str) -> str:
        """The address of a service on a network."""
        networks = self.container(service).attrs["NetworkSettings"]["Networks"]
        return str(networks[self.network_name(network)]["IPAddress"])

    def secret(self, name: str) -> str:
        """A secret's text."""
        return (self.secrets / name).read_text(encoding="utf-8").strip()

    def password(self, login: str) -> str:
        """The password of a login at the server; that of the health check is no secret."""
        return login if login == "health" else self.secret(f"{login}_url").partition("@")[0].rpartition(":")[2]

    def ask_server(self, login: str, *words: str) -> str:
        """What the server answers to a command of this login."""
        client = ("valkey-cli", "--user", login)
        return output_of(self.container("server"), *client, *words, REDISCLI_AUTH=self.password(login))

    def log_tails(self) -> str:
        """The last lines of every container, for a failure's sake."""
        found = self.containers(running=False)
        return "\n".join(f"--- {each.name}\n{each.logs(tail=15).decode(errors='replace')}" for each in found)

    def remove(self) -> None:
        """Remove everything that belongs to the project; goes on when a part of it fails."""
        ours: dict[str, Any] = {"filters": {"label": self.label}}
        containers = engine().containers.list(all=True, **ours)
        for each in (*containers, *engine().networks.list(**ours), *engine().volumes.list(**ours)):
            try:
                each.remove(**({"force": True, "v": True} if isinstance(each, Container) else {}))
            except docker.errors.APIError as error:
                sys.stderr.write(f"{error}\n")
