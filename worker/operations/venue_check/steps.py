"""The harmless steps of a check, and what a step tells."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from producers.commands import Positions, Submit
from worker.clock import Clock
from worker.operations.venue_check.far_order import far_order
from worker.operations.venue_check.recording import Exchange, Recorder
from worker.venues.accounts import Account
from worker.venues.base import Plan, PlanFailed, PlanRefused, Proof, Venue, Verdict
from worker.venues.http.base import NoResponse, SignedRequest
from worker.venues.inspection import Inspectable
from worker.venues.lookups import Sight
from worker.venues.response_freshness import distrust_if_stale

MAX_OFFSET_MS = 1500
"""How far a venue's clock may seem to be from this machine's: a second, and half of one for whole seconds."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a check."""

    name: str
    good: bool | None
    """None where it could not be tried, so that it shows nothing."""
    words: str
    shows: str = ""
    """The key of the trait that it shows, where it is good."""
    exchanges: tuple[Exchange, ...] = ()


Tell = Callable[[Step], None]
"""Is told of each step when it has ended."""


class Checked:
    """What the steps of one check share: the venue, the account, and everything that is sent."""

    def __init__(self, venue: Venue, account: Account, recorder: Recorder, clock: Clock, tell: Tell) -> None:
        self.venue = venue
        self.account = account
        self.recorder = recorder
        self.clock = clock
        self._tell = tell

    def tell(self, name: str, good: bool | None, words: str, shows: str = "") -> None:
        """End a step."""
        self._tell(Step(name, good, words, shows if good else "", self.recorder.take()))

    def timed(self, plan: Plan) -> Plan:
        """A plan for an attempt that begins now."""
        return plan.until(self.clock.now_ms() + plan.window_ms) if plan.window_ms else plan

    def send(self, plan: Plan) -> Verdict:
        """Make one attempt of a plan, and judge it.

        Raises:
            PlanRefused: its request can't be built; nothing was sent.
        """
        signed: list[int] = []

        def request() -> SignedRequest:
            signed.append(self.clock.now_ms())
            try:
                return self.venue.request(plan, signed[-1])
            except Exception as error:  # noqa: BLE001 - whatever it is, nothing was sent
                raise PlanRefused(f"the request can't be built ({type(error).__name__})") from None

        response = self.recorder.send(plan.base_url or self.account.base_url, request)
        if isinstance(response, NoResponse):
            return Verdict(Proof.UNKNOWN if response.bytes_left else Proof.NOT_EXECUTED, response.message)
        return distrust_if_stale(signed[-1], self.venue.judge(plan, response), response)


def harmless_steps(checked: Checked, pair: str) -> None:
    """Read the list of markets, the positions and the clock, and look for what was never sent. ``pair`` may be
    empty."""
    venue = checked.venue
    if isinstance(venue, Inspectable):
        _read_markets(checked, venue)
    _read_positions(checked)
    _compare_clocks(checked)
    if isinstance(venue, Inspectable) and Submit.name in venue.commands:
        _look_for_nothing(checked, venue, pair)


def _read_markets(checked: Checked, venue: Inspectable) -> None:
    try:
        count = venue.load_markets(checked.account, checked.recorder.send)
    except PlanFailed as failure:
        checked.tell("markets", False, str(failure))
        return
    checked.tell("markets", bool(count), f"{count} in the list", "markets")


def _read_positions(checked: Checked) -> None:
    command = Positions(account=checked.account.alias)
    if why := checked.venue.unsupported(command):
        checked.tell("positions", None, why)
        return
    checked.recorder.private = True
    try:
        plan = checked.venue.plan(command, new_id(), checked.account, checked.recorder.send)
        verdict = checked.send(plan)
    except (PlanRefused, PlanFailed) as refusal:
        checked.tell("positions", False, str(refusal))
        return
    finally:
        checked.recorder.private = False
    good = verdict.proof is Proof.EXECUTED and verdict.positions is not None
    words = f"{len(verdict.positions)} open" if good and verdict.positions is not None else verdict.message
    checked.tell("positions", good, words, Positions.name)


def _compare_clocks(checked: Checked) -> None:
    offset = checked.recorder.offset_ms
    if offset is None:
        checked.tell("clock", None, "no answer told the venue's time")
        return
    words = f"the venue's clock is {offset / 1000:+.1f} s from this machine's, as far as whole seconds show"
    checked.tell("clock", abs(offset) <= MAX_OFFSET_MS, words)


def _look_for_nothing(checked: Checked, venue: Inspectable, pair: str) -> None:
    """A look for a client order id that was never sent must find nothing."""
    name, account, send = "look for an order that was never sent", checked.account, checked.recorder.send
    try:
        pair = pair or venue.example_pair(account, send)
        mark = venue.mark_price(pair, account, send)
        command = far_order(account.alias, pair, venue.rules(pair, account, send), mark).command
        lookup = checked.timed(checked.venue.plan(command, new_id(), account, send)).lookup
    except (PlanRefused, PlanFailed) as refusal:
        checked.tell(name, None, str(refusal))
        return
    if lookup is None:
        checked.tell(name, None, "the venue knows no client order ids")
        return
    sighting = checked.venue.look(command, lookup, account, send)
    good = None if sighting.sight is Sight.UNREADABLE else sighting.sight is Sight.ABSENT
    checked.tell(name, good, f"{sighting.sight.value}: {sighting.words}", "absent")


def new_id() -> str:
    """The id of a command that no queue and no ledger knows."""
    return f"venue-check-{uuid.uuid4()}"
