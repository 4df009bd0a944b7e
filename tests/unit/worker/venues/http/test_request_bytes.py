"""The bytes of each request are those that requests, urllib3 and http.client would send, and none is sent that they
would refuse."""

import base64
import http.client
import re
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any, cast

import pytest
from ccxt.base.types import Entry
from hypothesis import example, given, settings
from hypothesis import strategies as st
from requests import PreparedRequest, RequestException
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from producers.commands import Cancel, Close, Command, Positions, Withdraw
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Plan
from worker.venues.bitz import Bitz
from worker.venues.ccxt.binding import Captured, copy_for, new_exchange
from worker.venues.ccxt.exchanges import IDS
from worker.venues.ccxt.requests import NotAsAsked, origin_of, to_signed_request
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.http.base import HttpLimits, SignedRequest
from worker.venues.http.outgoing import to_bytes, to_prepared_request
from worker.venues.http.pools import Pools

NOW_MS = 1_790_000_000_000
KEYS = Credentials(
    **dict.fromkeys(Credentials.__dataclass_fields__, base64.b64encode(b"the secret of somebody, long enough").decode())
)


class Written(Exception):
    """Raised with the bytes of a request, when its response would be read."""


class _WritingConnection(HTTPConnection):
    """Connects to nothing, and keeps what is written."""

    written = b""

    def connect(self) -> None:
        pass

    def send(self, data: Any) -> None:
        self.written += data

    def getresponse(self) -> Any:
        raise Written(self.written)


class _WritingTlsConnection(_WritingConnection, HTTPSConnection):
    is_verified = True


class _Pool(HTTPConnectionPool):
    ConnectionCls = _WritingConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _WritingTlsConnection


ADAPTER = HTTPAdapter(pool_connections=1000)
ADAPTER.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
POOLS = Pools(HttpLimits(), DEFAULT_CA_BUNDLE_PATH)


def by_urllib3(signed: SignedRequest) -> bytes | None:
    """The bytes of the request as requests' adapter has them sent; None if it refuses them."""
    try:
        ADAPTER.send(to_prepared_request(signed))
    except Written as written:
        return cast("bytes", written.args[0])
    except Exception:  # noqa: BLE001 - http.client and urllib3 refuse with errors of many kinds
        return None
    raise AssertionError("there was nothing to read")


def by_the_product(signed: SignedRequest) -> bytes | None:
    """The bytes of the request as it is sent; None if it is refused."""
    connection = POOLS.pool(signed.url)._new_conn()  # type: ignore[attr-defined]
    try:
        return to_bytes(to_prepared_request(signed), connection._address)
    except ValueError:
        return None


COMMANDS: list[Command] = [
    Close(account="a", pair="USD_BTC_PERP", qty=Decimal("0.001"), price=Decimal("64000.5")),
    Cancel(account="a", order_id="A-1"),
    Withdraw(account="a", asset="BTC", qty=Decimal("0.1"), address="bc1qexample"),
    Positions(account="a", pair="USD_BTC_PERP"),
]


@pytest.mark.parametrize(
    "address", ["https://venue.example", "http://127.0.0.1:8080", "http://[::1]:1", "http://[::1]"]
)
def test_requests_of_the_venues_without_ccxt(address: str) -> None:
    account = Account("a", "everstrike", address, KEYS)
    signed = [Everstrike().request(Plan(command, account), NOW_MS) for command in COMMANDS]
    signed.append(Bitz().request(Plan(Positions(account="a", contract_id=101), account), NOW_MS))
    for each in signed:
        expected = by_urllib3(each)
        assert expected is not None
        assert by_the_product(each) == expected


def requests_of(ccxt_id: str, parameters: dict[str, str]) -> Iterator[SignedRequest]:
    """A request to each endpoint that ccxt knows of an exchange."""
    exchange = copy_for(new_exchange(ccxt_id, {}), KEYS, NOW_MS, {})
    endpoints = {
        name: found for each in type(exchange).__mro__ for name, found in vars(each).items() if isinstance(found, Entry)
    }
    for name, endpoint in endpoints.items():
        try:
            getattr(exchange, name)(dict.fromkeys(re.findall(r"{([\w-]+)}", endpoint.path), "1") | parameters)
        except Captured as captured:
            with suppress(NotAsAsked):
                yield to_signed_request(captured.request, origin_of(captured.request.url), {})
        except KeyError:  # the addresses of some of Gate's
            continue


