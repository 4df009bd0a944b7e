"""GET requests to Everstrike. Each response must be the application's own, and not older than its request.

They are authenticated by the API key alone (``docs/venues.md``).
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from worker.venues.accounts import Account
from worker.venues.contradictions import failure_in_message, failure_in_record
from worker.venues.everstrike.auth import auth_headers
from worker.venues.everstrike.records import UNREADABLE_RECORD, read_time
from worker.venues.http.base import Response, Send, SignedRequest, Timing, retry_after_seconds
from worker.venues.json_values import one_line, read_json
from worker.venues.response_freshness import NO_CACHE_HEADERS, STALE_RESPONSE, date_header_ms, staleness
from worker.venues.response_redaction import redact_response, secrets_of

MAX_FAILURES = 6
"""After so many failed reads in a row no more are sent in this visit, to spare a venue that is failing."""
MAX_RATE_LIMIT_WAIT_SECONDS = 20.0
"""How long one visit waits in total when the venue limits the rate of requests."""
MAX_DATE_SKEW_MS = 3_000
"""How far the ``Date`` headers of one venue may differ: they are rounded to seconds, and come from several machines."""

T = TypeVar("T")


class ReadFailed(Exception):
    """Raised when a path can't be read completely; the text names the path and the reason."""


class _RateLimited(ReadFailed):
    """Raised when the venue limits the rate of requests; ``seconds`` is how long to wait."""

    def __init__(self, seconds: float | None) -> None:
        super().__init__()
        self.seconds = max(1.0, seconds or 0.0)


class _StaleResponse(ReadFailed):
    """Raised when the response may be older than the request. This does not count as a failure of the venue."""


class EverstrikeClient:
    """Sends the reads of one account, one after the other. Not for use by several threads."""

    def __init__(self, send: Send, account: Account, sleep: Callable[[float], object] | None = None) -> None:
        """``sleep`` waits for a number of seconds."""
        self._send = send
        self._account = account
        self._sleep = sleep or threading.Event().wait
        self._wait_budget_seconds = MAX_RATE_LIMIT_WAIT_SECONDS
        self._clock_read: tuple[int, Timing] | None = None
        self._failures = 0
        self._stopped = ""

    def time(self) -> int | None:
        """The time on the venue's clock, UNIX ms; None when it can't be read.

        The ``Date`` of every later response must agree with the first time read.
        """
        try:
            response, result = self._request("/time", {}, "")
            venue_time = read_time(result)
        except (ReadFailed, *UNREADABLE_RECORD):
            return None
        if self._clock_read is None and response.timing is not None:
            self._clock_read = date_header_ms(response) or venue_time, response.timing
        return venue_time

    def result(self, path: str, query: Mapping[str, str], refusal_for_none: str = "") -> Any:
        """The ``result`` of a GET; None when the venue refuses it with the message ``refusal_for_none``.

        Raises:
            ReadFailed: the response has no result, or may be older than the request.
        """
        return self._request(path, query, refusal_for_none)[1]

    def _request(self, path: str, query: Mapping[str, str], refusal_for_none: str) -> tuple[Response, Any]:
        """Send a request, and repeat it once if that fails."""
        first_failure: ReadFailed | None = None
        while not self._stopped:
            try:
                found = self._request_once(path, query, refusal_for_none)
            except _RateLimited as limit:
                self._wait(limit.seconds)
            except ReadFailed as problem:
                self._failures += not isinstance(problem, _StaleResponse)
                if self._failures >= MAX_FAILURES:
                    self._stopped = f"not asked for, after {MAX_FAILURES} reads that failed"
                if first_failure is not None:
                    raise
                first_failure = problem
            else:
                self._failures = 0
                return found
        raise first_failure or ReadFailed(f"{path}: {self._stopped}")

    def _wait(self, seconds: float) -> None:
        """Wait as long as the venue asks for, within the budget of the visit."""
        if seconds > self._wait_budget_seconds:
            self._stopped = "the venue limits the rate of requests (429)"
        else:
            self._wait_budget_seconds -= seconds
            self._sleep(seconds)

    def _request_once(self, path: str, query: Mapping[str, str], refusal_for_none: str) -> tuple[Response, Any]:
        url = self._account.base_url + path + (f"?{urlencode(query)}" if query else "")
        request = SignedRequest("GET", url, {**NO_CACHE_HEADERS, **auth_headers(self._account.credentials)})
        response = self._send(self._account.base_url, lambda: request)
        if not isinstance(response, Response):
            raise ReadFailed(f"{path}: {response.message}")
        if response.status == 429:
            raise _RateLimited(retry_after_seconds(response.headers))
        envelope = read_json(redact_response(response, secrets_of(request, self._account)).body)
        envelope = envelope if isinstance(envelope, Mapping) else {}
        code, result = envelope.get("code"), envelope.get("result")
        message = one_line(envelope.get("msg") or "nothing that can be read", 80)
        failed = failure_in_record({**envelope, "result": None}) or failure_in_message(message)
        found = response.status == code == 200 and result is not None and not failed
        refused = response.status == code == 503 and "result" in envelope
        if not found and not (refusal_for_none and refused and message.casefold().rstrip(".") == refusal_for_none):
            raise ReadFailed(f"{path}: the venue answered {response.status} ({message})")
        doubt = staleness(response) or self._misdated(response)
        if doubt:
            raise _StaleResponse(f"{path}: {STALE_RESPONSE}: {doubt}")
        return response, result if found else None

    def _misdated(self, response: Response) -> str:
        """How the ``Date`` of a response contradicts the time on the venue's clock; empty if it does not."""
        date_ms = date_header_ms(response)
        if self._clock_read is None or date_ms is None or response.timing is None:
            return ""
        read_ms, then = self._clock_read
        earliest = read_ms + int((response.timing.first_byte - then.ended) * 1000)
        latest = read_ms + int((response.timing.ended - then.first_byte) * 1000)
        if date_ms < earliest - MAX_DATE_SKEW_MS:
            return f"it is dated {(earliest - date_ms) // 1000} s before it was asked for"
        if date_ms > latest + MAX_DATE_SKEW_MS:
            return f"it is dated {(date_ms - latest) // 1000} s later than the venue's clock was read"
        return ""


def parse_record(path: str, parse: Callable[[Any], T], row: Any) -> T:
    """Parse one record.

    Raises:
        ReadFailed: the record can't be read.
    """
    try:
        return parse(row)
    except UNREADABLE_RECORD as error:
        raise ReadFailed(f"{path} has a record that can't be read ({type(error).__name__})") from None
