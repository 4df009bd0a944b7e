"""Everstrike's GETs, each of which must be the application's own answer, as new as its question.

They need the key alone (``docs/venues.md``).
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from worker.venues.accounts import Account
from worker.venues.contradictions import denies, says_no
from worker.venues.everstrike.auth import auth_headers
from worker.venues.everstrike.records import UNREADABLE_RECORD, read_time
from worker.venues.freshness import NO_CACHE, STALE, dated_ms, staleness
from worker.venues.http.base import NoResponse, Response, SignedRequest, Timing, retry_after_seconds
from worker.venues.json_values import one_line, read_json
from worker.venues.redaction import redact_response, secrets_of

FAILURES = 6
"""Reads one after the other that may fail before no more are made: a venue in trouble is not asked for everything."""
PATIENCE_SECONDS = 20.0
"""For how long in all a visit waits where the venue limits the rate of requests."""
CLOCKS_MS = 3_000
"""By how much ``Date`` headers of one venue may differ: whole seconds, of several machines."""

T = TypeVar("T")
Exchange = Callable[[str, Callable[[], SignedRequest]], Response | NoResponse]
"""As :meth:`worker.venues.http.transport.Transport.send`."""


class Unreadable(Exception):
    """A place can't be read whole; the text says which and why."""


class _Limited(Unreadable):
    """The venue limits the rate of requests."""

    def __init__(self, seconds: float | None) -> None:
        super().__init__()
        self.seconds = max(1.0, seconds or 0.0)


class _Stale(Unreadable):
    """It may be older than the question: nothing is wrong with the venue."""


class EverstrikeGets:
    """Reads of one account, one after the other. Not for sharing among threads."""

    def __init__(self, exchange: Exchange, account: Account, pause: Callable[[float], object] | None = None) -> None:
        """``pause`` waits for so many seconds."""
        self._exchange = exchange
        self._account = account
        self._pause = pause or threading.Event().wait
        self._patience = PATIENCE_SECONDS
        self._since: tuple[int, Timing] | None = None
        self._failures = 0
        self._stopped = ""

    def time(self) -> int | None:
        """The venue's clock, UNIX ms; None when it can't be read. Answers after the first must be dated accordingly."""
        try:
            answer, result = self._ask("/time", {}, "")
            told = read_time(result)
        except (Unreadable, *UNREADABLE_RECORD):
            return None
        if self._since is None and answer.timing is not None:
            self._since = dated_ms(answer) or told, answer.timing
        return told

    def result(self, path: str, query: Mapping[str, str], none_when: str = "") -> Any:
        """The ``result`` of a GET; None when the venue refuses it with the words ``none_when``.

        Raises:
            Unreadable: there is none, or it may be older than the question.
        """
        return self._ask(path, query, none_when)[1]

    def _ask(self, path: str, query: Mapping[str, str], none_when: str) -> tuple[Response, Any]:
        """Ask, and when that fails once more."""
        failed: Unreadable | None = None
        while not self._stopped:
            try:
                found = self._asked(path, query, none_when)
            except _Limited as limited:
                self._wait(limited.seconds)
            except Unreadable as problem:
                self._failures += not isinstance(problem, _Stale)
                if self._failures >= FAILURES:
                    self._stopped = f"not asked for, after {FAILURES} reads that failed"
                if failed is not None:
                    raise
                failed = problem
            else:
                self._failures = 0
                return found
        raise failed or Unreadable(f"{path}: {self._stopped}")

    def _wait(self, seconds: float) -> None:
        """As long as the venue asks for, within what a visit has patience for."""
        if seconds > self._patience:
            self._stopped = "the venue limits the rate of requests (429)"
        else:
            self._patience -= seconds
            self._pause(seconds)

    def _asked(self, path: str, query: Mapping[str, str], none_when: str) -> tuple[Response, Any]:
        url = self._account.base_url + path + (f"?{urlencode(query)}" if query else "")
        request = SignedRequest("GET", url, {**NO_CACHE, **auth_headers(self._account.credentials)})
        answer = self._exchange(self._account.base_url, lambda: request)
        if not isinstance(answer, Response):
            raise Unreadable(f"{path}: {answer.message}")
        if answer.status == 429:
            raise _Limited(retry_after_seconds(answer.headers))
        envelope = read_json(redact_response(answer, secrets_of(request, self._account)).body)
        envelope = envelope if isinstance(envelope, Mapping) else {}
        code, result = envelope.get("code"), envelope.get("result")
        said = one_line(envelope.get("msg") or "nothing that can be read", 80)
        no = says_no({**envelope, "result": None}) or denies(said)
        found = answer.status == code == 200 and result is not None and not no
        refused = answer.status == code == 503 and "result" in envelope
        if not found and not (none_when and refused and said.casefold().rstrip(".") == none_when):
            raise Unreadable(f"{path}: the venue answered {answer.status} ({said})")
        doubt = staleness(answer) or self._misdated(answer)
        if doubt:
            raise _Stale(f"{path}: {STALE}: {doubt}")
        return answer, result if found else None

    def _misdated(self, answer: Response) -> str:
        """Whether the ``Date`` of an answer does not go on from that of the venue's clock, in words; or empty."""
        dated = dated_ms(answer)
        if self._since is None or dated is None or answer.timing is None:
            return ""
        began, then = self._since
        least = began + int((answer.timing.first_byte - then.ended) * 1000)
        most = began + int((answer.timing.ended - then.first_byte) * 1000)
        if dated < least - CLOCKS_MS:
            return f"it is dated {(least - dated) // 1000} s before it was asked for"
        if dated > most + CLOCKS_MS:
            return f"it is dated {(dated - most) // 1000} s later than the venue's clock was read"
        return ""


def readable(path: str, read: Callable[[Any], T], row: Any) -> T:
    """One record, read.

    Raises:
        Unreadable: it can't be.
    """
    try:
        return read(row)
    except UNREADABLE_RECORD as error:
        raise Unreadable(f"{path} has a record that can't be read ({type(error).__name__})") from None
