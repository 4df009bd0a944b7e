"""Checks of the exchanges that are used through ccxt: whether ccxt is there, and what is not known of an exchange.

Only on demand is anything sent, and it is public: the list of markets.
"""

import time
from collections.abc import Sequence
from functools import partial

from worker.operations.doctor.findings import Check, Examiner, Finding
from worker.settings import WorkerSettings
from worker.venues.accounts import Account
from worker.venues.base import PlanFailed
from worker.venues.ccxt.adapter import NAME_PREFIX
from worker.venues.ccxt.binding import INSTALL, PINNED, CcxtMissing, installed_version, is_known
from worker.venues.ccxt.exchanges import traits_of
from worker.venues.ccxt.markets import REFRESH_SECONDS, STALE_SECONDS
from worker.venues.ccxt.summary import summary
from worker.venues.http.base import HttpLimits
from worker.venues.http.transport import Transport
from worker.venues.inspection import Inspectable
from worker.venues.registry import VENUES, account_of

EXAMINER = Examiner("exchanges")
_LIMITS = HttpLimits(1.5, 10.0)
"""Seconds to connect and for a whole response: a list of markets can have megabytes."""


def exchange_checks(settings: WorkerSettings, *, wanted: bool) -> list[Check]:
    """Checks of ccxt and of each exchange that accounts use through it; with ``wanted`` also of its list of markets."""
    by_exchange: dict[str, list[str]] = {}
    for alias, config in sorted(settings.accounts.items()):
        if config.venue.startswith(NAME_PREFIX):
            by_exchange.setdefault(config.venue.removeprefix(NAME_PREFIX), []).append(alias)
    if not by_exchange:
        return []
    checks = [Check("exchanges", "ccxt", lambda: [check_library(installed_version())])]
    for ccxt_id, aliases in by_exchange.items():
        checks.append(Check("exchanges", ccxt_id, partial(check_traits, ccxt_id, aliases)))
        if wanted and installed_version() == PINNED:
            account = account_of(aliases[0], settings.accounts[aliases[0]])
            run = partial(check_markets, ccxt_id, account, settings.http.ca_file or None)
            checks.append(Check("exchanges", f"markets of {ccxt_id}", run))
    return checks


def check_library(version: str | None) -> Finding:
    """Whether ccxt is installed in the one version that was examined."""
    if version == PINNED:
        return EXAMINER.ok("ccxt", version)
    there = f"{version} is installed" if version else "it is not installed"
    message = f"{there}, and only {PINNED} is used: commands of accounts at ccxt:… end in not_sent"
    return EXAMINER.fault("ccxt", message, INSTALL)


def check_traits(ccxt_id: str, aliases: Sequence[str]) -> list[Finding]:
    """What of an exchange nobody has read, and what was never tried at it."""
    name = f"{ccxt_id} ({', '.join(aliases)})"
    if installed_version() == PINNED and not is_known(ccxt_id):
        return [EXAMINER.fault(name, f"ccxt {PINNED} knows no exchange of this name", "correct the account's VENUE")]
    traits = traits_of(ccxt_id)
    if traits is None:
        message = "nobody has read what its answers prove: it takes positions alone"
        return [EXAMINER.warning(name, message, "docs/venues.md has the exchanges that take commands")]
    believed = summary(ccxt_id)
    never = [each.key for each in believed if not each.run and not each.is_refused]
    findings = []
    if never:
        advice = f"orders venue-check {aliases[0]} --testnet tries what can be tried without harm"
        findings.append(EXAMINER.warning(name, f"read, never run against the exchange: {', '.join(never)}", advice))
    refused = [f"{each.key} ({each.words.removeprefix('refused: ')})" for each in believed if each.is_refused]
    if refused:
        findings.append(EXAMINER.ok(name, f"does not take {', '.join(refused)}"))
    if traits.unread:
        findings.append(EXAMINER.ok(name, f"not known: {'; '.join(traits.unread)}"))
    return findings or [EXAMINER.ok(name, "everything that it takes was run against it")]


def check_markets(ccxt_id: str, account: Account, ca_file: str | None) -> list[Finding]:
    """Whether the exchange's list of markets can be read. Workers read it at their first command."""
    name, venue = f"markets of {ccxt_id}", VENUES[account.venue]
    if not isinstance(venue, Inspectable):
        return []
    transport, started = Transport(_LIMITS, ca_file), time.monotonic()
    try:
        count = venue.load_markets(account, transport.send)
    except (PlanFailed, CcxtMissing) as error:
        advice = "until they can be read, no command of this exchange is sent: check whether it is reachable"
        return [EXAMINER.fault(name, f"can't be read: {error}", advice)]
    finally:
        transport.close()
    took = time.monotonic() - started
    message = (
        f"{count}, read in {took:.1f} s; workers read them every {REFRESH_SECONDS / 3600:g} h, and refuse amounts when "
        f"theirs are older than {STALE_SECONDS / 3600:g} h"
    )
    return [EXAMINER.ok(name, message)]
