"""The timeline that `orders show` prints beneath a report, on a real server."""

import pytest
import redis

from tests.contract.conftest import OperatorFixture
from tests.support.orders_program import Orders, orders_in_process, set_width
from tests.support.servers import Server
from worker.operations.operator import OperatorService

LONG_ID = f"{'d' * 60}-e29b-41d4"


@pytest.fixture
def orders(server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Orders:
    for name, database in (("BROKER", 0), ("RESULT", 1), ("LEDGER", 2)):
        monkeypatch.setenv(f"ORDERS_{name}_URL", server.url(database))
    return orders_in_process(capsys)


@pytest.mark.parametrize("columns", ["40", "100", None])
def test_what_happened_is_told_beneath_the_report(
    orders: Orders, operator: OperatorFixture, monkeypatch: pytest.MonkeyPatch, columns: str | None
) -> None:
    set_width(monkeypatch, columns)
    operator.unknown(LONG_ID)
    desk = OperatorService(operator.client, operator.ledger, operator.clock)
    desk.resolve(LONG_ID, reference=LONG_ID, who="ann", why="seen \x1b[2J on their page")
    done = orders("show", LONG_ID)
    words = " ".join(done.out.split())
    assert done.code == 0
    report, timeline = words.split("Attempt 1 began")
    assert "accepted / ok" in report
    assert "It ended as unknown." in timeline
    assert "by the word of ann" in timeline
    assert "[unsigned]" in timeline
    assert "\x1b" not in done.out
    assert LONG_ID in done.out.split()


def test_what_has_no_report_has_a_timeline_too(orders: Orders, operator: OperatorFixture) -> None:
    operator.begin("x")
    done = orders("show", "x")
    assert (done.code, "Attempt 1 began" in done.out, "its state in the ledger is SENDING" in done.err) == (
        6,
        True,
        True,
    )
    assert orders("show", "nothing").out == ""


def test_a_program_gets_the_report_and_nothing_else(orders: Orders, operator: OperatorFixture) -> None:
    report = operator.unknown("x")
    done = orders("show", "x", "--json")
    assert (done.code, done.document) == (5, report.to_json())


def test_a_timeline_that_can_not_be_read_whole_or_at_all_changes_no_exit_code(
    orders: Orders, operator: OperatorFixture, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.unknown("x")
    client.xtrim("orders:journal", maxlen=1, approximate=False)
    cut = orders("show", "x")
    assert (cut.code, "does not reach back" in cut.err) == (5, True)
    client.delete("orders:journal")
    client.set("orders:journal", "no stream")
    spoilt = orders("show", "x")
    assert (spoilt.code, "the timeline can't be read" in spoilt.err) == (5, True)
    assert "unknown / lost_reply" in spoilt.out
