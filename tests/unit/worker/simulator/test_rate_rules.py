"""The simulator's rate limits and bans, outages of any number of requests, and the record of what arrived when."""

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.unit.worker.simulator.venue_requests import FORM, KEY, SECRET, close, post, withdraw
from tests.unit.worker.simulator.venue_requests import get as ask
from worker.simulator.accounts import most_within
from worker.simulator.control import ControlError, SimulatorControl
from worker.simulator.rate_rules import BANNED, LIMITED, MAX_SENDERS, RateRule, RateRules
from worker.simulator.records import Arrival
from worker.simulator.server import SimulatorServer


class Senders:
    """Sends to rate limits at chosen times."""

    def __init__(self, **rule: Any) -> None:
        self.now = 100.0
        self.rules = RateRules(lambda: self.now)
        self.armed = self.rules.arm(RateRule(**rule))

    def send(self, key: str | None = "a", address: str = "1.1.1.1", path: str = "/auth/close") -> str:
        """What becomes of one request: `passed`, `limited` or `banned`; and its `Retry-After`."""
        refused = self.rules.check("POST", path, key, address)
        if refused is None:
            return "passed"
        waits = [value.decode() for name, value in refused[1].headers if name == b"retry-after"]
        return " ".join([refused[0], *waits])


def test_the_request_beyond_the_limit_is_refused_and_not_counted() -> None:
    """It may come again as soon as the oldest one is a second old."""
    venue = Senders(requests=3, seconds=1)
    found = []
    for venue.now in (100.0, 100.25, 100.5, 100.75, 100.9, 101.0, 101.125, 101.25):
        found.append(venue.send())
    assert found == ["passed", "passed", "passed", "limited 1", "limited 1", "passed", "limited 1", "passed"]
    assert (venue.armed.passed, venue.armed.limited, list(venue.armed.bans)) == (5, 3, [])


def test_the_eleventh_request_within_a_second_begins_a_ban() -> None:
    """Every request until its end is refused and counted. After it the limit begins anew."""
    venue = Senders(requests=10, seconds=1, ban_seconds=30, status=418)
    assert [venue.send() for _ in range(11)] == ["passed"] * 10 + ["limited 30"]
    venue.now += 29.5
    assert [venue.send() for _ in range(3)] == ["banned 1"] * 3
    venue.now += 0.5
    assert [venue.send() for _ in range(11)] == ["passed"] * 10 + ["limited 30"]
    first, second = venue.armed.bans
    assert (first.began, first.ends, first.refused, second.began) == (100.0, 130.0, 3, 130.0)
    short = Senders(requests=1, seconds=60, ban_seconds=5)
    assert [short.send(), short.send()] == ["passed", "limited 5"]
    short.now += 5
    assert short.send() == "passed"


def test_a_request_during_a_ban_may_prolong_it() -> None:
    """As venues do that ban for as long as somebody asks."""
    venue = Senders(requests=1, seconds=1, ban_seconds=30, prolong=True)
    assert [venue.send(), venue.send()] == ["passed", "limited 30"]
    venue.now += 20
    assert venue.send() == "banned 30"
    venue.now += 29
    assert venue.send() == "banned 30"
    venue.now += 30
    assert venue.send() == "passed"
    assert venue.armed.bans[0].ends == 179.0


@pytest.mark.parametrize(
    ("by", "found"),
    [
        ("key", ["passed", "limited 5", "passed", "limited 5"]),
        ("address", ["passed", "limited 5", "banned 5", "passed"]),
    ],
)
def test_a_limit_counts_keys_or_addresses(by: str, found: list[str]) -> None:
    """A request without a key counts as one of them."""
    venue = Senders(requests=1, seconds=1, ban_seconds=5, by=by)
    sent = [venue.send("a", "1.1.1.1"), venue.send("a", "1.1.1.1"), venue.send("b", "1.1.1.1")]
    assert [*sent, venue.send("b", "2.2.2.2")] == found
    assert [venue.send(None, "3.3.3.3"), venue.send(None, "3.3.3.3")] == ["passed", "limited 5"]


