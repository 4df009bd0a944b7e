"""`orders venue-check` at the simulated Kraken Futures, through ccxt and the transport."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from producers.cli.app import app
from tests.support.node import ROOT
from tests.support.waiting import until
from worker.simulator.server import SimulatorServer
from worker.simulator.simulator import DEMO_ACCOUNTS

DEMO = DEMO_ACCOUNTS["kraken"]
ORDER = ("venue-check", "futures", "--live", "--order", "PF_XBTUSD", "--yes", "--json")
SECONDS = 60.0
"""Ten times what an interrupted check takes on an idle machine."""


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorServer]:
    """One for all tests here."""
    with SimulatorServer() as running:
        yield running


@pytest.fixture
def environment(simulator: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The settings of an account there, also in the environment of this process."""
    simulator.control.reset()
    values = {"VENUE": DEMO.setting, "API_KEY": DEMO.api_key, "SECRET_KEY": DEMO.secret, "BASE_URL": simulator.url}
    settings = {f"ORDERS_ACCOUNTS__FUTURES__{name}": value for name, value in values.items()}
    for name in [name for name in os.environ if name.startswith("ORDERS_")]:
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, **settings}


def new_orders(simulator: SimulatorServer) -> list[Any]:
    """The orders that a check has made, whatever became of them."""
    made = simulator.control.exchange("krakenfutures", DEMO.api_key).orders()
    return [order for order in made if order.client_id]


@pytest.mark.parametrize(("fault", "code", "wrong"), [(None, 0, []), ("cut_after", 1, ["submit"])])
def test_an_order_is_found_and_taken_back(
    fault: str | None, code: int, wrong: list[str], simulator: SimulatorServer, environment: dict[str, str]
) -> None:
    if fault:
        simulator.control.fault(fault, path="submit")
    done = CliRunner().invoke(app, ORDER)
    document = json.loads(done.stdout)
    assert done.exit_code == code, document
    assert [step["name"] for step in document["steps"] if step["good"] is False] == wrong
    assert {"markets", "positions", "absent", "look", "cancel", "look-ended"} <= set(document["shown"])
    assert [order.state for order in new_orders(simulator)] == ["cancelled"]


def test_ctrl_c_while_the_order_is_on_its_way_cancels_it(
    simulator: SimulatorServer, environment: dict[str, str]
) -> None:
    simulator.control.fault("hold", path="submit", execute=True)
    command = [sys.executable, "-c", "from producers.cli.entry import main; main()", *ORDER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        until(lambda: new_orders(simulator), "the order has arrived", SECONDS)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert "it is cancelled" in json.loads(printed)["error"]["message"]
    assert [order.state for order in new_orders(simulator)] == ["cancelled"]
