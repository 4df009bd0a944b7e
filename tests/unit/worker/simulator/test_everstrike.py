"""The simulated Everstrike: what it refuses, what its requests change, and what reads show."""

from decimal import Decimal
from urllib.parse import urlencode

import pytest
import requests

from tests.unit.worker.simulator.venue_requests import KEY, close, get, now_ms, post, signed_headers, withdraw
from worker.simulator.control import ControlError, SimulatorControl
from worker.simulator.records import Order, Withdrawal

INVALID = {"code": 503, "msg": "Invalid request", "result": {}}


def refused(answer: requests.Response, control: SimulatorControl, message: str = "Invalid request") -> bool:
    """Whether a response is the documented refusal, and nothing took effect."""
    assert answer.status_code == 503
    assert answer.json() == {"code": 503, "msg": message, "result": {}}
    assert control.executions() == []
    return True


@pytest.mark.parametrize(
    "headers", [{"x_api_key": "nobody"}, {"x_signature": "AAAA"}, {"x_signature": ""}, {"x_api_key": "demo-bitz-key"}]
)
def test_a_wrong_key_or_signature_gets_401(control: SimulatorControl, headers: dict[str, str]) -> None:
    """Nothing is executed."""
    answer = post(control.url, "/auth/cancel", {"id": "order-1"}, **headers)
    assert (answer.status_code, answer.json()["code"]) == (401, 401)
    assert control.executions() == []
    assert control.arrivals()[-1].signature_ok is False


def test_the_signature_covers_the_bytes_received(control: SimulatorControl) -> None:
    """Not the fields: another spelling of a field is signed as it is sent."""
    sent = post(control.url, "/auth/cancel", b"id=order%2D1")
    assert sent.status_code == 200
    assert control.executions()[0].fields == {"id": "order-1"}


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_only_a_form_is_read(control: SimulatorControl, content_type: str) -> None:
    """Any other content type is refused."""
    assert refused(post(control.url, "/auth/cancel", {"id": "order-1"}, content_type=content_type), control)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/auth/cancel", b""),
        ("/auth/cancel", b"id="),
        ("/auth/cancel", b"id=order-1&id=order-1"),
        ("/auth/cancel", b"id=order-1&colour=red"),
        ("/auth/cancel", b"id=order-1&timestamp=1.5"),
        ("/auth/cancel", b"id=%ff"),
        ("/auth/close", b"qty=1&timestamp=NOW"),
        ("/auth/close", b"pair=USD_BTC_PERP"),
        ("/auth/close", b"pair=USD_BTC_PERP&timestamp=NOW.5"),
        ("/auth/close", b"pair=USD_BTC_PERP&timestamp=NOW&qty=1e-05"),
        ("/auth/close", b"pair=USD_BTC_PERP&timestamp=NOW&qty=-1"),
        ("/auth/close", b"pair=USD_BTC_PERP&timestamp=NOW&qty=0.00"),
        ("/auth/close", b"pair=USD_BTC_PERP&timestamp=NOW&qty=NaN"),
        ("/auth/close", b"pair=USD_BTC_PERP&timestamp=NOW&qty=1.5"),
        ("/auth/close", b"pair=USD_BTC_PERP&timestamp=NOW&price=.5"),
        ("/auth/close", b"pair=USD_BTC_PERP&timestamp=NOW&trigger_event=BID_PRICE"),
        ("/auth/close", b"pair=USD_BTC_PERP&timestamp=NOW&close_on_trigger=True"),
        ("/auth/withdraw", b"asset=ETH&qty=1&timestamp=NOW"),
        ("/auth/withdraw", b"asset=ETH&qty=1&address=0xa"),
    ],
)
def test_wrong_fields_are_refused(control: SimulatorControl, path: str, fields: bytes) -> None:
    """Whether they are missing, unknown, repeated or malformed."""
    assert refused(post(control.url, path, fields.replace(b"NOW", str(now_ms()).encode())), control)


