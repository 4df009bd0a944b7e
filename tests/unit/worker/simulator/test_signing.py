"""Known answers for the signatures of both venues."""

import base64

import pytest
import requests

from tests.unit.worker.simulator.venue_requests import POSITIONS, md5, now_ms, post
from worker.simulator.control import SimulatorControl

PAGE_KEY = "376892265asdad5d12726d8bbfbd8912b3"
PAGE_SECRET = "aQmE8U7bxj16KdJcSd3yX8F8Sakd8aO6LopnHXh27d4kWyb28PxcaTvGrajLDvAw"


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
