"""Each kind of fault as a client sees it, and what the simulator records about it."""

import http.client
import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from tests.unit.worker.simulator.venue_requests import KEY, close, get, now_ms, post, signed_headers, withdraw
from worker.simulator.control import SimulatorControl
from worker.simulator.false_answers import LIES
from worker.simulator.faults import Fault, Kind
from worker.simulator.server import SimulatorServer

CANCEL = {"id": "order-1"}
BODY = urlencode(CANCEL).encode()


def cancel(control: SimulatorControl, timeout: float = 10, **options: Any) -> requests.Response:
    """Cancel the demo order."""
    url = control.url + "/auth/cancel"
    return requests.post(url, BODY, headers=signed_headers(BODY), timeout=timeout, **options)


def cancel_on(sock: socket.socket, **more_headers: str) -> None:
    """Send the request that cancels the demo order to a socket."""
    headers = {**signed_headers(BODY), "host": "venue", "content-length": str(len(BODY)), **more_headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    sock.sendall(f"POST /auth/cancel HTTP/1.1\r\n{head}\r\n".encode() + BODY)


def cancel_raw(server: SimulatorServer, **more_headers: str) -> bytes:
    """Cancel the demo order over a socket; returns all bytes until FIN. RST raises ConnectionResetError."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        cancel_on(sock, **more_headers)
        received = b""
        while chunk := sock.recv(65_536):
            received += chunk
    return received


def executed(control: SimulatorControl) -> bool:
    """Whether the cancel took effect: holdings, arrival and execution must agree."""
    control.wait(arrivals=1)
    took_effect = "order-1" in control.holdings(KEY)["done_orders"]
    assert len(control.executions()) == took_effect
    assert control.arrivals()[-1].executed is took_effect
    return took_effect


@pytest.mark.parametrize(("kind", "effect"), [("cut_before", False), ("cut_after", True)])
@pytest.mark.parametrize("reset", [True, False])
def test_a_cut_ends_the_connection_without_a_response(
    server: SimulatorServer, control: SimulatorControl, kind: str, effect: bool, reset: bool
) -> None:
    """By RST or FIN, which requests reports as a ConnectionError. Only cut_after executes the request."""
    control.fault(kind, path="cancel", reset=reset)
    if reset:
        with pytest.raises(ConnectionResetError):
            cancel_raw(server)
    else:
        assert cancel_raw(server) == b""
    assert executed(control) is effect
    arrival = control.arrivals()[-1]
    assert (arrival.fault, arrival.status, arrival.signature_ok) == (kind, None, True)
    assert control.faults()[0]["applied"] == 1
    control.fault("cut_before", reset=reset)
    with pytest.raises(requests.ConnectionError):
        cancel(control)


@pytest.mark.parametrize("chunked", [True, False])
def test_half_of_a_response_arrives_after_execution(
    control: SimulatorControl, server: SimulatorServer, chunked: bool
) -> None:
    """Then the connection ends: requests reports a ChunkedEncodingError, http.client an IncompleteRead."""
    control.fault("half", chunked=chunked, times=3)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        cancel(control)
    assert executed(control)
    control.order(KEY, "order-1")
    head, _, body = cancel_raw(server).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"order-1" not in body
    assert (b"chunked" in head) is chunked
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("POST", "/auth/cancel", BODY, signed_headers(BODY))
    with pytest.raises(http.client.IncompleteRead):
        connection.getresponse().read()
    connection.close()


@pytest.mark.parametrize("execute", [True, False])
def test_silence_lasts_until_the_client_gives_up(control: SimulatorControl, execute: bool) -> None:
    """Or for a given time, so that a client without a time limit is not held for ever."""
    control.fault("silent", execute=execute)
    with pytest.raises(requests.ReadTimeout):
        cancel(control, timeout=0.2)
    assert executed(control) is execute
    assert control.arrivals()[-1].status is None
    control.fault("silent", delay_ms=10)
    with pytest.raises(requests.ConnectionError):
        cancel(control)


@pytest.mark.parametrize("execute", [True, False])
@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 422, 429, 500, 502, 503, 504])
def test_any_status_can_be_sent_with_and_without_execution(
    control: SimulatorControl, status: int, execute: bool
) -> None:
    """With any headers and body, as from a gateway, which says nothing about the venue behind it."""
    headers = {"Location": "http://127.0.0.1:1/", "content-type": "text/plain", "X-Via": "gateway"}
    control.fault("status", status=status, body="<html>", headers=headers, retry_after="7", execute=execute)
    response = cancel(control, allow_redirects=False)
    assert (response.status_code, response.text) == (status, "<html>")
    received = [response.headers[name] for name in ("content-type", "x-via", "retry-after")]
    assert received == ["text/plain", "gateway", "7"]
    assert executed(control) is execute
    assert control.arrivals()[-1].status == status


def test_an_envelope_refuses_with_any_message(control: SimulatorControl) -> None:
    """It is the venue's own 503, and executes nothing."""
    control.fault("envelope", message="Too busy", retry_after="1", path="/auth/cancel")
    response = cancel(control)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json() == {"code": 503, "msg": "Too busy", "result": {}}
    assert not executed(control)
    assert cancel(control).status_code == 200


def test_garbage_is_neither_json_nor_the_announced_encoding(control: SimulatorControl) -> None:
    """The request is executed."""
    control.fault("garbage")
    with pytest.raises(requests.JSONDecodeError):
        cancel(control).json()
    assert executed(control)
    control.fault("garbage", headers={"content-encoding": "gzip"})
    with pytest.raises(requests.exceptions.ContentDecodingError):
        cancel(control)


def test_respond_sends_any_json(control: SimulatorControl) -> None:
    """With status 200; nothing is executed by default."""
    control.fault("respond", data={"code": 503, "msg": [1e-07]})
    assert cancel(control).json() == {"code": 503, "msg": [1e-07]}
    assert not executed(control)
    control.fault("respond", data=None, execute=True)
    assert cancel(control).json() is None
    assert executed(control)


@pytest.mark.parametrize("chunked", [True, False])
def test_a_drip_sends_the_ordinary_response_byte_by_byte(control: SimulatorControl, chunked: bool) -> None:
    """It ends when the client leaves."""
    control.fault("drip", delay_ms=0, chunked=chunked)
    with cancel(control, stream=True) as response:
        pieces = list(response.iter_content(None if chunked else 1))
    assert b"CANCELLED" in b"".join(pieces)
    assert {len(piece) for piece in pieces} == {1}
    assert executed(control)
    control.fault("drip", delay_ms=5, chunked=chunked)
    with cancel(control, stream=True) as response:
        assert response.raw.read(1)
    assert get(control.url, "/balances").status_code == 200


@pytest.mark.parametrize("chunked", [True, False])
def test_a_huge_response_is_one_readable_envelope(control: SimulatorControl, chunked: bool) -> None:
    """Of as many MiB as requested. It ends when the client stops reading."""
    control.fault("huge", size_mib=2, chunked=chunked, times=2)
    response = cancel(control)
    assert 2 * 2**20 < len(response.content) < 2 * 2**20 + 100
    assert response.json()["code"] == 200
    assert executed(control)
    with cancel(control, stream=True) as unread:
        assert unread.raw.read(10)
    assert get(control.url, "/balances").status_code == 200


def test_a_slow_response_is_the_ordinary_one(control: SimulatorControl) -> None:
    """A request whose client did not wait is executed nevertheless."""
    control.fault("slow", delay_ms=1)
    assert cancel(control).json()["result"]["status"] == "CANCELLED"
    control.reset()
    control.fault("slow", delay_ms=60_000)
    with pytest.raises(requests.ReadTimeout):
        cancel(control, timeout=0.2)
    assert executed(control)


@pytest.mark.parametrize("execute", [True, False])
def test_an_altered_response_differs_in_the_given_fields(control: SimulatorControl, execute: bool) -> None:
    """Whether or not the request was executed."""
    control.fault("altered", changes={"id": "order-2", "leverage": 7}, headers={"Age": "5"}, execute=execute)
    response = cancel(control)
    result = response.json()["result"]
    assert (result["id"], result["leverage"], result["status"]) == ("order-2", 7, "CANCELLED")
    assert (response.status_code, response.headers["age"]) == (200, "5")
    assert executed(control) is execute


def test_fields_are_altered_at_any_depth(control: SimulatorControl) -> None:
    """In a nested order, and in each row of a list. A refusal has no field to alter."""
    control.configure(nested_orders=True)
    control.fault("altered", changes={"pair": "OTHER", "status": "FAILED"}, times=None)
    assert close(control.url).json()["result"]["order"]["pair"] == "OTHER"
    assert close(control.url).json() == {"code": 503, "msg": "The position was not found", "result": {}}
    assert withdraw(control.url).json()["result"]["status"] == "FAILED"
    assert [row["status"] for row in get(control.url, "/withdrawals").json()["result"]] == ["FAILED"]


def test_a_stale_read_shows_what_there_was_when_the_fault_was_armed(control: SimulatorControl) -> None:
    """With an Age. Commands are executed as usual."""
    control.fault("stale", times=2)
    assert cancel(control).status_code == 200
    for path, query in (("/order", CANCEL), ("/active_orders", {})):
        response = get(control.url, path, **query)
        assert response.headers["age"] == "600"
        assert "ACTIVE" in response.text
    honest = get(control.url, "/order", **CANCEL)
    assert "age" not in honest.headers
    assert honest.json()["result"]["status"] == "CANCELLED"
    assert len(control.executions()) == 1


def test_stale_positions_may_be_marked(control: SimulatorControl) -> None:
    """By a changed field and an Age of their own. An account that did not exist then has no position."""
    control.fault("stale", path="positions", changes={"leverage": 7777}, headers={"age": "3600"}, times=None)
    control.position(KEY, "USD_BTC_PERP", 0)
    response = get(control.url, "/position", pair="USD_BTC_PERP")
    stats = response.json()["result"]["stats"]
    assert (stats["size"], stats["leverage"], response.headers["age"]) == (1, 7777, "3600")
    control.account("everstrike", "unknown then", "secret")
    headers = {"x-api-key": "unknown then"}
    assert requests.get(control.url + "/active_positions", headers=headers, timeout=10).json()["result"] == {}


@pytest.mark.parametrize("execute", [True, False])
def test_raw_sends_exactly_the_given_bytes(control: SimulatorControl, server: SimulatorServer, execute: bool) -> None:
    """Placeholders are replaced by parts of the request and by the ordinary body. Then the connection ends."""
    head = (
        "HTTP/1.1 200 OK\r\nRequest Id: 7\r\nX-Key: $API_KEY\r\nX-Sign: $SIGNATURE\r\nContent-Length: $LENGTH\r\n\r\n"
    )
    control.fault("raw", body=head + "$BODY\xff", execute=execute)
    received, _, body = cancel_raw(server).partition(b"\r\n\r\n")
    signature = signed_headers(BODY)["x-signature"].encode()
    lines = received.split(b"\r\n")
    assert lines[:4] == [b"HTTP/1.1 200 OK", b"Request Id: 7", b"X-Key: " + KEY.encode(), b"X-Sign: " + signature]
    assert lines[4] == b"Content-Length: " + str(len(body) - 1).encode()
    assert (b"CANCELLED" in body) is execute
    assert body.endswith(b"\xff")
    assert executed(control) is execute


def test_surplus_bytes_follow_a_complete_response(control: SimulatorControl, server: SimulatorServer) -> None:
    """They arrive together with it, and the connection takes the next request."""
    control.fault("surplus", body="X")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        cancel_on(sock)
        received = sock.recv(65_536)
        assert received.endswith(b"}X")
        length = int(received.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        assert len(received.partition(b"\r\n\r\n")[2]) == length + 1
        cancel_on(sock)
        assert sock.recv(65_536).startswith(b"HTTP/1.1 503")
    assert len(control.executions()) == 1


@pytest.mark.parametrize("execute", [True, False])
@pytest.mark.parametrize("name", sorted(set(LIES) - {"stale_read"}))
def test_a_lie_executes_unless_told_not_to(
    control: SimulatorControl, server: SimulatorServer, name: str, execute: bool
) -> None:
    """The response is the same either way, so that a client can't tell which it was."""
    command = LIES[name].get("path", "cancel")
    control.lie(name, **({} if execute and "execute" in LIES[name] else {"execute": execute}))
    if command == "cancel":
        assert cancel_raw(server, connection="close")
    else:
        assert {"close": close, "withdraw": withdraw}[command](control.url).status_code
    assert len(control.executions()) == execute
    (armed,) = control.faults()
    assert (armed["applied"], armed["fault"]["lie"]) == (1, name)


def test_key_and_signature_can_be_echoed(control: SimulatorControl) -> None:
    """In JSON and in a header, in place of placeholders."""
    control.lie("key_echoed", headers={"x-echo": "$SIGNATURE"})
    answer = cancel(control)
    assert answer.json()["code"] == f"Invalid API-key: {KEY}"
    assert answer.headers["x-echo"] == signed_headers(BODY)["x-signature"]


def test_the_latency_setting_delays_responses_and_not_effects(control: SimulatorControl) -> None:
    """It applies to every request."""
    control.configure(latency_ms=60_000)
    with pytest.raises(requests.ReadTimeout):
        cancel(control, timeout=0.2)
    assert executed(control)


@pytest.mark.parametrize(
    ("execute", "action", "effects"),
    [
        (True, "proceed", (True, True)),
        (True, "drop", (True, True)),
        (False, "proceed", (False, True)),
        (False, "drop", (False, False)),
    ],
)
def test_a_held_request_waits_for_its_release(
    control: SimulatorControl, execute: bool, action: str, effects: tuple[bool, bool]
) -> None:
    """It is executed before the wait, after it, or never. A reset drops what is held."""
    fault_id = control.fault("hold", path="cancel", execute=execute)
    with ThreadPoolExecutor(1) as pool:
        response = pool.submit(cancel, control)
        control.wait(arrivals=1, path="/auth/cancel")
        assert (executed(control), response.done()) == (effects[0], False)
        assert control.release(fault_id=fault_id + 1) == 0
        assert control.release(action, fault_id=fault_id) == 1
        if action == "drop":
            assert isinstance(response.exception(10), requests.ConnectionError)
        else:
            assert response.result(10).json()["result"]["status"] == "CANCELLED"
    assert executed(control) is effects[1]


def test_a_reset_drops_held_requests(control: SimulatorControl) -> None:
    """So that a failed test does not leave them to the next one."""
    control.fault("hold")
    with ThreadPoolExecutor(1) as pool:
        response = pool.submit(cancel, control)
        control.wait(arrivals=1)
        control.reset()
        assert isinstance(response.exception(10), requests.ConnectionError)
    assert control.executions() == []


def test_a_fault_does_not_execute_a_request_that_the_venue_refuses(control: SimulatorControl) -> None:
    """For instance one with a wrong signature."""
    control.fault("status", status=502, execute=True)
    assert post(control.url, "/auth/cancel", CANCEL, x_signature="AAAA").status_code == 502
    assert not executed(control)
    assert control.arrivals()[-1].signature_ok is False


@pytest.mark.parametrize(
    ("criteria", "hit"),
    [
        ({}, True),
        ({"path": "withdraw"}, True),
        ({"path": "/auth/withdraw"}, True),
        ({"path": "close"}, False),
        ({"api_key": KEY}, True),
        ({"api_key": "other"}, False),
        ({"where": {"address": "0xa"}}, True),
        ({"where": {"address": "0xa", "qty": "2"}}, False),
        ({"where": {"pair": "USD_BTC_PERP"}}, False),
    ],
)
def test_a_fault_applies_only_if_all_criteria_match(
    control: SimulatorControl, criteria: dict[str, object], hit: bool
) -> None:
    """The path may also be the name of the command."""
    control.fault("envelope", **criteria)
    assert (withdraw(control.url).status_code == 503) is hit


def test_reads_match_by_their_query(control: SimulatorControl) -> None:
    """As commands do by their form."""
    control.fault("envelope", where={"pair": "USD_ETH_PERP"}, path="positions")
    assert get(control.url, "/position", pair="USD_BTC_PERP").status_code == 200
    assert get(control.url, "/position", pair="USD_ETH_PERP").status_code == 503


def test_faults_apply_in_the_order_of_arming(control: SimulatorControl) -> None:
    """Each after its `skip` and for its `times`; clearing ends them."""
    control.fault("envelope", message="first", skip=1, times=2)
    second = control.fault("envelope", message="second", times=None, status=500)
    messages = [get(control.url, "/balances").json()["msg"] for _ in range(5)]
    assert messages == ["second", "first", "first", "second", "second"]
    assert [(row["matched"], row["applied"]) for row in control.faults()] == [(3, 2), (3, 3)]
    assert control.clear_faults(second) == 1
    assert get(control.url, "/balances").status_code == 200
    assert (control.clear_faults(), control.faults()) == (1, [])


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "cut_before", "execute": True},
        {"kind": "cut_after", "execute": False},
        {"kind": "status", "headers": {"Content-Length": "3"}},
        {"kind": "silent", "delay_ms": 60_001},
        {"kind": "nothing"},
        {"kind": "altered"},
        {"kind": "altered", "changes": {"qty": 1.5}},
        {"kind": "envelope", "changes": {"id": "x"}},
        {"kind": "stale", "execute": True},
        {"kind": "raw"},
        {"kind": "surplus", "body": "\u20ac"},
        {"lie": "nothing"},
        {"lie": "page_404", "kind": "envelope"},
    ],
)
def test_a_fault_that_contradicts_itself_is_refused(fields: dict[str, object]) -> None:
    """It can't be armed."""
    with pytest.raises(ValueError, match=r"\d validation error"):
        Fault.model_validate(fields)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"lie": "page_40"}, r"there is no lie 'page_40'; there are another_address, .*page_404, .*"),
        ({"kind": "altered"}, "altered needs changes: the fields of the record and their new values"),
        ({"kind": "stale", "execute": True}, "stale applies to reads, which execute nothing"),
        ({"kind": "envelope", "stauts": 500}, "stauts: Extra inputs are not permitted"),
        ({}, "kind: Field required"),
    ],
)
def test_the_reason_of_a_refused_fault_is_one_line(
    control: SimulatorControl, order: dict[str, object], words: str
) -> None:
    """It names the field and the reason, and contains nothing of pydantic's text."""
    answer = requests.post(control.url + "/_control/faults", json=order, timeout=10)
    assert answer.status_code == 400
    assert re.fullmatch(words, answer.text)


