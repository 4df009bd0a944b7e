"""The errors of this package: one class for each decision that a caller has to make.

::

    ProducersError
    ├── InvalidCommand        the arguments are invalid: fix them
    ├── BrokerUnavailable     the command may or may not be enqueued: try again with the same id
    ├── ReportPending         no report in time: wait again, or look later; nothing is lost
    ├── ReportUnverified      what is stored is not signed by a worker: believe none of it
    ├── ChainBroken           never sent, because the command before it in its chain or chord was not accepted
    ├── IdReused              the id belongs to another command: this one was not executed, choose a new id
    └── OrderError            the command ended with another outcome than ``accepted``; carries the report
        ├── OrderRejected     the venue refused it; nothing was executed
        ├── OrderNotSent      proven not executed, and given up: it may be sent under a new id
        └── OrderUnknown      it may have been executed: check at the venue before sending anything again
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
    """The arguments are invalid; ``problems`` names each, without values, which may be secret.

    Raised by :func:`~producers.commands.parse_command`. A model's constructor, ``Close(…)``, raises Pydantic's
    ``ValidationError``, which is a :class:`ValueError` too.
    """

    def __init__(self, command: str, problems: Sequence[str]) -> None:
        super().__init__(command, list(problems))
        self.command = command
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return f"{self.command}: {'; '.join(self.problems)}"


class BrokerUnavailable(ProducersError, ConnectionError):
    """The broker is down or does not answer, so it is not known whether the commands were enqueued.

    Enqueueing the same commands again with the same ids is safe: an id is executed once. Giving up does not revoke
    them: those that got through, or were recorded as intents, are still executed unless their deadline passes first.
    """

    def __init__(self, command_ids: Sequence[str], cause: str, refused: bool = False) -> None:
        super().__init__(list(command_ids), cause, refused)
        self.command_ids = tuple(command_ids)
        self.cause = cause
        self.trouble = f"the broker refuses ({cause})" if refused else f"the broker can't be reached ({cause})"
        """What is wrong with the broker, in words."""

    def __str__(self) -> str:
        shown = ", ".join(self.command_ids[:3]) + (", …" if len(self.command_ids) > 3 else "")
        return (
            f"{self.trouble}; not known to be enqueued: {shown}. "
            "Try again with the same id: it can't be executed twice."
        )


class ReportPending(ProducersError, TimeoutError):
    """There is no report within the timeout. The command may be queued or running, or the results are unreachable."""

    def __init__(self, command_id: str, waited_seconds: float, cause: str = "") -> None:
        super().__init__(command_id, waited_seconds, cause)
        self.command_id = command_id
        self.waited_seconds = waited_seconds
        self.cause = cause

    @property
    def unreachable(self) -> bool:
        """Whether the results could not be read, so that it is not known whether there is a report."""
        return self.cause.startswith(UNREACHABLE)

    def __str__(self) -> str:
        why = f" ({self.cause})" if self.cause else ""
        return (
            f"no report for {self.command_id} within {self.waited_seconds:g} s{why}. It is not lost: wait again, "
            f"or look later with `orders show {self.command_id}`. A message that workers refuse (without a seal, where "
            "they require one) is a dead letter: `orders dead`."
        )


class ReportUnverified(ProducersError):
    """What is stored as the command's report is not signed with any of the ``ORDERS_REPORT_KEYS``, so it may be forged.
    It says nothing about the command, which may or may not have been executed."""

    def __init__(self, command_id: str, why: str) -> None:
        super().__init__(command_id, why)
        self.command_id = command_id
        self.why = why

    def __str__(self) -> str:
        return (
            f"what is stored as the report of {self.command_id} is not believed: {self.why}. The command may have been "
            "executed: do not send it under a new id. Tell whoever runs the workers: a key is missing here or at a "
            "worker, or the report is forged. Sending the command again with the same id executes nothing twice, and "
            "its report is stored again, signed."
        )


class IdReused(ProducersError):
    """The id belongs to a command with other arguments; this one was not executed. Choose a new id."""

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
    """The command was never sent, because the task before it in its Celery chain, or its chord's header, was not
    ``accepted``.

    Workers store this error as the result of the command, with ``report`` as its one argument: the report of the
    command before it. Where the task that failed was not one of our commands, ``report`` has only a ``message``.
    """

    def __init__(self, report: Mapping[str, Any], command_id: str = "") -> None:
        super().__init__(dict(report), *([command_id] if command_id else []))
        self.report = dict(report)
        self.command_id = command_id
        """The command that was never sent; empty in a stored result, whose key has the id."""

    def __str__(self) -> str:
        before = self.report
        if before.get("outcome") is None:
            why = f"the task before it failed ({before.get('message')})"
        else:
            why = (
                f"{before.get('command')} {before.get('command_id')}, which comes before it, "
                f"ended in {before.get('outcome')}/{before.get('reason')}"
            )
        return f"{self.command_id or 'this command'} was never sent: {why}"


class OrderError(ProducersError):
    """A command ended with another outcome than ``accepted``. The one argument is the report as a JSON object.

    Celery stores the class name and the argument, so any client can read the whole report of a failed task.
    """

    def __init__(self, report: Mapping[str, Any]) -> None:
        super().__init__(dict(report))
        self.report = dict(report)

    def __str__(self) -> str:
        return f"{self.report.get('outcome')}/{self.report.get('reason')}: {self.report.get('message')}"

    def __repr__(self) -> str:
        """Short, because logs and Flower show it; the whole report is in ``args``."""
        return f"{type(self).__name__}({str(self)!r}, command_id={self.report.get('command_id')!r})"


class OrderRejected(OrderError):
    """The venue refused the command; nothing was executed."""


class OrderNotSent(OrderError):
    """Proven not executed, and given up."""


class OrderUnknown(OrderError):
    """The command may or may not have been executed. Check at the venue before anything else."""
