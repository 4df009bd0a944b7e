"""Every fault kind as a client's socket sees it, and what the book says about it afterwards."""

import http.client
import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest
import requests

from tests.unit.worker.simulator.venue_requests import KEY, close, get, now_ms, post, signed_headers, withdraw
from worker.simulator.control import SimulatorControl
from worker.simulator.false_answers import LIES
from worker.simulator.faults import Fault, Kind
from worker.simulator.server import SimulatorServer

CANCEL = {"id": "order-1"}


def cancel(control: SimulatorControl, timeout: float = 10) -> requests.Response:
    """Cancel the demo order."""
    body = urlencode(CANCEL).encode()
    return requests.post(control.url + "/auth/cancel", data=body, headers=signed_headers(body), timeout=timeout)


def cancel_raw(server: SimulatorServer, *, close: bool = False) -> bytes:
    """Cancel the demo order over a bare socket; what came until FIN, which `close` asks for. RST raises
    ConnectionResetError."""
    body = urlencode(CANCEL).encode()
    headers = {**signed_headers(body), "host": "venue", "content-length": str(len(body))}
    headers |= {"connection": "close"} if close else {}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(f"POST /auth/cancel HTTP/1.1\r\n{head}\r\n".encode() + body)
        received = b""
        while chunk := sock.recv(65_536):
            received += chunk
    return received


def executed(control: SimulatorControl) -> bool:
    """Whether the cancel took effect: book, arrival and execution must agree."""
    control.wait(arrivals=1)
    took_effect = "order-1" in control.holdings(KEY)["done_orders"]
    assert len(control.executions()) == took_effect
    assert control.arrivals()[-1].executed is took_effect
    return took_effect


@pytest.mark.parametrize(("kind", "effect"), [("cut_before", False), ("cut_after", True)])
@pytest.mark.parametrize("reset", [True, False])
def test_cuts(server: SimulatorServer, control: SimulatorControl, kind: str, effect: bool, reset: bool) -> None:
    """RST is a reset, FIN an empty reply; the request was read either way, and only cut_after executed it."""
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


@pytest.mark.parametrize("reset", [True, False])
def test_requests_sees_a_cut_as_a_connection_error(control: SimulatorControl, reset: bool) -> None:
    """The exception that the client's library makes of it."""
    control.fault("cut_before", reset=reset)
    with pytest.raises(requests.ConnectionError):
        cancel(control)
    assert not executed(control)


@pytest.mark.parametrize("chunked", [True, False])
def test_half(control: SimulatorControl, server: SimulatorServer, chunked: bool) -> None:
    """Executed; the status line, the headers and half of the body arrive, then the connection ends."""
    control.fault("half", chunked=chunked, times=2)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        cancel(control)
    assert executed(control)
    control.order(KEY, "order-1")
    received = cancel_raw(server)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"order-1" not in body
    assert (b"chunked" in head) is chunked


def test_half_is_an_incomplete_read(control: SimulatorControl, server: SimulatorServer) -> None:
    """The standard library's word for it."""
    control.fault("half")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    body = urlencode(CANCEL)
    connection.request("POST", "/auth/cancel", body, signed_headers(body.encode()))
    answer = connection.getresponse()
    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    connection.close()


@pytest.mark.parametrize("execute", [True, False])
def test_silent(control: SimulatorControl, execute: bool) -> None:
    """Nothing comes until the client gives up; whether it was executed is the fault's choice."""
    control.fault("silent", execute=execute)
    with pytest.raises(requests.ReadTimeout):
        cancel(control, timeout=0.2)
    assert executed(control) is execute
    assert control.arrivals()[-1].status is None


def test_silent_ends_by_itself(control: SimulatorControl) -> None:
    """A client without a time limit is not held for ever."""
    control.fault("silent", delay_ms=10)
    with pytest.raises(requests.ConnectionError):
        cancel(control)


@pytest.mark.parametrize("execute", [True, False])
@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 422, 429, 500, 502, 503, 504])
def test_status(control: SimulatorControl, status: int, execute: bool) -> None:
    """Any status, body and headers, executed or not: a gateway says nothing about what stands behind it."""
    headers = {"Location": "http://127.0.0.1:1/", "content-type": "text/plain", "X-Via": "gateway"}
    control.fault("status", status=status, body="<html>", headers=headers, retry_after="7", execute=execute)
    body = urlencode(CANCEL).encode()
    answer = requests.post(
        control.url + "/auth/cancel", body, headers=signed_headers(body), allow_redirects=False, timeout=10
    )
    assert (answer.status_code, answer.text) == (status, "<html>")
    seen = [answer.headers[name] for name in ("content-type", "x-via", "retry-after")]
    assert seen == ["text/plain", "gateway", "7"]
    assert executed(control) is execute
    assert control.arrivals()[-1].status == status


