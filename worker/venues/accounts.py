"""Accounts at a venue and their credentials."""

import hashlib
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from worker.rate_limits import RateLimit


@dataclass(frozen=True, slots=True)
class Credentials:
    """The keys of an account. They are in no representation, so that no log line or traceback shows them."""

    api_key: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Account:
    """An alias, with the venue, the address and the credentials that it stands for."""

    alias: str
    venue: str
    base_url: str
    credentials: Credentials
    rate_limits: tuple[RateLimit, ...] = ()
    """How many requests may be sent for its key within which times."""

    @property
    def host(self) -> str:
        """The venue's ``host:port``."""
        parts = urlsplit(self.base_url)
        return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"

    @property
    def digest(self) -> str:
        """16 hex digits of the SHA-256 of venue, address and API key.

        The ledger stores it with each command, because the alias may be given to another account later.
        """
        identity = "\n".join((self.venue, self.base_url, self.credentials.api_key))
        return hashlib.sha256(identity.encode()).hexdigest()[:16]
