"""Broker, workers and results of one test, in memory."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis

from producers.base_client import now_ms
from producers.commands import COMMANDS, Command, parse_command
from producers.enqueued import EnqueuedCommand, id_of
from producers.intents import Intent
from producers.lanes import Lane
from producers.report import Outcome, Report
from producers.testing.answers import RANKS, Answer, Script, answer_of, stored_mark, stored_report

ACCEPTED = answer_of("accepted", "", {})
EXPIRED = answer_of("not_sent", "expired", {})
BROKER_AWAY = "in memory: the broker is away"
RESULTS_AWAY = "in memory: the results are away"


@dataclass
class _Open:
    """A command without a report."""

    sent: EnqueuedCommand
    enqueued_at: int
    lane: Lane | None
    then: Callable[[Report], None] | None
    """What is done when it has ended first."""
    asked: bool = False
    """Whether it had its turn; what has no report then has been told to have none yet."""

    @property
    def lane_key(self) -> tuple[str, str] | None:
        return None if self.lane is None else (self.sent.command.account, self.lane.name)


class InMemoryBackend:
    """What becomes of commands; safe to share among threads."""

    patience_seconds = 0.0
    """How long a wait for a report that is not there lasts in real time; then it ends as if its timeout had passed. A
    test that settles commands from another thread or task sets it."""

    def __init__(self) -> None:
        self.sent: list[EnqueuedCommand] = []
        """Every command that was enqueued, in order; also those whose id was enqueued before."""
        self._changed = threading.Condition()
        self._version = 0
        self._scripts: dict[type[Command] | str, Script] = {}
        self._open: dict[str, _Open] = {}
        self._ended: dict[str, tuple[_Open, Report]] = {}
        self._going_on = self._once_more = False
        self._held: dict[tuple[str, str], str] = {}
        self._stored: dict[str, bytes] = {}
        self._broker_away: tuple[bool] | None = None
        self._results_away = False
        self._listeners: list[Callable[[str], None]] = []

    # -- what a test says ----------------------------------------------------------------------------------------

    def answers(
        self,
        what: type[Command] | EnqueuedCommand | str,
        outcome: str | Sequence[str | None] | None = "accepted",
        *,
        reason: str = "",
        **fields: Any,
    ) -> None:
        """Choose how commands of a type, or the command with an id, end from now on; an id goes first. Without a choice
        they are ``accepted``, or ``not_sent`` where their deadline has passed.

        Several outcomes are those of the next commands, one each, and the last one of all after them. None is no report
        yet: it comes with :meth:`settle`. ``fields`` are further ones of the report: ``message``, ``result``,
        ``venue_code`` and others.

        Raises:
            ValueError: there is no such outcome, reason or field, or the reason is not the outcome's; or ``what`` is
                neither the type of a command nor an id.
        """
        if what not in COMMANDS.values() and not isinstance(what, EnqueuedCommand | str):
            raise ValueError("name the type of a command, such as Close, or a command's id")
        outcomes = [outcome] if outcome is None or isinstance(outcome, str) else list(outcome)
        if not outcomes:
            raise ValueError("name an outcome at least, or None for no report yet")
        script = Script([None if each is None else answer_of(each, reason, fields) for each in outcomes])
        with self._changed:
            self._scripts[what if isinstance(what, type) else id_of(what)] = script

    def settle(self, command: EnqueuedCommand | str, outcome: str, *, reason: str = "", **fields: Any) -> Report:
        """End a command that has no report yet, or settle one whose outcome is unknown, as an operator does.

        Raises:
            ValueError: as :meth:`answers`; or the command was never sent, waits in its lane, or has a report that is
                not a worse one.
        """
        command_id, answer = id_of(command), answer_of(outcome, reason, fields)
        with self._changed:
            if command_id in self._open:
                if not self._open[command_id].asked:
                    raise ValueError(f"{command_id} waits in its lane for the commands before it")
                return self._end(command_id, answer)
            if command_id not in self._ended:
                raise ValueError(f"no command with the id {command_id} was sent")
            before, report = self._ended[command_id]
            if RANKS.index(answer.outcome) <= RANKS.index(report.outcome):
                raise ValueError(f"{command_id} is {report.outcome}, which {outcome} does not replace")
            self._open[command_id] = before
            return self._end(command_id, answer)

    def breaks_chain(self, command_id: str, before: Report) -> None:
        """Mark a command as never sent because the one before it in its chain ended with this report."""
        with self._changed:
            if command_id in self._open or command_id in self._ended:
                raise ValueError(f"{command_id} was sent")
            self._store(command_id, stored_mark(before.to_json()))

    @contextmanager
    def broker_unavailable(self, *, enqueued: bool = False) -> Iterator[None]:
        """The broker does not answer during the block. With ``enqueued`` the commands get through all the same, which
        their sender cannot know."""
        self._broker_away = (enqueued,)
        try:
            yield
        finally:
            self._broker_away = None

    @contextmanager
    def results_unavailable(self) -> Iterator[None]:
        """The result backend does not answer during the block."""
        self._results_away = True
        self._tell(list(self._stored))
        try:
            yield
        finally:
            self._results_away = False
            self._tell(list(self._stored))

    # -- what clients do -----------------------------------------------------------------------------------------

    def publish(self, messages: Sequence[Intent]) -> None:
        """Take commands. Raises redis.ConnectionError while the broker is away."""
        away = self._broker_away
        if away is None or away[0]:
            for each in messages:
                self.take(each)
        if away is not None:
            raise redis.ConnectionError(BROKER_AWAY)

    def take(self, message: Intent, then: Callable[[Report], None] | None = None) -> None:
        """Take one command, as a worker does: an id is executed once."""
        command = parse_command(message.task, message.kwargs)
        sent = EnqueuedCommand(message.command_id, command, message.enqueued_at)
        with self._changed:
            self.sent.append(sent)
            if sent.command_id in self._open or sent.command_id in self._ended:
                return
            self._stored.pop(sent.command_id, None)
            self._open[sent.command_id] = _Open(sent, message.enqueued_at, message.lane, then)
            self._go_on()

    def was_sent(self, command_id: str) -> bool:
        """Whether the command was taken."""
        return command_id in self._open or command_id in self._ended

    def read(self, command_ids: Sequence[str]) -> list[bytes | None]:
        """See :class:`producers.report_reader.Results`."""
        if self._results_away:
            raise redis.ConnectionError(RESULTS_AWAY)
        return [self._stored.get(each) for each in command_ids]

    @contextmanager
    def announced(self, command_ids: Sequence[str]) -> Iterator[Callable[[float], object]]:
        """See :class:`producers.report_reader.Results`."""
        self.read(command_ids)
        seen = self._version

        def pause(seconds: float) -> None:
            nonlocal seen
            with self._changed:
                self._changed.wait_for(lambda: self._version != seen, seconds)
                seen = self._version

        yield pause

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call ``listener`` with the id of each command of which something new is stored, in any thread."""
        self._listeners.append(listener)

    # -- how it is done ------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """End what has its turn: of a lane one command at a time, in the order of arrival."""
        self._once_more = True
        if self._going_on:
            return  # Called by what it does itself, which goes on there: a lane or chain may be long.
        self._going_on = True
        try:
            while self._once_more:
                self._once_more = False
                self._end_those_that_have_their_turn()
        finally:
            self._going_on = False

    def _end_those_that_have_their_turn(self) -> None:
        busy = set(self._held)
        for command_id, each in list(self._open.items()):
            if command_id not in self._open or each.lane_key in busy:
                continue
            answer = None
            if not each.asked:
                each.asked, answer = True, self._next_answer(each.sent)
            if answer is not None:
                self._end(command_id, answer)
                busy = set(self._held)
            elif each.lane_key is not None:
                busy.add(each.lane_key)

    def _next_answer(self, sent: EnqueuedCommand) -> Answer | None:
        script = self._scripts.get(sent.command_id) or self._scripts.get(type(sent.command))
        if script is not None:
            return script.next()
        deadline = sent.command.deadline
        return ACCEPTED if deadline is None or deadline > now_ms() else EXPIRED

    def _end(self, command_id: str, answer: Answer) -> Report:
        each = self._open.pop(command_id)
        report = answer.report(command_id, each.sent.command, each.enqueued_at)
        self._ended[command_id] = each, report
        self._store(command_id, stored_report(report))
        lane, key = each.lane, each.lane_key
        if lane is not None and key is not None:
            if report.outcome is Outcome.UNKNOWN and lane.on_unknown == "hold":
                self._held[key] = command_id
            elif self._held.get(key) == command_id:
                del self._held[key]
        then, each.then = each.then, None
        if then is not None:
            then(report)
        self._go_on()
        return report

    def _store(self, command_id: str, raw: bytes) -> None:
        self._stored[command_id] = raw
        self._tell([command_id])

    def _tell(self, command_ids: Sequence[str]) -> None:
        with self._changed:
            self._version += 1
            self._changed.notify_all()
        for listener in self._listeners:
            for command_id in command_ids:
                listener(command_id)