COVERED: dict[Kind, Callable[..., None]] = {
    Kind.ENVELOPE: test_an_envelope_refuses_with_any_message,
    Kind.STATUS: test_any_status_can_be_sent_with_and_without_execution,
    Kind.RESPOND: test_respond_sends_any_json,
    Kind.GARBAGE: test_garbage_is_neither_json_nor_the_announced_encoding,
    Kind.CUT_BEFORE: test_a_cut_ends_the_connection_without_a_response,
    Kind.CUT_AFTER: test_a_cut_ends_the_connection_without_a_response,
    Kind.HALF: test_half_of_a_response_arrives_after_execution,
    Kind.SILENT: test_silence_lasts_until_the_client_gives_up,
    Kind.DRIP: test_a_drip_sends_the_ordinary_response_byte_by_byte,
    Kind.HUGE: test_a_huge_response_is_one_readable_envelope,
    Kind.SLOW: test_a_slow_response_is_the_ordinary_one,
    Kind.HOLD: test_a_held_request_waits_for_its_release,
    Kind.ALTERED: test_an_altered_response_differs_in_the_given_fields,
    Kind.STALE: test_a_stale_read_shows_what_there_was_when_the_fault_was_armed,
    Kind.RAW: test_raw_sends_exactly_the_given_bytes,
    Kind.SURPLUS: test_surplus_bytes_follow_a_complete_response,
}


def test_every_kind_is_covered() -> None:
    """A new kind of fault needs a test here."""
    assert set(COVERED) == set(Kind)


def test_parallel_closes_execute_exactly_once(control: SimulatorControl) -> None:
    """The position adds up, and each execution has its number."""
    control.position(KEY, "USD_BTC_PERP", 1)
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: close(control.url, qty="0.01", timestamp=now_ms()).status_code, range(110)))
    assert sorted(codes) == [200] * 100 + [503] * 10
    numbers = [execution.seq for execution in control.executions()]
    assert len(numbers) == 100
    assert numbers == sorted(set(numbers))
    assert "USD_BTC_PERP" not in control.holdings(KEY)["positions"]
