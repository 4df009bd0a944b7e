"""Staying up after the table: prints addresses and commands to try, and waits for Ctrl-C."""

import shlex
import shutil
import signal
import sys
import time
from pathlib import Path

from worker.demo.environment import DemoEnvironment
from worker.demo.scenarios import ADDRESS
from worker.demo.signals import Interrupted


def addresses(environment: DemoEnvironment) -> dict[str, str]:
    """The addresses of the processes, for programs."""
    return {
        "flower": environment.flower_url,
        "desk": environment.desk_link,
        "simulator": environment.simulator_url,
        "redis_url": environment.redis_url,
        "folder": str(environment.folder),
    }


def instructions(environment: DemoEnvironment) -> list[str]:
    """The addresses for people, with commands to copy; each works in any terminal of this machine, in this order."""
    orders = f"ORDERS_REDIS_URL={environment.redis_url} {shlex.quote(_orders())}"
    withdraw = f"withdraw --account main --asset ETH --address {ADDRESS} --yes --wait"
    return [
        "",
        "Everything stays up until Ctrl-C.",
        "",
        f"  desk              {environment.desk_link}",
        f"                    (opens once; the next link is in {environment.folder}/desk.log)",
        f"  Flower            {environment.flower_url}/tasks (for looking only)",
        f"  simulator         {environment.simulator_url}",
        f"  ORDERS_REDIS_URL  {environment.redis_url}",
        f"  logs              {environment.folder}",
        "",
        "Send more commands from another terminal; each of these lines works as it is:",
        "",
        f"  {orders} positions --account main --wait",
        f"  {orders} close --account main --pair USD_ETH_PERP --qty 0.5 --wait",
        f"  {orders} submit --account futures --pair PF_XBTUSD --side buy --qty 0.03 --price 30000 --wait",
        f"  {orders} {withdraw} --qty 0.01",
        "",
        "Let the venue execute the next withdrawal and lose the reply, and send one:",
        "",
        f"  {_lose_next_reply(environment.simulator_url)}",
        f"  {orders} {withdraw} --qty 0.02 --id lost-again",
        "",
        "List the unknown commands, and let a worker find out at the venue what became of them:",
        "",
        f"  {orders} unknown",
        f"  {orders} show lost-again",
        f"  {orders} reconcile lost-cancel --by-worker",
        f"  {orders} reconcile --all --by-worker",
        "",
    ]


def wait_for_interrupt(environment: DemoEnvironment) -> None:
    """Return on Ctrl-C, which ends the demo successfully here.

    Raises:
        ProcessFailed: a process ended by itself.
        Interrupted: another signal arrived.
    """
    try:
        while True:
            environment.check()
            time.sleep(0.2)
    except Interrupted as interrupted:
        if interrupted.number != signal.SIGINT:
            raise


def _lose_next_reply(url: str) -> str:
    """A line that lets the simulator lose the reply to the next withdrawal. Not every machine has curl."""
    if shutil.which("curl"):
        return f"""curl {url}/_control/faults -d '{{"kind": "cut_after", "path": "withdraw"}}'"""
    call = f'print(SimulatorControl("{url}").fault("cut_after", path="withdraw"))'
    return f"{shlex.quote(sys.executable)} -c 'from worker.simulator.control import SimulatorControl; {call}'"


def _orders() -> str:
    """The shortest way to call the `orders` program of this Python."""
    beside = Path(sys.executable).with_name("orders")
    on_path = shutil.which("orders")
    return str(beside) if beside.exists() and on_path != str(beside) else "orders"