@pytest.mark.parametrize(
    "parameters", [{"symbol": "BTCUSDT", "qty": "0.001"}, {"note": "a b,c=d%\u00e9&"}], ids=["plain", "odd"]
)
@pytest.mark.parametrize("ccxt_id", IDS)
def test_requests_to_every_endpoint_of_the_exchanges(ccxt_id: str, parameters: dict[str, str]) -> None:
    compared = 0
    for signed in requests_of(ccxt_id, parameters):
        expected = by_urllib3(signed)
        assert expected is not None
        assert by_the_product(signed) == expected
        compared += 1
    assert compared > 40


METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "get", "OPTIONS", "X-Y", "P T", "POST\n", "\u00e9", ""]
NAMES = st.text(st.sampled_from("aZ-_ :\t\r\n\0\x1f\x7f\x0b\x85\u00e9\u0660!~()"), max_size=4)
VALUES = st.text(st.sampled_from("aZ :,\t\r\n\0\x1f\x7f\x0b\x85\u00e9\u0660\ud800"), max_size=6)
KNOWN_NAMES = ["Host", "host", "Accept-Encoding", "User-Agent", "content-length", "Content-Type", "X", "x"]
TARGETS = st.text(st.sampled_from("/aA.?&=# %2fF~[]\\\t\r\n\0\x7f\u00e9\u0660;:@"), max_size=8)
ADDRESSES = ["http://h", "http://H.example:80", "https://h:443", "https://h:80", "http://h.:8080", "http://[::1]:80"]
ADDRESSES += ["http://[::1]:8080", "http://b\u00fccher.example", "http://user:pw@h"]
if hasattr(http.client, "_strip_ipv6_iface"):  # earlier Pythons send the name of the interface
    ADDRESSES.append("http://[fe80::1%25eth0]:8080")


@settings(max_examples=300)
@given(
    method=st.sampled_from(METHODS),
    address=st.sampled_from(ADDRESSES),
    target=TARGETS,
    headers=st.dictionaries(st.sampled_from(KNOWN_NAMES) | NAMES, VALUES, max_size=4),
    body=st.none() | st.binary(max_size=5),
)
@example("POST", "http://h", "/", {"X": "a\r\nY: b"}, b"")
@example("POST", "http://h", "/", {"X": "a\r\n b"}, b"")
@example("POST", "http://h", "/", {"X\r\nY": "b"}, b"")
@example("GET", "http://h", "/ HTTP/1.1\r\nX: a", {}, None)
def test_odd_requests_are_written_or_refused_as_by_urllib3(
    method: str, address: str, target: str, headers: dict[str, str], body: bytes | None
) -> None:
    """Whatever urllib3 or http.client would refuse is not sent, and there is no way to begin another header."""
    try:
        signed = SignedRequest(method, f"{address}/{target}", headers, body)
        prepared = to_prepared_request(signed)
    except (ValueError, RequestException):
        return
    if ADAPTER.request_url(prepared, {}) != prepared.path_url:
        return  # earlier versions of requests drop a slash of two at the beginning, which may have been signed
    assert by_the_product(signed) == by_urllib3(signed)


def test_a_transfer_coding_is_refused() -> None:
    """The body of each request has a known length, and a venue must not read it in another way."""
    signed = SignedRequest("POST", "http://h/", {"transfer-Encoding": "chunked"}, b"a")
    assert by_urllib3(signed) is not None
    assert by_the_product(signed) is None


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/a\0", "/\x7f", "/\u00e9"])
def test_a_target_that_requests_has_not_encoded_is_refused(target: str) -> None:
    request = PreparedRequest()
    request.method, request.url, request.headers = "GET", f"http://h{target}", CaseInsensitiveDict()
    with pytest.raises(ValueError, match="request line"):
        to_bytes(request, "h")
