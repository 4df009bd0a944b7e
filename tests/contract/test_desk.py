"""The desk's pages over a real server: what they show, and that each change is shown, confirmed, done once."""

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from typing import Any

import pytest

from tests.support.desk_browser import Browser, Desk, desk_over, fields_of
from tests.support.servers import Server
from tests.support.signing_keys import fixed_key
from worker.desk.sessions import Act, Session
from worker.ledger.halts import HaltScope
from worker.ledger.keys import COOL_DOWNS_KEY
from worker.settings import WorkerSettings

PAGES = ("/", "/halts", "/parked", "/dead", "/queues", "/accounts")
WITHDRAW = {"account": "main", "command": "withdraw"}


@pytest.fixture
def desk(server: Server) -> Iterator[Desk]:
    server.client().flushall()
    account = {"venue": "everstrike", "api_key": "k-secret", "secret_key": "s-secret", "rate_limits": "50/20s"}
    settings = WorkerSettings(redis_url=server.url(), accounts={"main": account})  # type: ignore[dict-item]
    with desk_over(settings) as opened:
        yield opened


@pytest.fixture
def browser(desk: Desk) -> Browser:
    return desk.browser()


def halted(desk: Desk) -> list[tuple[HaltScope, str, str]]:
    return [(scope, halt.who, halt.why) for scope, halt in desk.services.operator.halts()]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_shown_and_has_no_secret(browser: Browser, path: str) -> None:
    page = browser.get(path)
    assert page.status_code == 200, page.text
    assert "secret" not in page.text


def test_home_counts_and_says_what_to_do(desk: Desk, browser: Browser, server: Server) -> None:
    server.client(0).lpush("orders.close", "{}", "{}")
    server.client(0).lpush("orders.close.dead", "x")
    desk.services.operator.halt(HaltScope("main", "withdraw"), who="ann", why="why")
    page = browser.get("/").text
    assert "2 in orders.close" in page
    assert "tell its sender" in page
    assert "1, 0 for more than a day" in page


def test_a_halt_is_shown_then_confirmed_then_in_force(desk: Desk, browser: Browser) -> None:
    fields = {"csrf": browser.csrf(), **WITHDRAW}
    shown = browser.post("/halts/set", data=fields)
    assert "Workers send nothing more of this: withdraw of main." in shown.text
    assert halted(desk) == []
    done = browser.confirm("/halts/set", fields, who="ann", why="the venue asks")
    assert (done.status_code, done.headers["location"]) == (303, "/halts")
    assert "Halted: withdraw of main." in browser.get("/halts").text
    assert halted(desk) == [(HaltScope("main", "withdraw"), "ann", "the venue asks")]
    assert desk.services.operator.journal()[-1].fields["who"] == "ann"


def test_everything_is_halted_and_lifted(desk: Desk, browser: Browser) -> None:
    browser.confirm("/halts/set", {"csrf": browser.csrf(), "command": "all"}, who="ann", why="x")
    assert {scope.command for scope, *_ in halted(desk)} == {"*", "cancel", "close", "positions"}
    fields = {"csrf": browser.csrf(), "scope": "*/close"}
    assert browser.confirm("/halts/lift", fields, who="bob", why="over").status_code == 303
    assert {scope.command for scope, *_ in halted(desk)} == {"*", "cancel", "positions"}


@pytest.mark.parametrize("given", [{"who": "", "why": "x"}, {"who": "ann", "why": " "}, {"who": "a", "why": "x" * 501}])
def test_nothing_is_done_without_who_and_why(desk: Desk, browser: Browser, given: dict[str, str]) -> None:
    answer = browser.confirm("/halts/set", {"csrf": browser.csrf(), **WITHDRAW}, **given)
    assert answer.status_code == 400
    assert halted(desk) == []


