"""The desk's pages of unknowns, of one command, of the search and of held commands, over a real server."""

import json
import re
import time
from collections.abc import Callable, Iterator
from html import escape
from urllib.parse import quote

import pytest
import redis

from producers.report import Outcome, Report
from tests.contract.conftest import WITHDRAW
from tests.support.desk import Desk, seen
from tests.support.desk_data import ADDRESS, claim, end, fill, hold
from tests.support.servers import Server
from tests.support.signing_keys import fixed_key
from worker.desk.pages import command
from worker.ledger.decisions import DENY, Decision
from worker.ledger.journal import Journal
from worker.ledger.redis import RedisLedger
from worker.settings import load

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}\x1b[2J\u202e"
ODD_ID = "a/b?c=d&e#f%2e <b>"
NOW = time.time_ns() // 1_000_000


@pytest.fixture
def make_desk(server: Server, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Desk]]:
    """Makes desks over the empty ledger: ``by`` is the name of the person whose key signs."""
    monkeypatch.setenv("ORDERS_REDIS_URL", server.url())
    made: list[Desk] = []

    def make(by: str = "") -> Desk:
        made.append(Desk(load(), fixed_key(by) if by else None))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    return make_desk()


@pytest.fixture
def ledger(client: redis.Redis) -> RedisLedger:
    return RedisLedger(client, disk_ms=0)


def lose(ledger: RedisLedger, command_id: str, name: str = "withdraw", **changes: object) -> Report:
    """An open unknown."""
    return end(ledger, claim(command_id, name), Outcome.UNKNOWN, NOW, **changes)


# -- unknowns ----------------------------------------------------------------------------------------------------------


def test_unknowns_are_listed_in_pages_oldest_first(desk: Desk, client: redis.Redis) -> None:
    ids = fill(client, unknown=60, settled=0, now_ms=NOW)
    client.zadd("orders:unknown", {command_id: number for number, command_id in enumerate(ids)})
    first, second = desk.get("/unknowns"), desk.get("/unknowns", page="2")
    assert re.findall(r"lost-\d+(?=</code>)", first) == ids[:50]
    assert re.findall(r"lost-\d+(?=</code>)", second) == ids[50:]
    assert "Page 1 of 2" in seen(first)
    for odd in ("0", "-1", "x", "9" * 30, "²"):
        assert desk.get("/unknowns", page=odd)


def test_without_unknowns_the_page_says_so(desk: Desk) -> None:
    assert "No command is unknown." in seen(desk.get("/unknowns"))


def test_a_record_that_is_gone_is_listed_all_the_same(desk: Desk, client: redis.Redis, ledger: RedisLedger) -> None:
    lose(ledger, "gone")
    client.delete("orders:command:gone")
    assert "its record is missing" in seen(desk.get("/unknowns"))


# -- one command -------------------------------------------------------------------------------------------------------


def test_a_command_shows_what_is_known_what_to_do_and_what_happened(desk: Desk, ledger: RedisLedger) -> None:
    lose(ledger, "x", http_status=502, venue_message="Bad gateway")
    text = seen(desk.get("/command", id="x"))
    for words in (
        ADDRESS,
        "HTTP 502, Bad gateway",
        "proves nothing for a withdrawal",
        "Attempt 1 began",
        "ended as unknown",
    ):
        assert words in text


def test_an_id_of_any_letters_has_its_page(desk: Desk, ledger: RedisLedger) -> None:
    lose(ledger, ODD_ID)
    href = re.search(r'href="(/command\?[^"]*)"', desk.get("/unknowns"))
    assert href
    assert escape(ODD_ID) in desk.get(href[1].replace("&amp;", "&"))


