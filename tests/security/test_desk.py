"""Attacks on the desk: by other pages, by other programs of the machine, by what is stored, by a producer's login."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.compose_server import ComposeServer
from tests.support.desk_browser import HOST, Browser, Desk, desk_over
from tests.support.servers import Server
from worker.desk.gate import MAX_PATH_BYTES, is_local
from worker.desk.logins import add_login
from worker.desk.server import DeskRefused, check_address, check_login
from worker.desk.services import DeskServices
from worker.desk.sessions import MAX_SESSIONS
from worker.ledger.keys import COOL_DOWNS_KEY, HALTS_KEY, JOURNAL_KEY, RECORD_KEY, UNKNOWN_KEY
from worker.settings import DeskSettings, WorkerSettings

PASSWORD = "correct horse battery"
HALT = {"account": "main", "command": "withdraw"}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\r\nSet-Cookie: a=b\x1b[31m\u202e{{7*7}}"
GETS = ("/", "/unknowns", "/held", "/halts", "/parked", "/dead", "/queues", "/accounts", "/commands")
KIND = b"Content-Type: application/x-www-form-urlencoded\r\n\r\na"
POSTS = ("/halts/set", "/halts/lift", "/parked/end", "/doctor", "/logout")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as started:
        yield started


@pytest.fixture
def desk(server: Server) -> Iterator[Desk]:
    server.client().flushall()
    with desk_over(WorkerSettings(redis_url=server.url())) as opened:
        yield opened


@pytest.fixture
def logins(server: Server, tmp_path: Path) -> Iterator[Desk]:
    """A desk with the logins ann and bob."""
    server.client().flushall()
    for name in ("ann", "bob"):
        add_login(tmp_path / "logins", name, PASSWORD)
    with desk_over(
        WorkerSettings(redis_url=server.url(), desk=DeskSettings(logins_file=str(tmp_path / "logins")))
    ) as d:
        yield d


def log_in(browser: Browser, name: str = "ann", password: str = PASSWORD, **more: str) -> httpx.Response:
    return browser.post("/login", data={"name": name, "password": password, **more})


def nothing_halted(desk: Desk) -> bool:
    return desk.services.operator.halts() == []


# -- other pages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("token", ["", "x", "another session's"])
def test_a_form_without_the_sessions_token_does_nothing(desk: Desk, path: str, token: str) -> None:
    browser = desk.browser()
    given = desk.browser().csrf() if token.startswith("another") else token
    assert browser.post(path, data={**HALT, "csrf": given}).status_code == 403
    assert nothing_halted(desk)
    assert browser.get("/").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": f"https://{HOST}"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "null", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_form_of_another_origin_does_nothing_even_with_the_token(desk: Desk, headers: dict[str, str]) -> None:
    browser = desk.browser()
    answer = browser.post("/halts/set", data={**HALT, "csrf": browser.csrf()}, headers=headers)
    assert answer.status_code == 403
    assert nothing_halted(desk)


def test_a_browser_that_hides_the_origin_of_its_own_page_is_served(desk: Desk) -> None:
    """As Chromium and Firefox do under `Referrer-Policy: no-referrer`."""
    browser = desk.browser()
    headers = {"origin": "null", "sec-fetch-site": "same-origin"}
    assert browser.post("/halts/set", data={**HALT, "csrf": browser.csrf()}, headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8088", "127.0.0.1.evil.example:8088", ""])
def test_a_name_that_is_not_the_desks_is_refused(desk: Desk, host: str) -> None:
    """DNS rebinding: a stranger's name that resolves to this machine."""
    assert desk.browser().get("/", headers={"host": host}).status_code == 421
    assert desk.browser().get("/alive", headers={"host": host}).text == "alive\n"


@pytest.mark.parametrize("path", [*GETS, "/login", "/nothing", "/static/desk.css", "/alive"])
def test_every_answer_confines_the_browser(desk: Desk, path: str) -> None:
    headers = desk.browser().get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src" not in policy
    assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "no-store" in headers["cache-control"] or path.startswith("/static/")


def test_a_refusal_confines_the_browser_too(desk: Desk) -> None:
    for answer in (desk.stranger().post("/halts/set"), desk.stranger().get("/", headers={"host": "x"})):
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "target", ["//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example", "x"]
)
def test_nobody_is_sent_elsewhere_after_the_login(logins: Desk, target: str) -> None:
    assert not is_local(target)
    assert log_in(logins.stranger(), next=target).headers["location"] == "/"