@pytest.mark.parametrize(
    ("age_ms", "window", "fine"),
    [
        (0, None, True),
        (14_000, None, True),
        (16_000, None, False),
        (16_000, 30_000, True),
        (4_000, 1_000, False),
        (-500, None, True),
        (-5_000, None, False),
    ],
)
def test_a_request_expires(control: SimulatorControl, age_ms: int, window: int | None, fine: bool) -> None:
    """After `recv_window` ms, by default 15 s. A request from the future is refused."""
    fields = {"timestamp": now_ms() - age_ms} | ({"recv_window": window} if window else {})
    answer = close(control.url, **fields)
    if fine:
        assert answer.status_code == 200
    else:
        assert refused(answer, control)
    arrival = control.arrivals()[-1]
    assert (arrival.timestamp_ms, arrival.age_ms) == (fields["timestamp"], arrival.time_ms - int(fields["timestamp"]))


def test_the_venue_clock_can_be_set(control: SimulatorControl) -> None:
    """If it is a minute ahead, a punctual request is late, and `/time` shows it."""
    control.configure(clock_offset_ms=60_000)
    assert refused(close(control.url), control)
    ahead = requests.get(control.url + "/time", timeout=10).json()["result"] - now_ms()
    assert 59_000 < ahead <= 60_000


def test_a_close_at_market_reduces_or_removes_the_position(control: SimulatorControl) -> None:
    """After that there is nothing to close."""
    part = close(control.url, qty="0.4").json()["result"]
    assert (part["status"], part["type"], part["side"], part["qty_orig"]) == ("COMPLETED", "MARKET", "SELL", 0.4)
    assert get(control.url, "/position", pair="USD_BTC_PERP").json()["result"]["size"] == 0.6
    assert close(control.url).json()["result"]["qty_orig"] == 0.6
    assert close(control.url).json() == {"code": 503, "msg": "The position was not found", "result": {}}
    assert [fill["qty"] for fill in get(control.url, "/fills").json()["result"]] in ([0.6, 0.4], [0.4, 0.6])
    assert get(control.url, "/position", pair="USD_BTC_PERP").json()["result"]["stats"]["size"] == 0
    assert list(get(control.url, "/active_positions").json()["result"]) == ["USD_ETH_PERP"]
    assert len(control.executions(path="/auth/close")) == 2
    assert get(control.url, "/order", id=part["id"]).json()["result"] == part


def test_a_close_with_a_price_or_a_trigger_waits(control: SimulatorControl) -> None:
    """As an order or as a trigger. The position is not changed."""
    waiting = close(control.url, price="70000.5").json()["result"]
    stop = close(control.url, trigger_price="50000", close_on_trigger="true").json()["result"]
    assert (waiting["status"], waiting["price"], waiting["qty_remaining"]) == ("ACTIVE", 70000.5, 1)
    assert (stop["status"], stop["trigger_event"], stop["close_on_trigger"]) == ("UNTRIGGERED", "MARK_PRICE", True)
    active = {order["id"] for order in get(control.url, "/active_orders").json()["result"]}
    assert active == {"order-1", waiting["id"]}
    assert get(control.url, "/triggers").json()["result"] == [stop]
    assert get(control.url, "/position", pair="USD_BTC_PERP").json()["result"]["size"] == 1
    control.trigger(KEY, stop["id"], "USD_BTC_PERP", "50000", status="CANCELLED", msg="no margin")
    assert get(control.url, "/triggers").json()["result"][0]["msg"] == "no margin"


def test_an_order_is_cancelled_once(control: SimulatorControl) -> None:
    """Reads show it as cancelled."""
    assert post(control.url, "/auth/cancel", {"id": "order-1"}).json()["result"]["status"] == "CANCELLED"
    again = post(control.url, "/auth/cancel", {"id": "order-1"})
    assert (again.status_code, again.json()["msg"]) == (503, "The order was not found")
    assert get(control.url, "/active_orders").json()["result"] == []
    assert [order["id"] for order in get(control.url, "/orders").json()["result"]] == ["order-1"]
    assert get(control.url, "/completed_orders").json()["result"] == []
    assert get(control.url, "/order", id="none").json()["msg"] == "The order was not found"
    assert len(control.executions()) == 1


