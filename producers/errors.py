"""Every error a producer can meet, one class for each decision a caller makes.

::

    ProducersError
    ├── InvalidCommand        the command can't be built: mend the arguments
    ├── BrokerUnavailable     it is not known to be enqueued: try again with the same id
    ├── ReportPending         no report in time: wait again, or look later; nothing is lost
    ├── ChainBroken           what comes before it in its chain or chord was not accepted: it was never sent
    ├── IdReused              the id belongs to another command: this one was not executed, choose a new id
    └── OrderError            the command ended, and not in ``accepted``; carries the report
        ├── OrderRejected     the venue refused it; nothing was executed
        ├── OrderNotSent      proven not executed, and given up: a new id may try again
        └── OrderUnknown      it may have been executed: look at the venue, never just send again
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


UNREACHABLE = "results can't be reached"
"""How the cause of a :class:`ReportPending` begins when the result backend does not answer."""


class ProducersError(Exception):
    """Base of every error of this package."""


class InvalidCommand(ProducersError, ValueError):
    """The arguments can't make a command; ``problems`` names each, without values that may be secret.

    Of :func:`~producers.commands.parse_command`; a model called by its name, ``Close(…)``, raises Pydantic's own
    ``ValidationError``, a :class:`ValueError` like this one.
    """

    def __init__(self, command: str, problems: Sequence[str]) -> None:
        super().__init__(command, list(problems))
        self.command = command
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return f"{self.command}: {'; '.join(self.problems)}"


class BrokerUnavailable(ProducersError, ConnectionError):
    """The broker is down or does not answer, so nobody knows whether the commands were enqueued.

    Enqueueing the same commands again with the same ids is safe: an id is executed once. Giving up on them does not
    take them back: what got through, or was written down as an intent, is still executed. A deadline ends that.
    """

    def __init__(self, command_ids: Sequence[str], cause: str, refused: bool = False) -> None:
        super().__init__(list(command_ids), cause, refused)
        self.command_ids = tuple(command_ids)
        self.cause = cause
        self.trouble = f"the broker refuses ({cause})" if refused else f"the broker can't be reached ({cause})"
        """What is the matter with the broker, in words."""

    def __str__(self) -> str:
        shown = ", ".join(self.command_ids[:3]) + (", …" if len(self.command_ids) > 3 else "")
        return (
            f"{self.trouble}; not known to be enqueued: {shown}. "
            "Try again with the same id: it can't be executed twice."
        )


class ReportPending(ProducersError, TimeoutError):
    """No report within the time given. The command may be queued, running, or the results can't be reached."""

    def __init__(self, command_id: str, waited_seconds: float, cause: str = "") -> None:
        super().__init__(command_id, waited_seconds, cause)
        self.command_id = command_id
        self.waited_seconds = waited_seconds
        self.cause = cause

    @property
    def unreachable(self) -> bool:
        """Whether the results could not be read: then nobody knows whether there is a report."""
        return self.cause.startswith(UNREACHABLE)

    def __str__(self) -> str:
        why = f" ({self.cause})" if self.cause else ""
        return (
            f"no report for {self.command_id} within {self.waited_seconds:g} s{why}. It is not lost: wait again, "
            f"or look later with `orders show {self.command_id}`."
        )


class IdReused(ProducersError):
    """The id belongs to another command with other arguments; this one sent nothing. Choose a new id."""

    def __init__(self, command_id: str, report: Mapping[str, Any]) -> None:
        super().__init__(command_id, dict(report))
        self.command_id = command_id
        self.report = dict(report)

    def __str__(self) -> str:
        return (
            f"id {self.command_id} already belongs to another command ({self.report.get('command')}, "
            f"outcome {self.report.get('outcome')}): this one was not executed. Send it under a new id."
        )


class ChainBroken(ProducersError):
    """The command was never sent, because what comes before it in its Celery chain, or its chord's header, did not end
    in ``accepted``.

    Workers store it as the result of what was never sent, with ``report`` as its one argument: the report of the
    command before it. Where what failed is no command, ``report`` has a ``message`` alone.
    """

    def __init__(self, report: Mapping[str, Any], command_id: str = "") -> None:
        super().__init__(dict(report), *([command_id] if command_id else []))
        self.report = dict(report)
        self.command_id = command_id
        """Which was never sent; empty in a stored result, whose id says it."""

    def __str__(self) -> str:
        before = self.report
        if before.get("outcome") is None:
            why = f"what comes before it failed ({before.get('message')})"
        else:
            why = (
                f"{before.get('command')} {before.get('command_id')}, which comes before it, "
                f"ended in {before.get('outcome')}/{before.get('reason')}"
            )
        return f"{self.command_id or 'this'} was never sent: {why}"


class OrderError(ProducersError):
    """A command ended, and not in ``accepted``. Its one argument is the report as a JSON object.

    Celery stores the class name and the argument, so any client reads the whole report from a failed task.
    """

    def __init__(self, report: Mapping[str, Any]) -> None:
        super().__init__(dict(report))
        self.report = dict(report)

    def __str__(self) -> str:
        return f"{self.report.get('outcome')}/{self.report.get('reason')}: {self.report.get('message')}"

    def __repr__(self) -> str:
        """Short, for it is what logs and Flower show; the whole report is in ``args``."""
        return f"{type(self).__name__}({str(self)!r}, command_id={self.report.get('command_id')!r})"


class OrderRejected(OrderError):
    """The venue refused the command; nothing was executed."""


class OrderNotSent(OrderError):
    """Proven not executed, and given up."""


class OrderUnknown(OrderError):
    """The command may or may not have been executed. Look at the venue before anything else."""