def test_a_limit_is_for_what_it_names() -> None:
    """A path or a command, a key, or both."""
    venue = Senders(requests=1, seconds=1, path="close", api_key="a")
    assert [venue.send(), venue.send("b"), venue.send("b"), venue.send("a", path="/auth/cancel")] == ["passed"] * 4
    assert venue.send() == "limited 1"


def test_a_request_must_pass_all_limits_and_is_counted_by_all_or_none() -> None:
    """Otherwise one that the longer limit refuses would use up the shorter one."""
    venue = Senders(requests=2, seconds=1)
    venue.rules.arm(RateRule(requests=3, seconds=10, retry_after=False))
    assert [venue.send() for _ in range(3)] == ["passed", "passed", "limited 1"]
    venue.now += 1
    assert [venue.send() for _ in range(3)] == ["passed", "limited", "limited"]
    assert [armed.passed for armed in venue.rules.list()] == [3, 3]


def test_a_ban_by_hand() -> None:
    """At once, and for as long as is said, also of a key that has sent nothing yet."""
    venue = Senders(requests=10, seconds=1, ban_seconds=30)
    venue.rules.ban(venue.armed.id, "a")
    venue.rules.ban(venue.armed.id, "b", 5)
    assert [venue.send("a"), venue.send("b"), venue.send("c")] == ["banned 30", "banned 5", "passed"]
    with pytest.raises(LookupError):
        venue.rules.ban(venue.armed.id + 1, "a")
    harmless = venue.rules.arm(RateRule(requests=1))
    with pytest.raises(ValueError, match="for how many seconds"):
        venue.rules.ban(harmless.id, "a")
    assert venue.rules.clear(venue.armed.id) == 1
    assert venue.send("a") == "passed"
    assert (venue.rules.clear(), venue.rules.list()) == (1, [])


def test_senders_are_bounded() -> None:
    """The key is whatever a client says."""
    venue = Senders(requests=1, seconds=3600, ban_seconds=1)
    for number in range(MAX_SENDERS + 50):
        venue.send(str(number))
        venue.send(str(number))
    assert len(venue.armed.senders) == MAX_SENDERS
    assert len(venue.armed.bans) == venue.armed.bans.maxlen


@pytest.mark.parametrize(
    "wrong",
    [{"requests": 0}, {"requests": 1, "seconds": 0}, {"requests": 1, "status": 199}, {"requests": 1, "by": "ip"}],
)
def test_a_rule_that_makes_no_sense(wrong: dict[str, Any]) -> None:
    """Is refused."""
    with pytest.raises(ValidationError):
        RateRule(**wrong)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=60), st.integers(1, 100))
def test_the_most_within_a_time_is_found(moments: list[int], length: int) -> None:
    """As by counting for each begin."""
    arrivals = [Arrival(0, 0, "POST", "/", None, None, None, None, 0, monotonic=float(moment)) for moment in moments]
    counted = max(sum(begin <= moment < begin + length for moment in moments) for begin in moments)
    assert most_within(arrivals, length) == counted
    assert most_within([], length) == 0


# -- over HTTP ---------------------------------------------------------------------------------------------------------


