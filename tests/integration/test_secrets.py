"""No API key, secret key or signature is ever written down: in no log, message, result, key, event or answer.

One worker runs at DEBUG with accounts whose keys hold characters that are written in several ways (`/` in JSON, `+` in
a form). Every command runs through it, well and badly. A door in front of the venue notes what really left, so that the
signatures looked for are those that were made.
"""

import base64
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, quote_plus

import pytest

from tests.support.redis_monitor import Monitor
from tests.support.stack import Stack, accounts
from tests.support.tcp_proxy import FaultyProxy
from tests.support.waiting import until
from worker.simulator.server import SimulatorServer

PAIR = "USD_BTC_PERP"
KEYS = {
    "everstrike": ("ek/Pub+lic=0451", "es/Sec+ret=77aa33cc99dd"),
    "bitz": ("bk/Pub+lic=0452", "bs/Sec+ret=88bb44dd11ee"),
}
WRONG = ("ek/Wrong+key=0453", "es/Wrong+secret=0453")


def spellings(secret: str) -> set[str]:
    raw = secret.encode()
    return {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        secret.replace("/", "\\/"),
        repr(secret)[1:-1],
        base64.b64encode(raw).decode(),
        raw.hex(),
    }


@dataclass(frozen=True)
class Evidence:
    """Everything that was written down, by place, and everything that must not be in it."""

    places: dict[str, str]
    secrets: dict[str, set[str]]
    reports: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def door(simulator: SimulatorServer) -> Iterator[FaultyProxy]:
    """The way to the venue, with a record of what went through."""
    opened = FaultyProxy(simulator.url)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def stack(make_bed: Callable[..., Stack], door: FaultyProxy) -> Stack:
    """A worker that logs all it can."""
    rows = {
        "main": ("everstrike", *KEYS["everstrike"], door.url),
        "bz": ("bitz", *KEYS["bitz"], door.url),
        "wrong": ("everstrike", *WRONG, door.url),
        "refused": ("everstrike", *KEYS["everstrike"], "http://127.0.0.1:9"),
        "no_tls": ("everstrike", *KEYS["everstrike"], door.url.replace("http:", "https:")),
    }
    return make_bed(**accounts(rows), TEST_LOG_LEVEL="DEBUG", ORDERS_HTTP__READ_TIMEOUT_SECONDS="5")


COMMANDS: dict[str, tuple[str, dict[str, Any]]] = {
    "positions": ("orders.positions", {"account": "main"}),
    "positions at Bit-Z": ("orders.positions", {"account": "bz", "contract_id": 101}),
    "cancel": ("orders.cancel", {"account": "main", "order_id": "order-1"}),
    "close": ("orders.close", {"account": "main", "pair": PAIR, "qty": "0.001"}),
    "withdraw": ("orders.withdraw", {"account": "main", "asset": "ETH", "qty": "0.001", "address": "0xabc"}),
}
ECHO = "<key and secret>"
"""Stands for the account's own: a venue can't echo another's."""
PATHS = {"everstrike": ("positions", "cancel", "close", "withdraw"), "bitz": ("positions",)}
FAULTS: dict[str, dict[str, Any] | None] = {
    "well": None,
    "refused": {"kind": "envelope", "message": "Invalid request"},
    "again": {"kind": "envelope", "status": 429, "message": "Too many requests", "retry_after": "1"},
    "rate limit": {"kind": "status", "status": 429, "retry_after": "1"},
    "server error": {"kind": "status", "status": 502, "body": "<html>bad gateway</html>"},
    "cut": {"kind": "cut_after"},
    "half": {"kind": "half"},
    "garbage": {"kind": "garbage"},
    "silent": {"kind": "silent"},
    "huge": {"kind": "huge", "size_mib": 5},
    "echo in the message": {"kind": "envelope", "message": f"unknown key {ECHO}"},
    "echo on a page": {"kind": "status", "status": 403, "body": f"<html>{ECHO}</html>"},
    "echo in the result": {"kind": "respond", "data": {"code": 200, "msg": ECHO, "result": {"key": ECHO, ECHO: 1}}},
    "echo in the code": {"kind": "respond", "data": {"code": "x" * 50 + ECHO, "msg": "y" * 190 + ECHO, "result": {}}},
    "echo at Bit-Z": {"kind": "respond", "data": {"status": -102, "msg": ECHO, "data": [ECHO]}},
}


