"""The only list of venues: by name, how each is built, how it is read for a reconcile, how it tells its time, and what
an account there needs.

The exchanges that ccxt knows are venues as well, named ``ccxt:<id>``. They are built when something asks for them, so
that a worker without such accounts imports nothing of them.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from worker.rate_limits import RateLimit, in_words, strictest
from worker.venues.accounts import Account, Credentials, canonical_address
from worker.venues.base import Reads, Venue
from worker.venues.bitz import Bitz
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.http.base import Send

T = TypeVar("T")

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
    needs: "AccountNeeds" = field(default_factory=lambda: AccountNeeds())
    testnet_url: str = ""
    """The address of its test network; empty if none is known."""


@dataclass(frozen=True, slots=True)
class AccountNeeds:
    """What the settings of an account at a venue must and may hold."""

    credentials: tuple[str, ...] = ("api_key", "secret_key")
    """Fields of :class:`Credentials`, all of them required; no other is taken, unless :attr:`others`."""
    others: bool = False
    """Whether further credentials are taken, because nobody has read which ones the venue needs."""
    modes: tuple[str, ...] = ()
    """The words of the account's mode, one of which is required; empty where the venue knows no modes."""
    hedge: bool = False
    """Whether an account may hold both directions of a market."""
    testnet: bool = False


def _everstrike_reads(send: Send) -> Reads:
    # Most workers read no records.
    from worker.venues.everstrike.queries import EverstrikeReads

    return EverstrikeReads(send)


BUILT_IN: Mapping[str, VenueEntry] = {
    Everstrike.name: VenueEntry(
        build=lambda refusals: Everstrike(refusals=refusals),
        reads=_everstrike_reads,
        time=TimeEndpoint("/time", lambda body: float(body["result"])),
    ),
    Bitz.name: VenueEntry(build=lambda refusals: Bitz(refusals=refusals), closed_since="October 2021"),
}


class _Lookup(Mapping[str, T], Generic[T]):
    """The venues by name. Those of ccxt are found by their names, and are not among those that it lists."""

    def __init__(self, find: Callable[[str], T]) -> None:
        self._find = find

    def __getitem__(self, name: str) -> T:
        return self._find(name)

    def __iter__(self) -> Iterator[str]:
        return iter(BUILT_IN)

    def __len__(self) -> int:
        return len(BUILT_IN)


@cache
def _entry(name: str) -> VenueEntry:
    prefix, _, ccxt_id = name.partition(":")
    if prefix != "ccxt" or not ccxt_id:
        return BUILT_IN[name]
    # Imported here, so that a worker without such an account needs neither the time nor the extra.
    from worker.venues.ccxt.adapter import CcxtVenue
    from worker.venues.ccxt.exchanges import traits_of

    traits = traits_of(ccxt_id)

    def build(refusals: Iterable[str]) -> Venue:
        return CcxtVenue(ccxt_id, refusals)

    if traits is None:
        return VenueEntry(build, needs=AccountNeeds((), others=True))
    needs = AccountNeeds(
        traits.credentials, False, tuple(traits.account_modes), traits.hedge is not None, bool(traits.testnet_url)
    )
    return VenueEntry(build, needs=needs, testnet_url=traits.testnet_url)


REGISTRY: Mapping[str, VenueEntry] = _Lookup(_entry)
VENUES: Mapping[str, Venue] = _Lookup(cache(lambda name: _entry(name).build(())))
"""The adapters without an operator's refusals: for everything but judging answers."""


def problem_of_name(name: str) -> str | None:
    """Why no venue has this name, or can't be used here, as a phrase; None for a venue."""
    if name in BUILT_IN:
        return None
    known = f"{', '.join(BUILT_IN)} or ccxt:<exchange>"
    prefix, _, ccxt_id = name.partition(":")
    if prefix != "ccxt" or not re.fullmatch("[a-z0-9]{1,40}", ccxt_id):
        return f"must be {known}"
    from worker.venues.ccxt.binding import is_known, problem_of_installation
    from worker.venues.ccxt.exchanges import IDS

    problem = problem_of_installation()
    if problem is None and not is_known(ccxt_id):
        return (
            f"ccxt knows no exchange {ccxt_id}; there are ccxt:{', ccxt:'.join(IDS)}, and for queries of positions "
            "alone every other exchange of ccxt"
        )
    return problem


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
    def further_secrets(self) -> Mapping[str, "SecretStr"]:
        """The other fields of :class:`Credentials` that are set."""

    @property
    def account_mode(self) -> str:
        """The kind of account, where the venue knows several."""

    @property
    def hedge_mode(self) -> bool:
        """Whether the account may hold both directions of a market."""

    @property
    def testnet(self) -> bool:
        """Whether the account is one of the venue's test network."""

    @property
    def stated_limits(self) -> tuple[RateLimit, ...] | None:
        """The rate limits that the settings list; None when they leave them to the venue."""


def address_of(config: AccountConfig) -> str:
    """Where the venue is reached: the address in the account's settings, or the venue's own, or its test network's."""
    return config.base_url or (REGISTRY[config.venue].testnet_url if config.testnet else VENUES[config.venue].base_url)


def account_of(alias: str, config: AccountConfig) -> Account:
    """The account that these settings describe.

    A venue's own limits hold at its own address; somewhere else, such as a test network or a simulator, nobody has
    said which hold.
    """
    venue, url = VENUES[config.venue], address_of(config)
    further = {name: secret.get_secret_value() for name, secret in config.further_secrets.items()}
    keys = Credentials(config.api_key.get_secret_value(), config.secret_key.get_secret_value(), **further)
    limits = config.stated_limits
    if limits is None:
        own = canonical_address(url) == canonical_address(venue.base_url) and not config.testnet
        limits = venue.rate_limits if own else ()
    mode, hedge, testnet = config.account_mode, config.hedge_mode, config.testnet
    return Account(alias, config.venue, url.rstrip("/"), keys, limits, mode, hedge, testnet)


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
