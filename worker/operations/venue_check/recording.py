"""Records what is sent to a venue and what it answers, in a form that may be shown to anybody.

Of a request it keeps method, host, path and the names of its fields; of a response its status and its shape: words and
short codes stay, every other value is told by its kind. So no key, no signature, no signed body, and nothing of what
the account holds is in a record.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from producers.redaction import REDACTED
from worker.clock import Clock
from worker.venues.accounts import Account
from worker.venues.http.base import NoResponse, Response, Send, SignedRequest
from worker.venues.json_values import UNREADABLE, one_line, read_json
from worker.venues.response_redaction import PLAIN_HEADERS, Secrets, redact_response, secrets_of

MAX_SHOWN_CHARACTERS = 1500
"""Of an answer; the rest of a long list is of the same shape."""
MAX_READ_BYTES = 256 * 1024
"""Of a longer answer nothing but its length is shown."""
MOST_ITEMS = 2
"""Of a list in an answer."""
_WORD = re.compile(r"[A-Za-z][A-Za-z_ .:/-]{0,59}")
"""What stays of a text: words of letters, such as a status or a message. Ids, amounts and times have digits."""
_CODE = re.compile(r"-?[0-9]{1,6}")
_CODE_FIELDS = re.compile(r"(?i)code|status|state|error|errors|success|msg|message|result")
"""The fields in which short numbers stay, because they say what the venue thinks of a request."""
MAX_NAME_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer."""

    method: str
    address: str
    """Host and path, without a query."""
    fields: tuple[str, ...]
    """The names of the fields in its query, its body and its headers."""
    status: int | None
    """None where no response came."""
    answer: str
    """The shape of the response's body, or why there is none."""
    milliseconds: int


@dataclass(slots=True)
class Recorder:
    """A :data:`~worker.venues.http.base.Send` that records."""

    send_over: Send
    account: Account
    clock: Clock
    exchanges: list[Exchange] = field(default_factory=list)
    named: dict[str, str] = field(default_factory=dict)
    """By value: what it is, for values of this check's own that an answer may repeat, such as its handle."""
    private: bool = False
    """Whether an answer tells of the account, so that nothing but its shape is shown."""
    failure: str = ""
    """Why the last request was not sent; empty once anything was."""
    offset_ms: int | None = None
    """How far the venue's clock is ahead of this machine's, by the last response's ``Date``, which has whole
    seconds."""
    answered: bool = False
    """Whether any response has come."""

    def send(self, base_url: str, make_request: Callable[[], SignedRequest]) -> Response | NoResponse:
        """Send a request, and record it and its answer."""
        made: list[SignedRequest] = []

        def make() -> SignedRequest:
            made.append(make_request())
            return made[-1]

        started = self.clock.monotonic()
        response = self.send_over(base_url, make)
        took = round((self.clock.monotonic() - started) * 1000)
        secrets = secrets_of(made[-1], self.account) if made else Secrets()
        if isinstance(response, Response):
            self.answered = True
            offset = _offset_ms(response, self.clock.now_ms())
            self.offset_ms = self.offset_ms if offset is None else offset
            # A public list can be so long that it would be searched for minutes, and repeats no request.
            response = response if made[-1].max_response_bytes else redact_response(response, secrets)
        self.failure = response.message if isinstance(response, NoResponse) else ""
        if made:
            self.exchanges.append(self._exchange(made[-1], response, secrets, took))
        return response

    def take(self) -> tuple[Exchange, ...]:
        """What was recorded since the last call."""
        taken, self.exchanges = tuple(self.exchanges), []
        return taken

    def _exchange(
        self, request: SignedRequest, response: Response | NoResponse, secrets: Secrets, took: int
    ) -> Exchange:
        parts = urlsplit(request.url)
        address = secrets.redact_text(f"{parts.netloc}{parts.path}")
        names = tuple(secrets.redact_text(name)[:MAX_NAME_CHARACTERS] for name in field_names(request))
        if isinstance(response, NoResponse):
            return Exchange(request.method, address, names, None, response.message, took)
        shown = self._shape(response.body)
        return Exchange(request.method, address, names, response.status, shown, took)

    def _shape(self, body: bytes) -> str:
        if len(body) > MAX_READ_BYTES:
            return f"{len(body)} bytes"
        value = read_json(body)
        if value is UNREADABLE:
            return f"{len(body)} bytes that are not JSON"
        shown = json.dumps(self._shown(value, ""), ensure_ascii=False)
        return one_line(shown, MAX_SHOWN_CHARACTERS)

    def _shown(self, value: Any, name: str) -> Any:
        if isinstance(value, Mapping):
            return {one_line(key, MAX_NAME_CHARACTERS): self._shown(item, key) for key, item in value.items()}
        if isinstance(value, list):
            more = [f"… {len(value)} in all"] if len(value) > MOST_ITEMS else []
            return [self._shown(item, name) for item in value[:MOST_ITEMS]] + more
        if value is None or isinstance(value, bool) or value == "":
            return value
        return self._shown_value(value, name)

    def _shown_value(self, value: Any, name: str) -> Any:
        text = str(value)
        if text in self.named:
            return f"<{self.named[text]}>"
        if _CODE_FIELDS.search(name) and _CODE.fullmatch(text):
            return value if isinstance(value, int | str) else text
        if isinstance(value, str) and not self.private and (_WORD.fullmatch(text) or REDACTED in text):
            return text
        return "<text>" if isinstance(value, str) else "<number>"


def _offset_ms(response: Response, now_ms: int) -> int | None:
    """From a response that has just come; half a second is added to its ``Date``."""
    try:
        venue_ms = parsedate_to_datetime(response.date).timestamp() * 1000 + 500
    except (ValueError, TypeError, OverflowError):
        return None
    return round(venue_ms - now_ms)


def field_names(request: SignedRequest) -> list[str]:
    """The names of the fields in a request's query and body, and of the headers that only this venue wants."""
    names = [name for name, _ in parse_qsl(urlsplit(request.url).query, keep_blank_values=True)]
    body = request.body or b""
    value = read_json(body) if body[:1] in (b"{", b"[") else None
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, Mapping):
        names += map(str, value)
    elif body:
        names += [name for name, _ in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)]
    return names + sorted(name for name in request.headers if name.lower() not in PLAIN_HEADERS)
