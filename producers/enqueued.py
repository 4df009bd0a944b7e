"""A command with its id, as a client has enqueued it."""

from dataclasses import dataclass, field

from producers.commands import Command


@dataclass(frozen=True, slots=True)
class EnqueuedCommand:
    """A command with its id, which was enqueued or is about to be."""

    command_id: str
    command: Command
    enqueued_at: int | None = field(default=None, compare=False)
    """UNIX ms when a client enqueued it; None for a command of which that is not known."""


def id_of(command: EnqueuedCommand | str) -> str:
    """The id of a command that may be given by its id alone.

    Raises:
        TypeError: it is neither; an id that is missing must not look like a report that is missing.
    """
    found = command.command_id if isinstance(command, EnqueuedCommand) else command
    if not isinstance(found, str):
        raise TypeError(f"a command is what `enqueue` returned, or its id, and not of type {type(found).__name__}")
    return found