@pytest.mark.parametrize(
    "odd", ["", "nobody", "x" * 300, "\x00", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")]
)
def test_a_command_that_nobody_knows_is_told_as_such(desk: Desk, odd: str) -> None:
    answer = desk.client.get(f"/command?id={odd if '%' in odd else quote(odd)}")
    assert (answer.status_code, "No such command" in answer.text) == (404, True)


def test_what_strangers_have_written_is_shown_as_text(desk: Desk, ledger: RedisLedger, client: redis.Redis) -> None:
    """The venue, the sender and whoever writes to the server: no tag of theirs is one on any page."""
    words = dict.fromkeys(("venue_message", "message", "reason", "venue", "venue_code"), HOSTILE)
    command_id = HOSTILE[:60].replace("\x1b", "")
    lose(ledger, command_id, result={HOSTILE: HOSTILE}, http_status=503, **words)
    spoilt = {"arguments": json.dumps({HOSTILE: HOSTILE}), "account": HOSTILE}
    client.hset(f"orders:command:{command_id}", mapping=spoilt)
    for path, query in (("/unknowns", {}), ("/command", {"id": command_id}), ("/commands", {"id": command_id})):
        page = desk.get(path, **query)
        assert not re.search(r"<(script|img|b)\b", page), path
        assert not re.search(r"""<[^>]*\sonerror=""", re.sub(r'"[^"]*"', '""', page)), path
        assert "\x1b" not in page
        assert "\u202e" not in page
        assert "&gt;49" not in page


def test_an_unknown_is_resolved_by_clicking(desk: Desk, ledger: RedisLedger, client: redis.Redis) -> None:
    """Who and why are asked, and end in the report and the journal as by the program."""
    lose(ledger, "x")
    page = desk.get("/command", id="x")
    text = desk.confirm(
        "/command/resolve", page=page, id="x", decision="executed", reference="tx-7", who="ann", why="in their history"
    )
    assert "Settled: it is accepted now" in seen(text)
    record = ledger.read("x")
    assert record is not None
    assert record.report is not None
    assert (record.report.outcome, record.report.result) == (Outcome.ACCEPTED, {"id": "tx-7"})
    assert "by the word of ann: in their history" in record.report.message
    entry = [each.fields for each in Journal(client).entries("x", None)][-1]
    assert entry.items() >= {"event": "resolve", "who": "ann", "why": "in their history"}.items()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "Choose whether it was executed."),
        ({"decision": "maybe"}, "Choose whether it was executed."),
        ({"decision": "executed", "reference": "  "}, "Give the venue"),
        ({"decision": "executed", "reference": "x" * 501}, "too long"),
    ],
)
def test_a_resolve_that_says_nothing_is_asked_again(
    desk: Desk, ledger: RedisLedger, fields: dict[str, str], words: str
) -> None:
    lose(ledger, "x")
    answer = desk.post("/command/resolve", desk.get("/command", id="x"), id="x", **fields)
    assert (answer.status_code, words in answer.text) == (400, True)
    assert desk.services.operator.count_unknowns() == 1


def test_a_resolve_needs_who_and_why(desk: Desk, ledger: RedisLedger) -> None:
    lose(ledger, "x")
    fields = {"id": "x", "decision": "not_executed"}
    shown = desk.post("/command/resolve", desk.get("/command", id="x"), **fields)
    assert "may withdraw again" in seen(shown.text), "a withdrawal is warned of"
    for words in ({"who": "ann", "why": " "}, {"who": "", "why": "because"}):
        assert desk.post("/command/resolve", shown.text, **words).status_code == 400
    assert desk.services.operator.count_unknowns() == 1


def test_what_was_settled_meanwhile_is_not_settled_again(desk: Desk, ledger: RedisLedger) -> None:
    lose(ledger, "x")
    shown = desk.post("/command/resolve", desk.get("/command", id="x"), id="x", decision="not_executed")
    desk.services.operator.resolve("x", reference="7", who="bob", why="saw it")
    answer = desk.post("/command/resolve", shown.text, who="ann", why="not there")
    assert answer.status_code == 409
    record = ledger.read("x")
    assert record is not None
    assert record.report is not None
    assert record.report.outcome is Outcome.ACCEPTED