def test_a_withdrawal_reduces_the_balance_at_once(control: SimulatorControl) -> None:
    """It waits for confirmation, and can't exceed the balance."""
    done = withdraw(control.url, qty="9.999999999999999999").json()["result"]
    assert done["status"] == "pending confirmation"
    assert Decimal(control.holdings(KEY)["balances"]["ETH"]["free"]) == Decimal("0.000000000000000001")
    short = withdraw(control.url)
    assert short.json()["msg"] == "Your request was rejected due to insufficient balance."
    assert [row["id"] for row in get(control.url, "/withdrawals").json()["result"]] == [done["id"]]
    assert b'"free":0.000000000000000001' in get(control.url, "/balances").content
    assert len(control.executions()) == 1


def test_the_message_of_a_success_varies(control: SimulatorControl) -> None:
    """So that no client decides by it."""
    messages = {requests.get(control.url + "/time", timeout=10).json()["msg"] for _ in range(3)}
    assert messages == {"string", "null", None}


def test_reads_need_a_known_key_and_known_fields(control: SimulatorControl) -> None:
    """Reads are not signed. 503 is the documented error of reads, too."""
    assert requests.get(control.url + "/orders", timeout=10).status_code == 401
    assert get(control.url, "/orders", colour="red").json() == INVALID
    assert get(control.url, "/position").json() == INVALID
    assert requests.get(control.url + "/auth/close", timeout=10).status_code == 405
    assert get(control.url, "/nowhere").status_code == 404


def test_lists_can_be_limited(control: SimulatorControl) -> None:
    """By pair, by time (both ends included) and by number; the newest records come first."""
    control.reset(demo=True)
    for number in range(1, 6):
        control.order(KEY, f"o{number}", "P", time=number * 10, status="COMPLETED")
    control.order(KEY, "other", "Q", time=30)

    def ids(**query: str | int) -> list[str]:
        return [order["id"] for order in get(control.url, "/orders", **query).json()["result"]]

    assert ids(pair="P") == ["o5", "o4", "o3", "o2", "o1"]
    assert ids(pair="P", start=20, end=40) == ["o4", "o3", "o2"]
    assert ids(pair="P", limit=2) == ["o5", "o4"]


def test_effects_can_be_visible_late(control: SimulatorControl) -> None:
    """A delayed read shows the state before; other reads show the effect. After the delay all do."""
    control.visibility_delay("/withdrawals", 60_000)
    made = withdraw(control.url).json()["result"]
    assert get(control.url, "/withdrawals").json()["result"] == []
    assert get(control.url, "/balances").json()["result"]["ETH"]["free"] == 9
    assert len(control.executions()) == 1
    control.visibility_delay("/withdrawals", 0)
    assert [row["id"] for row in get(control.url, "/withdrawals").json()["result"]] == [made["id"]]


def test_look_alikes_can_be_put(control: SimulatorControl) -> None:
    """These are records that no request made."""
    row = {"asset": "ETH", "address": "0xa", "qty": Decimal(1), "net": Decimal(1), "time": now_ms()}
    control.withdrawal(KEY, Withdrawal.model_validate({"id": "twin", **row}))
    withdraw(control.url)
    assert len(get(control.url, "/withdrawals").json()["result"]) == 2
    assert len(control.executions()) == 1


def test_the_control_api_refuses_what_it_does_not_understand(control: SimulatorControl) -> None:
    """A typo in a test is an error, instead of a fault that is never applied."""
    with pytest.raises(ControlError, match="no everstrike account"):
        control.position("nobody", "P", 1)
    with pytest.raises(ControlError, match="latency"):
        control.configure(latency=1)
    for nonsense in ("[]", "null", "{"):
        assert requests.put(control.url + "/_control/settings", data=nonsense, timeout=10).status_code == 400
    raw = requests.post(control.url + "/_control/faults", json={"kind": "slow", "colour": "red"}, timeout=10)
    assert (raw.status_code, "colour" in raw.text) == (400, True)
    with pytest.raises(ValueError, match="status"):
        Order(id="x", pair="P", status="BROKEN")


def test_secrets_and_bodies_are_not_kept(control: SimulatorControl) -> None:
    """Neither the fields nor the signature of a request without an effect are recorded."""
    body = urlencode({"pair": "USD_BTC_PERP", "timestamp": now_ms(), "qty": "77.123456"}).encode()
    assert refused(post(control.url, "/auth/close", body), control)
    kept = requests.get(control.url + "/_control/arrivals", timeout=10).text
    for private in ("77.123456", signed_headers(body)["x-signature"], "demo-everstrike-secret"):
        assert private not in kept
