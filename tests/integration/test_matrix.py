"""The contract's table "What may be sent again" on the real stack: every case of `retry_table` and `exchange_table`.

Each case is one command with an account of its own, so that one worker works on all of them at once.
"""

import base64
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.integration import exchange_table, retry_table
from tests.integration.retry_table import ATTEMPTS, DIRECT, PAIR, READ, Case, End
from tests.support.certificates import self_signed
from tests.support.stack import Ended, Stack, accounts
from tests.support.tcp_proxy import FaultyProxy, ProxyFault
from tests.support.waiting import until
from worker.simulator.faults import mutates
from worker.simulator.records import Change, Order, Position
from worker.simulator.server import SimulatorServer

READ_TIMEOUT = "ORDERS_HTTP__READ_TIMEOUT_SECONDS"
SETTINGS = {
    "ORDERS_RETRY__ATTEMPTS": str(ATTEMPTS),
    # Together long enough that a door can be opened between the first attempt and the last.
    "ORDERS_RETRY__INITIAL_SECONDS": "0.1",
    "ORDERS_RETRY__MAX_SECONDS": "0.5",
    "ORDERS_RETRY__BUDGET_SECONDS": "120",
    "ORDERS_HTTP__CONNECT_TIMEOUT_SECONDS": "1",
    # A venue that is there answers within this time on any machine, however busy.
    READ_TIMEOUT: "20",
    "ORDERS_VENUES__EVERSTRIKE__REFUSALS": '["account \\\\d+ is frozen"]',
}
SECRET = base64.b64encode(b"a-secret-key").decode()
"""Of every account; at Kraken Futures a secret is base64."""
PASSPHRASE = "a-passphrase"
STATES = {
    "accepted": ("SUCCESS", None),
    "rejected": ("FAILURE", "producers.errors.OrderRejected"),
    "not_sent": ("FAILURE", "producers.errors.OrderNotSent"),
    "unknown": ("FAILURE", "producers.errors.OrderUnknown"),
}
CASES = (*retry_table.CASES, *exchange_table.CASES)
UNANSWERED = {case.name for case in CASES if any(fault["kind"] in ("silent", "drip") for fault in case.faults)}
"""Cases in which the time for an answer runs out."""
KEYS = {case.name: f"case-{number}" for number, case in enumerate(CASES)}
"""A case's account: alias and API key."""


@dataclass(frozen=True)
class Doors:
    """The ways to the venue. A door that opens is one case's own, so that it can open at the right moment."""

    by_case: dict[str, FaultyProxy]
    urls: dict[str, str]
    certificate: Path

    def url(self, case: Case) -> str:
        """Where the case's account finds its venue."""
        return self.by_case[case.name].url if case.name in self.by_case else self.urls[case.door]


@pytest.fixture(scope="module")
def doors(simulator: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    certificate, other = (self_signed(tmp_path_factory.mktemp("certificate")) for _ in range(2))
    shut = {
        "refuses": (ProxyFault.CONNECTION_REFUSED, None),
        "ignores": (ProxyFault.SYN_DROPPED, None),
        "no_tls": (ProxyFault.NO_TLS, certificate),
    }
    by_case = {
        case.name: FaultyProxy(simulator.url, *shut[case.door.removesuffix(" once")])
        for case in CASES
        if case.door.endswith(" once")
    }
    for_ever = {name: FaultyProxy(simulator.url, shut[name][0]) for name in ("refuses", "ignores")}
    for_ever["untrusted"] = FaultyProxy(simulator.url, ProxyFault.NONE, other)
    for_ever["open"] = FaultyProxy(simulator.url, ProxyFault.NONE)
    urls = {f"{name} for ever": door.url for name, door in for_ever.items()}
    urls |= {DIRECT: simulator.url, "no_tls for ever": simulator.url.replace("http:", "https:")}
    urls["nowhere for ever"] = "https://venue.invalid"  # RFC 2606: a name that nobody can have
    yield Doors(by_case, urls, certificate.certificate)
    for door in (*by_case.values(), *for_ever.values()):
        door.close()


@pytest.fixture(scope="module")
def stack(make_bed: Callable[..., Stack], doors: Doors) -> Stack:
    """One worker with an account for each case, not started yet."""
    rows = {KEYS[case.name]: (case.column.venue, KEYS[case.name], SECRET, doors.url(case)) for case in CASES}
    at_okx = [KEYS[case.name].upper() for case in CASES if case.column.venue == exchange_table.OKX]
    okx = {"PASSPHRASE": PASSPHRASE, "ACCOUNT_MODE": "futures"}
    more = {f"ORDERS_ACCOUNTS__{alias}__{name}": value for alias in at_okx for name, value in okx.items()}
    settings = {**SETTINGS, **accounts(rows), **more, "ORDERS_HTTP__CA_FILE": str(doors.certificate)}
    return make_bed(started=0, options=("--concurrency", "48"), **settings)


@dataclass(frozen=True)
class Seen:
    """What a command came to."""

    end: Ended
    arrivals: list[Any]
    executions: list[Any]


@pytest.fixture(scope="module")
def seen(stack: Stack, doors: Doors) -> dict[str, Seen]:
    stack.venue.reset(demo=False)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda case: prepare(stack, case), CASES))
    shut, unanswered = [c for c in CASES if c.door != DIRECT], [c for c in CASES if c.name in UNANSWERED]
    ids = open_after_first_attempts(stack, doors, shut)
    ids |= send(stack, [case for case in CASES if case.door == DIRECT and case.name not in UNANSWERED])
    stack.all_ended(list(ids.values()), 300)
    # That time is short only for a worker that has nothing else to do.
    stack.worker.stop(60)
    stack.worker.environment[READ_TIMEOUT] = "3"
    stack.worker.start()
    ids |= send(stack, unanswered)
    ends = dict(zip(ids, stack.all_ended(list(ids.values()), 300), strict=True))
    stack.venue.release()
    arrivals, executions = defaultdict(list), defaultdict(list)
    for arrival in stack.venue.arrivals():
        arrivals[arrival.api_key].append(arrival)
    for execution in stack.venue.executions():
        executions[execution.api_key].append(execution)
    return {name: Seen(end, arrivals[KEYS[name]], executions[KEYS[name]]) for name, end in ends.items()}


