"""The picture at the end of the demo: what became of the withdrawal whose reply was lost, from the ledger's journal."""

from collections.abc import Sequence
from dataclasses import dataclass

import redis
from rich.text import Text

from producers.cli.tables import folded
from worker.assembly import build_ledger
from worker.operations.history import History, Moment
from worker.operations.reconcile import run_by_worker
from worker.settings import WorkerSettings
from worker.simulator.control import SimulatorControl

COMMAND_ID = "lost-reply"
"""The scenario of the picture."""
RECONCILE_SECONDS = 20.0
AT_VENUE, ENQUEUED, BEGIN = "executed", "enqueued", "begin"
_STYLES = {ENQUEUED: "dim", BEGIN: "cyan", AT_VENUE: "magenta", "settle": "yellow", "resolve": "green"}
_SIGNS = {AT_VENUE: "◆"}
_INDENT = 13
"""Columns of the time and the line beside it."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """What became of one command."""

    moments: tuple[Moment, ...]
    """With one more than the journal has: when the venue executed it, which only the simulator can tell."""
    outcome: str
    """As which a reconcile has settled it."""


def settled(settings: WorkerSettings, control: SimulatorControl) -> Timeline:
    """Let a worker ask the venue what became of the command, and return its timeline.

    Raises:
        ProducersError, NoSuchCommand, StillOpen: see :func:`~worker.operations.reconcile.run_by_worker`.
    """
    with redis.Redis.from_url(settings.ledger_url, protocol=2, decode_responses=True) as client:
        history = History(client, build_ledger(settings, client))
        # Before it is settled, because the record then has the new report alone.
        before = _moments(history)
        run_by_worker(settings, COMMAND_ID, RECONCILE_SECONDS)
        last = before[-1].position if before else ""
        after = [each for each in _moments(history) if each.position > last]
        found = history.of(COMMAND_ID)
    report = found.report if found else None
    return Timeline(_with_venue([*before, *after], control), report.outcome.value if report else "")


def _moments(history: History) -> list[Moment]:
    found = history.of(COMMAND_ID)
    return list(found.moments) if found else []


def _with_venue(moments: list[Moment], control: SimulatorControl) -> tuple[Moment, ...]:
    began = next((number for number, each in enumerate(moments) if each.event == BEGIN), len(moments) - 1)
    executed = [each for each in control.executions(path="/auth/withdraw") if each.fields.get("qty") == "0.5"]
    words = "The request was sent. The venue executed it, and its reply was lost: the worker can't know this."
    marks = [Moment(each.time_ms, AT_VENUE, words) for each in executed]
    return (*moments[: began + 1], *marks, *moments[began + 1 :])


def picture(moments: Sequence[Moment], width: int) -> Text:
    """A line downwards with the moments beside it, each after its time since the first."""
    lines = []
    for number, each in enumerate(moments):
        style = _STYLES.get(each.event, "default")
        took = _since(each.at - moments[0].at)
        head = Text.assemble((f"{took:>9}", "dim"), "  ", (_SIGNS.get(each.event, "●"), style))
        text = folded(head, Text(each.words, style), _INDENT + 1, width)
        # The line goes on beside a sentence of several lines.
        first, *more = text.split("\n")
        beside = "│" if number < len(moments) - 1 else " "
        lines += [first, *(Text.assemble(" " * 11, beside, part[12:]) for part in more)]
        if number < len(moments) - 1:
            lines.append(Text(f"{' ' * 11}│"))
    return Text("\n").join(lines)


def _since(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"