def test_a_link_of_another_site_is_followed_by_a_person(desk: Desk) -> None:
    answer = desk.stranger().get("//evil.example/x", headers={"sec-fetch-site": "cross-site"})
    assert "evil" not in answer.text
    assert 'href="/command?id=1"' in desk.stranger().get("/command?id=1", headers={"sec-fetch-site": "cross-site"}).text


# -- sessions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", GETS)
def test_nothing_is_shown_without_a_session(desk: Desk, path: str) -> None:
    answer = desk.stranger().get(path)
    assert (answer.status_code, answer.content) == (303, b"")


@pytest.mark.parametrize("path", POSTS)
def test_nothing_is_done_without_a_session(desk: Desk, path: str) -> None:
    assert desk.stranger().post(path, data=HALT).status_code == 403


@pytest.mark.parametrize(
    "cookie", ["desk=", "desk=x", f"desk={'A' * 43}", f"desk={'A' * 5000}", "desk=\xff", "__Host-desk=x"]
)
def test_a_forged_cookie_opens_nothing(desk: Desk, cookie: str) -> None:
    desk.browser()
    answer = desk.stranger().get("/", headers=[(b"cookie", f"desk={cookie}".encode("latin-1"))])
    assert answer.status_code == 303


def test_a_cookie_that_somebody_set_before_the_login_is_worth_nothing_after_it(logins: Desk) -> None:
    browser, attacker = logins.stranger(), logins.stranger()
    browser.cookies["desk"] = attacker.cookies["desk"] = "fixed"
    log_in(browser)
    assert attacker.get("/").status_code == 303


def test_a_login_ends_the_session_before_it(logins: Desk) -> None:
    browser = logins.stranger()
    log_in(browser)
    before = browser.cookies["desk"]
    token = browser.csrf()
    browser.post("/login", data={"name": "bob", "password": PASSWORD, "csrf": token})
    thief = logins.stranger()
    thief.cookies["desk"] = before
    assert thief.get("/").status_code == 303


def test_two_cookies_of_one_name_are_none(desk: Desk) -> None:
    """Another page of this host may set one, with a path that makes it come first."""
    mine = desk.browser().cookies["desk"]
    for cookies in (f"desk=x; desk={mine}", f"desk={mine}; desk=x"):
        assert desk.stranger().get("/", headers={"cookie": cookies}).status_code == 303


def test_the_cookie_is_kept_from_scripts_and_other_sites(desk: Desk) -> None:
    answer = desk.stranger().get(f"/enter?token={desk.tokens[-1]}")
    assert answer.headers["set-cookie"].split("; ")[1:] == ["Path=/", "HttpOnly", "SameSite=Strict"]


def test_behind_tls_the_cookie_is_the_hosts_alone(server: Server) -> None:
    with desk_over(
        WorkerSettings(redis_url=server.url(), desk=DeskSettings(public_url="https://desk.example"))
    ) as desk:
        cookie = desk.stranger().get(f"/enter?token={desk.tokens[-1]}", headers={"host": "desk.example"})
    assert cookie.headers["set-cookie"].startswith("__Host-desk=")
    assert "; Secure" in cookie.headers["set-cookie"]


def test_a_session_ends_when_idle_and_in_any_case(desk: Desk) -> None:
    idle, busy = desk.browser(), desk.browser()
    for _ in range(25):
        desk.now += 1500
        assert busy.get("/halts").status_code == (200 if desk.now <= 8 * 3600 else 303)
    assert desk.now > 8 * 3600
    assert idle.get("/").status_code == 303


def test_after_the_log_out_the_cookie_is_worth_nothing(desk: Desk) -> None:
    browser = desk.browser()
    cookie = browser.cookies["desk"]
    assert browser.post("/logout", data={"csrf": browser.csrf()}).status_code == 303
    browser.cookies["desk"] = cookie
    assert browser.get("/").status_code == 303


def test_a_link_opens_once(desk: Desk) -> None:
    token = desk.tokens[-1]
    desk.browser()
    assert desk.stranger().get(f"/enter?token={token}").status_code == 403
    assert desk.stranger().get("/enter?token=").status_code == 403
    assert len(desk.tokens) == 2


def test_sessions_are_bounded(desk: Desk) -> None:
    first = desk.browser()
    for _ in range(MAX_SESSIONS):
        desk.sessions.open("", "link")
    assert len(desk.sessions) == MAX_SESSIONS
    assert first.get("/").status_code == 303


