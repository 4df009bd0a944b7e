"""What the contract promises beside its matrix: the report, the id, bad input, deadlines, positions, canvas."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
import redis
from celery import Celery, chain, group

from producers.client import OrderClient
from producers.commands import Cancel, Close, Positions, Withdraw
from tests.support.stack import Stack as Bed
from tests.support.stack import foreign_app
from tests.support.waiting import until
from worker.simulator.records import ContractPosition

pytestmark = pytest.mark.integration

KEY = "demo-everstrike-key"
PAIR = "USD_BTC_PERP"
WITHDRAWAL = {"account": "main", "asset": "ETH", "qty": "0.5", "address": "0xabc"}

FIELDS = {
    *("command_id", "command", "account", "venue", "outcome", "reason", "message"),
    *("http_status", "venue_code", "venue_message", "result", "positions", "fingerprint", "attempts"),
    *("enqueued_at", "first_sent_at", "last_signed_at", "finished_at", "replayed"),
}
"""The contract's fields of a report, all of them and no other."""


@pytest.fixture(scope="module")
def two_workers(make_bed: Callable[..., Bed]) -> Bed:
    """Two workers on one server."""
    return make_bed(workers=2)


@pytest.fixture
def bed(two_workers: Bed) -> Iterator[Bed]:
    """The bed with the simulator as at its start, and drained when the test is over."""
    two_workers.venue.reset()
    yield two_workers
    two_workers.venue.clear_faults()
    two_workers.venue.release("drop")
    two_workers.drained()


@pytest.fixture
def client(bed: Bed) -> Iterator[OrderClient]:
    """The product's own client on this bed."""
    with OrderClient(bed.queue_settings) as orders:
        yield orders


def fingerprint(task: str, arguments: dict[str, Any]) -> str:
    """The fingerprint as the contract says it is made, by the standard library alone."""
    text = json.dumps([task, arguments], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def now_ms() -> int:
    """UNIX milliseconds."""
    return time.time_ns() // 1_000_000


# -- the report --------------------------------------------------------------------------------------------------------

COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("orders.positions", {"account": "main"}),
    ("orders.positions", {"account": "bz", "contract_id": 101}),
    ("orders.cancel", {"account": "main", "order_id": "order-1"}),
    ("orders.close", {"account": "main", "pair": PAIR}),
    ("orders.close", {"account": "main", "pair": PAIR, "qty": "0.25"}),
    ("orders.withdraw", WITHDRAWAL),
]


@pytest.mark.parametrize(("task", "arguments"), COMMANDS)
def test_report_of_an_accepted_command(bed: Bed, task: str, arguments: dict[str, Any]) -> None:
    """Exactly the contract's fields, true to what was sent, and times in the order in which things happen."""
    before = now_ms()
    command_id = bed.send(task, **arguments)
    end = bed.ended(command_id)
    report = end.report
    assert report.keys() == FIELDS
    assert (end.state, *end.outcome, report["attempts"]) == ("SUCCESS", "accepted", "ok", 1)
    assert (report["command_id"], report["command"]) == (command_id, task.removeprefix("orders."))
    assert (report["account"], report["venue"]) == (
        arguments["account"],
        {"main": "everstrike", "bz": "bitz"}[arguments["account"]],
    )
    assert (report["http_status"], report["venue_code"], report["replayed"]) == (200, 200, False)
    assert report["fingerprint"] == fingerprint(task, arguments)
    times = [report[name] for name in ("enqueued_at", "first_sent_at", "last_signed_at", "finished_at")]
    assert [before, *times, now_ms()] == sorted([before, *times, now_ms()])
    (arrival,) = bed.venue.arrivals()
    if task != "orders.positions":
        assert len(bed.venue.executions()) == 1
        assert report["positions"] is None
        assert arrival.timestamp_ms in (None, report["last_signed_at"])


def test_report_without_enqueued_at(bed: Bed) -> None:
    """The header is optional, and nonsense in it is as good as none."""
    plain = bed.send("orders.positions", headers={}, account="main")
    nonsense = bed.send("orders.positions", headers={"enqueued_at": "yesterday"}, account="main")
    for end in bed.all_ended([plain, nonsense]):
        assert end.outcome == ("accepted", "ok")
        assert end.report["enqueued_at"] is None


def test_result_is_untouched(bed: Bed) -> None:
    """`result` is what the venue said, digit by digit."""
    said = {"id": "w-1", "qty": 0.1, "big": 12345678901234567890, "note": "ünïcode", "list": [None, True, {"a": []}]}
    bed.venue.fault("respond", path="withdraw", data={"code": 200, "msg": "string", "result": said})
    report = bed.ended(bed.send("orders.withdraw", **WITHDRAWAL)).report
    assert report["outcome"] == "accepted"
    assert report["result"] == said
    assert report["venue_message"] == "string"


