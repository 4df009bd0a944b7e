"""The doctor's look at the venues: reachable, and how far their clocks are from this machine's.

Only public endpoints are asked: no key and no signature leaves this machine.
"""

import json
from email.utils import parsedate_to_datetime

import requests

from producers.redis.server_info import clock_offset
from worker.operations.doctor.findings import Check, Examiner, Finding
from worker.settings import VENUES, WorkerSettings
from worker.venues.bitz import Bitz
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.freshness import NO_CACHE_HEADERS, cache_evidence

EXAMINER = Examiner("venues")
WINDOW_MS = 15_000
"""Everstrike refuses an order that arrives this long after its timestamp."""
WARN_MS = 1_000
SAMPLES = 5
_SECONDS = 1.5
_CLOCK_ADVICE = "let NTP set this machine's clock (timedatectl set-ntp true, or chronyd)"


def venue_checks(settings: WorkerSettings) -> list[Check]:
    """One check for each place that accounts point to."""
    places: dict[tuple[str, str], list[str]] = {}
    for alias, account in sorted(settings.accounts.items()):
        url = (account.base_url or VENUES[account.venue].base_url).rstrip("/")
        if closed(account.venue, url):
            url = ""
        places.setdefault((account.venue, url), []).append(alias)
    return [_check(venue, url, aliases, settings.http.ca_file) for (venue, url), aliases in places.items()]


def _check(venue: str, url: str, aliases: list[str], ca_file: str) -> Check:
    name, clock = f"{venue} ({', '.join(aliases)})", _CLOCKS.get(venue, date_clock)
    return Check("venues", name, lambda: [clock(name, url, ca_file)])


def closed(venue: str, url: str) -> bool:
    """Whether nobody answers there any more: the venue's own address, of one that has closed."""
    return venue == Bitz.name and url == Bitz.base_url


def everstrike_clock(name: str, url: str, ca_file: str = "") -> Finding:
    """Everstrike's clock against this machine's, through ``GET /time``."""
    try:
        with _session(ca_file) as session:
            offset, trip = clock_offset(lambda: _everstrike_time(session, url), SAMPLES)
    except OSError as error:
        return _unreachable(name, url, error)
    except (ValueError, KeyError, TypeError):
        advice = "is the base URL the venue's? something else may answer in its place"
        return EXAMINER.fault(name, f"{url}/time answers, but not with a time", advice)
    except _Kept as kept:
        return _from_a_cache(name, url, kept)
    return _verdict(name, url, offset, trip, unsure=0)


def date_clock(name: str, url: str, ca_file: str = "") -> Finding:
    """The clock of a venue that is not asked for its time, by the date of any HTTP answer. Without a URL it is one that
    has closed: Bit-Z, in October 2021."""
    if not url:
        advice = "set the account's BASE_URL to a simulator (orders simulator), or remove the account"
        return EXAMINER.warning(name, "the exchange closed in October 2021", advice)
    try:
        with _session(ca_file) as session:
            offset, trip = clock_offset(lambda: _date(session, url), samples=2)
    except OSError as error:
        return _unreachable(name, url, error)
    except (ValueError, KeyError, TypeError):
        return EXAMINER.warning(name, f"{url} answers, but does not tell its time")
    except _Kept as kept:
        return _from_a_cache(name, url, kept)
    # The date has whole seconds; half of one is added, and as much is not known.
    return _verdict(name, url, offset + 500, trip, unsure=500)


_CLOCKS = {Everstrike.name: everstrike_clock}
"""How a venue's clock is read where it tells it."""


def _verdict(name: str, url: str, offset: float, trip: float, *, unsure: float) -> Finding:
    said = f"{url} answers in {trip:.0f} ms, its clock is {offset:+.0f} ms from this machine's"
    if abs(offset) >= WINDOW_MS:
        return EXAMINER.fault(name, f"{said}: requests are refused as too old, or as of the future", _CLOCK_ADVICE)
    if abs(offset) > WARN_MS + unsure:
        return EXAMINER.warning(name, f"{said}; requests are valid for 15 s", _CLOCK_ADVICE)
    return EXAMINER.ok(name, said)


def _session(ca_file: str) -> requests.Session:
    # As the workers' own transport: nothing from the environment, no redirects, one pooled connection.
    session = requests.Session()
    session.trust_env = False
    session.verify = ca_file or True
    return session


def _everstrike_time(session: requests.Session, url: str) -> float:
    answer = _new(session.get(f"{url}/time", timeout=_SECONDS, allow_redirects=False, headers=NO_CACHE_HEADERS))
    return float(json.loads(answer.content)["result"])


def _date(session: requests.Session, url: str) -> float:
    answer = _new(session.head(f"{url}/", timeout=_SECONDS, allow_redirects=False, headers=NO_CACHE_HEADERS))
    return parsedate_to_datetime(answer.headers["date"]).timestamp() * 1000


class _Kept(Exception):
    """An answer that a cache kept tells an old time."""


def _new(answer: requests.Response) -> requests.Response:
    doubt = cache_evidence(answer.headers, answer.elapsed.total_seconds())
    if doubt:
        raise _Kept(doubt)
    return answer


def _from_a_cache(name: str, url: str, kept: _Kept) -> Finding:
    advice = (
        "let no cache stand before the venue: what it keeps proves nothing, and positions and reconcile end in unknown"
    )
    return EXAMINER.fault(name, f"{url} answers with an old time: {kept}", advice)


def _unreachable(name: str, url: str, error: OSError) -> Finding:
    if not isinstance(error, requests.RequestException):
        # Of requests' errors only this one is none of its own.
        advice = "correct the path; a file of certificates in PEM is meant. Commands end in not_sent meanwhile"
        return EXAMINER.fault(name, f"{url}: ORDERS_HTTP__CA_FILE can't be read", advice)
    if isinstance(error, requests.Timeout):
        why = f"no answer within {_SECONDS:g} s"
    elif isinstance(error, requests.exceptions.SSLError):
        why = "its certificate can't be verified (ORDERS_HTTP__CA_FILE names one of your own)"
    else:
        why = "can't be connected to"
    advice = "check network, proxy and the account's BASE_URL; commands to it end in not_sent meanwhile"
    return EXAMINER.fault(name, f"{url}: {why}", advice)
