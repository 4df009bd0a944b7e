"""From ccxt's requests to those that our transport sends: where they go, and whether they are what was asked for."""

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from worker.venues.accounts import Account, canonical_address
from worker.venues.ccxt.binding import BuiltRequest
from worker.venues.ccxt.traits import Traits
from worker.venues.http.base import SignedRequest
from worker.venues.http.outgoing import SENT_AS_SIGNED


class NotAsAsked(Exception):
    """Raised when a request is not the one that was asked for; it is not sent. The text is a phrase for people, without
    secrets."""


def name_of(request: BuiltRequest, traits: Traits | None) -> str:
    """Method, complete path and action, as :attr:`Traits.mutating` lists them."""
    name = f"{request.method} {urlsplit(request.url).path}"
    if traits is not None and traits.action_of is not None and request.body:
        try:
            return f"{name} {traits.action_of(json.loads(request.body))}"
        except (ValueError, LookupError, TypeError, AttributeError):
            return f"{name} ?"
    return name


def is_read(request: BuiltRequest, traits: Traits | None) -> bool:
    """Whether a request changes nothing: a GET that is not listed as changing something, as all of Deribit's do, or a
    POST that is listed as a read."""
    if traits is None:
        return request.method == "GET"
    name = name_of(request, traits)
    if request.method == "GET":
        return not any(name in names for names in traits.mutating.values())
    return name in traits.post_reads


def origin_of(url: str) -> str:
    """Scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def address_for(request: BuiltRequest, account: Account, own_address: str) -> str:
    """Where a request is sent: to the host that ccxt signed it for, or, where the account's address is another one than
    the exchange's, there."""
    if canonical_address(account.base_url) == canonical_address(own_address):
        return origin_of(request.url)
    return account.base_url


def to_signed_request(
    request: BuiltRequest, address: str, headers: Mapping[str, str], max_bytes: int = 0
) -> SignedRequest:
    """The request as it is sent to ``address``, with path and query byte for byte as they were signed.

    Raises:
        NotAsAsked: the transport would write the URL in another way than it was signed.
    """
    if not SENT_AS_SIGNED.fullmatch(request.url):
        raise NotAsAsked("its URL can't be sent as it was signed")
    path = request.url.removeprefix(origin_of(request.url))
    body = request.body.encode() if request.body else b"" if request.method in ("POST", "PUT", "DELETE") else None
    return SignedRequest(request.method, address + path, {**request.headers, **headers}, body, max_bytes)


def values_of(request: BuiltRequest) -> list[tuple[str, Any]]:
    """The names and values in the query and the body, of nested objects as well."""
    values: list[tuple[str, Any]] = list(parse_qsl(urlsplit(request.url).query, keep_blank_values=True))
    if request.body:
        try:
            values += _nested("", json.loads(request.body, parse_float=str))
        except (ValueError, RecursionError):
            values += parse_qsl(request.body, keep_blank_values=True)
    return values


def _nested(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for each, inner in value.items():
            yield from _nested(str(each), inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nested(name, inner)
    else:
        yield name, value


def check_contains(
    request: BuiltRequest, texts: Mapping[str, Sequence[str]], amounts: Mapping[str, str | None]
) -> None:
    """Check that one form of each text, and each amount, is a value of the request: ccxt drops and rounds arguments in
    silence at some exchanges. An amount may be negative, by which some exchanges write a sale.

    Raises:
        NotAsAsked: naming the first one that is missing.
    """
    values = [value for _, value in values_of(request)]
    written = {str(value) for value in values}
    numbers = {abs(number) for number in map(_number, values) if number is not None}
    path = urlsplit(request.url).path.split("/")
    for name, forms in texts.items():
        if forms and written.isdisjoint(forms) and not any(form in path for form in forms):
            raise NotAsAsked(f"ccxt leaves out the {name}")
    for name, amount in amounts.items():
        if amount is not None and Decimal(amount) not in numbers:
            raise NotAsAsked(f"ccxt leaves out the {name}, or changes it")


def check_side(request: BuiltRequest, side: str, amount: str) -> None:
    """Check that a request says ``buy`` or ``sell``, in a word or by the sign of its amount.

    Raises:
        NotAsAsked: it says the other one, or nothing.
    """
    values = [value for _, value in values_of(request)]
    said = {str(value).lower() for value in values} & {"buy", "sell"}
    signed = Decimal(amount) * (1 if side == "buy" else -1)
    if said != {side} and (said or signed not in map(_number, values)):
        raise NotAsAsked("ccxt leaves out the side, or changes it")


def is_reduce_only(request: BuiltRequest) -> bool:
    """Whether a request says that it reduces a position and opens none."""
    return any(
        "reduce" in name.lower() and str(value).lower() in ("true", "yes", "1") for name, value in values_of(request)
    )


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | str) or len(str(value)) > 100:
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