@pytest.mark.parametrize(
    ("said", "outcome", "kept"),
    [
        ('{"id": "\\ud83d"}', ("accepted", "ok"), {"id": "?"}),
        ("[" * 150 + "]" * 150, ("unknown", "lost_reply"), None),
        ("[" * 300 + "]" * 300, ("unknown", "lost_reply"), None),
        ("[" * 600 + "]" * 600, ("unknown", "lost_reply"), None),
        ('{"qty": 1e99999999999999999999}', ("unknown", "lost_reply"), None),
    ],
    ids=["half a character", "deep", "deeper", "deepest", "huge exponent"],
)
def test_whatever_the_venue_says_there_is_a_report(bed: Bed, said: str, outcome: tuple[str, str], kept: Any) -> None:
    """The withdrawal was made: an answer that no report could repeat must not leave it without one."""
    bed.venue.fault("garbage", path="withdraw", body=f'{{"code": 200, "msg": "string", "result": {said}}}')
    report = bed.ended(bed.send("orders.withdraw", **WITHDRAWAL), seconds=5).report
    assert (report["outcome"], report["reason"]) == outcome
    assert report["attempts"] == len(bed.venue.arrivals()) == 1
    assert report["result"] == kept


@pytest.mark.parametrize(
    ("given", "on_the_wire"),
    [
        ("0.001", "0.001"),
        ("1e-5", "0.00001"),
        ("0.50", "0.5"),
        ("1E+0", "1"),
        (0.1, "0.1"),
        (0.00001, "0.00001"),
        (1, "1"),
        ("0.123456789012345678", "0.123456789012345678"),
    ],
)
def test_amounts_reach_the_venue_as_plain_decimals(bed: Bed, given: Any, on_the_wire: str) -> None:
    """A string or a JSON number, by its shortest decimal form, never with an exponent."""
    end = bed.ended(bed.send("orders.withdraw", **{**WITHDRAWAL, "qty": given}))
    assert end.outcome == ("accepted", "ok")
    (execution,) = bed.venue.executions()
    assert execution.fields["qty"] == on_the_wire
    assert end.report["fingerprint"] == fingerprint("orders.withdraw", {**WITHDRAWAL, "qty": on_the_wire})


EXACT = [
    "284578000.00000004",
    "0.30000000000000004",
    "1234567890123456789",
    "12345678901234567.5",
    "1.0000000000000001e-2",
]
"""JSON numbers that no binary float holds."""


@pytest.mark.parametrize("number", EXACT)
def test_a_json_number_is_read_digit_by_digit(bed: Bed, number: str) -> None:
    """Through a binary float 284578000.00000004 became 284578000.00000006, and that was paid; so also where another
    command's message names it to follow."""
    qty = format(Decimal(number), "f")
    arguments = f'{{"account": "main", "asset": "ETH", "address": "0xabc", "qty": {number}}}'
    bed.venue.balance(KEY, "ETH", "100000000000000000000")
    options = '"immutable": true, "options": {"queue": "orders.withdraw"}'
    follows = f'{{"callbacks": [{{"task": "orders.withdraw", "args": [], "kwargs": {arguments}, {options}}}]}}'
    sent = bed.send_json("orders.withdraw", arguments, follows=follows)
    end = bed.ended(sent)
    assert end.outcome == ("accepted", "ok")
    assert end.report["fingerprint"] == fingerprint("orders.withdraw", {**WITHDRAWAL, "qty": qty})
    bed.drained()
    assert [each.fields["qty"] for each in bed.venue.executions()] == [qty, qty]


@pytest.mark.parametrize("twice", ['"qty": "1", "qty": "100"', '"qty": 1, "qty": "1"', '"qty": "1", "qty": null'])
def test_an_argument_that_is_given_twice_is_refused(bed: Bed, twice: str) -> None:
    """Readers of JSON take the first or the last, and which of them its sender meant nobody knows."""
    text = f'{{"account": "main", "asset": "ETH", "address": "0xabc", {twice}}}'
    check_refusal(bed, bed.send_json("orders.withdraw", text), "qty")


def test_close_passes_every_argument_on(bed: Bed) -> None:
    """What a producer asks for is what the venue is asked for."""
    asked = {
        "pair": PAIR,
        "qty": "0.5",
        "price": "99.5",
        "trigger_price": "100",
        "trigger_event": "LAST_PRICE",
        "close_on_trigger": True,
        "recv_window": 5000,
    }
    end = bed.ended(bed.send("orders.close", account="main", **asked))
    assert end.outcome == ("accepted", "ok")
    (execution,) = bed.venue.executions()
    fields = dict(execution.fields)
    assert int(fields.pop("timestamp")) == end.report["last_signed_at"]
    assert fields == {**asked, "close_on_trigger": "true", "recv_window": "5000"}


# -- the id ------------------------------------------------------------------------------------------------------------


