"""Checks of the venues: whether they are reachable, and how far their clocks are from this machine's.

Only public endpoints are used: no key and no signature leaves this machine.
"""

from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests

from producers.redis.server_info import clock_offset
from worker.operations.doctor.findings import Check, Examiner, Finding
from worker.operations.doctor.key_advice import CLOCK_ADVICE
from worker.settings import WorkerSettings
from worker.venues.ccxt.adapter import NAME_PREFIX
from worker.venues.ccxt.exchanges import traits_of
from worker.venues.json_values import read_json
from worker.venues.registry import REGISTRY, VENUES, TimeEndpoint, address_of
from worker.venues.response_freshness import NO_CACHE_HEADERS, cache_evidence

EXAMINER = Examiner("venues")
MAX_REQUEST_AGE_MS = 15_000
"""Everstrike refuses an order that arrives this long after its timestamp (``docs/venues.md``)."""
WARN_OFFSET_MS = 1_000
"""How far a venue's clock may differ from this machine's without a warning."""
SAMPLES = 5
"""How often a venue's clock is read; the sample with the shortest round trip counts."""
_TIMEOUT_SECONDS = 1.5
_MAX_BODY_BYTES = 64 * 1024


def venue_checks(settings: WorkerSettings) -> list[Check]:
    """One check for each venue and URL that accounts use."""
    by_url: dict[tuple[str, str], list[str]] = {}
    for alias, account in sorted(settings.accounts.items()):
        url = address_of(account).rstrip("/")
        if closed(account.venue, url):
            url = ""
        by_url.setdefault((account.venue, url), []).append(alias)
    return [_check(venue, url, aliases, settings.http.ca_file) for (venue, url), aliases in by_url.items()]


def _check(venue: str, url: str, aliases: list[str], ca_file: str) -> Check:
    name, entry = f"{venue} ({', '.join(aliases)})", REGISTRY.get(venue)
    if entry is not None and not url:
        return Check("venues", name, lambda: [_closed(name, entry.closed_since)])
    time = entry.time if entry is not None else None
    if time is not None:
        return Check("venues", name, lambda: [endpoint_clock(name, url, ca_file, time)])
    return Check("venues", name, lambda: [date_clock(name, url, ca_file, max_age_ms(venue))])


def max_age_ms(venue: str) -> int:
    """How long after its time, ms, the venue takes a request; of an exchange through ccxt, the shortest that any of its
    requests names."""
    if not venue.startswith(NAME_PREFIX):
        return MAX_REQUEST_AGE_MS
    traits = traits_of(venue.removeprefix(NAME_PREFIX))
    return min(traits.windows.values(), default=MAX_REQUEST_AGE_MS) if traits else MAX_REQUEST_AGE_MS


def closed(venue: str, url: str) -> bool:
    """Whether this is the own address of a venue that has closed."""
    entry = REGISTRY.get(venue)
    return entry is not None and bool(entry.closed_since) and url == VENUES[venue].base_url


def _closed(name: str, since: str) -> Finding:
    advice = "set the account's BASE_URL to a simulator (orders simulator), or remove the account"
    return EXAMINER.warning(name, f"the exchange closed in {since}", advice)


def endpoint_clock(name: str, url: str, ca_file: str, endpoint: TimeEndpoint) -> Finding:
    """Compare the clock of a venue that has a time endpoint with this machine's."""
    try:
        with _session(ca_file) as session:
            offset, trip = clock_offset(lambda: _venue_time(session, url, endpoint), SAMPLES)
    except OSError as error:
        return _unreachable(name, url, error)
    except (ValueError, KeyError, TypeError, OverflowError):
        advice = "check that the base URL is the venue's: something else may be answering in its place"
        return EXAMINER.fault(name, f"{url}{endpoint.path} answers, but not with a time", advice)
    except _CachedResponse as cached:
        return _from_a_cache(name, url, cached)
    return _verdict(name, url, offset, trip, uncertainty=0)