def test_a_banned_client_is_told_so_and_executes_nothing(control: SimulatorControl) -> None:
    """The record says which request exceeded the limit and which came during the ban; faults see neither."""
    limit = control.limit(2, 600, ban_seconds=600, status=418, by="address", path="close")
    fault = control.fault("envelope", path="close", times=None)
    answers = [close(control.url) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [503, 503, 418, 418]
    assert 0 < int(answers[3].headers["retry-after"]) <= 600
    assert answers[3].json() == {"code": 418, "msg": "Too many requests", "result": None}
    assert withdraw(control.url).status_code == 200
    assert [row.fault for row in control.arrivals()] == ["envelope", "envelope", LIMITED, BANNED, None]
    assert control.faults()[0]["matched"] == 2
    (listed,) = control.limits()
    (ban,) = listed["bans"]
    assert (listed["id"], listed["passed"], listed["limited"], ban["refused"]) == (limit, 2, 1, 1)
    assert ban["sender"] == "127.0.0.1"
    began = control.arrivals()[2].monotonic
    assert began <= ban["began"] <= time.monotonic()
    assert control.clear_faults(fault) == 1
    assert control.clear_limits(limit) == 1
    assert close(control.url).status_code == 200


def test_a_ban_by_hand_over_http(control: SimulatorControl) -> None:
    """Of one key of several. A reset ends it."""
    control.account("everstrike", "other", SECRET)
    limit = control.limit(1000, ban_seconds=30)
    assert control.ban(limit, KEY, 600)["refused"] == 0
    assert 0 < int(ask(control.url, "/balances").headers["retry-after"]) <= 600
    assert requests.get(control.url + "/balances", headers={"x-api-key": "other"}, timeout=10).status_code == 200
    with pytest.raises(ControlError, match="there is no rate limit"):
        control.ban(limit + 1, KEY)
    control.reset()
    assert (ask(control.url, "/balances").status_code, control.limits()) == (200, [])


def test_arrivals_and_executions_say_what_they_are_about_and_in_which_order(control: SimulatorControl) -> None:
    """The order of executions is the simulator's book."""
    before = time.monotonic()
    assert post(control.url, "/auth/cancel", {"id": "order-1"}).status_code == 200
    assert close(control.url, pair="USD_ETH_PERP").status_code == 200
    assert withdraw(control.url).status_code == 200
    arrivals = control.arrivals()
    assert [(row.path, row.target) for row in arrivals] == [
        ("/auth/cancel", "order-1"),
        ("/auth/close", "USD_ETH_PERP"),
        ("/auth/withdraw", "ETH"),
    ]
    moments = [before, *(row.monotonic for row in arrivals), time.monotonic()]
    assert moments == sorted(moments)
    assert [row.fields.get("id") for row in control.executions()] == ["order-1", None, None]


REQUEST = (
    f"POST /auth/cancel HTTP/1.1\r\nhost: v\r\nx-api-key: k\r\ncontent-type: {FORM}\r\ncontent-length: 4\r\n\r\nid=x"
).encode()
"""With a key that no account has."""


def keep_alive(server: SimulatorServer, count: int) -> list[bytes]:
    """Send requests one after the other on one connection; their status lines."""
    lines = []
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as sock, sock.makefile("rb") as received:
        for _ in range(count):
            sock.sendall(REQUEST)
            lines.append(received.readline())
            length = 0
            while (line := received.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            received.read(length)
    return lines


def in_threads(threads: int, work: Callable[[], list[bytes]]) -> list[bytes]:
    """The results of the same work in several threads."""
    with ThreadPoolExecutor(threads) as pool:
        return [line for future in [pool.submit(work) for _ in range(threads)] for line in future.result()]


def test_an_outage_lasts_until_it_is_cleared(server: SimulatorServer, control: SimulatorControl) -> None:
    """For 2,000 requests of several clients; another account is not affected."""
    outage = control.fault("envelope", api_key="k", times=None)
    lines = in_threads(4, lambda: keep_alive(server, 500))
    assert set(lines) == {b"HTTP/1.1 503 Service Unavailable\r\n"}
    assert close(control.url).status_code == 200
    assert control.faults()[0]["applied"] == len(lines) == 2000
    assert len(control.arrivals(api_key="k", limit=20_000)) == 2000
    assert control.clear_faults(outage) == 1
    assert keep_alive(server, 1) == [b"HTTP/1.1 401 Unauthorized\r\n"]


def test_a_silent_venue_holds_any_number_of_requests(server: SimulatorServer, control: SimulatorControl) -> None:
    """500 at once: all of them have arrived, none is answered, and another account is served meanwhile."""
    control.fault("silent", api_key="k", times=None)
    socks = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(500)]
    try:
        sender = threading.Thread(target=lambda: [sock.sendall(REQUEST) for sock in socks])
        sender.start()
        control.wait(arrivals=500, api_key="k", timeout=60)
        sender.join()
        assert close(control.url).status_code == 200
        assert {row.status for row in control.arrivals(api_key="k")} == {None}
    finally:
        for sock in socks:
            sock.close()
    assert close(control.url, pair="USD_ETH_PERP").status_code == 200
