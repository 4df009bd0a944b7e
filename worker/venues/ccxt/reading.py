"""Reads at an exchange before a command begins, or in search of one: each over our transport, none believed that is not
fresh and complete."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from worker.venues.accounts import Account
from worker.venues.ccxt.binding import BuiltRequest, Captured, call, copy_for, decode
from worker.venues.ccxt.requests import NotAsAsked, address_for, is_read, to_signed_request
from worker.venues.ccxt.traits import Envelope, Place, Traits
from worker.venues.http.base import Response, Send, SignedRequest, retry_after_seconds
from worker.venues.json_values import UNREADABLE, one_line
from worker.venues.response_freshness import (
    MAX_DATE_AGE_SECONDS,
    NO_CACHE_HEADERS,
    STALE_RESPONSE,
    date_header_ms,
    staleness,
)
from worker.venues.response_redaction import redact_response, secrets_of

MAX_READS = 40
"""How many requests one plan or one look may make."""


class ReadFailed(Exception):
    """Raised when something could not be read. The text is a phrase for people, without secrets."""

    def __init__(self, words: str, retry_after: float | None = None) -> None:
        super().__init__(words)
        self.retry_after = retry_after


class NotThere(Exception):
    """Raised when the exchange says that it lists no such record."""


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """What a method of ccxt that only reads has returned."""

    value: Any
    decoded: Any
    """The JSON of its last answer."""
    answers: tuple[Response, ...] = ()


@dataclass(slots=True)
class Reader:
    """Reads for one account and one plan or look."""

    exchange: Any
    """ccxt's object with its markets; see :func:`worker.venues.ccxt.binding.copy_for`."""
    traits: Traits | None
    account: Account
    own_address: str
    send: Send
    clock_ms: Callable[[], int]
    options: Mapping[str, Any] = field(default_factory=dict)
    public: bool = False
    """Whether no request carries the account's keys."""
    max_bytes: int = 0
    """The bound of each answer; 0 for the transport's own."""
    max_items: int | None = None
    requests: int = 0
    venue_time_ms: int | None = None
    """The oldest ``Date`` of the answers."""

    def rows(self, place: Place, *, one: bool = False) -> list[Any]:
        """All raw records that a place lists, of all its pages; ``one`` is there, unless the exchange says in its own
        words that it is not.

        Raises:
            ReadFailed: the list can't be read, or is not there.
        """
        rows: list[Any] = []
        args: tuple[Any, ...] | None = place.args
        while args is not None:
            try:
                answer = self.call(place.method, args, place.absent)
            except NotThere:
                return rows
            listed = listed_rows(place, answer.decoded)
            if one and not listed:
                raise ReadFailed(f"{place.method}: an answer without its record")
            rows += listed
            args = place.next_args(answer.decoded) if place.next_args else None
        return rows

    def later_rows(self, place: Place) -> list[Any]:
        """All raw records of a place but those of its first page.

        Raises:
            ReadFailed: the list can't be read, or is not there.
        """
        if place.next_args is None:
            return []
        args = place.next_args(self.call(place.method, place.args).decoded)
        return [] if args is None else self.rows(replace(place, args=args))

    def copy(self) -> Any:
        """ccxt's object, to parse with."""
        return self._copy(())

    def call(self, method: str, args: Sequence[Any], absent: frozenset[str] = frozenset()) -> ReadAnswer:
        """Run a method of ccxt, and send each request that it comes to.

        Raises:
            ReadFailed: a request got no fresh answer of the exchange's own that says yes, or would change something.
            NotThere: the exchange answered with one of the ``absent`` codes.
        """
        feed: list[Response] = []
        while True:
            try:
                value = call(self._copy(feed), method, args)
            except Captured as captured:
                feed.append(self._answer(method, args, feed, captured.request, absent))
            except Exception as error:  # noqa: BLE001 - ccxt's texts quote requests; the kind of error says enough
                raise ReadFailed(f"{method}: {type(error).__name__}") from None
            else:
                return ReadAnswer(value, decode(feed[-1], self.max_items) if feed else UNREADABLE, tuple(feed))

    def _copy(self, feed: Sequence[Response]) -> Any:
        credentials = None if self.public else self.account.credentials
        mine = copy_for(self.exchange, credentials, self.clock_ms(), self.options, feed)
        mine.max_items = self.max_items
        return mine

    def _answer(
        self, method: str, args: Sequence[Any], feed: Sequence[Response], first: BuiltRequest, absent: frozenset[str]
    ) -> Response:
        self.requests += 1
        if self.requests > MAX_READS:
            raise ReadFailed(f"more than {MAX_READS} reads")
        sent: list[SignedRequest] = []
        sent_ms = 0
        address = address_for(first, self.account, self.own_address)

        def sign() -> SignedRequest:
            nonlocal sent_ms
            sent_ms = self.clock_ms()
            sent.append(self._signed(method, args, feed, address))
            return sent[-1]

        try:
            response = self.send(address, sign)
        except NotAsAsked as error:
            raise ReadFailed(f"{method}: {error}") from None
        if not isinstance(response, Response):
            raise ReadFailed(f"{method}: {response.message}")
        if not self.public:
            response = redact_response(response, secrets_of(sent[-1], self.account))
        self._check(method, response, absent, sent_ms)
        return response

    def _signed(self, method: str, args: Sequence[Any], feed: Sequence[Response], address: str) -> SignedRequest:
        try:
            call(self._copy(feed), method, args)
        except Captured as captured:
            if not is_read(captured.request, self.traits):
                raise NotAsAsked("ccxt would send a request that is no read") from None
            headers = {**NO_CACHE_HEADERS, **testnet_headers(self.account, self.traits)}
            return to_signed_request(captured.request, address, headers, self.max_bytes)
        raise NotAsAsked("ccxt builds no request")

    def _check(self, method: str, response: Response, absent: frozenset[str], sent_ms: int) -> None:
        """Check that an answer is fresh, and that it is the exchange's own and says yes."""
        if response.status in (418, 429):
            words = f"{method}: the venue limits the rate of requests ({response.status})"
            raise ReadFailed(words, retry_after_seconds(response.headers))
        date_ms = date_header_ms(response)
        age_seconds = (sent_ms - date_ms) // 1000 if date_ms is not None else 0
        doubt = staleness(response)
        if not doubt and age_seconds > MAX_DATE_AGE_SECONDS:
            doubt = f"it is dated {age_seconds} s before it, unless this machine's clock is ahead"
        if doubt:
            raise ReadFailed(f"{method}: {STALE_RESPONSE}: {doubt}")
        if date_ms is not None:
            self.venue_time_ms = date_ms if self.venue_time_ms is None else min(self.venue_time_ms, date_ms)
        decoded = decode(response, self.max_items)
        envelope = read_envelope(self.traits, decoded)
        if envelope is not None and envelope.code in absent and envelope.code and response.status < 500:
            raise NotThere
        if response.status != 200:
            said = f" ({one_line(envelope.message or envelope.code, 80)})" if envelope is not None else ""
            raise ReadFailed(
                f"{method}: the venue answered {response.status}{said}", retry_after_seconds(response.headers)
            )
        if decoded is UNREADABLE:
            raise ReadFailed(f"{method}: an answer that can't be read")


def read_envelope(traits: Traits | None, value: Any) -> Envelope | None:
    """The exchange's own envelope in decoded JSON; None for anything else."""
    if traits is None or value is UNREADABLE:
        return None
    try:
        return traits.read(value)
    except Exception:  # noqa: BLE001 - what can't be read is not the envelope
        return None


def listed_rows(place: Place, decoded: Any) -> list[Any]:
    """The raw records in an answer.

    Raises:
        ReadFailed: the list is not there, or one of its records is no object.
    """
    try:
        rows = place.rows(decoded)
    except (LookupError, TypeError, ValueError, AttributeError):
        rows = None
    if rows is None:
        raise ReadFailed(f"{place.method}: an answer without its list")
    if not all(isinstance(each, Mapping) for each in rows):
        raise ReadFailed(f"{place.method}: a record that can't be read")
    return list(rows)


def testnet_headers(account: Account, traits: Traits | None) -> Mapping[str, str]:
    """What marks a request to a test network."""
    return traits.testnet_headers if account.testnet and traits is not None else {}
