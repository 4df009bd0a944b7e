"""Plays the scenes: sends each command, waits for its report, and asks the simulator's book and the ledger."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

import redis

from producers.client import EnqueuedCommand, OrderClient, publisher_app
from producers.commands import COMMANDS, Positions
from producers.errors import IdReused, ProducersError, ReportPending
from producers.report import Report
from producers.settings import QueueSettings
from worker.demo.scenarios import ID_REUSED, Effect, Raw, Scene, Way, properties
from worker.ledger.keys import JOURNAL_KEY
from worker.simulator.control import SimulatorControl

if TYPE_CHECKING:
    from celery import Celery

REPORT_SECONDS = 20.0
"""How long a report may take; the slowest scene needs less than two seconds."""

ENDINGS = {"settle", "refuse", "abandon"}
"""Journal events that give a command its report."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a scene."""

    scene: Scene
    outcome: str
    reason: str = ""
    attempts: int = 0
    replayed: bool = False
    milliseconds: int | None = None
    """From sending to the report, as the sender sees it."""
    effects: int = 0
    """By the simulator's book: how often executed, or for a query answered."""

    @property
    def ok(self) -> bool:
        """Whether all of it is what the contract says."""
        said = self.scene.expected
        if said.replayed is not None and said.replayed is not self.replayed:
            return False
        seen = (self.outcome, self.reason, self.attempts, self.effects)
        return seen == (said.outcome, said.reason, said.attempts, said.effects)


@dataclass(frozen=True, slots=True)
class Invariant:
    """Something that must hold over all scenes."""

    holds: bool
    sentence: str


class Stage:
    """A producer's client, a foreign one, the book and the ledger; a context manager, for one thread."""

    def __init__(self, settings: QueueSettings, control: SimulatorControl, check: Callable[[], None]) -> None:
        """``check`` is called while waiting and raises when waiting has become pointless."""
        self._client = OrderClient(settings)
        # Any Celery client will do; this one is told nothing but the broker.
        self._foreign: Celery = publisher_app(settings.broker_url)
        self._broker = _connect(settings.broker_url)
        self._ledger = _connect(settings.ledger_url)
        self._control = control
        self._check = check

    def __enter__(self) -> Self:
        self._control.change(properties())
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._foreign.close()
        for connection in (self._broker, self._ledger):
            connection.close()

    def play(self, scene: Scene) -> Row:
        """Send the scene's command and wait for its report; a report that does not come is a row too."""
        for fault in scene.faults:
            self._control.arm(fault)
        started = time.perf_counter()
        try:
            report = self._sent(scene)
        except IdReused:
            took = _since(started)
            # The sender knows from the stored report; that the worker sends nothing either is in its journal.
            self._until(lambda: self._events()[scene.command_id, "id_reused"], scene.command_id)
            return Row(scene, ID_REUSED, milliseconds=took)
        except ProducersError as error:
            return Row(scene, f"no report: {error}")
        return Row(
            scene,
            report.outcome.value,
            report.reason,
            report.attempts,
            report.replayed,
            _since(started),
        )

    def _sent(self, scene: Scene) -> Report:
        message, command_id = scene.message, scene.command_id
        if isinstance(message, Raw):
            self._foreign.send_task(message.task, kwargs={**message.arguments}, task_id=command_id, queue=message.task)
            return self._wait(command_id)
        times = 5 if scene.way is Way.TOGETHER else 1
        sent = self._client.enqueue_many([(message, command_id)] * times)[0]
        return self._replayed(sent) if scene.way is Way.AGAIN else self._wait(sent)

    def _wait(self, sent: EnqueuedCommand | str) -> Report:
        ends_at = time.monotonic() + REPORT_SECONDS
        while True:
            try:
                return self._client.wait(sent, timeout=1)
            except ReportPending:
                self._check()
                if time.monotonic() > ends_at:
                    raise

    def _replayed(self, sent: EnqueuedCommand) -> Report:
        """The report of the repetition: the first one's is there already and would be taken for it."""

        def came() -> Report | None:
            report = self._client.report(sent)
            return report if report and report.replayed else None

        return self._until(came, sent.command_id)

    def _until(self, came: Callable[[], T | None], command_id: str) -> T:
        ends_at = time.monotonic() + REPORT_SECONDS
        while not (found := came()):
            self._check()
            if time.monotonic() > ends_at:
                raise ReportPending(command_id, REPORT_SECONDS)
            time.sleep(0.01)
        return found

    # -- afterwards ----------------------------------------------------------------------------------------------

    def settled(self, rows: Iterable[Row]) -> list[Row]:
        """The rows with what the book says, once no message is queued or being worked on any more.

        Raises:
            ReportPending: messages are still there after a while.
        """
        self._until(lambda: not self._messages(), "the last of them")
        return [replace(row, effects=self._effects(row.scene.effect)) for row in rows]

    def invariants(self, rows: list[Row]) -> list[Invariant]:
        """What must hold over all rows; to be asked after :meth:`settled`."""
        return [self._nothing_twice(rows), self._one_report_each(rows)]

    def _nothing_twice(self, rows: list[Row]) -> Invariant:
        booked = len(self._control.executions())
        # A repetition shows the same entry of the book as the first row with its id.
        meant = {(row.scene.command_id, row.scene.title): row for row in rows if not row.scene.effect.query}
        accounted = sum(row.effects for row in meant.values())
        holds = booked == accounted and all(row.effects <= 1 for row in meant.values())
        return Invariant(
            holds,
            f"Nothing was executed twice: {booked} executions are in the simulator's book, of {accounted} different "
            "commands.",
        )

    def _one_report_each(self, rows: list[Row]) -> Invariant:
        events = self._events()
        ids = {row.scene.command_id: row.scene for row in rows}
        stored = sum(1 for command_id in ids if self._client.report(command_id) is not None)
        changing = [command_id for command_id, scene in ids.items() if not _is_query(scene)]
        ended = [sum(events[command_id, event] for event in ENDINGS) for command_id in changing]
        return Invariant(
            stored == len(ids) and all(count == 1 for count in ended),
            f"Every command has exactly one report: {stored} results for {len(ids)} ids, {sum(ended)} endings in the "
            f"ledger's journal for the {len(changing)} that are no queries, and no message is left in a queue.",
        )

    def _messages(self) -> int:
        """How many messages are queued, or taken and not acknowledged."""
        queued = sum(int(self._broker.llen(queue)) for queue in COMMANDS)
        return queued + int(self._broker.hlen("unacked"))

    def _events(self) -> Counter[tuple[str, str]]:
        """The ledger's journal: how often which event came for which command."""
        return Counter((entry["id"], entry["event"]) for _, entry in self._ledger.xrange(JOURNAL_KEY))

    def _effects(self, effect: Effect) -> int:
        if effect.query:
            return sum(1 for arrival in self._control.arrivals(path=effect.path) if arrival.status == 200)
        made = self._control.executions(path=effect.path)
        return sum(1 for each in made if effect.fields.items() <= each.fields.items())


def _is_query(scene: Scene) -> bool:
    return isinstance(scene.message, Positions)


def _connect(url: str) -> Any:
    return redis.Redis.from_url(url, socket_timeout=5, protocol=2, decode_responses=True)


def _since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