def test_a_reconcile_that_no_worker_answers_says_so(
    desk: Desk, ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is for a worker where the account is not configured here."""
    monkeypatch.setattr(command, "WORKER_SECONDS", 0.05)
    lose(ledger, "x")
    answer = desk.post("/command/reconcile", desk.get("/command", id="x"), id="x")
    assert "No worker has answered" in seen(answer.text)
    assert desk.services.client.ping()
    answer = desk.post("/unknowns/reconcile", desk.get("/unknowns"))
    assert "A worker was asked to look all of them up" in seen(answer.text)
    assert desk.services.broker is not None
    assert desk.services.broker.llen("orders.reconcile") == 2


# -- search ------------------------------------------------------------------------------------------------------------


def test_commands_are_found_by_each_filter(desk: Desk, client: redis.Redis, ledger: RedisLedger) -> None:
    fill(client, unknown=2, settled=60, now_ms=NOW)
    newest = desk.get("/commands")
    assert newest.count("/command?id=") == 50
    more = re.search(r'href="(/commands\?[^"]*before=[^"]*)"', newest)
    assert more
    assert desk.get(more[1].replace("&amp;", "&")).count("/command?id=") == 12
    assert desk.get("/commands", outcome="unknown").count("/command?id=") == 2
    assert desk.get("/commands", command="withdraw").count("/command?id=") == 1
    assert desk.get("/commands", account="nobody").count("/command?id=") == 0
    assert desk.get("/commands", since="1", id="done-00007").count('scope="row"') == 1
    for odd in ({"before": "x"}, {"since": "x"}, {"before": "9" * 400}, {"account": "x" * 900}):
        assert desk.get("/commands", **odd)


# -- held --------------------------------------------------------------------------------------------------------------


def hold_one(ledger: RedisLedger, command_id: str = "w", **more: object) -> None:
    ledger.begin(claim(command_id, "withdraw", hold=hold(), **more), 1)


def test_a_held_command_shows_everything_that_a_person_decides_by(desk: Desk, ledger: RedisLedger) -> None:
    hold_one(ledger)
    assert f"1 ETH to {ADDRESS}" in seen(desk.get("/held"))
    text = seen(desk.get("/held/command", id="w"))
    for words in (
        ADDRESS,
        "qty 1",
        "asset ETH",
        "not sealed",
        "1 of anna, ben",
        "Nobody has decided yet",
        "no key to sign",
    ):
        assert words in text


@pytest.mark.parametrize(("decision", "why"), [("approve", ""), ("deny", "nobody knows of it")])
def test_a_held_command_is_decided_with_the_key_of_the_desk(
    make_desk: Callable[..., Desk], ledger: RedisLedger, decision: str, why: str
) -> None:
    desk = make_desk("anna")
    hold_one(ledger)
    shown = desk.post("/held/decide", desk.get("/held/command", id="w"), decision=decision)
    assert ADDRESS in seen(shown.text)
    assert 'name="who"' not in shown.text, "who decides is the owner of the key"
    done = desk.post("/held/decide", shown.text, why=why, who="somebody else")
    assert "by anna" in seen(done.text)
    (stored,) = desk.services.approvals.find("w").decisions
    assert (stored.who, stored.approves, stored.reason) == ("anna", decision == "approve", why)
    assert "signature not checked" in seen(desk.get("/held/command", id="w"))


def test_nobody_approves_what_they_did_not_see(make_desk: Callable[..., Desk], ledger: RedisLedger) -> None:
    """Not without a key, not as somebody who may not, not their own command, and not other arguments."""
    hold_one(ledger)
    page = make_desk("anna").get("/held/command", id="w")
    fingerprint = re.search(r'name="fingerprint" value="(\w+)"', page)
    assert fingerprint
    given = {"id": "w", "decision": "approve", "fingerprint": fingerprint[1]}
    for by, words in (("", "no key"), ("carl", "may not decide")):
        answer = make_desk(by).post("/held/decide", **given)
        assert (answer.status_code, words in answer.text) == (403, True)
    answer = make_desk("anna").post("/held/decide", **{**given, "fingerprint": "0" * 64})
    assert (answer.status_code, "not what you saw" in answer.text) == (409, True)
    assert make_desk("anna").services.approvals.find("w").decisions == ()


def test_a_record_that_somebody_has_changed_is_approved_by_nobody(
    make_desk: Callable[..., Desk], ledger: RedisLedger, client: redis.Redis
) -> None:
    hold_one(ledger)
    desk = make_desk("anna")
    shown = desk.post("/held/decide", desk.get("/held/command", id="w"), decision="approve")
    client.hset("orders:command:w", "arguments", json.dumps({**WITHDRAW, "address": "0xthief"}))
    for answer in (desk.post("/held/decide", shown.text), desk.client.get("/held/command", params={"id": "w"})):
        assert (answer.status_code, "contradicts itself" in answer.text) == (409, True)


@pytest.mark.parametrize("field", ["fence", "hold_until", "command"])
def test_a_record_that_somebody_has_spoilt_is_told_and_hides_no_other(
    desk: Desk, ledger: RedisLedger, client: redis.Redis, field: str
) -> None:
    """Its own page was a bug's number, and the list was silent about it."""
    hold_one(ledger)
    assert ledger.begin(claim("spoilt", "withdraw", hold=hold()), 1)
    client.hset("orders:command:spoilt", field, "x")
    if field == "command":
        client.hdel("orders:command:spoilt", field)
    text = seen(desk.get("/held"))
    assert f"1 ETH to {ADDRESS}" in text
    assert "1 more can't be read, so nobody can decide about them, and nothing of them is sent: spoilt" in text
    assert "; 1 that can't be read" in seen(desk.get("/"))
    assert "none that can be read" in seen(desk.get("/command", id="spoilt"))
    answer = desk.client.get("/held/command", params={"id": "spoilt"})
    assert (answer.status_code, "can&#39;t be read" in answer.text) == (409, True)


def test_a_stored_denial_by_a_stranger_is_told_to_be_worth_nothing(
    make_desk: Callable[..., Desk], ledger: RedisLedger, client: redis.Redis
) -> None:
    hold_one(ledger)
    held = make_desk().services.approvals.find("w")
    signed = Decision("w", held.fingerprint, "anna", 2**50, DENY, HOSTILE).signed(fixed_key("anna", variant=1))
    assert ledger.decide("w", held.fingerprint, who="anna", kid="k", event="denied", signed=signed)
    page = make_desk().get("/held/command", id="w")
    assert "<script" not in page
    assert "signature not checked" in seen(page)
