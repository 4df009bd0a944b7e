"""``ORDERS_AUTH__…``, ``ORDERS_POLICY__…`` and ``ORDERS_DESK__…``: which commands a worker executes, by who sent them
and what they ask; and who may open the desk."""

import ipaddress
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

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


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; a name other than localhost may resolve to any address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class DeskSettings(QuotedTextModel):
    """``ORDERS_DESK__…``"""

    model_config = _GROUP

    logins_file: str = ""
    """Who may open the desk, with a hash of each password, see :mod:`worker.desk.logins`."""
    public_url: str = ""
    """Where browsers reach the desk, if that is not the address that it listens on: scheme, host and port."""
    idle_minutes: float = Field(30, ge=1, le=1440)
    """After how long without a request a session ends."""
    session_hours: float = Field(8, ge=0.1, le=168)
    """After how long a session ends in any case."""

    @field_validator("public_url", mode="after")
    @classmethod
    def _is_an_origin(cls, value: str) -> str:
        parts = urlsplit(value.rstrip("/"))
        if not value:
            return value
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query or "@" in value:
            raise ValueError("must be scheme, host and port, such as https://desk.example.com")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError("must be https, except at a loopback address: passwords would cross the network in clear")
        return f"{parts.scheme}://{parts.netloc.lower()}"