@pytest.fixture(scope="module")
def evidence(stack: Stack, door: FaultyProxy) -> Evidence:
    """Everything that this stack wrote down, after every command went through it well and badly."""
    furnish(stack)
    with Listener(stack) as listener, Monitor(stack.broker_url) as monitor:
        ids: dict[str, str] = {}
        for name, fault in FAULTS.items():
            ids |= {f"{name}: {command}": sent for command, sent in run(stack, fault).items()}
        ids |= {f"account {alias}": send_close(stack, alias) for alias in ("wrong", "refused", "no_tls", "nobody")}
        ids["bad input"] = stack.send("orders.withdraw", account="main", asset="ETH", qty="-1")
        ends = stack.all_ended(list(ids.values()))
        inspected = stack.setup.app.control.inspect([f"w1@{stack.worker.id[:12]}"], timeout=60, limit=1)
        questions = ("conf", "stats", "active", "registered", "query_task")
        control = [getattr(inspected, question)() for question in questions]
        assert control[0], "the worker answers"
        stack.drained()
        until(lambda: listener.finished() >= set(ids.values()), "an event of each command's end")
    report_tool = stack.worker.exec_run([sys.executable, "-m", "celery", "-A", "worker", "report"])
    assert report_tool[0] == 0, report_tool[1]
    places = {
        "log": stack.worker.logs(),
        "reports": json.dumps([end.report for end in ends]),
        "append-only file": append_only_file(stack),
        "events": json.dumps(listener.events, default=str),
        "traffic": monitor.text(),
        "remote control": json.dumps(control, default=str),
        "celery report": report_tool[1].decode(),
    }
    reports = dict(zip(ids, [end.report for end in ends], strict=True))
    return Evidence(places, secrets_in(door), reports)


def furnish(stack: Stack) -> None:
    stack.venue.reset(demo=False)
    for venue, (key, secret) in KEYS.items():
        stack.venue.account(venue, key, secret)  # type: ignore[arg-type]
    stack.venue.account("everstrike", WRONG[0], "another secret")
    stack.venue.position(KEYS["everstrike"][0], PAIR, "100")
    stack.venue.balance(KEYS["everstrike"][0], "ETH", "100")


def run(stack: Stack, fault: dict[str, Any] | None) -> dict[str, str]:
    """Send every command under one fault and wait for all; their ids by name."""
    stack.venue.clear_faults()
    stack.venue.order(KEYS["everstrike"][0], "order-1", PAIR)
    for venue, (key, secret) in KEYS.items():
        if fault is not None:
            own = json.loads(json.dumps(fault).replace(ECHO, f"{key} {secret}"))
            for path in PATHS[venue]:
                stack.venue.fault(**own, path=path, api_key=key)
    ids = {name: stack.send(task, **arguments) for name, (task, arguments) in COMMANDS.items()}
    stack.all_ended(list(ids.values()))
    return ids


def send_close(stack: Stack, alias: str) -> str:
    return stack.send("orders.close", account=alias, pair=PAIR, qty="0.001")


def secrets_in(door: FaultyProxy) -> dict[str, set[str]]:
    """Keys, and the signatures that went through the door, each in all spellings."""
    sent = door.received.decode("latin-1")
    made = set(re.findall(r"(?i)x-signature: (\S+)", sent)) | set(re.findall(r"sign=([0-9a-f]{32})", sent))
    assert len(made) > 2 * len(FAULTS), "the door saw the signatures of all those commands"
    assert KEYS["everstrike"][0] in sent
    assert quote_plus(KEYS["bitz"][0]) in sent
    keys = {part for pair in (*KEYS.values(), WRONG) for part in pair}
    return {secret: spellings(secret) for secret in keys | made}