def test_a_second_submit_is_harmless(desk: Desk, browser: Browser) -> None:
    page = browser.post("/halts/set", data={"csrf": browser.csrf(), **WITHDRAW})
    fields = {**_fields(page.text), "who": "ann", "why": "once"}
    answers = [browser.post("/halts/set", data=fields) for _ in range(3)]
    assert [each.status_code for each in answers] == [303] * 3
    assert [each.fields["event"] for each in desk.services.operator.journal()] == ["halt"]


def test_a_second_click_is_told_what_the_first_has_done(desk: Desk, browser: Browser) -> None:
    """What was lifted is not there any more, which is no reason to say that it was not done."""
    fields = lifting(browser)
    assert [browser.post("/halts/lift", data=fields).status_code for _ in range(2)] == [303] * 2
    assert "This was confirmed before" not in browser.get("/halts").text
    assert [each.fields["event"] for each in desk.services.operator.journal()] == ["halt", "resume"]


def test_a_second_click_waits_for_the_first(desk: Desk, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    fields, resume, act_of = lifting(browser), desk.services.operator.resume, Session.act
    acted, asked = threading.Event(), threading.Event()

    def slow(*scopes: HaltScope, **word: Any) -> bool:
        done = resume(*scopes, **word)
        acted.set()
        assert asked.wait(60)
        return done

    def noticed(session: Session, nonce: str) -> Act | None:
        found = act_of(session, nonce)
        if found is not None:
            asked.set()
        return found

    monkeypatch.setattr(desk.services.operator, "resume", slow)
    monkeypatch.setattr(Session, "act", noticed)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(browser.post, "/halts/lift", data=fields)
        assert acted.wait(60)
        assert browser.post("/halts/lift", data=fields).status_code == 303
        assert first.result().status_code == 303
    assert "This was confirmed before" not in browser.get("/halts").text


def lifting(browser: Browser) -> dict[str, str]:
    """The fields of a confirmation that lifts a halt."""
    browser.confirm("/halts/set", {"csrf": browser.csrf(), **WITHDRAW}, who="ann", why="maintenance")
    page = browser.post("/halts/lift", data=browser.form("/halts", "/halts/lift"))
    return {**_fields(page.text), "who": "ann", "why": "it is over"}


def test_what_has_changed_since_it_was_shown_is_shown_again(desk: Desk, browser: Browser) -> None:
    page = browser.post("/halts/set", data={"csrf": browser.csrf(), **WITHDRAW})
    desk.services.operator.halt(HaltScope("main", "withdraw"), who="bob", why="first")
    answer = browser.post("/halts/set", data={**_fields(page.text), "who": "ann", "why": "x"})
    assert answer.status_code == 409
    assert "Replaces the halt of withdraw of main by bob." in answer.text
    assert halted(desk) == [(HaltScope("main", "withdraw"), "bob", "first")]


@pytest.mark.parametrize("change", [{"account": "other"}, {"command": "all"}, {"confirmed": "0" * 64}, {"nonce": "x"}])
def test_nothing_but_what_was_shown_can_be_confirmed(desk: Desk, browser: Browser, change: dict[str, str]) -> None:
    page = browser.post("/halts/set", data={"csrf": browser.csrf(), **WITHDRAW})
    answer = browser.post("/halts/set", data={**_fields(page.text), "who": "a", "why": "b", **change})
    assert answer.status_code == 409
    assert halted(desk) == []


def test_a_halt_that_is_gone_is_not_lifted(browser: Browser) -> None:
    answer = browser.post("/halts/lift", data={"csrf": browser.csrf(), "scope": "main/close"})
    assert answer.status_code == 409
    assert "lifted meanwhile" in answer.text


def test_a_halt_that_replaces_the_one_that_was_shown_is_not_lifted_even_at_the_last_moment(
    desk: Desk, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.confirm("/halts/set", {"csrf": browser.csrf(), **WITHDRAW}, who="ann", why="maintenance")
    operator = desk.services.operator
    ((scope, _),) = operator.halts()
    resume = operator.resume

    def late(*scopes: HaltScope, **word: Any) -> bool:
        operator.halt(scope, who="bob", why="a key was stolen")
        return resume(*scopes, **word)

    monkeypatch.setattr(operator, "resume", late)
    fields = browser.form("/halts", "/halts/lift")
    browser.confirm("/halts/lift", fields, who="ann", why="it is over")
    assert [halt.why for _, halt in operator.halts()] == ["a key was stolen"]
    assert "Nothing was lifted" in browser.get("/halts").text


def test_with_a_key_the_word_is_signed_by_its_owner_whoever_is_named(server: Server) -> None:
    server.client().flushall()
    with desk_over(WorkerSettings(redis_url=server.url()), fixed_key("ann")) as desk:
        browser = desk.browser()
        assert 'name="who"' not in browser.post("/halts/set", data={"csrf": browser.csrf(), **WITHDRAW}).text
        browser.confirm("/halts/set", {"csrf": browser.csrf(), **WITHDRAW}, who="mallory", why="x")
        ((_, halt),) = desk.services.operator.halts()
        assert halt.who == "ann"
        assert halt.sig


def test_a_cool_down_is_ended(desk: Desk, browser: Browser) -> None:
    bucket = desk.services.accounts["main"].bucket
    now = desk.services.clock.now_ms()
    stored = {"until": now + 600_000, "since": now, "why": "429", "by_address": False, "probe": "", "probe_until": 0}
    desk.services.client.hset(COOL_DOWNS_KEY, bucket, json.dumps(stored))
    assert "429" in browser.get("/accounts").text
    fields = browser.form("/parked", "/parked/end")
    assert browser.confirm("/parked/end", fields, who="ann", why="support says so").status_code == 303
    assert desk.services.parked.cool_downs() == []
    assert browser.post("/parked/end", data=fields).status_code == 409


def test_a_dead_letter_is_looked_at_and_dropped(desk: Desk, browser: Browser, server: Server) -> None:
    server.client(0).lpush("orders.close.dead", "kept", "dropped")
    link = unescape(re.findall(r'href="(/dead/letter[^"]*)"', browser.get("/dead").text)[0])
    fields = browser.form(link, "/dead/drop")
    assert browser.confirm("/dead/drop", fields, who="ann", why="its sender knows").status_code == 303
    assert server.client(0).lrange("orders.close.dead", 0, -1) == ["kept"]
    assert browser.post("/dead/drop", data=fields).status_code == 409
    assert desk.services.operator.journal()[-1].fields["event"] == "dead_drop"


def test_a_ledger_that_is_down_has_a_page_and_the_desk_goes_on_when_it_is_back() -> None:
    with Server() as server, desk_over(WorkerSettings(redis_url=server.url())) as desk:
        browser = desk.browser()
        assert browser.get("/halts").status_code == 200
        server.stop()
        answer = browser.get("/halts")
        assert answer.status_code == 503
        assert "Bring the server back" in answer.text
        server.start()
        assert browser.get("/halts").status_code == 200


def test_a_bug_is_a_number_and_no_traceback(
    desk: Desk, browser: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise RuntimeError("k-secret")

    monkeypatch.setattr(desk.services.operator, "halts", fails)
    answer = browser.get("/halts")
    assert answer.status_code == 500
    (line,) = [each.getMessage() for each in caplog.records if each.name == "orders.desk"]
    number = line.split()[1].rstrip(":")
    assert number in answer.text
    assert "k-secret" not in answer.text + caplog.text
    assert "Traceback" not in answer.text + caplog.text


def test_the_doctor_is_asked_by_a_button(browser: Browser, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_REDIS_URL", server.url())
    answer = browser.post("/doctor", data={"csrf": browser.csrf()})
    assert answer.status_code == 200
    assert "orders.close" in answer.text


def _fields(page: str) -> dict[str, str]:
    """The fields of the confirmation page."""
    return fields_of(page[page.index('class="fields"') :])