def test_envelope(control: SimulatorControl) -> None:
    """The venue's own 503 with any message; not executed."""
    control.fault("envelope", message="Too busy", retry_after="1", path="/auth/cancel")
    answer = cancel(control)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json() == {"code": 503, "msg": "Too busy", "result": {}}
    assert not executed(control)
    assert cancel(control).status_code == 200


def test_garbage(control: SimulatorControl) -> None:
    """Executed, and answered with what is no JSON; a lying encoding is no text at all."""
    control.fault("garbage")
    with pytest.raises(requests.JSONDecodeError):
        cancel(control).json()
    assert executed(control)
    control.fault("garbage", headers={"content-encoding": "gzip"})
    with pytest.raises(requests.exceptions.ContentDecodingError):
        cancel(control)


def test_respond(control: SimulatorControl) -> None:
    """200 with whatever JSON; not executed unless told to."""
    control.fault("respond", data={"code": 503, "msg": [1e-07]})
    assert cancel(control).json() == {"code": 503, "msg": [1e-07]}
    assert not executed(control)
    control.fault("respond", data=None, execute=True)
    assert cancel(control).json() is None
    assert executed(control)


@pytest.mark.parametrize("chunked", [True, False])
def test_drip(control: SimulatorControl, chunked: bool) -> None:
    """The ordinary answer in pieces of one byte."""
    control.fault("drip", delay_ms=0, chunked=chunked)
    body = urlencode(CANCEL).encode()
    url = control.url + "/auth/cancel"
    with requests.post(url, body, headers=signed_headers(body), stream=True, timeout=10) as answer:
        pieces = list(answer.iter_content(None if chunked else 1))
    assert b"CANCELLED" in b"".join(pieces)
    assert {len(piece) for piece in pieces} == {1}
    assert executed(control)


def test_drip_stops_with_its_client(control: SimulatorControl) -> None:
    """A client that leaves midway ends it, and the simulator goes on serving."""
    control.fault("drip", delay_ms=5)
    body = urlencode(CANCEL).encode()
    url = control.url + "/auth/cancel"
    with requests.post(url, body, headers=signed_headers(body), stream=True, timeout=10) as answer:
        assert answer.raw.read(1) == b"{"
    assert executed(control)
    assert get(control.url, "/balances").status_code == 200


@pytest.mark.parametrize("chunked", [True, False])
def test_huge(control: SimulatorControl, chunked: bool) -> None:
    """As many MiB as asked for, as one readable envelope; a client that stops reading is not fed on."""
    control.fault("huge", size_mib=2, chunked=chunked, times=2)
    answer = cancel(control)
    assert 2 * 2**20 < len(answer.content) < 2 * 2**20 + 100
    assert answer.json()["code"] == 200
    assert executed(control)
    body = urlencode(CANCEL).encode()
    url = control.url + "/auth/cancel"
    with requests.post(url, body, headers=signed_headers(body), stream=True, timeout=10) as unread:
        assert unread.raw.read(10)
    assert get(control.url, "/balances").status_code == 200


def test_slow(control: SimulatorControl) -> None:
    """The client that waits gets the ordinary answer, the one that does not has executed all the same."""
    control.fault("slow", delay_ms=1)
    assert cancel(control).json()["result"]["status"] == "CANCELLED"
    control.reset()
    control.fault("slow", delay_ms=60_000)
    with pytest.raises(requests.ReadTimeout):
        cancel(control, timeout=0.2)
    assert executed(control)


@pytest.mark.parametrize("execute", [True, False])
def test_altered(control: SimulatorControl, execute: bool) -> None:
    """The ordinary answer but for what is changed, whether or not anything was executed."""
    control.fault("altered", changes={"id": "order-2", "leverage": 7}, headers={"Age": "5"}, execute=execute)
    answer = cancel(control)
    result = answer.json()["result"]
    assert (result["id"], result["leverage"], result["status"]) == ("order-2", 7, "CANCELLED")
    assert (answer.status_code, answer.headers["age"]) == (200, "5")
    assert executed(control) is execute


def test_altered_below_the_record(control: SimulatorControl) -> None:
    """A nested order, and each row of a list; a refusal has nothing to change."""
    control.configure(nested_orders=True)
    control.fault("altered", changes={"pair": "OTHER", "status": "FAILED"}, times=None)
    assert close(control.url).json()["result"]["order"]["pair"] == "OTHER"
    assert close(control.url).json() == {"code": 503, "msg": "The position was not found", "result": {}}
    assert withdraw(control.url).json()["result"]["status"] == "FAILED"
    assert [row["status"] for row in get(control.url, "/withdrawals").json()["result"]] == ["FAILED"]


