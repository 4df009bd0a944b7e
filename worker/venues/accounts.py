"""Accounts at a venue and their credentials."""

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account's keys. Kept out of every representation, so that no log line or traceback can show them."""

    api_key: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Account:
    """An alias, the venue it stands for, and where and with what to reach it."""

    alias: str
    venue: str
    base_url: str
    credentials: Credentials

    @property
    def digest(self) -> str:
        """Which account of which venue this is, as a digest: by it the ledger knows where a command was sent."""
        told = "\n".join((self.venue, self.base_url, self.credentials.api_key))
        return hashlib.sha256(told.encode()).hexdigest()[:16]