def without_replayed(report: dict[str, Any]) -> dict[str, Any]:
    """The report but for the field that says whether it was told before."""
    return {name: value for name, value in report.items() if name != "replayed"}


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("orders.withdraw", WITHDRAWAL),
        ("orders.close", {"account": "main", "pair": PAIR}),
        ("orders.cancel", {"account": "main", "order_id": "order-1"}),
    ],
)
def test_twelve_sends_of_one_id_execute_once(bed: Bed, task: str, arguments: dict[str, Any]) -> None:
    """Twelve senders at once, two workers: one execution, and every sender reads the same report."""
    command_id = f"twelve-{task}"
    bed.venue.fault("slow", delay_ms=400, times=None)
    start = threading.Barrier(12)
    read: list[dict[str, Any]] = []

    def sender() -> None:
        app = foreign_app(bed.broker_url, bed.backend_url)
        start.wait(10)
        result = app.send_task(task, kwargs=arguments, task_id=command_id, queue=task)
        read.append(result.get(timeout=30))
        app.close()

    senders = [threading.Thread(target=sender) for _ in range(12)]
    for thread in senders:
        thread.start()
    for thread in senders:
        thread.join(40)
    bed.drained()
    assert len(bed.venue.executions()) == len(bed.venue.arrivals()) == 1
    stored = bed.ended(command_id).report
    assert len(read) == 12
    assert all(without_replayed(report) == without_replayed(stored) for report in read)
    assert stored["outcome"] == "accepted"


@pytest.mark.parametrize(
    ("task", "arguments", "fault", "outcome"),
    [
        ("orders.withdraw", WITHDRAWAL, {"kind": "cut_after"}, "unknown"),
        ("orders.withdraw", {**WITHDRAWAL, "qty": "1000"}, None, "rejected"),
        ("orders.withdraw", {**WITHDRAWAL, "qty": "-1"}, None, "not_sent"),
        ("orders.close", {"account": "main", "pair": PAIR}, None, "accepted"),
        ("orders.positions", {"account": "main"}, None, "accepted"),
    ],
    ids=["unknown", "rejected", "not_sent", "accepted", "positions"],
)
def test_the_same_command_again_is_answered_from_the_ledger(
    bed: Bed, task: str, arguments: dict[str, Any], fault: dict[str, Any] | None, outcome: str
) -> None:
    """Whatever the outcome was, sending the id again sends nothing and tells the same report."""
    if fault is not None:
        bed.venue.fault(**fault)
    command_id = bed.send(task, **arguments)
    first = bed.ended(command_id)
    bed.drained()
    assert first.outcome[0] == outcome
    arrived = len(bed.venue.arrivals())
    bed.send(task, command_id=command_id, **arguments)
    bed.drained()
    again = bed.ended(command_id)
    # Celery's backend never writes over a SUCCESS, so only the other outcomes show that they are told again.
    assert again.report["replayed"] is (outcome != "accepted")
    assert without_replayed(again.report) == without_replayed(first.report)
    assert (again.state, again.error) == (first.state, first.error)
    assert len(bed.venue.arrivals()) == arrived


def test_equal_arguments_written_differently_are_the_same_command(bed: Bed) -> None:
    """Case of the account and trailing zeros make no other command."""
    command_id = bed.send("orders.withdraw", **WITHDRAWAL)
    first = bed.ended(command_id)
    bed.drained()
    bed.send("orders.withdraw", command_id=command_id, **{**WITHDRAWAL, "account": "MAIN", "qty": 0.5})
    bed.drained()
    assert "id_reused" not in events(bed, command_id)
    assert bed.ended(command_id).report["fingerprint"] == first.report["fingerprint"]
    assert len(bed.venue.executions()) == 1


def test_the_same_id_with_other_arguments_sends_nothing(bed: Bed) -> None:
    """The first report stands; its fingerprint tells the second sender; journal and log tell the operator."""
    command_id = bed.send("orders.withdraw", **WITHDRAWAL)
    first = bed.ended(command_id).report
    bed.drained()
    other = {**WITHDRAWAL, "qty": "0.75"}
    bed.send("orders.withdraw", command_id=command_id, **other)
    until(lambda: "id_reused" in events(bed, command_id), "the refusal in the journal")
    bed.drained()
    stands = bed.ended(command_id).report
    assert without_replayed(stands) == without_replayed(first)
    assert stands["fingerprint"] != fingerprint("orders.withdraw", other)
    assert len(bed.venue.arrivals()) == 1
    assert any(f"id_reused id={command_id}" in worker.logs() for worker in bed.workers)


def test_another_command_under_the_id_of_one_under_way(bed: Bed) -> None:
    """Nothing is stored over the answer that the first sender waits for."""
    held = bed.venue.fault("hold", path="withdraw")
    command_id = bed.send("orders.withdraw", **WITHDRAWAL)
    bed.venue.wait(arrivals=1)
    bed.send("orders.cancel", command_id=command_id, account="main", order_id="order-1")
    until(lambda: "id_reused" in events(bed, command_id), "the refusal in the journal")
    assert bed.peek([command_id]) == [None]
    bed.venue.release(fault_id=held)
    end = bed.ended(command_id)
    assert (end.outcome, end.report["command"]) == (("accepted", "ok"), "withdraw")
    bed.drained()
    assert without_replayed(bed.ended(command_id).report) == without_replayed(end.report)
    assert [arrival.path for arrival in bed.venue.arrivals()] == ["/auth/withdraw"]