def test_a_login_that_is_removed_or_changed_ends_its_sessions(logins: Desk) -> None:
    browser = logins.stranger()
    log_in(browser)
    assert browser.get("/").status_code == 200
    path = Path(logins.services.settings.desk.logins_file)
    add_login(path, "ann", "another password of hers")
    logins.now += 10
    assert browser.get("/").status_code == 303


# -- logins ------------------------------------------------------------------------------------------------------------


def test_a_password_in_the_field_of_the_name_is_not_logged(logins: Desk, caplog: pytest.LogCaptureFixture) -> None:
    browser = logins.stranger()
    assert log_in(browser, PASSWORD).status_code == 403
    assert log_in(browser, "ann", "not hers at all").status_code == 403
    assert PASSWORD not in caplog.text
    assert "wrong password of ann" in caplog.text


@pytest.mark.parametrize("name", ["ann", "nobody", "ANN", "ann:", "ann\n", ""])
def test_guessing_is_slowed_down_and_locks_nobody_out_for_long(logins: Desk, name: str) -> None:
    browser = logins.stranger()
    answers = [log_in(browser, name, f"guess {number}") for number in range(8)]
    assert {each.status_code for each in answers} == {403, 429}
    assert {each.status_code for each in answers[6:]} == {429}
    assert log_in(logins.stranger(), "bob").status_code == 303
    logins.now += float(answers[-1].headers["retry-after"])
    assert log_in(logins.stranger(), "ann").status_code == 303


def test_all_names_together_are_slowed_down(logins: Desk) -> None:
    browser = logins.stranger()
    for number in range(60):
        logins.now += 0.1
        last = log_in(browser, ("ann", "bob", "x")[number % 3], "wrong")
    assert last.status_code == 429


def test_a_wrong_name_and_a_wrong_password_are_told_alike(logins: Desk) -> None:
    first, second = log_in(logins.stranger(), "ann", "wrong"), log_in(logins.stranger(), "axx", "wrong")
    assert first.text.replace("ann", "axx") == second.text or first.status_code == second.status_code == 403


def test_who_has_logged_in_is_who_acts_whoever_is_named(logins: Desk) -> None:
    browser = logins.stranger()
    log_in(browser)
    browser.confirm("/halts/set", {**HALT, "csrf": browser.csrf()}, who="mallory", why="x")
    ((_, halt),) = logins.services.operator.halts()
    assert halt.who == "ann"


