"""The requests that the simulator's tests send, signed by code of their own, and known answers for both signatures."""

import base64
import hashlib
import hmac
import time
from collections.abc import Iterator, Mapping
from urllib.parse import urlencode

import pytest
import requests

from worker.simulator.control import SimulatorControl
from worker.simulator.server import SimulatorServer

KEY, SECRET = "demo-everstrike-key", "demo-everstrike-secret"
FORM = "application/x-www-form-urlencoded"
POSITIONS = "/Contract/getContractActivePositions"
PAGE_KEY = "376892265asdad5d12726d8bbfbd8912b3"
PAGE_SECRET = "aQmE8U7bxj16KdJcSd3yX8F8Sakd8aO6LopnHXh27d4kWyb28PxcaTvGrajLDvAw"


def md5(text: str) -> str:
    """Lower-case hex."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def now_ms() -> int:
    """UNIX milliseconds."""
    return time.time_ns() // 1_000_000


def signed_headers(body: bytes, *, key: str = KEY, secret: str = SECRET) -> dict[str, str]:
    """Everstrike's headers for exactly these bytes."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).digest()
    return {"x-api-key": key, "x-signature": base64.b64encode(digest).decode(), "content-type": FORM}


def post(url: str, path: str, fields: Mapping[str, object] | bytes, **headers: str) -> requests.Response:
    """Send a signed Everstrike command; keyword arguments replace headers (`_` stands for `-`)."""
    body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
    replaced = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(url + path, data=body, headers=signed_headers(body) | replaced, timeout=10)


def close(url: str, **fields: object) -> requests.Response:
    """Close at market, now, unless the fields say otherwise."""
    return post(url, "/auth/close", {"pair": "USD_BTC_PERP", "timestamp": now_ms(), **fields})


def withdraw(url: str, **fields: object) -> requests.Response:
    """Withdraw 1 ETH, now, unless the fields say otherwise."""
    return post(url, "/auth/withdraw", {"asset": "ETH", "qty": 1, "address": "0xa", "timestamp": now_ms(), **fields})


def get(url: str, path: str, **query: str | int) -> requests.Response:
    """An Everstrike read."""
    return requests.get(url + path, params=query, headers={"x-api-key": KEY}, timeout=10)


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    """A simulator in a process of its own."""
    with SimulatorServer() as running:
        yield running


@pytest.fixture
def control(server: SimulatorServer) -> SimulatorControl:
    """Its control, with the book as at the start."""
    server.control.reset()
    return server.control


def test_hmac_known_answer_of_rfc_4231(control: SimulatorControl) -> None:
    """Test case 2 of the RFC passes the signature check, and a single changed byte does not."""
    control.account("everstrike", "rfc", "Jefe")
    digest = bytes.fromhex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    signature = {"x_signature": base64.b64encode(digest).decode(), "x_api_key": "rfc"}
    good = post(control.url, "/auth/cancel", b"what do ya want for nothing?", **signature)
    bad = post(control.url, "/auth/cancel", b"what do ya want for nothing!", **signature)
    assert (good.status_code, bad.status_code) == (503, 401)
    assert [arrival.signature_ok for arrival in control.arrivals()] == [True, False]


@pytest.mark.parametrize(
    ("sign", "status"),
    [
        ("ccf86167a4324a8b84d3da79af783481", 200),
        # The page's worked example: not sorted, and contractId cut to 1.
        (md5(f"apiKey={PAGE_KEY}&timeStamp=1510235730&nonce=309127&contractId=1{PAGE_SECRET}"), -105),
    ],
)
def test_md5_known_answer_of_the_page(control: SimulatorControl, sign: str, status: int) -> None:
    """The sorted text signs as computed from the page's secret; the page's own splicing is refused."""
    control.account("bitz", PAGE_KEY, PAGE_SECRET)
    control.configure(clock_offset_ms=1_510_235_730_000 - now_ms())
    fields = {"apiKey": PAGE_KEY, "contractId": 101, "nonce": "309127", "timeStamp": 1510235730}
    answer = requests.post(control.url + POSITIONS, data={**fields, "sign": sign}, timeout=10)
    assert answer.json()["status"] == status