PLACES = ("log", "reports", "append-only file", "events", "traffic", "remote control", "celery report")


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_written_down(evidence: Evidence, place: str) -> None:
    """Neither key nor signature, in whatever spelling."""
    text = evidence.places[place]
    assert len(text) > 500, "there is something to look through"
    found = sorted(secret for secret, ways in evidence.secrets.items() if any(way in text for way in ways))
    where = {secret: text[max(0, text.find(secret) - 100) :][:250] for secret in found}
    assert not found, where


@pytest.mark.parametrize("place", ["log", "events"])
def test_nothing_that_looks_like_a_signature(evidence: Evidence, place: str) -> None:
    """No 32 bytes in base64 and no header of the venues' at all."""
    text = evidence.places[place]
    assert not re.findall(r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/]{43}=(?![A-Za-z0-9+/=])", text)
    assert "x-api-key" not in text.lower()
    assert "x-signature" not in text.lower()


def test_no_library_quotes_a_command_or_a_request(evidence: Evidence) -> None:
    """Celery's pool would log each command's arguments, urllib3 each request's address, redis-py what is pushed."""
    log = evidence.places["log"]
    assert "0xabc" not in log
    assert not re.findall(r"TaskPool: Apply|Push response|urllib3|/auth/|/position", log)


@pytest.mark.parametrize("name", [name for name in FAULTS if name.startswith("echo")])
def test_an_echo_is_struck_out(evidence: Evidence, name: str) -> None:
    """The venue's words are told without the keys in them, for every command."""
    for command in COMMANDS:
        report = evidence.reports[f"{name}: {command}"]
        assert report["outcome"] in ("rejected", "unknown", "accepted", "not_sent")
        assert "Sec+ret" not in json.dumps(report)
    if name == "echo in the message":
        report = evidence.reports[f"{name}: withdraw"]
        assert report["outcome"] == "unknown"
        assert "unknown key *** ***" in report["venue_message"]


def test_a_secret_sent_by_mistake_is_not_repeated(stack: Stack) -> None:
    """A producer that sends a key as an argument has written it down itself; the report does not do so again."""
    report = stack.ended(stack.send("orders.cancel", account="main", order_id="1", api_key="es-sent-by-mistake")).report
    assert report["outcome"] == "not_sent"
    assert "es-sent-by-mistake" not in json.dumps(report)


# -- where to look -----------------------------------------------------------------------------------------------------


class Listener:
    """Switches Celery's events on and collects them, as Flower does."""

    def __init__(self, stack: Stack) -> None:
        self.events: list[dict[str, Any]] = []
        self._bed = stack
        self._over = threading.Event()
        self._ready = threading.Event()

    def finished(self) -> set[str]:
        """The ids of the commands whose end was told."""
        return {event["uuid"] for event in self.events if event["type"] in ("task-succeeded", "task-failed")}

    def _listen(self) -> None:
        app = self._bed.setup.app
        with app.connection() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": self.events.append})
            with receiver.consumer_context() as (consuming, _, _):
                self._ready.set()
                while not self._over.is_set():
                    try:
                        consuming.drain_events(timeout=0.2)
                    except TimeoutError:
                        continue

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        assert self._bed.setup.app.control.enable_events(reply=True, timeout=60, limit=1), (
            "a worker sends events from now on"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)


def append_only_file(stack: Stack) -> str:
    """Everything that was ever written to any database of the server, bodies of messages decoded too."""
    raw = b"".join(stack.setup.broker.container.written_files(".aof")).decode("latin-1")
    bodies = [base64.b64decode(body).decode("latin-1") for body in re.findall(r'"body": "([A-Za-z0-9+/=]+)"', raw)]
    assert bodies
    return raw + "\n".join(bodies)
