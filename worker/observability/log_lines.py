"""Log lines: one for each transition of a command, with its id, account and attempt, and nothing of its arguments."""

import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from producers.printable import printable
from worker.execution.events import AttemptEvent, CommandRef, EndEvent, Observer

executor_log = logging.getLogger("orders.executor")
ledger_log = logging.getLogger("orders.ledger")


SHORT = {"command_id": "id"}
"""Names as people have always read them in these lines."""

LONGEST_VALUE, LONGEST_WORDS = 255, 1000
"""Characters of a field, and of the words for people."""

_PLAIN = re.compile(r"[!#-~]{1,%d}" % LONGEST_VALUE).fullmatch  # noqa: UP031


class LogEvent:
    """A log message of an event and its fields: ``attempt id=… account=… attempt=1 …`` for people, the fields
    themselves for :class:`~worker.observability.json_format.JsonFormatter`. It is formatted when a handler asks."""

    __slots__ = ("event", "fields", "words")

    def __init__(self, event: str, fields: Mapping[str, Any], words: str = "") -> None:
        self.event = event
        self.fields = fields
        self.words = words

    def __str__(self) -> str:
        told = " ".join([f"{SHORT.get(name, name)}={_value(value)}" for name, value in self.fields.items()])
        return f"{self.event} {told}{': ' if self.words else ''}{printable(self.words, LONGEST_WORDS)}"


class LogObserver(Observer):
    """Writes a line for each event. ``attempt`` is its number over all owners of the command."""

    def began(self, ref: CommandRef, wait: float | None, fence: int, attempt: int) -> None:
        """The one line of a command whose worker dies in the middle of it."""
        if not executor_log.isEnabledFor(logging.INFO):
            return
        event = "begin" if fence == 1 else "taken_over"
        waited = None if wait is None else round(wait, 3)
        executor_log.info(LogEvent(event, {**_of(ref), "attempt": attempt, "fence": fence, "waited": waited}))

    def attempted(self, ref: CommandRef, event: AttemptEvent) -> None:
        """What came of a request."""
        if not executor_log.isEnabledFor(logging.INFO):
            return
        fields = {
            **_of(ref),
            "attempt": event.attempt,
            "http_status": event.http_status,
            "proof": event.proof,
            "decision": event.decision,
            "latency": None if event.latency_seconds is None else round(event.latency_seconds, 4),
            "signature_age": None if event.signature_age_seconds is None else round(event.signature_age_seconds, 4),
        }
        executor_log.info(LogEvent("attempt", fields))

    def waits(self, ref: CommandRef, attempt: int, seconds: float, because: str) -> None:
        """Before the next attempt."""
        executor_log.info(LogEvent("waiting", {**_of(ref), "attempt": attempt, "seconds": round(seconds, 3)}, because))

    def ended(self, ref: CommandRef, end: EndEvent) -> None:
        """A warning where a person is asked for."""
        fields = {**_of(ref), "attempt": end.attempts, "outcome": end.outcome, "reason": end.reason}
        level = logging.WARNING if end.outcome == "unknown" else logging.INFO
        executor_log.log(level, LogEvent("end", fields))

    def replayed(self, ref: CommandRef, outcome: str) -> None:
        """Nothing was done."""
        ledger_log.info(LogEvent("replayed", {**_of(ref), "outcome": outcome}))

    def id_reused(self, ref: CommandRef) -> None:
        """Somebody must choose another id."""
        words = "the id belongs to a command with other arguments; nothing was sent, choose a new id"
        ledger_log.warning(LogEvent("id_reused", _of(ref), words))

    def orphaned(self, ref: CommandRef, outcome: str, message: str) -> None:
        """Somebody else's command was ended."""
        ledger_log.warning(LogEvent("orphaned", {**_of(ref), "outcome": outcome}, message))

    def fault(self, ref: CommandRef, kind: str, raised_at: str) -> None:
        """A bug of ours: to be reported."""
        executor_log.error(LogEvent("fault", {**_of(ref), "error": kind, "place": raised_at}, "a fault in the worker"))


def _value(value: object) -> str:
    """One word, so that a value can't be read as another field."""
    if value is None or isinstance(value, int | float):
        return str(value)
    if isinstance(value, str) and _PLAIN(value):
        return value
    text = printable(value, LONGEST_VALUE)
    return json.dumps(text, ensure_ascii=False) if " " in text or '"' in text else text


def _of(ref: CommandRef) -> dict[str, Any]:
    return {"command_id": ref.command_id, "command": ref.command, "account": ref.account}
