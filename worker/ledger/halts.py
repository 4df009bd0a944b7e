"""Halts: what of the commands is not sent for the time being."""

import json
import re
from dataclasses import dataclass

from producers.arguments import ALIAS
from producers.commands import COMMANDS as TASKS
from producers.printable import printable
from worker.ledger.base import (
    Halted,
)


def halt_of(text: str) -> Halted:
    """A halt as it is stored: a JSON object of ``who``, ``why`` and ``at`` (UNIX ms)."""
    stored = json.loads(text)
    return Halted(str(stored["who"]), str(stored["why"]), int(stored["at"]))


COMMANDS = tuple(sorted(task.removeprefix("orders.") for task in TASKS))
"""What can be halted by name."""


ANY = "*"


@dataclass(frozen=True, slots=True)
class HaltScope:
    """What a halt applies to."""

    account: str = ANY
    command: str = ANY

    @property
    def field(self) -> str:
        """Its field in the hash of halts."""
        return f"{self.account}/{self.command}"

    def in_words(self) -> str:
        """For people."""
        what = {ANY: "everything but cancels, closes and positions"}.get(self.command, self.command)
        return printable(f"{what} of {'every account' if self.account == ANY else self.account}")


def parse_halt_scope(account: str | None, command: str | None) -> HaltScope:
    """The scope that these name; None is any.

    Raises:
        ValueError: for what can't be an alias, or is no command that can be halted.
    """
    if account is not None and not re.fullmatch(ALIAS, account):
        raise ValueError("--account must be an alias: letters, digits, - and _")
    if command is not None and command not in COMMANDS:
        raise ValueError(f"--command must be one of {', '.join(COMMANDS)}")
    # Aliases know no case, see producers.commands.Account.
    return HaltScope(account.lower() if account else ANY, command or ANY)
