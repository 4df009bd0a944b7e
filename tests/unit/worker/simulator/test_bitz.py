"""The simulated Bit-Z: positions as quoted strings, and errors by number with HTTP 200."""

import time
from typing import Any

import pytest
import requests

from tests.unit.worker.simulator.venue_requests import POSITIONS, md5
from worker.simulator.control import SimulatorControl
from worker.simulator.records import ContractPosition

KEY, SECRET = "demo-bitz-key", "demo-bitz-secret"


def vendor_sign(fields: dict[str, str], key: str) -> str:
    """The MD5 of the sorted `k=v` joined by `&` and the secret; test_signing.py has a known answer for it."""
    return md5("&".join(f"{name}={value}" for name, value in sorted(fields.items())) + key)


def ask(control: SimulatorControl, *, key: str = SECRET, **changes: str) -> dict[str, Any]:
    """Ask for positions of contract 101, signed with `key`; `changes` replace fields, an empty one is left out."""
    fields = {"apiKey": KEY, "contractId": "101", "nonce": "aB3xY9", "timeStamp": str(int(time.time())), **changes}
    sent = {name: value for name, value in fields.items() if value}
    # In another order than the signed one, because the venue sorts the fields.
    form = dict(reversed({"sign": vendor_sign(sent, key), **sent}.items()))
    answer = requests.post(control.url + POSITIONS, data=form, timeout=10)
    assert answer.status_code == 200
    return dict(answer.json())


def test_positions_are_a_list_of_quoted_strings(control: SimulatorControl) -> None:
    """As on the API page."""
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


def test_only_positions_of_the_requested_contract_are_shown(control: SimulatorControl) -> None:
    """There may be several or none."""
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
def test_a_refusal_has_a_number_and_an_empty_message(
    control: SimulatorControl, changes: dict[str, str], status: int
) -> None:
    """Its data is not a list."""
    answer = ask(control, **changes)
    assert (answer["status"], answer["msg"], answer["data"]) == (status, "", "")


def test_the_signature_is_checked_exactly(control: SimulatorControl) -> None:
    """Another secret and an upper-case digest are refused, and the arrival records it."""
    assert ask(control, key="other")["status"] == -105
    fields = {"apiKey": KEY, "contractId": "101", "nonce": "cccccc", "timeStamp": str(int(time.time()))}
    assert ask(control, **fields, sign=vendor_sign(fields, SECRET).upper())["status"] == -105
    assert [arrival.signature_ok for arrival in control.arrivals()] == [False, False]


def test_a_nonce_is_used_once(control: SimulatorControl) -> None:
    """The same nonce with the same time stamp is refused; a refused request does not use its nonce."""
    stamp = str(int(time.time()))
    assert ask(control, timeStamp=stamp, key="other")["status"] == -105
    assert [ask(control, timeStamp=stamp)["status"] for _ in range(2)] == [200, -103]


def test_errors_can_be_injected(control: SimulatorControl) -> None:
    """In `status`, or in `data` with status 200."""
    control.bitz_error(-110)
    control.bitz_error(-200031, in_data=True)
    first, second, third = (ask(control, nonce=nonce) for nonce in ("aaaaaa", "bbbbbb", "cccccc"))
    assert (first["status"], first["data"]) == (-110, "")
    assert (second["status"], second["data"]) == (200, -200031)
    assert third["data"][0]["positionId"] == "9"


def test_age_is_counted_in_milliseconds(control: SimulatorControl) -> None:
    """As at the other venue, although the time stamp is in seconds."""
    ask(control, timeStamp=str(int(time.time()) - 30))
    (arrival,) = control.arrivals()
    assert arrival.age_ms is not None
    assert 30_000 <= arrival.age_ms < 60_000
