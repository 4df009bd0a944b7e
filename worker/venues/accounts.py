"""Accounts at a venue and their credentials."""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import urlsplit

from worker.rate_limits import RateLimit


@dataclass(frozen=True, slots=True)
class Credentials:
    """The keys of an account. They are in no representation, so that no log line or traceback shows them."""

    api_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    passphrase: str = field(default="", repr=False)
    """Chosen with the key, where the exchange asks for one; empty otherwise, as all that follow."""
    uid: str = field(default="", repr=False)
    wallet_address: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    """Of a wallet."""

    @property
    def name(self) -> str:
        """What tells the account apart from others: its API key, or its wallet where the exchange gives no keys."""
        return self.api_key or self.wallet_address


@dataclass(frozen=True, slots=True)
class Account:
    """An alias, with the venue, the address and the credentials that it stands for."""

    alias: str
    venue: str
    base_url: str
    credentials: Credentials
    rate_limits: tuple[RateLimit, ...] = ()
    """How many requests may be sent for its key within which times."""
    mode: str = ""
    """The kind of account at the exchange, where requests differ by it (:mod:`worker.venues.ccxt`)."""
    hedge: bool = False
    """Whether it holds long and short positions of one market at once."""
    testnet: bool = False
    """Whether ``base_url`` is the exchange's test network."""

    @property
    def host(self) -> str:
        """The venue's ``host:port``."""
        return host_of(self.base_url)

    @property
    def bucket(self) -> str:
        """What its rate limits and cool-downs are counted under: 16 hex digits, the same for every account with this
        API key at this address, however the address is written."""
        return _bucket(self.base_url, self.credentials.name)

    @property
    def digest(self) -> str:
        """16 hex digits of the SHA-256 of venue, address and API key.

        The ledger stores it with each command, because the alias may be given to another account later.
        """
        return _digest(self.venue, self.base_url, self.credentials.name)


@lru_cache(maxsize=256)
def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@lru_cache(maxsize=256)
def _bucket(base_url: str, name: str) -> str:
    return _digest(canonical_address(base_url), name)


@lru_cache(maxsize=256)
def host_of(url: str) -> str:
    """The ``host:port`` of a URL, in lower case and without the dot that may end a name."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    return f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def canonical_address(url: str) -> str:
    """One spelling for an address that can be written in several ways: letter case of scheme and host, default port,
    slashes at the end."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{host_of(url)}{parts.path.rstrip('/')}"
