"""The Bit-Z side: positions as quoted strings, and errors by number on HTTP 200."""

import time
from typing import Any

import pytest
import requests

from tests.unit.worker.simulator.venue_requests import POSITIONS, md5
from worker.simulator.control import SimulatorControl
from worker.simulator.records import ContractPosition

KEY, SECRET = "demo-bitz-key", "demo-bitz-secret"


def vendor_sign(fields: dict[str, str], key: str) -> str:
    """MD5 of the sorted `k=v` joined by `&` and the secret; pinned by the page's known answer in the signing tests."""
    return md5("&".join(f"{name}={value}" for name, value in sorted(fields.items())) + key)


def ask(control: SimulatorControl, *, key: str = SECRET, **changes: str) -> dict[str, Any]:
    """Ask for positions of contract 101, signed with `key`; `changes` replace fields, an empty one is left out."""
    fields = {"apiKey": KEY, "contractId": "101", "nonce": "aB3xY9", "timeStamp": str(int(time.time())), **changes}
    sent = {name: value for name, value in fields.items() if value}
    # Not in the order that is signed: the venue sorts for itself.
    form = dict(reversed({"sign": vendor_sign(sent, key), **sent}.items()))
    answer = requests.post(control.url + POSITIONS, data=form, timeout=10)
    assert answer.status_code == 200
    return dict(answer.json())


def test_positions(control: SimulatorControl) -> None:
    """A list of objects whose every value is a quoted string, as on the page."""
    answer = ask(control)
    assert (answer["status"], answer["msg"], answer["source"]) == (200, "", "api")
    (row,) = answer["data"]
    assert row == {
        "positionId": "9",
        "contractId": "101",
        "price": "7980.74",
        "direction": "1",
        "amount": "1500",
        "liquidationPrice": "7287.98",
        "rlzPnl": "0.00010170",
        "unrlzPnl": "0.00044862",
        "margin": "0.01930883",
        "leverage": "10.00000000",
        "isCross": "-1",
        "pair": "BTC_USD",
    }


def test_flat_and_several(control: SimulatorControl) -> None:
    """No position is an empty list; only the asked contract is shown."""
    assert ask(control, contractId="102")["data"] == []
    rows = (ContractPosition(), ContractPosition(direction="-1"), ContractPosition(contract_id="7"))
    control.contracts(KEY, rows)
    assert [row["direction"] for row in ask(control, nonce="bbbbbb")["data"]] == ["1", "-1"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"nonce": "1234567"}, 203),
        ({"nonce": "12345"}, -102),
        ({"nonce": "12 456"}, -102),
        ({"nonce": ""}, -102),
        ({"contractId": "BTC"}, -102),
        ({"contractId": "1.5"}, -102),
        ({"contractId": "0101"}, -102),
        ({"colour": "red"}, -102),
        ({"timeStamp": "1510235730"}, -103),
        ({"timeStamp": "1795192228671"}, -102),
        ({"timeStamp": "1510235730.5"}, -102),
        ({"apiKey": "nobody"}, -300069),
        ({"sign": "0" * 32}, -105),
    ],
)
def test_refusals(control: SimulatorControl, changes: dict[str, str], status: int) -> None:
    """A number, an empty message, and data that is no list."""
    answer = ask(control, **changes)
    assert (answer["status"], answer["msg"], answer["data"]) == (status, "", "")


def test_signature_is_lower_case_and_keyed(control: SimulatorControl) -> None:
    """Another secret, and the same digest in upper case, are refused; the arrival says whose signature was wrong."""
    assert ask(control, key="other")["status"] == -105
    fields = {"apiKey": KEY, "contractId": "101", "nonce": "cccccc", "timeStamp": str(int(time.time()))}
    assert ask(control, **fields, sign=vendor_sign(fields, SECRET).upper())["status"] == -105
    assert [arrival.signature_ok for arrival in control.arrivals()] == [False, False]


def test_a_nonce_is_used_once(control: SimulatorControl) -> None:
    """The same nonce with the same time stamp is a replay; a refused request does not use it up."""
    stamp = str(int(time.time()))
    assert ask(control, timeStamp=stamp, key="other")["status"] == -105
    assert [ask(control, timeStamp=stamp)["status"] for _ in range(2)] == [200, -103]


def test_errors_on_demand(control: SimulatorControl) -> None:
    """An error in `status`, and one that hides in `data` behind status 200."""
    control.bitz_error(-110)
    control.bitz_error(-200031, in_data=True)
    first, second, third = (ask(control, nonce=nonce) for nonce in ("aaaaaa", "bbbbbb", "cccccc"))
    assert (first["status"], first["data"]) == (-110, "")
    assert (second["status"], second["data"]) == (200, -200031)
    assert third["data"][0]["positionId"] == "9"


def test_age_is_counted_in_milliseconds(control: SimulatorControl) -> None:
    """The venue's seconds are comparable with the other venue's milliseconds."""
    ask(control, timeStamp=str(int(time.time()) - 30))
    (arrival,) = control.arrivals()
    assert arrival.age_ms is not None
    assert 30_000 <= arrival.age_ms < 60_000
