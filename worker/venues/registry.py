"""The only list of venues: by name, how each is built, how it is read for a reconcile, and how it tells its time.

The settings name the venues once more, because pydantic wants the words of ``ORDERS_ACCOUNTS__<ALIAS>__VENUE`` and the
groups ``ORDERS_VENUES__<VENUE>__…`` as literals; a test compares both.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from worker.rate_limits import RateLimit, in_words, strictest
from worker.venues.accounts import Account, Credentials, canonical_address
from worker.venues.base import Reads, Venue
from worker.venues.bitz import Bitz
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.everstrike.queries import EverstrikeReads
from worker.venues.http.base import Send

if TYPE_CHECKING:
    from pydantic import SecretStr


@dataclass(frozen=True, slots=True)
class TimeEndpoint:
    """A public endpoint that answers ``GET`` with the venue's time."""

    path: str
    unix_ms: Callable[[Any], float]
    """Reads the time from the decoded JSON body. Raises ValueError, LookupError or TypeError for any other body."""


@dataclass(frozen=True, slots=True)
class VenueEntry:
    """One venue."""

    build: Callable[[Iterable[str]], Venue]
    """Takes the operator's patterns of further final refusals. Raises ValueError when one of them can't be used."""
    reads: Callable[[Send], Reads] | None = None
    """None where nothing shows what became of a command, so that no unknown can be reconciled."""
    time: TimeEndpoint | None = None
    """None where only the ``Date`` header of an answer tells the time."""
    closed_since: str = ""
    """When the exchange closed, in words; empty while it is open. Nobody answers at its own address then."""


REGISTRY: Mapping[str, VenueEntry] = {
    Everstrike.name: VenueEntry(
        build=lambda refusals: Everstrike(refusals=refusals),
        reads=EverstrikeReads,
        time=TimeEndpoint("/time", lambda body: float(body["result"])),
    ),
    Bitz.name: VenueEntry(build=lambda refusals: Bitz(refusals=refusals), closed_since="October 2021"),
}

VENUES: Mapping[str, Venue] = {name: entry.build(()) for name, entry in REGISTRY.items()}
"""The adapters without an operator's refusals: for everything but judging answers."""


class AccountConfig(Protocol):
    """An account's settings."""

    @property
    def venue(self) -> str:
        """The name of a registered venue."""

    @property
    def base_url(self) -> str:
        """Where the venue is reached; empty for the venue's own address."""

    @property
    def api_key(self) -> "SecretStr":
        """The key that a request names."""

    @property
    def secret_key(self) -> "SecretStr":
        """The key that signs."""

    @property
    def stated_limits(self) -> tuple[RateLimit, ...] | None:
        """The rate limits that the settings list; None when they leave them to the venue."""


def address_of(config: AccountConfig) -> str:
    """Where the venue is reached: the address in the account's settings, or the venue's own."""
    return config.base_url or VENUES[config.venue].base_url


def account_of(alias: str, config: AccountConfig) -> Account:
    """The account that these settings describe.

    A venue's own limits hold at its own address; somewhere else, such as a test network or a simulator, nobody has
    said which hold.
    """
    venue, url = VENUES[config.venue], address_of(config)
    keys = Credentials(config.api_key.get_secret_value(), config.secret_key.get_secret_value())
    limits = config.stated_limits
    if limits is None:
        limits = venue.rate_limits if canonical_address(url) == canonical_address(venue.base_url) else ()
    return Account(alias, config.venue, url.rstrip("/"), keys, limits)


def accounts_of(configs: Mapping[str, AccountConfig]) -> dict[str, Account]:
    """The accounts by alias. Those with one key at one address are one account to the venue, so that the strictest of
    their limits hold for each of them."""
    accounts = {alias: account_of(alias, config) for alias, config in configs.items()}
    limits = {
        bucket: strictest(limit for account in sharing for limit in account.rate_limits)
        for bucket, sharing in _by_bucket(accounts.values()).items()
    }
    return {alias: replace(account, rate_limits=limits[account.bucket]) for alias, account in accounts.items()}


def different_limits(configs: Mapping[str, AccountConfig]) -> list[str]:
    """A sentence for each key that several accounts share with different rate limits: which they are, and which limits
    hold. It names aliases, and nothing of the key."""
    alone = {alias: account_of(alias, config) for alias, config in configs.items()}
    held = accounts_of(configs)
    sentences = []
    for sharing in _by_bucket(alone.values()).values():
        if len({strictest(account.rate_limits) for account in sharing}) > 1:
            each = ", ".join(f"{account.alias} ({in_words(account.rate_limits)})" for account in sharing)
            strict = in_words(held[sharing[0].alias].rate_limits)
            sentences.append(
                f"the accounts {each} have one key at one address and different rate limits; for all holds {strict}"
            )
    return sentences


def _by_bucket(accounts: Iterable[Account]) -> dict[str, list[Account]]:
    found: dict[str, list[Account]] = {}
    for account in sorted(accounts, key=lambda account: account.alias):
        found.setdefault(account.bucket, []).append(account)
    return found
