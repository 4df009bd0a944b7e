"""`orders list` on a real server: what it lists, in every width, and to whom."""

import json
import re

import pytest
import redis

from producers.report import Outcome
from tests.contract.conftest import WITHDRAW, OperatorFixture
from tests.model.conformance import HOLD, claim
from tests.support.orders_program import Orders, orders_in_process, set_width
from tests.support.servers import Server

LONG_ID = f"{'d' * 60}-e29b-41d4"


@pytest.fixture
def orders(server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Orders:
    monkeypatch.setenv("ORDERS_LEDGER_URL", server.url(2))
    monkeypatch.setenv("ORDERS_BROKER_URL", server.url(0))
    return orders_in_process(capsys)


@pytest.fixture
def filled(operator: OperatorFixture) -> None:
    operator.unknown("c-1")
    operator.end(operator.begin(LONG_ID), Outcome.ACCEPTED)
    operator.unknown("w-1", **WITHDRAW)
    operator.ledger.begin(claim("w-2", account="other", hold=HOLD), 1)


def listed(orders: Orders, *options: str) -> list[str]:
    ran = orders("list", "--json", *options)
    assert ran.code == 0, ran.out
    return [json.loads(line)["command_id"] for line in ran.out.splitlines()]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("columns", ["30", "60", "140", None])
def test_no_id_is_cut_in_any_width(orders: Orders, monkeypatch: pytest.MonkeyPatch, columns: str | None) -> None:
    set_width(monkeypatch, columns)
    done = orders("list")
    assert done.code == 0
    for whole in (LONG_ID, "c-1", "w-1", "w-2", "other"):
        assert re.search(rf"(^|\s){whole}(\s|$)", done.out), whole
    words = " ".join(done.out.split())
    assert "unknown / lost_reply" in words
    assert "open / HELD" in words


@pytest.mark.usefixtures("filled")
def test_json_has_a_line_for_each_command_the_last_one_first(orders: Orders) -> None:
    first = json.loads(orders("list", "--json").out.splitlines()[2])
    assert {name: first[name] for name in ("command_id", "command", "account", "outcome", "reason")} == {
        "command_id": LONG_ID,
        "command": "close",
        "account": "main",
        "outcome": "accepted",
        "reason": "ok",
    }
    assert listed(orders) == ["w-2", "w-1", LONG_ID, "c-1"]
    assert listed(orders, "--outcome", "unknown", "--command", "close") == ["c-1"]
    assert listed(orders, "--outcome", "open") == listed(orders, "-a", "OTHER") == ["w-2"]
    assert listed(orders, "--id-prefix", "w-") == ["w-2", "w-1"]
    cut = orders("list", "--limit", "2", "--json")
    assert (len(cut.out.splitlines()), "--limit N" in cut.err) == (2, True)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("since", "count"),
    [("1h", 4), ("7d", 4), ("9999-01-01", 0), ("2026-01-01T00:00+01:00", 4), ("1700000000000", 4)],
)
def test_since_is_a_duration_a_date_or_a_time(orders: Orders, since: str, count: int) -> None:
    assert len(listed(orders, "--since", since)) == count


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--since", "yesterday"),
        ("--since", "1700000000"),
        ("--since", "9" * 1000),
        ("--since", "2026-13-01"),
        ("--outcome", "lost"),
        ("--command", "trades"),
        ("--account", "a/b"),
        ("--limit", "0"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(orders: Orders, option: str, value: str) -> None:
    """It would find nothing, and look like an answer."""
    done = orders("list", option, value, "--json")
    assert (done.code, done.document["error"]["type"]) == (2, "Usage")
    assert len(done.message) < 300


def test_nothing_is_said_to_be_there(orders: Orders, client: redis.Redis) -> None:
    assert (orders("list").out, orders("list", "--json").out) == ("No such commands.\n", "")


@pytest.mark.usefixtures("filled")
def test_a_producers_login_is_told_whose_login_it_needs(
    orders: Orders, client: redis.Redis, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    rights = ["-@all", "+ping", "+hello", "+auth", "+select", "+exists"]
    client.execute_command("ACL", "SETUSER", "payroll", "on", ">x", "~orders:command:*", *rights)
    try:
        url = server.url(2).replace("redis://", "redis://payroll:x@")
        monkeypatch.setenv("ORDERS_LEDGER_URL", url)
        done = orders("list", "--json")
    finally:
        client.execute_command("ACL", "DELUSER", "payroll")
    assert (done.code, done.document["error"]["type"]) == (1, "LedgerUnavailable")
    assert "an operator's or a worker's may" in done.message
    assert "payroll:x" not in done.out