def test_a_file_that_others_may_read_is_refused(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "logins"
    add_login(path, "ann", PASSWORD)
    path.chmod(0o604)
    with pytest.raises(Exception, match="others may read it"):
        Desk(WorkerSettings(redis_url=server.url(), desk=DeskSettings(logins_file=str(path))))


@pytest.mark.parametrize("host", ["::", "192.0.2.1", "desk.example"])
def test_another_address_needs_logins_and_a_public_url(host: str) -> None:
    for desk in (DeskSettings(), DeskSettings(public_url="https://desk.example"), DeskSettings(logins_file="x")):
        with pytest.raises(DeskRefused):
            check_address(host, desk)
    check_address(host, DeskSettings(logins_file="x", public_url="https://desk.example"))


@pytest.mark.parametrize("url", ["http://desk.example", "https://a:b@x", "https://x/y", "ftp://x", "javascript:1"])
def test_a_public_url_in_clear_or_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        DeskSettings(public_url=url)


# -- what is stored ----------------------------------------------------------------------------------------------------


def store_hostile(server: Server, command_id: str = HOSTILE) -> None:
    """Put hostile words wherever somebody can put words."""
    ledger, broker = server.client(2), server.client(0)
    report: dict[str, Any] = {
        "command_id": HOSTILE,
        "command": "close",
        "account": HOSTILE,
        "venue": HOSTILE,
        "outcome": "unknown",
        "reason": "lost_reply",
        "message": HOSTILE,
        "venue_message": HOSTILE,
        "http_status": 200,
        "attempts": 1,
        "fingerprint": "0" * 64,
        "finished_at": 1,
        "result": {"x": HOSTILE},
    }
    fields = {"state": "UNKNOWN", "command": "close", "account": HOSTILE, "fence": 1, "fingerprint": "0" * 64}
    stored = {**fields, "report": json.dumps(report), "arguments": json.dumps({"pair": HOSTILE, "account": HOSTILE})}
    ledger.hset(RECORD_KEY.format(command_id), mapping=stored)
    ledger.zadd(UNKNOWN_KEY, {command_id: 1_700_000_000_000})
    ledger.hset(HALTS_KEY, f"{HOSTILE}/close", json.dumps({"who": HOSTILE, "why": HOSTILE, "at": 1_700_000_000_000}))
    cool_down = {
        "until": 9_999_999_999_999,
        "since": 1,
        "why": HOSTILE,
        "by_address": False,
        "probe": "",
        "probe_until": 0,
    }
    ledger.hset(COOL_DOWNS_KEY, HOSTILE, json.dumps(cool_down))
    ledger.xadd(JOURNAL_KEY, {"event": HOSTILE, "id": HOSTILE, "who": HOSTILE, "why": HOSTILE, "account": HOSTILE})
    ledger.xadd(JOURNAL_KEY, {"event": "begin", "id": command_id, "command": "close", "account": HOSTILE})
    headers = {"task": HOSTILE, "id": command_id}
    broker.lpush("orders.close.dead", HOSTILE, json.dumps({"headers": headers, HOSTILE: HOSTILE}))
    broker.lpush(f"{HOSTILE}.dead", HOSTILE)


@pytest.mark.parametrize("path", [*GETS, "/command"])
def test_no_stored_word_becomes_markup(desk: Desk, server: Server, path: str) -> None:
    store_hostile(server)
    page = desk.browser().get(path, params={"id": HOSTILE} if path == "/command" else None)
    assert page.status_code == (200 if path != "/command" else page.status_code), page.text
    shows_markup(page.text)


def test_no_word_of_one_commands_page_or_of_one_dead_letters_becomes_markup(desk: Desk, server: Server) -> None:
    """With an id that the contract permits."""
    visible = "".join(each for each in HOSTILE if each.isprintable())
    for database in range(3):
        server.client(database).flushdb()
    store_hostile(server, visible)
    browser = desk.browser()
    page = browser.get("/command", params={"id": visible})
    assert page.status_code == 200, page.text
    shows_markup(page.text)
    links = re.findall(r'href="(/dead/letter[^"]*)"', browser.get("/dead").text)
    assert links
    for link in links:
        shows_markup(browser.get(unescape(link)).text)


def shows_markup(html: str) -> None:
    """Fail where a stored word is markup, or an invisible character of it is shown."""
    for bad in ("<script", "<img", "\"'><"):
        assert bad not in html, bad
    read = re.sub(r"<(input|option)[^>]*>", "", html)  # what is sent back stays as it is
    assert not [each for each in ("\x1b", "\u202e") if each in read]


@pytest.mark.parametrize("path", ["/halts/set", "/halts/lift", "/parked/end", "/login"])
def test_no_word_of_a_form_becomes_markup(desk: Desk, path: str) -> None:
    browser = desk.browser()
    names = ("account", "command", "scope", "key", "who", "why", "name", "next", "nonce", HOSTILE)
    answer = browser.post(path, data={**dict.fromkeys(names, HOSTILE), "csrf": browser.csrf()})
    shows_markup(answer.text)
    assert "a=b" not in str(answer.headers)


def test_a_hostile_halt_is_lifted_like_any_other(desk: Desk, server: Server) -> None:
    store_hostile(server)
    browser = desk.browser()
    fields = browser.form("/halts", "/halts/lift")
    shown = browser.post("/halts/lift", data=fields)
    shows_markup(shown.text)


@pytest.mark.parametrize("query", ["?id=%0d%0aSet-Cookie:%20a=b", "?next=%0d%0aX:%20y", "?a=<script>alert(1)</script>"])
def test_no_query_becomes_a_header_or_markup(desk: Desk, query: str) -> None:
    for browser in (desk.stranger(), desk.browser()):
        for path in ("/", "/halts", "/login"):
            answer = browser.get(path + query)
            assert "a=b" not in answer.headers.get("set-cookie", "")
            assert "x" not in answer.headers
            shows_markup(answer.text)


def test_what_is_typed_as_who_and_why_is_shown_as_text(desk: Desk) -> None:
    browser = desk.browser()
    browser.confirm("/halts/set", {**HALT, "csrf": browser.csrf()}, who=HOSTILE[:90], why=HOSTILE)
    shows_markup(browser.get("/halts").text)
    ((_, halt),) = desk.services.operator.halts()
    assert "\x1b" not in halt.who + halt.why


# -- sizes, files, time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"a=" + b"x" * 17_000, 413),
        ("&".join(f"f{n}=1" for n in range(100)).encode(), 400),
        (b"csrf=a&csrf=b", 400),
        (b"a=%ff", 400),
        (b"\xff=1", 400),
    ],
)
def test_a_form_is_bounded_and_plain(desk: Desk, content: bytes, status: int) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert desk.browser().post("/halts/set", content=content, headers=headers).status_code == status


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/json", "text/plain", ""])
def test_another_kind_of_body_is_refused(desk: Desk, kind: str) -> None:
    assert desk.browser().post("/halts/set", content=b"{}", headers={"content-type": kind}).status_code == 415