@pytest.mark.parametrize("first", ["accepted", "rejected"])
def test_the_id_of_a_query_executes_no_other_command(bed: Bed, first: str) -> None:
    """A query costs the ledger nothing, and yet its id is taken: "sending the same id again never executes again"."""
    if first == "rejected":
        bed.venue.fault("envelope", path="positions", status=401, message="Unauthorized")
    command_id = bed.send("orders.positions", account="main")
    query = bed.ended(command_id).report
    assert query["outcome"] == first
    bed.drained()
    bed.send("orders.withdraw", command_id=command_id, **WITHDRAWAL)
    bed.drained()
    assert bed.venue.executions() == []
    assert without_replayed(bed.ended(command_id).report) == without_replayed(query)


def test_a_query_leaves_the_report_of_its_id_alone(bed: Bed) -> None:
    """The first report stands, though it is the query's that would be a SUCCESS."""
    bed.venue.fault("cut_after", path="withdraw")
    command_id = bed.send("orders.withdraw", **WITHDRAWAL)
    first = bed.ended(command_id).report
    assert first["outcome"] == "unknown"
    bed.drained()
    bed.send("orders.positions", command_id=command_id, account="main")
    bed.drained()
    assert without_replayed(bed.ended(command_id).report) == without_replayed(first)
    assert bed.venue.arrivals(path="/active_positions") == []
    assert any(f"id_reused id={command_id}" in worker.logs() for worker in bed.workers)


def events(bed: Bed, command_id: str) -> list[str]:
    """What the ledger's journal says of a command."""
    return [entry["event"] for _, entry in bed.ledger.xrange("orders:journal") if entry["id"] == command_id]


# -- bad input ---------------------------------------------------------------------------------------------------------

BAD = [
    ("negative", "orders.withdraw", {**WITHDRAWAL, "qty": "-1"}, "qty"),
    ("zero", "orders.withdraw", {**WITHDRAWAL, "qty": "0.000"}, "qty"),
    ("NaN", "orders.withdraw", {**WITHDRAWAL, "qty": "NaN"}, "qty"),
    ("infinity", "orders.withdraw", {**WITHDRAWAL, "qty": "Infinity"}, "qty"),
    ("huge exponent", "orders.withdraw", {**WITHDRAWAL, "qty": "1e400000"}, "qty"),
    ("tiny exponent", "orders.withdraw", {**WITHDRAWAL, "qty": "1e-400000"}, "qty"),
    ("absurd exponent", "orders.withdraw", {**WITHDRAWAL, "qty": "1e99999999999999999999"}, "qty"),
    ("many digits", "orders.withdraw", {**WITHDRAWAL, "qty": "9" * 40_000}, "qty"),
    ("blank", "orders.withdraw", {**WITHDRAWAL, "qty": " 1"}, "qty"),
    ("no number", "orders.withdraw", {**WITHDRAWAL, "qty": "much"}, "qty"),
    ("other digits", "orders.withdraw", {**WITHDRAWAL, "qty": "٣"}, "qty"),
    ("boolean", "orders.withdraw", {**WITHDRAWAL, "qty": True}, "qty"),
    ("null", "orders.withdraw", {**WITHDRAWAL, "qty": None}, "qty"),
    ("list", "orders.withdraw", {**WITHDRAWAL, "qty": ["1"]}, "qty"),
    ("no address", "orders.withdraw", {"account": "main", "asset": "ETH", "qty": "1"}, "address"),
    ("empty address", "orders.withdraw", {**WITHDRAWAL, "address": ""}, "address"),
    ("line break", "orders.withdraw", {**WITHDRAWAL, "address": "0xabc\r\nx-api-key: 1"}, "address"),
    ("number for address", "orders.withdraw", {**WITHDRAWAL, "address": 7}, "address"),
    ("huge string", "orders.cancel", {"account": "main", "order_id": "x" * 40_000}, "order_id"),
    ("no order", "orders.cancel", {"account": "main"}, "order_id"),
    ("unknown argument", "orders.cancel", {"account": "main", "order_id": "1", "orderId": "1"}, "orderId"),
    ("unknown account", "orders.cancel", {"account": "nobody", "order_id": "1"}, "nobody"),
    ("no account", "orders.cancel", {"order_id": "1"}, "account"),
    ("account of a wrong type", "orders.cancel", {"account": {"api_key": "k"}, "order_id": "1"}, "account"),
    ("no pair", "orders.close", {"account": "main"}, "pair"),
    ("unknown event", "orders.close", {"account": "main", "pair": PAIR, "trigger_event": "FULL_MOON"}, "trigger_event"),
    ("window too long", "orders.close", {"account": "main", "pair": PAIR, "recv_window": 60_000}, "recv_window"),
    ("window as text", "orders.close", {"account": "main", "pair": PAIR, "recv_window": "5000"}, "recv_window"),
    ("price as boolean", "orders.close", {"account": "main", "pair": PAIR, "price": False}, "price"),
    ("deadline as text", "orders.close", {"account": "main", "pair": PAIR, "deadline": "soon"}, "deadline"),
    ("deadline a fraction", "orders.close", {"account": "main", "pair": PAIR, "deadline": 1.5}, "deadline"),
    ("no contract", "orders.positions", {"account": "bz"}, "contract_id"),
    ("contract as text", "orders.positions", {"account": "bz", "contract_id": "101"}, "contract_id"),
    ("contract for Everstrike", "orders.positions", {"account": "main", "contract_id": 101}, "contract_id"),
    ("close at Bit-Z", "orders.close", {"account": "bz", "pair": PAIR}, "close"),
]