def prepare(stack: Stack, case: Case) -> None:
    """Give the case's account something to cancel, to close, to withdraw; and arm what its attempts will meet."""
    key, venue = KEYS[case.name], case.column.venue.removeprefix("ccxt:")
    stack.venue.account(venue, key, SECRET, PASSPHRASE)  # type: ignore[arg-type]
    if venue != case.column.venue:
        exchange = stack.venue.exchange(venue, key)  # type: ignore[arg-type]
        market = exchange_table.MARKET[case.column.venue]
        exchange.position(market, 150)
        exchange.order(id=exchange_table.RESTING[case.column.venue], symbol=market, side="buy", size="1", price="30000")
        if venue == "okx":
            stack.venue.change(Change(venue="okx", api_key=key, balances={"USDT": Decimal(1000)}))
    elif case.column.kind != READ:
        position, order = Position(pair=PAIR, size=Decimal(1)), Order(id="order-1", pair=PAIR)
        stack.venue.change(Change(api_key=key, positions=(position,), orders=(order,), balances={"ETH": Decimal(10)}))
    for fault in case.faults:
        stack.venue.fault(**fault, api_key=key)


def send(stack: Stack, cases: Sequence[Case]) -> dict[str, str]:
    return {case.name: stack.send(case.column.task, account=KEYS[case.name], **case.column.arguments) for case in cases}


def open_after_first_attempts(stack: Stack, doors: Doors, cases: Sequence[Case]) -> dict[str, str]:
    """Start the worker, and open each door as soon as the first attempt of its command is over."""
    ids = send(stack, cases)
    stack.worker.start()
    shut = {name: ids[name] for name in doors.by_case}

    def all_open() -> bool:
        log = stack.worker.logs()
        for name in [name for name, command_id in shut.items() if f"attempt id={command_id} " in log]:
            doors.by_case[name].remove_fault()
            del shut[name]
        return not shut

    until(all_open, "a first attempt of every command behind a door", 60, every=0.005)
    return ids


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_command_ends_as_the_table_says(seen: dict[str, Seen], case: Case) -> None:
    """Report, Celery's state and the venue's book agree with the contract."""
    end, expected = seen[case.name].end, case.expected
    report = end.report
    told = End(report["outcome"], report["reason"], report["attempts"], len(seen[case.name].executions))
    assert told == expected, f"{report['message']}\n{json.dumps(report)}"
    assert (end.state, end.error) == STATES[expected.outcome]
    check_arrivals(seen[case.name], case)
    check_report(report, case)


def check_arrivals(seen: Seen, case: Case) -> None:
    """The venue saw as many requests as the report says, each freshly and rightly signed."""
    reads_too = case.column.kind == READ
    arrivals = [each for each in seen.arrivals if reads_too or mutates(each.method, each.path)]
    assert len(arrivals) == seen.end.report["attempts"]
    assert all(arrival.signature_ok in (True, None) for arrival in arrivals)
    stamps = [arrival.timestamp_ms for arrival in arrivals if arrival.timestamp_ms is not None]
    if not reads_too:
        assert stamps == sorted(set(stamps)), "each attempt reads the clock and signs anew"
    if len(arrivals) > 1:
        assert arrivals[1].time_ms - arrivals[0].time_ms >= case.waits_ms


def check_report(report: dict[str, Any], case: Case) -> None:
    """The times agree with what happened, and the rest of the report with what was sent."""
    assert (report["command"], report["venue"]) == (case.column.task.removeprefix("orders."), case.column.venue)
    assert report["replayed"] is False
    assert (report["first_sent_at"] is None) == (report["attempts"] == 0)
    if report["attempts"]:
        assert report["enqueued_at"] <= report["first_sent_at"] <= report["last_signed_at"] <= report["finished_at"]
        assert (report["last_signed_at"] > report["first_sent_at"]) == (report["attempts"] > 1)
    assert report["finished_at"] <= time.time() * 1000
    assert report["message"]
    assert "\n" not in report["message"]
    assert SECRET not in json.dumps(report)
    if case.venue_code is not None:
        assert report["venue_code"] == case.venue_code
        assert report["positions"] == ([] if report["outcome"] == "accepted" else None)
