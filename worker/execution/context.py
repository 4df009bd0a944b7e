"""What one execution knows of its command, and the refusal of a command that must not be sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from producers.report import Reason


@dataclass(frozen=True, slots=True)
class Envelope:
    """A command as its message brings it."""

    command_id: str
    task: str
    arguments: Mapping[str, Any]
    positional: int = 0
    """How many positional arguments came along; the contract takes none."""
    enqueued_at: int | None = None
    redelivered: bool = False
    """Whether the broker says that it delivered the message before."""
    expires_at: int | None = None
    """UNIX ms; its message must not be taken up later (Celery's ``expires``)."""
    refusal: str | None = None
    """Why its message, whatever the command is, asks for what can't be done; in words."""


class CommandRefused(Exception):
    """Raised where a request would be signed: it must not be, for this reason."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
