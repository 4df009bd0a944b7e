"""Runs the scenarios: sends each command, waits for its report, and reads the simulator's executions and the ledger."""

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
from worker.demo.scenarios import ID_REUSED, Effect, RawMessage, Scenario, SendMode, initial_holdings
from worker.ledger.keys import JOURNAL_KEY
from worker.simulator.control import SimulatorControl

if TYPE_CHECKING:
    from celery import Celery

REPORT_SECONDS = 20.0
"""How long a report may take; the slowest scenario takes less than two seconds."""

FINAL_EVENTS = {"settle", "refuse", "abandon"}
"""Journal events by which a command gets its report."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """The result of a scenario."""

    scenario: Scenario
    outcome: str
    reason: str = ""
    attempts: int = 0
    replayed: bool = False
    milliseconds: int | None = None
    """From sending the command to receiving its report."""
    effects: int = 0
    """How often the simulator executed the command, or answered the query."""

    @property
    def ok(self) -> bool:
        """Whether the result is what the contract says."""
        expected = self.scenario.expected
        if expected.replayed is not None and expected.replayed is not self.replayed:
            return False
        actual = (self.outcome, self.reason, self.attempts, self.effects)
        return actual == (expected.outcome, expected.reason, expected.attempts, expected.effects)


@dataclass(frozen=True, slots=True)
class Invariant:
    """Something that must hold for all scenarios together."""

    holds: bool
    sentence: str


class Runner:
    """Runs scenarios with a producer's client and a plain Celery client. A context manager, for one thread."""

    def __init__(self, settings: QueueSettings, control: SimulatorControl, check: Callable[[], None]) -> None:
        """``check`` is called while waiting, and raises an exception if a process has ended."""
        self._client = OrderClient(settings)
        # A plain Celery client that knows nothing but the broker.
        self._celery: Celery = publisher_app(settings.broker_url)
        self._broker = _connect(settings.broker_url)
        self._ledger = _connect(settings.ledger_url)
        self._control = control
        self._check = check

    def __enter__(self) -> Self:
        self._control.change(initial_holdings())
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._celery.close()
        for connection in (self._broker, self._ledger):
            connection.close()

    def run(self, scenario: Scenario) -> Row:
        """Send the command of a scenario and wait for its report. A missing report also becomes a row."""
        for fault in scenario.faults:
            self._control.arm(fault)
        started = time.perf_counter()
        try:
            report = self._send(scenario)
        except IdReused:
            milliseconds = _ms_since(started)
            # The sender knows from the stored report. The journal shows that the worker sends nothing either.
            self._until(lambda: self._journal_counts()[scenario.command_id, "id_reused"], scenario.command_id)
            return Row(scenario, ID_REUSED, milliseconds=milliseconds)
        except ProducersError as error:
            return Row(scenario, f"no report: {error}")
        return Row(
            scenario,
            report.outcome.value,
            report.reason,
            report.attempts,
            report.replayed,
            _ms_since(started),
        )

    def _send(self, scenario: Scenario) -> Report:
        message, command_id = scenario.message, scenario.command_id
        if isinstance(message, RawMessage):
            self._celery.send_task(message.task, kwargs={**message.arguments}, task_id=command_id, queue=message.task)
            return self._wait(command_id)
        times = 5 if scenario.mode is SendMode.FIVE_TIMES else 1
        sent = self._client.enqueue_many([(message, command_id)] * times)[0]
        return self._wait_for_replay(sent) if scenario.mode is SendMode.REPEATED else self._wait(sent)

    def _wait(self, sent: EnqueuedCommand | str) -> Report:
        ends_at = time.monotonic() + REPORT_SECONDS
        while True:
            try:
                return self._client.wait(sent, timeout=1)
            except ReportPending:
                self._check()
                if time.monotonic() > ends_at:
                    raise

    def _wait_for_replay(self, sent: EnqueuedCommand) -> Report:
        """Wait for the report of the repetition; the report of the first execution is stored already."""

        def replayed() -> Report | None:
            report = self._client.report(sent)
            return report if report and report.replayed else None

        return self._until(replayed, sent.command_id)

    def _until(self, find: Callable[[], T | None], command_id: str) -> T:
        ends_at = time.monotonic() + REPORT_SECONDS
        while not (found := find()):
            self._check()
            if time.monotonic() > ends_at:
                raise ReportPending(command_id, REPORT_SECONDS)
            time.sleep(0.01)
        return found

    # -- afterwards ----------------------------------------------------------------------------------------------

    def finish(self, rows: Iterable[Row]) -> list[Row]:
        """Wait until no message is queued or being processed, and complete the rows with the simulator's executions.

        Raises:
            ReportPending: messages are still queued or being processed after a while.
        """
        self._until(lambda: not self._messages(), "the last command")
        return [replace(row, effects=self._effects(row.scenario.effect)) for row in rows]

    def invariants(self, rows: list[Row]) -> list[Invariant]:
        """What must hold for all rows; to be called after :meth:`finish`."""
        return [self._nothing_twice(rows), self._one_report_each(rows)]

    def _nothing_twice(self, rows: list[Row]) -> Invariant:
        executed = len(self._control.executions())
        # A repetition has the same executions as the first row with its id.
        distinct = {(row.scenario.command_id, row.scenario.title): row for row in rows if not row.scenario.effect.query}
        expected = sum(row.effects for row in distinct.values())
        holds = executed == expected and all(row.effects <= 1 for row in distinct.values())
        return Invariant(
            holds,
            f"Nothing was executed twice: the simulator has {executed} executions of {expected} different commands.",
        )

    def _one_report_each(self, rows: list[Row]) -> Invariant:
        events = self._journal_counts()
        ids = {row.scenario.command_id: row.scenario for row in rows}
        stored = sum(1 for command_id in ids if self._client.report(command_id) is not None)
        changing = [command_id for command_id, scenario in ids.items() if not _is_query(scenario)]
        ended = [sum(events[command_id, event] for event in FINAL_EVENTS) for command_id in changing]
        return Invariant(
            stored == len(ids) and all(count == 1 for count in ended),
            f"Every command has exactly one report: {stored} results for {len(ids)} ids, {sum(ended)} final events "
            f"in the ledger's journal for the {len(changing)} that are not queries, and no message is left in a queue.",
        )

    def _messages(self) -> int:
        """How many messages are queued, or delivered and not acknowledged."""
        queued = sum(int(self._broker.llen(queue)) for queue in COMMANDS)
        return queued + int(self._broker.hlen("unacked"))

    def _journal_counts(self) -> Counter[tuple[str, str]]:
        """How often each event is in the ledger's journal, by command id and event."""
        return Counter((entry["id"], entry["event"]) for _, entry in self._ledger.xrange(JOURNAL_KEY))

    def _effects(self, effect: Effect) -> int:
        if effect.query:
            return sum(1 for arrival in self._control.arrivals(path=effect.path) if arrival.status == 200)
        made = self._control.executions(path=effect.path)
        return sum(1 for each in made if effect.fields.items() <= each.fields.items())


def _is_query(scenario: Scenario) -> bool:
    return isinstance(scenario.message, Positions)


def _connect(url: str) -> Any:
    return redis.Redis.from_url(url, socket_timeout=5, protocol=2, decode_responses=True)


def _ms_since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