def test_stale(control: SimulatorControl) -> None:
    """Reads see what there was when it was armed, and say how old that is; commands are executed as ever."""
    control.fault("stale", times=2)
    assert cancel(control).status_code == 200
    for age, path, query in (("600", "/order", CANCEL), ("600", "/active_orders", {})):
        answer = get(control.url, path, **query)
        assert answer.headers["age"] == age
        assert "ACTIVE" in answer.text
    honest = get(control.url, "/order", **CANCEL)
    assert "age" not in honest.headers
    assert honest.json()["result"]["status"] == "CANCELLED"
    assert len(control.executions()) == 1


def test_stale_positions(control: SimulatorControl) -> None:
    """Of both venues, with a mark by which a test knows them again, and an age of its own."""
    control.fault("stale", path="positions", changes={"leverage": 7777}, headers={"age": "3600"}, times=None)
    control.position(KEY, "USD_BTC_PERP", 0)
    answer = get(control.url, "/position", pair="USD_BTC_PERP")
    stats = answer.json()["result"]["stats"]
    assert (stats["size"], stats["leverage"], answer.headers["age"]) == (1, 7777, "3600")
    control.account("everstrike", "unknown then", "secret")
    headers = {"x-api-key": "unknown then"}
    assert requests.get(control.url + "/active_positions", headers=headers, timeout=10).json()["result"] == {}


@pytest.mark.parametrize("execute", [True, False])
def test_raw(control: SimulatorControl, server: SimulatorServer, execute: bool) -> None:
    """Exactly these bytes, and the end of the connection; what stands for parts of the request is filled in."""
    head = (
        "HTTP/1.1 200 OK\r\nRequest Id: 7\r\nX-Key: $API_KEY\r\nX-Sign: $SIGNATURE\r\nContent-Length: $LENGTH\r\n\r\n"
    )
    control.fault("raw", body=head + "$BODY\xff", execute=execute)
    said, _, body = cancel_raw(server).partition(b"\r\n\r\n")
    signature = signed_headers(urlencode(CANCEL).encode())["x-signature"].encode()
    lines = said.split(b"\r\n")
    assert lines[:4] == [b"HTTP/1.1 200 OK", b"Request Id: 7", b"X-Key: " + KEY.encode(), b"X-Sign: " + signature]
    assert lines[4] == b"Content-Length: " + str(len(body) - 1).encode()
    assert (b"CANCELLED" in body) is execute
    assert body.endswith(b"\xff")
    assert executed(control) is execute