def check_refusal(bed: Bed, command_id: str, names: str, seconds: float = 30) -> None:
    """Not sent, invalid, in words that name what is wrong; the venue never heard of it."""
    end = bed.ended(command_id, seconds)
    report = end.report
    assert report.keys() == FIELDS
    assert (end.state, end.error) == ("FAILURE", "producers.errors.OrderNotSent")
    assert (end.outcome, report["attempts"]) == (("not_sent", "invalid"), 0)
    assert report["first_sent_at"] is report["last_signed_at"] is report["http_status"] is None
    assert names in report["message"]
    assert re.fullmatch(r"[^\n]{10,500}", report["message"])
    assert "pydantic" not in report["message"]
    assert re.fullmatch("[0-9a-f]{64}", report["fingerprint"])
    assert bed.venue.arrivals() == []


@pytest.mark.parametrize(("task", "arguments", "names"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_input_is_refused(bed: Bed, task: str, arguments: dict[str, Any], names: str) -> None:
    """Bad arguments end in a report that says which, and nothing is sent."""
    check_refusal(bed, bed.send(task, **arguments), names)


@pytest.mark.parametrize(
    "number",
    ["NaN", "-Infinity", "1e400000", "1e400", "-0.0", "0", "-1", "1e-400", pytest.param("1" * 4000, id="4000 digits")],
)
def test_bad_numbers_are_refused(bed: Bed, number: str) -> None:
    """JSON numbers, and what some libraries write for one."""
    text = f'{{"account": "main", "asset": "ETH", "address": "0xabc", "qty": {number}}}'
    check_refusal(bed, bed.send_json("orders.withdraw", text), "qty")


def test_a_number_of_too_many_digits_is_refused(bed: Bed) -> None:
    """Python refuses to read an integer of more than 4300 digits; that too must end in a report."""
    text = f'{{"account": "main", "asset": "ETH", "address": "0xabc", "qty": {"1" * 5000}}}'
    check_refusal(bed, bed.send_json("orders.withdraw", text), "qty", seconds=3)


def test_half_a_character_is_refused(bed: Bed) -> None:
    """A lone surrogate, which JSON can write and UTF-8 can't; Celery repeats it in a header."""
    check_refusal(bed, bed.send("orders.cancel", account="main", order_id="\ud800"), "order_id", seconds=3)


def test_half_a_character_anywhere_is_refused(bed: Bed) -> None:
    """The report repeats the account, and could not be stored with half a character in it."""
    check_refusal(bed, bed.send("orders.withdraw", **{**WITHDRAWAL, "account": "\ud800"}), "account", seconds=3)
    check_refusal(bed, bed.send("orders.withdraw", **WITHDRAWAL, **{"\ud800": 1}), "argument", seconds=3)


@pytest.mark.parametrize("log", ["console", "json"])
def test_nothing_that_a_sender_writes_forges_a_line_of_the_log(make_bed: Callable[..., Bed], log: str) -> None:
    """Not by a line break, an escape sequence or a mark of direction, in the line for people or for programs; nor is a
    line long, or a report, or a record."""
    bed = make_bed(ORDERS_LOG__FORMAT=log, TEST_LOG_LEVEL="DEBUG")
    bed.venue.reset()
    forged = "main\n2026-01-01 00:00:00,000 INFO orders.executor end id=forged outcome=accepted \x1b[2J\x9b1A\u202e"
    arguments: dict[str, Any] = {
        "account": forged,
        "order_id": forged,
        forged: 1,
        **{f"name{n}": 1 for n in range(2000)},
    }
    command_id = bed.send("orders.cancel", **arguments)
    assert bed.ended(command_id).outcome == ("not_sent", "invalid")
    bed.drained()
    text = bed.worker.logs()
    assert command_id in text
    assert not [line for line in text.splitlines() if line.startswith("2026-01-01 00")]
    assert not set("\x1b\x9b\u202e") & set(text)
    assert len(str(bed.ledger.hgetall(f"orders:command:{command_id}"))) < 4000
    assert len(str(bed.results.get(f"celery-task-meta-{command_id}"))) < 6000
    assert max(map(len, text.splitlines())) < 6000
    check_refusal(bed, command_id, "order_id")


@pytest.mark.parametrize("name", ["task", "self", "args", "a line\nbreak"])
def test_an_argument_of_any_name_is_refused(bed: Bed, name: str) -> None:
    """Also of names that functions on its way through Celery have for theirs; the message stays one line."""
    text = json.dumps({**WITHDRAWAL, name: "1"})
    check_refusal(bed, bed.send_json("orders.withdraw", text), "is not an argument", seconds=3)


def test_positional_arguments_are_refused(bed: Bed) -> None:
    """Keyword arguments only."""
    check_refusal(bed, bed.send("orders.cancel", args=("main", "order-1")), "positional")


@pytest.mark.parametrize("command_id", ["\ud800", 7, True, "a line\nbreak"])
def test_a_message_whose_id_is_no_word_is_kept_aside(bed: Bed, command_id: Any) -> None:
    """No report could be stored under it: nothing is sent, and it does not come again and again."""
    bed.send_json("orders.cancel", '{"account": "main", "order_id": "order-1"}', command_id)
    bed.drained(5)
    assert bed.broker.llen("orders.cancel.dead") == 1
    bed.broker.delete("orders.cancel.dead")
    assert bed.venue.arrivals() == []


# -- policy ------------------------------------------------------------------------------------------------------------


def test_no_withdrawal_over_a_ledger_that_may_forget(make_bed: Callable[..., Bed]) -> None:
    """On a server that evicts, a withdrawal is denied before anything is sent; what reduces risk goes on."""
    bed = make_bed(started=0)
    bed.venue.reset()
    bed.ledger.config_set("maxmemory", "100mb")
    bed.ledger.config_set("maxmemory-policy", "allkeys-lru")
    bed.worker.start()
    bed.worker.ready()
    denied = bed.send("orders.withdraw", **WITHDRAWAL)
    cancelled = bed.send("orders.cancel", account="main", order_id="order-1")
    ends = bed.all_ended([denied, cancelled])
    assert [end.outcome for end in ends] == [("not_sent", "denied"), ("accepted", "ok")]
    assert "evicts" in ends[0].report["message"]
    assert bed.venue.arrivals(path="/auth/withdraw") == []


# -- deadlines ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "arguments"), COMMANDS)
def test_a_past_deadline(bed: Bed, task: str, arguments: dict[str, Any]) -> None:
    """After the deadline nothing is sent."""
    end = bed.ended(bed.send(task, deadline=now_ms() - 1, **arguments))
    assert (end.outcome, end.report["attempts"]) == (("not_sent", "expired"), 0)
    assert end.report["first_sent_at"] is None
    assert bed.venue.arrivals() == []


def test_a_deadline_that_passes_between_proofs(bed: Bed) -> None:
    """Every attempt is proven not executed, so it is known that nothing was."""
    bed.venue.fault("envelope", path="close", status=429, message="Too many requests", retry_after="1", times=None)
    deadline = now_ms() + 1500
    end = bed.ended(bed.send("orders.close", account="main", pair=PAIR, qty="0.5", deadline=deadline))
    arrivals = bed.venue.arrivals()
    assert end.outcome[0] == "not_sent"
    assert len(arrivals) == end.report["attempts"] == 2
    assert all(arrival.timestamp_ms < deadline for arrival in arrivals if arrival.timestamp_ms)


def test_a_deadline_that_passes_after_a_doubt(bed: Bed) -> None:
    """An attempt of unknown fate was made, so nobody knows."""
    bed.venue.fault("status", path="close", status=502)
    bed.venue.fault("envelope", path="close", status=429, message="Too many requests", retry_after="30", times=None)
    end = bed.ended(bed.send("orders.close", account="main", pair=PAIR, deadline=now_ms() + 2000))
    assert end.outcome == ("unknown", "lost_reply")
    assert end.report["attempts"] == len(bed.venue.arrivals()) == 2


# -- positions ---------------------------------------------------------------------------------------------------------

LONG = {
    "instrument": "USD_BTC_PERP",
    "direction": "long",
    "size": "0.00000012",
    "entry_price": "30123.45",
    "liquidation_price": "1000000",
    "leverage": "2.82",
    "margin": "12.5",
    "realized_pnl": "-3.25",
    "unrealized_pnl": "7",
    "cross": None,
}


def test_positions_at_everstrike(bed: Bed) -> None:
    """Two positions in the contract's form: signs as words, decimals as strings without an exponent."""
    bed.venue.position(KEY, "USD_ETH_PERP", 0)
    more = {"entry_price": "30123.45", "liquidation_price": "1000000.00", "margin": "12.50", "realized": "-3.25"}
    bed.venue.position(KEY, PAIR, "0.00000012", **more, unrealized="7")
    bed.venue.position(KEY, "USD_XRP_PERP", "1500", direction="SELL", margin="0", unrealized="-0.1")
    short = {
        "instrument": "USD_XRP_PERP",
        "direction": "short",
        "size": "1500",
        "entry_price": "3.4",
        "liquidation_price": "3.7",
        "leverage": "2.82",
        "margin": "0",
        "realized_pnl": "0",
        "unrealized_pnl": "-0.1",
        "cross": None,
    }
    both = bed.ended(bed.send("orders.positions", account="main")).report
    assert both["positions"] == [LONG, short]
    one = bed.ended(bed.send("orders.positions", account="main", pair="USD_XRP_PERP")).report
    assert one["positions"] == [short]
    flat = bed.ended(bed.send("orders.positions", account="main", pair="USD_DOGE_PERP")).report
    assert (flat["outcome"], flat["positions"]) == ("accepted", [])
    paths = [arrival.path for arrival in bed.venue.arrivals()]
    assert paths == ["/active_positions", "/position", "/position"]


def test_positions_at_bitz(bed: Bed) -> None:
    """The page's example, and one that is short and shares its margin."""
    short = ContractPosition(position_id="10", direction="-1", is_cross="1", amount="20", realized="-0.5", leverage="5")
    bed.venue.contracts("demo-bitz-key", (ContractPosition(), short))
    report = bed.ended(bed.send("orders.positions", account="bz", contract_id=101)).report
    example = {
        "instrument": "BTC_USD",
        "direction": "long",
        "size": "1500",
        "entry_price": "7980.74",
        "liquidation_price": "7287.98",
        "leverage": "10",
        "margin": "0.01930883",
        "realized_pnl": "0.0001017",
        "unrealized_pnl": "0.00044862",
        "cross": False,
    }
    other = {"direction": "short", "size": "20", "cross": True, "realized_pnl": "-0.5", "leverage": "5"}
    assert report["positions"] == [example, {**example, **other}]
    assert report["result"][0]["amount"] == "1500"  # untouched
    bed.venue.contracts("demo-bitz-key", ())
    flat = bed.ended(bed.send("orders.positions", account="bz", contract_id=101)).report
    assert (flat["outcome"], flat["positions"]) == ("accepted", [])


@pytest.mark.parametrize("data", ["", None, 0, {"positionId": "9"}, [{}], [None], "[]"], ids=repr)
def test_positions_that_cannot_be_read_are_never_flat(bed: Bed, data: Any) -> None:
    """Something else than positions is an error, not an empty list."""
    body = {"status": 200, "msg": "", "data": data, "time": 0, "microtime": "", "source": "api"}
    bed.venue.fault("respond", path="positions", data=body, times=None)
    report = bed.ended(bed.send("orders.positions", account="bz", contract_id=101)).report
    assert report["outcome"] == "unknown"
    assert report["positions"] is None


# -- canvas ------------------------------------------------------------------------------------------------------------


def test_a_chain_goes_on_after_accepted(bed: Bed, client: OrderClient) -> None:
    """Cancel, then close."""
    first, second = Cancel(account="main", order_id="order-1"), Close(account="main", pair=PAIR)
    chain(client.signature(first, "chain-1-cancel"), client.signature(second, "chain-1-close")).apply_async()
    ends = bed.all_ended(["chain-1-cancel", "chain-1-close"])
    assert [end.outcome for end in ends] == [("accepted", "ok")] * 2
    assert [execution.path for execution in bed.venue.executions()] == ["/auth/cancel", "/auth/close"]


@pytest.mark.parametrize("fault", ["rejected", "unknown", "not_sent"])
def test_a_chain_ends_with_the_first_that_is_not_accepted(bed: Bed, client: OrderClient, fault: str) -> None:
    """The close is never even queued; what is stored under its id is no report, and names the one before it."""
    if fault == "unknown":
        bed.venue.fault("cut_after", path="cancel")
    first = Cancel(
        account="main" if fault != "not_sent" else "nobody", order_id="no" if fault == "rejected" else "order-1"
    )
    ids = (f"chain-2-{fault}-cancel", f"chain-2-{fault}-close")
    chain(client.signature(first, ids[0]), client.signature(Close(account="main", pair=PAIR), ids[1])).apply_async()
    assert bed.ended(ids[0]).report["outcome"] == fault
    bed.drained()
    assert bed.venue.arrivals(path="/auth/close") == []
    assert events(bed, ids[1]) == []
    link = bed.ended(ids[1])
    assert (link.state, link.error) == ("FAILURE", "producers.errors.ChainBroken")
    assert link.report == bed.ended(ids[0]).report


def test_a_chain_sent_twice_executes_once(bed: Bed, client: OrderClient) -> None:
    """The ids are the signatures' own."""
    steps = chain(
        client.signature(Cancel(account="main", order_id="order-1"), "chain-3-cancel"),
        client.signature(Close(account="main", pair=PAIR, qty="0.5"), "chain-3-close"),
    )
    steps.apply_async()
    bed.all_ended(["chain-3-cancel", "chain-3-close"])
    bed.drained()
    steps.apply_async()
    until(lambda: any("replayed id=chain-3-close" in worker.logs() for worker in bed.workers), "the second step, again")
    bed.drained()
    assert len(bed.venue.executions()) == 2


def test_a_link_of_a_plain_client_executes_once(bed: Bed) -> None:
    """Celery gives it no id: each delivery of the cancel made another close of it."""
    close = bed.setup.app.signature(
        "orders.close", kwargs={"account": "main", "pair": PAIR, "qty": "0.5"}, queue="orders.close", immutable=True
    )
    for _ in range(2):
        bed.setup.app.send_task(
            "orders.cancel",
            kwargs={"account": "main", "order_id": "order-1"},
            task_id="linked",
            queue="orders.cancel",
            link=close,
        )
        bed.drained()
    assert [execution.path for execution in bed.venue.executions()] == ["/auth/cancel", "/auth/close"]


def test_a_group_runs_all(bed: Bed, client: OrderClient) -> None:
    """Each for itself: one refusal does not stop the others."""
    commands = [
        Withdraw(account="main", asset="ETH", qty="1", address="0xabc"),
        Cancel(account="main", order_id="no"),
        Positions(account="bz", contract_id=101),
    ]
    ids = [f"group-{number}" for number in range(3)]
    group(
        client.signature(command, command_id) for command, command_id in zip(commands, ids, strict=True)
    ).apply_async()
    assert [end.report["outcome"] for end in bed.all_ended(ids)] == ["accepted", "rejected", "accepted"]


def test_what_a_worker_cannot_send_on_costs_no_report_and_no_slot(bed: Bed) -> None:
    """What asks for pickle is never sent: orders had its error for a report, and a failed one stayed unacknowledged
    and kept a slot."""
    told = bed.setup.app.signature("service.told", queue="service", serializer="pickle")
    ids = {"follow-accepted": ("order-1", {"link": told}), "follow-rejected": ("no", {"link_error": told})}
    for command_id, (order_id, follows) in ids.items():
        arguments = {"account": "main", "order_id": order_id}
        bed.setup.app.send_task("orders.cancel", kwargs=arguments, task_id=command_id, queue="orders.cancel", **follows)
    assert [end.report["outcome"] for end in bed.all_ended(list(ids))] == ["accepted", "rejected"]
    bed.drained()


@pytest.mark.parametrize("follows", ['{"chain": [5]}', '{"chain": ["x"]}', '{"chain": {"a": 1}}', "5"])
def test_what_is_to_follow_is_malformed(bed: Bed, follows: str) -> None:
    """Such a message stayed unacknowledged and kept a slot; sixteen stopped a worker that looked healthy."""
    dead = bed.broker.llen("orders.cancel.dead")
    rejected = bed.send_json("orders.cancel", '{"account": "main", "order_id": "no"}', follows=follows)
    bed.drained()
    if follows == "5":  # no task message at all
        assert bed.broker.llen("orders.cancel.dead") == dead + 1
    else:
        assert bed.ended(rejected).report["outcome"] == "rejected"


@pytest.mark.parametrize("order_id", ["no", "order-1"])
def test_a_chord_that_cannot_be_told_keeps_no_slot(bed: Bed, order_id: str) -> None:
    """Its key is another's, or the worker's login may not write it: the command has ended all the same."""
    group_id = f"spoilt-{order_id}"
    with redis.Redis.from_url(bed.setup.app.conf.result_backend) as results:
        results.set(f"celery-taskset-meta-{group_id}.j", "not a list")
    body = {"task": "orders.close", "args": [], "kwargs": {}, "options": {"task_id": "never"}, "immutable": True}
    bed.setup.app.send_task(
        "orders.cancel",
        kwargs={"account": "main", "order_id": order_id},
        task_id=group_id,
        queue="orders.cancel",
        group_id=group_id,
        group_index=0,
        chord=body,
    )
    assert bed.ended(group_id).report["outcome"] == ("rejected" if order_id == "no" else "accepted")
    bed.drained()


# -- a refusal proves nothing about an earlier attempt -----------------------------------------------------------------


def test_a_cancel_that_probably_worked(bed: Bed) -> None:
    """The first reply is lost, the second try is told "not found": never `rejected`."""
    bed.venue.fault("cut_after", path="cancel")
    end = bed.ended(bed.send("orders.cancel", account="main", order_id="order-1"))
    assert end.outcome == ("unknown", "refused_after_lost")
    assert (end.state, end.error) == ("FAILURE", "producers.errors.OrderUnknown")
    assert end.report["venue_message"] == "The order was not found"
    assert end.report["attempts"] == len(bed.venue.arrivals()) == 2
    assert len(bed.venue.executions()) == 1


def test_the_client_rebuilds_the_error(bed: Bed) -> None:
    """A Celery client that has `producers` gets its own classes from `AsyncResult.get`."""
    from producers.errors import OrderRejected

    command_id = bed.send("orders.cancel", account="main", order_id="no")
    app: Celery = bed.setup.app
    with pytest.raises(OrderRejected) as caught:
        app.AsyncResult(command_id).get(timeout=30)
    assert caught.value.report == bed.ended(command_id).report