def date_clock(name: str, url: str, ca_file: str = "", age_ms: int = MAX_REQUEST_AGE_MS) -> Finding:
    """Compare the clock of a venue without a time endpoint, by the ``Date`` of an HTTP response."""
    try:
        with _session(ca_file) as session:
            offset, trip = clock_offset(lambda: _date(session, url), samples=2)
    except OSError as error:
        return _unreachable(name, url, error)
    except (ValueError, KeyError, TypeError, OverflowError):
        return EXAMINER.warning(name, f"{url} answers, but does not state its time")
    except _CachedResponse as cached:
        return _from_a_cache(name, url, cached)
    # The date has whole seconds: half a second is added, and as much is uncertain.
    return _verdict(name, url, offset + 500, trip, uncertainty=500, age_ms=age_ms)


def _verdict(
    name: str, url: str, offset: float, trip: float, *, uncertainty: float, age_ms: int = MAX_REQUEST_AGE_MS
) -> Finding:
    message = f"{url} answers in {trip:.0f} ms, its clock is {offset:+.0f} ms from this machine's"
    if abs(offset) >= age_ms:
        return EXAMINER.fault(name, f"{message}: requests are refused as too old, or as from the future", CLOCK_ADVICE)
    if abs(offset) > WARN_OFFSET_MS + uncertainty:
        return EXAMINER.warning(name, f"{message}; requests are valid for {age_ms / 1000:g} s", CLOCK_ADVICE)
    return EXAMINER.ok(name, message)


def _session(ca_file: str) -> requests.Session:
    # Like the workers' transport: nothing from the environment, no redirects, one pooled connection.
    session = requests.Session()
    session.trust_env = False
    session.verify = ca_file or True
    return session


def _venue_time(session: requests.Session, url: str, endpoint: TimeEndpoint) -> float:
    headers = {**NO_CACHE_HEADERS, "accept-encoding": "identity"}
    with session.get(
        f"{url}{endpoint.path}", timeout=_TIMEOUT_SECONDS, allow_redirects=False, headers=headers, stream=True
    ) as response:
        body = b""
        for part in _uncached(response).iter_content(_MAX_BODY_BYTES):
            body += part
            if len(body) > _MAX_BODY_BYTES:
                raise ValueError("it is too long for a time")
    return endpoint.unix_ms(read_json(body))


def _date(session: requests.Session, url: str) -> float:
    response = _uncached(
        session.head(f"{url}/", timeout=_TIMEOUT_SECONDS, allow_redirects=False, headers=NO_CACHE_HEADERS)
    )
    return parsedate_to_datetime(response.headers["date"]).timestamp() * 1000


class _CachedResponse(Exception):
    """A response from a cache states an old time."""


def _uncached(response: requests.Response) -> requests.Response:
    doubt = cache_evidence(response.headers, response.elapsed.total_seconds())
    if doubt:
        raise _CachedResponse(doubt)
    return response


def _from_a_cache(name: str, url: str, cached: _CachedResponse) -> Finding:
    advice = "remove the cache in front of the venue: by cached responses, positions and reconcile end in unknown"
    return EXAMINER.fault(name, f"{url} answers with an old time: {cached}", advice)


def _unreachable(name: str, url: str, error: OSError) -> Finding:
    if not isinstance(error, requests.RequestException):
        # The only error that is not one of requests: the file of certificates.
        advice = "correct the path, which must be a file of PEM certificates; until then commands end in not_sent"
        return EXAMINER.fault(name, f"{url}: ORDERS_HTTP__CA_FILE can't be read", advice)
    if isinstance(error, requests.Timeout):
        why = f"no answer within {_TIMEOUT_SECONDS:g} s"
    elif isinstance(error, requests.exceptions.SSLError):
        why = "its certificate can't be verified (ORDERS_HTTP__CA_FILE names a CA of your own)"
    else:
        why = "can't be connected to"
    advice = "check network, proxy and the account's BASE_URL; until then commands end in not_sent"
    if (urlsplit(url).hostname or "") in ("127.0.0.1", "localhost", "::1"):
        advice = f"start the simulator: orders simulator --port {urlsplit(url).port or 80}"
    return EXAMINER.fault(name, f"{url}: {why}", advice)
