"""Staying up after the table: where everything is, what to try, and waiting for Ctrl-C."""

import shlex
import shutil
import signal
import sys
import time
from pathlib import Path

from worker.demo.environment import House
from worker.demo.scenarios import ADDRESS
from worker.demo.signals import Interrupted


def addresses(house: House) -> dict[str, str]:
    """Where the parts are, for programs."""
    return {
        "flower": house.flower_url,
        "simulator": house.simulator_url,
        "redis_url": house.redis_url,
        "folder": str(house.folder),
    }


def instructions(house: House) -> list[str]:
    """The same for people, with lines to copy; each works in any terminal of this machine, one after the other."""
    orders = f"ORDERS_REDIS_URL={house.redis_url} {shlex.quote(_orders())}"
    fault = '{"kind": "cut_after", "path": "withdraw"}'
    withdraw = f"withdraw --account main --asset ETH --address {ADDRESS} --yes --wait"
    return [
        "",
        "Everything stays up until Ctrl-C.",
        "",
        f"  Flower            {house.flower_url} (for looking only)",
        f"  simulator         {house.simulator_url}",
        f"  ORDERS_REDIS_URL  {house.redis_url}",
        f"  logs              {house.folder}",
        "",
        "Send more commands from another terminal, where each of these lines works as it is:",
        "",
        f"  {orders} positions --account main --wait",
        f"  {orders} close --account main --pair USD_ETH_PERP --qty 0.5 --wait",
        f"  {orders} {withdraw} --qty 0.01",
        "",
        "Let the venue execute the next withdrawal and lose its reply, and send one:",
        "",
        f"  curl {house.simulator_url}/_control/faults -d '{fault}'",
        f"  {orders} {withdraw} --qty 0.02 --id lost-again",
        "",
        "See what nobody knows, and let a worker look at the venue what became of it:",
        "",
        f"  {orders} unknown",
        f"  {orders} show lost-reply",
        f"  {orders} reconcile lost-cancel --by-worker",
        f"  {orders} reconcile --all --by-worker",
        "",
    ]


def stay(house: House) -> None:
    """Return at Ctrl-C, which is the ordinary end here.

    Raises:
        PartFailed: a part ended by itself.
        Interrupted: another signal came.
    """
    try:
        while True:
            house.check()
            time.sleep(0.2)
    except Interrupted as interrupted:
        if interrupted.number != signal.SIGINT:
            raise


def _orders() -> str:
    """The `orders` program of this Python, as short as it can be typed."""
    beside = Path(sys.executable).with_name("orders")
    on_path = shutil.which("orders")
    return str(beside) if beside.exists() and on_path != str(beside) else "orders"
