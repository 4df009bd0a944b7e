"""What seals, withdrawal policy and signed reports cost: CPU of the worker that withdraws, for each withdrawal, without
and with them, in rounds that take turns. `python -m tests.benchmarks.guards`"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import psutil

from producers.signing import PrivateKey
from tests.security.conftest import all_guards
from tests.security.test_seals import new_id, sealed
from tests.support.compose_stack import WITHDRAW, ComposeStack, message
from tests.support.seals import PAYROLL


def milliseconds(stack: ComposeStack, count: int, signer: PrivateKey) -> float:
    """CPU of the worker for one withdrawal of ``count`` that are queued at once."""
    task, process = "orders.withdraw", psutil.Process(stack.workers["withdraw"].pid)
    ids = [new_id(signer) for _ in range(count)]
    texts = [message(task, each, WITHDRAW, headers=sealed(signer, task, each, WITHDRAW)) for each in ids]
    before = process.cpu_times()
    with stack.server.login("producer") as client:
        client.lpush(task, *texts)
    for command_id in ids:
        assert stack.ended(command_id, 600).outcome == ("accepted", "ok")
    after = process.cpu_times()
    stack.venue.reset()
    return (after.user + after.system - before.user - before.system) * 1000 / count


def main() -> None:
    """Print the figures of each round and the ratio of the medians."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--commands", type=int, default=300)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        with ComposeStack(path) as bare, ComposeStack(path, **all_guards(path)) as guarded:
            for stack in (bare, guarded):
                milliseconds(stack, chosen.commands, PAYROLL)  # warm
            rounds = [
                (milliseconds(bare, chosen.commands, PAYROLL), milliseconds(guarded, chosen.commands, PAYROLL))
                for _ in range(chosen.rounds)
            ]
    for off, on in rounds:
        print(f"off {off:.2f} ms   on {on:.2f} ms   {on / off:.2f}")
    off, on = (statistics.median(figures) for figures in zip(*rounds, strict=True))
    print(f"CPU of one withdrawal, median of {len(rounds)} rounds of {chosen.commands}: ", end="")
    print(f"{off:.2f} ms without, {on:.2f} ms with all guards, ratio {on / off:.2f}; {time.strftime('%Y-%m-%d')}")


if __name__ == "__main__":
    main()