def test_surplus(control: SimulatorControl, server: SimulatorServer) -> None:
    """A whole answer, more bytes behind it at once, and a connection that takes the next request."""
    control.fault("surplus", body="X")
    body = urlencode(CANCEL).encode()
    headers = {**signed_headers(body), "host": "venue", "content-length": str(len(body))}
    request = "POST /auth/cancel HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(request.encode() + b"\r\n" + body)
        received = sock.recv(65_536)
        assert received.endswith(b"}X")
        length = int(received.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        assert len(received.partition(b"\r\n\r\n")[2]) == length + 1
        sock.sendall(request.encode() + b"\r\n" + body)
        assert sock.recv(65_536).startswith(b"HTTP/1.1 503")
    assert len(control.executions()) == 1


@pytest.mark.parametrize("execute", [True, False])
@pytest.mark.parametrize("name", sorted(set(LIES) - {"stale_read"}))
def test_a_lie_executes_unless_told_not_to(
    control: SimulatorControl, server: SimulatorServer, name: str, execute: bool
) -> None:
    """The same words either way: who reads them can't tell which it was."""
    command = LIES[name].get("path", "cancel")
    control.lie(name, **({} if execute and "execute" in LIES[name] else {"execute": execute}))
    if command == "cancel":
        assert cancel_raw(server, close=True)
    else:
        assert {"close": close, "withdraw": withdraw}[command](control.url).status_code
    assert len(control.executions()) == execute
    (armed,) = control.faults()
    assert (armed["applied"], armed["fault"]["lie"]) == (1, name)


def test_the_key_is_echoed(control: SimulatorControl) -> None:
    """In the place of a placeholder, in JSON as in a header."""
    control.lie("key_echoed", headers={"x-echo": "$SIGNATURE"})
    answer = cancel(control)
    assert answer.json()["code"] == f"Invalid API-key: {KEY}"
    assert answer.headers["x-echo"] == signed_headers(urlencode(CANCEL).encode())["x-signature"]


def test_latency_of_everything(control: SimulatorControl) -> None:
    """The global setting delays answers, not effects."""
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
def test_hold(control: SimulatorControl, execute: bool, action: str, effects: tuple[bool, bool]) -> None:
    """A held request waits for its release, executed before or after or never."""
    fault_id = control.fault("hold", path="cancel", execute=execute)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(cancel, control)
        control.wait(arrivals=1, path="/auth/cancel")
        assert (executed(control), answer.done()) == (effects[0], False)
        assert control.release(fault_id=fault_id + 1) == 0
        assert control.release(action, fault_id=fault_id) == 1
        if action == "drop":
            assert isinstance(answer.exception(10), requests.ConnectionError)
        else:
            assert answer.result(10).json()["result"]["status"] == "CANCELLED"
    assert executed(control) is effects[1]


def test_reset_drops_what_is_held(control: SimulatorControl) -> None:
    """A test that failed while holding a request does not leave it to the next one."""
    control.fault("hold")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(cancel, control)
        control.wait(arrivals=1)
        control.reset()
        assert isinstance(answer.exception(10), requests.ConnectionError)
    assert control.executions() == []


def test_a_refused_request_is_not_executed_by_a_fault(control: SimulatorControl) -> None:
    """`execute` carries out what the venue would: a wrong signature stays one under a lost reply."""
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
def test_criteria(control: SimulatorControl, criteria: dict[str, object], hit: bool) -> None:
    """A fault strikes only where all its criteria hold; path may be the command's name."""
    control.fault("envelope", **criteria)
    assert (withdraw(control.url).status_code == 503) is hit


def test_a_query_field_is_a_criterion_too(control: SimulatorControl) -> None:
    """Reads are chosen by their query."""
    control.fault("envelope", where={"pair": "USD_ETH_PERP"}, path="positions")
    assert get(control.url, "/position", pair="USD_BTC_PERP").status_code == 200
    assert get(control.url, "/position", pair="USD_ETH_PERP").status_code == 503


def test_skip_times_and_order(control: SimulatorControl) -> None:
    """Faults strike in the order they were armed, each after its `skip` and for its `times`; clearing ends them."""
    control.fault("envelope", message="first", skip=1, times=2)
    second = control.fault("envelope", message="second", times=None, status=500)
    says = [get(control.url, "/balances").json()["msg"] for _ in range(5)]
    assert says == ["second", "first", "first", "second", "second"]
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
def test_impossible_faults(fields: dict[str, object]) -> None:
    """What contradicts itself cannot be armed."""
    with pytest.raises(ValueError, match=r"\d validation error"):
        Fault.model_validate(fields)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"lie": "page_40"}, r"there is no lie 'page_40'; there are another_address, .*page_404, .*"),
        ({"kind": "altered"}, "altered needs changes: the fields of the record and their new values"),
        ({"kind": "stale", "execute": True}, "stale answers reads, which execute nothing"),
        ({"kind": "envelope", "stauts": 500}, "stauts: Extra inputs are not permitted"),
        ({}, "kind: Field required"),
    ],
)
def test_what_is_wrong_with_an_order_is_told_in_a_line(
    control: SimulatorControl, order: dict[str, object], words: str
) -> None:
    """The field and the reason, and nothing of the library that found it."""
    answer = requests.post(control.url + "/_control/faults", json=order, timeout=10)
    assert answer.status_code == 400
    assert re.fullmatch(words, answer.text)


COVERED: dict[Kind, Callable[..., None]] = {
    Kind.ENVELOPE: test_envelope,
    Kind.STATUS: test_status,
    Kind.RESPOND: test_respond,
    Kind.GARBAGE: test_garbage,
    Kind.CUT_BEFORE: test_cuts,
    Kind.CUT_AFTER: test_cuts,
    Kind.HALF: test_half,
    Kind.SILENT: test_silent,
    Kind.DRIP: test_drip,
    Kind.HUGE: test_huge,
    Kind.SLOW: test_slow,
    Kind.HOLD: test_hold,
    Kind.ALTERED: test_altered,
    Kind.STALE: test_stale,
    Kind.RAW: test_raw,
    Kind.SURPLUS: test_surplus,
}


def test_every_kind_is_covered() -> None:
    """A new kind needs a test here."""
    assert set(COVERED) == set(Kind)


def test_exactly_once_under_a_storm(control: SimulatorControl) -> None:
    """Parallel closes of parts: the book adds up, and every execution has its number."""
    control.position(KEY, "USD_BTC_PERP", 1)
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: close(control.url, qty="0.01", timestamp=now_ms()).status_code, range(110)))
    assert sorted(codes) == [200] * 100 + [503] * 10
    numbers = [execution.seq for execution in control.executions()]
    assert len(numbers) == 100
    assert numbers == sorted(set(numbers))
    assert "USD_BTC_PERP" not in control.holdings(KEY)["positions"]
