"""Log lines of commands: one for each event, with the command's id, account and attempt, without its arguments."""

import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from producers.printable import printable
from worker.execution.events import AttemptEvent, CommandRef, EndEvent, LookEvent, Observer

executor_log = logging.getLogger("orders.executor")
ledger_log = logging.getLogger("orders.ledger")


SHORT_NAMES = {"command_id": "id"}
"""Shorter names of fields in the lines for people."""

MAX_VALUE_CHARACTERS, MAX_TEXT_CHARACTERS = 255, 1000
"""How many characters are written of a field, and of the text after the fields."""

_COOLED_DOWN = {True: "host", False: "account", None: "probe"}
"""What a cool-down holds for; None renews what an attempt has probed in vain."""

_PLAIN = re.compile(r"[!#-~]{1,%d}" % MAX_VALUE_CHARACTERS).fullmatch  # noqa: UP031


class LogEvent:
    """The message of a log record: an event with its fields. As text it is ``attempt id=… account=… attempt=1 …``;
    :class:`~worker.observability.json_format.JsonFormatter` writes the fields. It is formatted when a handler needs
    it."""

    __slots__ = ("event", "fields", "text")

    def __init__(self, event: str, fields: Mapping[str, Any], text: str = "") -> None:
        self.event = event
        self.fields = fields
        self.text = text

    def __str__(self) -> str:
        fields = " ".join(
            [f"{SHORT_NAMES.get(name, name)}={_format_value(value)}" for name, value in self.fields.items()]
        )
        return f"{self.event} {fields}{': ' if self.text else ''}{printable(self.text, MAX_TEXT_CHARACTERS)}"


class LogObserver(Observer):
    """Writes a line for each event. ``attempt`` counts the attempts of all workers that have had the command."""

    def began(self, ref: CommandRef, wait: float | None, fence: int, attempt: int) -> None:
        """Log the begin, which is the only line of a command whose worker dies in the middle of it."""
        if not executor_log.isEnabledFor(logging.INFO):
            return
        event = "begin" if fence == 1 else "taken_over"
        wait_seconds = None if wait is None else round(wait, 3)
        executor_log.info(
            LogEvent(event, {**_command_fields(ref), "attempt": attempt, "fence": fence, "waited": wait_seconds})
        )

    def attempted(self, ref: CommandRef, event: AttemptEvent) -> None:
        """Log what an attempt proved and what follows from it."""
        if not executor_log.isEnabledFor(logging.INFO):
            return
        fields = {
            **_command_fields(ref),
            "attempt": event.attempt,
            "http_status": event.http_status,
            "proof": event.proof,
            "decision": event.decision,
            "latency": None if event.latency_seconds is None else round(event.latency_seconds, 4),
            "signature_age": None if event.signature_age_seconds is None else round(event.signature_age_seconds, 4),
        }
        executor_log.info(LogEvent("attempt", fields))

    def looked(self, ref: CommandRef, event: LookEvent) -> None:
        """Log what a look for a command in doubt showed."""
        fields = {**_command_fields(ref), "look": event.number, "sight": event.sight, "counts": event.counts}
        executor_log.info(LogEvent("look", {**fields, "seconds": round(event.seconds, 3)}, event.words))

    def waits(self, ref: CommandRef, attempt: int, seconds: float, because: str) -> None:
        """Log the wait before the next attempt."""
        executor_log.info(
            LogEvent("waiting", {**_command_fields(ref), "attempt": attempt, "seconds": round(seconds, 3)}, because)
        )

    def ended(self, ref: CommandRef, end: EndEvent) -> None:
        """Log the end, as a warning where an operator has to act."""
        level = logging.WARNING if end.outcome == "unknown" else logging.INFO
        if not executor_log.isEnabledFor(level):
            return
        fields = {**_command_fields(ref), "attempt": end.attempts, "outcome": end.outcome, "reason": end.reason}
        executor_log.log(level, LogEvent("end", fields))

    def held(self, ref: CommandRef, until: int) -> None:
        """Log that persons must approve it."""
        executor_log.info(LogEvent("held", {**_command_fields(ref), "until": until}, "it waits for approval"))

    def parked(self, ref: CommandRef, waits_for: str, seconds: float) -> None:
        """Log that it waits at the server."""
        fields = {**_command_fields(ref), "waits_for": waits_for, "seconds": round(seconds, 3)}
        executor_log.info(LogEvent("parked", fields))

    def throttled(self, ref: CommandRef, brake: str, seconds: float, why: str) -> None:
        """Log what keeps an attempt from beginning."""
        fields = {**_command_fields(ref), "brake": brake, "seconds": round(seconds, 3)}
        executor_log.info(LogEvent("throttled", fields, why))

    def cooled_down(self, ref: CommandRef, seconds: float | None, by_address: bool | None, why: str) -> None:
        """Warn that the venue wants no requests for some time."""
        fields = {**_command_fields(ref), "seconds": seconds, "of": _COOLED_DOWN[by_address]}
        executor_log.warning(LogEvent("cool_down", fields, why))

    def replayed(self, ref: CommandRef, outcome: str) -> None:
        """Log that the stored report was the answer and nothing was sent."""
        ledger_log.info(LogEvent("replayed", {**_command_fields(ref), "outcome": outcome}))

    def id_reused(self, ref: CommandRef) -> None:
        """Warn that the sender has to choose another id."""
        text = "the id belongs to a command with other arguments; nothing was sent, choose a new id"
        ledger_log.warning(LogEvent("id_reused", _command_fields(ref), text))

    def orphaned(self, ref: CommandRef, outcome: str, message: str) -> None:
        """Warn that the command of a dead worker was ended."""
        ledger_log.warning(LogEvent("orphaned", {**_command_fields(ref), "outcome": outcome}, message))

    def ruled(self, ref: CommandRef, words: str, denied: bool) -> None:
        """Warn of what the withdrawal policy denied, or would have denied or held."""
        executor_log.warning(LogEvent("denied" if denied else "policy_warning", _command_fields(ref), words))

    def fault(self, ref: CommandRef, kind: str, raised_at: str) -> None:
        """Log a bug in the worker."""
        executor_log.error(
            LogEvent(
                "fault",
                {**_command_fields(ref), "error": kind, "place": raised_at},
                "a bug in the worker: report it with this line",
            )
        )


def _format_value(value: object) -> str:
    """A value as one word, or in quotes, so that it can't be read as another field."""
    if value is None or isinstance(value, int | float):
        return str(value)
    if isinstance(value, str) and _PLAIN(value):
        return value
    text = printable(value, MAX_VALUE_CHARACTERS)
    return json.dumps(text, ensure_ascii=False) if " " in text or '"' in text else text


def _command_fields(ref: CommandRef) -> dict[str, Any]:
    return {"command_id": ref.command_id, "command": ref.command, "account": ref.account}
