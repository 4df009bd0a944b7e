"""What is known of a parked command by the worker that takes it up: its report is to be the one that it would have had
in one thread.

Most is in the ledger's record. What only the owner knew is kept there as a text (:class:`Memory`). A query has no
record: its message carries everything (:class:`QueryProgress`), and a stranger may have written that; so does that of
a command whose plan could not be made yet (:class:`PlanProgress`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from producers import exact_json
from producers.report import Outcome, Reason
from worker.ledger.base import Progress
from worker.venues.json_values import int_or_none, to_report_json

MAX_TEXT_CHARACTERS, MAX_CONTAINERS = 4000, 64
"""The longest text of a memory, and how many lists and objects are in it; of a larger one what the venue returned
beside its message is left out."""
MAX_ATTEMPTS = 1000
"""More attempts than any setting allows."""
MAX_TIME_MS = 10**15


@dataclass(frozen=True, slots=True)
class Ending:
    """An end that proves that nothing was executed."""

    outcome: Outcome
    reason: Reason
    message: str

    @classmethod
    def from_json(cls, value: object) -> "Ending | None":
        """Read what was stored; None for anything else."""
        given = value if isinstance(value, Mapping) else {}
        outcome, reason, message = given.get("outcome"), given.get("reason"), _text(given.get("message"))
        if outcome not in (Outcome.NOT_SENT, Outcome.REJECTED) or reason not in tuple(Reason) or message is None:
            return None
        return cls(Outcome(outcome), Reason(reason), message)


@dataclass(frozen=True, slots=True)
class Memory:
    """What the owner of a command knows beside its progress."""

    first_doubt: str = ""
    """The verdict's message of the first attempt of unknown fate."""
    refused_after_doubt: bool = False
    """As in :class:`~worker.execution.context.Run`."""
    http_status: int | None = None
    venue_code: int | str | None = None
    venue_message: str | None = None
    result: Any = None
    """The last four are those of the last response."""
    tries: int = 0
    """How many attempts were begun by then: after a further one, what follows is out of date."""
    looks: int = 0
    absences: int = 0
    """How often it was looked for at the venue since then, and how many of these looks count as absences
    (:mod:`worker.execution.looking`)."""
    ending: Ending | None = None
    """How it ends if no attempt of it was executed; None where it goes on then."""

    def to_text(self) -> str:
        """As JSON, never empty."""
        fields = asdict(self)
        text = exact_json.dumps(fields)
        return text if _is_small(text) else exact_json.dumps({**fields, "result": None})

    @classmethod
    def from_text(cls, text: str) -> "Memory":
        """Read :meth:`to_text`; what can't be read is forgotten."""
        try:
            fields = exact_json.loads(text) if _is_small(text) else {}
        except (ValueError, RecursionError):
            fields = {}
        given = fields if isinstance(fields, Mapping) else {}
        code = int_or_none(given.get("venue_code"))
        tries, looks, absences = (_count(given.get(name), MAX_ATTEMPTS) or 0 for name in ("tries", "looks", "absences"))
        return cls(
            _text(given.get("first_doubt")) or "",
            given.get("refused_after_doubt") is True,
            _count(given.get("http_status"), 999),
            _text(given.get("venue_code")) if code is None else code,
            _text(given.get("venue_message")),
            to_report_json(given.get("result")),
            tries,
            looks,
            absences,
            Ending.from_json(given.get("ending")),
        )


@dataclass(frozen=True, slots=True)
class QueryProgress:
    """What is known of a query that was parked."""

    progress: Progress
    began_at: int
    """When its retry budget began, UNIX ms on the clock of the worker that began it."""
    memory: Memory

    def since_ms(self, now_ms: int) -> int:
        """How long ago its retry budget began; never in the future, however the clocks of the workers differ."""
        return max(0, now_ms - self.began_at)

    def to_header(self) -> dict[str, Any]:
        """As a header of its message."""
        return {**asdict(self.progress), "began_at": self.began_at, "memory": self.memory.to_text()}

    @classmethod
    def from_header(cls, header: object) -> "QueryProgress | None":
        """Read a header; None when it is absent, or not as :meth:`to_header` writes it. It can only take attempts from
        its own query, and add none."""
        if not isinstance(header, Mapping):
            return None
        tries = _count(header.get("tries"), MAX_ATTEMPTS)
        sent = _count(header.get("sent"), tries or 0)
        began_at, tainted = _count(header.get("began_at"), MAX_TIME_MS), header.get("tainted")
        if not tries or sent is None or began_at is None or tainted not in ("", *map(str, Reason)):
            return None
        times = (_count(header.get(name), MAX_TIME_MS) for name in ("first_sent_at", "last_signed_at"))
        return cls(
            Progress(tries, sent, tainted, *times), began_at, Memory.from_text(_text(header.get("memory")) or "")
        )


@dataclass(frozen=True, slots=True)
class PlanProgress:
    """What is known of a command that was parked because its plan could not be made; it has not begun."""

    failures: int
    since_ms: int
    """When its plan failed first, UNIX ms."""

    def to_header(self) -> dict[str, Any]:
        """As a header of its message."""
        return asdict(self)

    @classmethod
    def from_header(cls, header: object) -> "PlanProgress | None":
        """Read a header; None when it is absent, or not as :meth:`to_header` writes it."""
        if not isinstance(header, Mapping):
            return None
        failures, since = _count(header.get("failures"), MAX_ATTEMPTS), _count(header.get("since_ms"), MAX_TIME_MS)
        return None if not failures or since is None else cls(failures, since)


def since_of(header: object, now_ms: int) -> int:
    """Since when a command waits for its first attempt, by a header of its message: UNIX ms, and not after now."""
    since = _count(header, MAX_TIME_MS)
    return now_ms if since is None else min(since, now_ms)


def _is_small(text: str) -> bool:
    return len(text) <= MAX_TEXT_CHARACTERS and text.count("[") + text.count("{") <= MAX_CONTAINERS


def _count(value: object, most: int) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
    return value if is_count else None  # type: ignore[return-value] # it is an int


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= MAX_TEXT_CHARACTERS else None
