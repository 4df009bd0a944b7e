"""``ORDERS_AUTH__…`` and ``ORDERS_POLICY__…``: which commands a worker executes, by who sent them and what they ask."""

from typing import Literal, Self

from pydantic import ConfigDict, model_validator

from producers.commands import COMMANDS
from producers.settings import QuotedTextModel

Mode = Literal["off", "warn", "require"]
"""``off`` ignores seals. ``warn`` executes every command, and logs and counts those that ``require`` would not execute.
``require`` executes only commands with a seal of a listed producer that may send them; others become dead letters."""

MIN_KEEP_DAYS = 1.5
"""How long ids must be known at least where seals are checked: longer than a seal is valid
(:data:`producers.seal.MAX_VALID_MS`), so that one that is used again is found out."""

_GROUP = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class PolicySettings(QuotedTextModel):
    """``ORDERS_POLICY__…``"""

    model_config = _GROUP

    mode: Literal["off", "warn", "require"] = "off"
    """Whether withdrawals are ruled by the file that ``policy_file`` names: not at all, only logged, or ruled."""


class AuthSettings(QuotedTextModel):
    """``ORDERS_AUTH__…``"""

    model_config = _GROUP

    mode: Mode = "off"
    """For every command that has no mode of its own."""
    cancel: Mode | None = None
    """For cancels; empty for ``mode``."""
    close: Mode | None = None
    """For closes; empty for ``mode``."""
    positions: Mode | None = None
    """For queries of positions; empty for ``mode``."""
    submit: Mode | None = None
    """For new orders; empty for ``mode``."""
    withdraw: Mode | None = None
    """For withdrawals; empty for ``mode``."""
    keys_file: str = ""
    """The producers' public keys and what each may send, see :mod:`worker.public_keys`."""

    @property
    def modes(self) -> dict[str, Mode]:
        """The mode of each command."""
        names = (task.removeprefix("orders.") for task in COMMANDS)
        return {name: getattr(self, name) or self.mode for name in names}

    @property
    def checked(self) -> bool:
        """Whether the seal of any command is looked at."""
        return set(self.modes.values()) != {"off"}

    @model_validator(mode="after")
    def _has_keys(self) -> Self:
        if self.checked and not self.keys_file:
            raise ValueError("needs the producers' public keys: set ORDERS_AUTH__KEYS_FILE")
        return self

    def problem_with(self, keep_days: float) -> str:
        """Why seals can't be checked with this ``ORDERS_LEDGER__KEEP_DAYS``; empty when they can."""
        if not self.checked or keep_days >= MIN_KEEP_DAYS:
            return ""
        return (
            f"ORDERS_LEDGER__KEEP_DAYS must be at least {MIN_KEEP_DAYS} where seals are checked: one is valid for a day"
        )
