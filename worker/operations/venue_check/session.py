"""One run of `orders venue-check`: the account, the venue and the transport of a check, and what it showed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from worker.assembly import build_accounts
from worker.bootstrap import build_transport, build_venues
from worker.clock import Clock, SystemClock
from worker.operations.venue_check.far_order import FarOrder, far_order
from worker.operations.venue_check.order_steps import OrderCheck
from worker.operations.venue_check.recording import Recorder
from worker.operations.venue_check.steps import Checked, Step, Tell, harmless_steps
from worker.settings import WorkerSettings
from worker.venues.accounts import Account, canonical_address
from worker.venues.base import Venue
from worker.venues.http.base import Send
from worker.venues.inspection import Inspectable, Trait


class NoSuchAccount(Exception):
    """The settings have no such account."""


class NoTestNetwork(Exception):
    """The account's venue has no test network, or the account is for another address."""


@dataclass(slots=True)
class VenueCheck:
    """A check of one account's venue."""

    venue: Venue
    account: Account
    on_test_network: bool
    send: Send
    tell: Tell
    clock: Clock
    steps: list[Step] = field(default_factory=list)
    checked: Checked = field(init=False)

    def __post_init__(self) -> None:
        """Everything that is sent goes over one recorder."""
        recorder = Recorder(self.send, self.account, self.clock)
        self.checked = Checked(self.venue, self.account, recorder, self.clock, self._note)

    def _note(self, step: Step) -> None:
        self.steps.append(step)
        self.tell(step)

    @property
    def library(self) -> str:
        """What builds the venue's requests."""
        return self.venue.library if isinstance(self.venue, Inspectable) else "this project"

    @property
    def unreachable(self) -> str:
        """Why the venue can't be reached; empty once it has answered anything."""
        return "" if self.checked.recorder.answered else self.checked.recorder.failure or "nothing was answered"

    @property
    def good(self) -> bool:
        """Whether no step went wrong."""
        return all(step.good is not False for step in self.steps)

    def harmless(self, pair: str) -> None:
        """Make the reads."""
        harmless_steps(self.checked, pair)

    def order(self, pair: str, away_percent: int) -> FarOrder:
        """The order that :meth:`submit` would submit.

        Raises:
            PlanRefused, PlanFailed: there is none.
        """
        if not isinstance(self.venue, Inspectable):
            raise NoTestNetwork(f"{self.venue.name} takes no orders.submit")
        recorder, venue = self.checked.recorder, self.venue
        mark = venue.mark_price(pair, self.account, recorder.send)
        return far_order(self.account.alias, pair, venue.rules(pair, self.account, recorder.send), mark, away_percent)

    def order_check(self, order: FarOrder) -> OrderCheck:
        """The steps with this order."""
        return OrderCheck(self.checked, order)

    def beliefs(self) -> Sequence[Trait]:
        """What is believed of the venue."""
        return self.venue.beliefs() if isinstance(self.venue, Inspectable) else ()

    def shown(self) -> list[str]:
        """The keys of the traits that this check has shown, in the order in which it did."""
        return list(dict.fromkeys(step.shows for step in self.steps if step.shows))


@contextmanager
def open_check(settings: WorkerSettings, alias: str, *, test_network: bool, tell: Tell) -> Iterator[VenueCheck]:
    """The check of an account.

    Raises:
        NoSuchAccount: the settings have none of this name.
        NoTestNetwork: ``test_network`` is wanted, and there is none for this account.
    """
    account = build_accounts(settings).get(alias.lower())
    if account is None:
        known = ", ".join(sorted(settings.accounts)) or "none"
        raise NoSuchAccount(f"no account {alias} is configured; configured: {known}")
    venue = build_venues(settings)[account.venue]
    if test_network:
        account = _at_test_network(venue, account)
    transport = build_transport(settings)
    try:
        yield VenueCheck(venue, account, test_network, transport.send, tell, SystemClock())
    finally:
        transport.close()


def _at_test_network(venue: Venue, account: Account) -> Account:
    """The account at its exchange's test network. Its keys go there and nowhere else, so an account that has an address
    of its own is left alone."""
    url = venue.test_url if isinstance(venue, Inspectable) else ""
    if not url:
        raise NoTestNetwork(f"no test network of {account.venue} is known")
    here = canonical_address(account.base_url)
    if here not in (canonical_address(venue.base_url), canonical_address(url)):
        raise NoTestNetwork(f"{account.alias} has a BASE_URL of its own; its keys are not sent to {url}")
    return replace(account, base_url=url, testnet=True)