def test_long_addresses_and_other_methods_are_refused(desk: Desk) -> None:
    browser = desk.browser()
    assert browser.get("/?" + "x" * 3000).status_code == 414
    assert browser.get("/" + "x" * (MAX_PATH_BYTES + 1)).status_code == 414
    assert {browser.request(method, "/").status_code for method in ("PUT", "DELETE", "OPTIONS", "TRACE")} == {405}
    assert browser.get("/halts/set").status_code == 405


@pytest.mark.parametrize(
    "path",
    ["/static/../pages/home.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd", "/static/"],
)
def test_no_file_but_the_style_sheet_is_served(desk: Desk, path: str) -> None:
    for browser in (desk.stranger(), desk.browser()):
        answer = browser.get(path)
        assert answer.status_code in (303, 404)
        assert "import" not in answer.text


@pytest.fixture
def running(server: Server) -> Iterator[tuple[str, int]]:
    """The program itself: its link and its port; with a tenth of the time for slow clients."""
    server.client().flushall()
    program = (
        "from worker.desk import protocol; protocol.REQUEST_SECONDS = 1.0; protocol.MAX_CONNECTIONS = 20\n"
        "from producers.cli.app import main; main()"
    )
    words = [sys.executable, "-c", program, "desk", "--port", "0", "--json"]
    environment = {**os.environ, "ORDERS_REDIS_URL": server.url()}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    yield told["link"], int(told["url"].rpartition(":")[2])
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    process.stdout.close()


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
        b"POST /login HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nOrigin: http://127.0.0.1:%d\r\nContent-Length: 9\r\n" + KIND,
    ],
    ids=["silent", "request line", "headers", "body"],
)
def test_a_client_that_dawdles_is_cut_off(running: tuple[str, int], beginning: bytes) -> None:
    port = running[1]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(beginning % (port, port) if b"%d" in beginning else beginning)
        assert client.recv(4096) == b"" or not client.recv(4096)


def test_headers_are_bounded(running: tuple[str, int]) -> None:
    with socket.create_connection(("127.0.0.1", running[1]), timeout=30) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 60_000)
        assert client.recv(4096).startswith(b"HTTP/1.1 400")


def test_too_many_connections_are_closed_and_the_desk_goes_on(running: tuple[str, int]) -> None:
    link, port = running
    clients = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(60)]
    # Each is closed: those above the bound at once, the others when their time is over.
    for each in clients:
        with suppress(ConnectionError):
            assert each.recv(1) == b""
        each.close()
    assert httpx.get(link).status_code == 303


# -- other logins of the server ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compose() -> Iterator[ComposeServer]:
    with ComposeServer() as started:
        yield started


@pytest.mark.parametrize("login", ["producer", "flower", "archive"])
def test_a_login_that_is_no_operators_cannot_open_it(compose: ComposeServer, login: str) -> None:
    services = DeskServices(WorkerSettings(redis_url=compose.urls[login]))
    with pytest.raises(DeskRefused, match="operator's"):
        check_login(services)
    services.close()


def test_the_operators_login_does_all_that_the_pages_ask(compose: ComposeServer) -> None:
    compose.refusals()
    with desk_over(WorkerSettings(redis_url=compose.urls["operator"])) as desk:
        assert check_login(desk.services) == ""
        browser = desk.browser()
        assert [browser.get(path).status_code for path in GETS] == [200] * len(GETS)
        assert "not known" not in browser.get("/queues").text
        browser.confirm("/halts/set", {**HALT, "csrf": browser.csrf()}, who="ann", why="x")
        fields = browser.form("/halts", "/halts/lift")
        browser.confirm("/halts/lift", fields, who="ann", why="x")
        assert nothing_halted(desk)
    assert compose.refusals() == []
