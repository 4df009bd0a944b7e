"""`orders venue-check` at the simulated Kraken Futures and OKX, through ccxt and the transport."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from producers.cli.app import app
from tests.support.node import ROOT
from tests.support.waiting import until
from worker.simulator.server import SimulatorServer
from worker.simulator.simulator import DEMO_ACCOUNTS

PAIRS = {"kraken": "PF_XBTUSD", "okx": "BTC-USDT-SWAP"}
"""By the alias of the simulator's account."""
SECONDS = 60.0
"""Ten times what an interrupted check takes on an idle machine."""


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorServer]:
    """One for all tests here."""
    with SimulatorServer() as running:
        yield running


@pytest.fixture
def environment(simulator: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The settings of the accounts there, also in the environment of this process."""
    simulator.control.reset()
    settings = {name: value for alias in PAIRS for name, value in DEMO_ACCOUNTS[alias].settings(simulator.url).items()}
    for name in [name for name in os.environ if name.startswith("ORDERS_")]:
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, **settings}


def order_at(alias: str) -> list[str]:
    """The arguments of a check with an order."""
    return ["venue-check", alias, "--live", "--order", PAIRS[alias], "--yes", "--json"]


def new_orders(simulator: SimulatorServer, alias: str) -> list[str]:
    """The states of the orders that a check has made."""
    demo = DEMO_ACCOUNTS[alias]
    made = simulator.control.exchange(demo.venue, demo.api_key).orders()
    return [order.state for order in made if order.client_id]


@pytest.mark.parametrize(
    ("alias", "fault", "code", "wrong"),
    [("kraken", None, 0, []), ("okx", None, 0, []), ("kraken", "cut_after", 1, ["submit"])],
)
def test_an_order_is_found_and_taken_back(
    alias: str,
    fault: str | None,
    code: int,
    wrong: list[str],
    simulator: SimulatorServer,
    environment: dict[str, str],
) -> None:
    if fault:
        simulator.control.fault(fault, path="submit")
    done = CliRunner().invoke(app, order_at(alias))
    document = json.loads(done.stdout)
    assert done.exit_code == code, document
    assert [step["name"] for step in document["steps"] if step["good"] is False] == wrong
    assert {"markets", "positions", "absent", "look", "cancel", "look-ended"} <= set(document["shown"])
    assert new_orders(simulator, alias) == ["cancelled"]


def test_ctrl_c_while_the_order_is_on_its_way_cancels_it(
    simulator: SimulatorServer, environment: dict[str, str]
) -> None:
    simulator.control.fault("hold", path="submit", execute=True)
    command = [sys.executable, "-c", "from producers.cli.entry import main; main()", *order_at("kraken")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        until(lambda: new_orders(simulator, "kraken"), "the order has arrived", SECONDS)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert "it is cancelled" in json.loads(printed)["error"]["message"]
    assert new_orders(simulator, "kraken") == ["cancelled"]
