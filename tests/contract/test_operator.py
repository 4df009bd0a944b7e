"""The operator's word over a real server: unknowns, halts, the journal and dead messages."""

import itertools
import json
from typing import Any

import pytest
import redis

from producers.commands import COMMANDS
from producers.redis.client import open_client
from producers.report import Outcome, Report
from tests.contract.conftest import CLOSE, OperatorFixture
from tests.support.servers import Server
from worker.broker.dead_letters import dead_letters
from worker.clock import SystemClock
from worker.ledger.base import Claim, Halted, LedgerUnavailable, NoSuchCommand, StillOpen
from worker.ledger.halts import HaltScope, parse_halt_scope
from worker.operations.operator import NotUnknown, OperatorService, all_scopes, commands_still_sent
from worker.reconciliation.store import ReconcileStore


def test_unknowns_are_listed_by_age_with_all_that_is_known_of_each(operator: OperatorFixture) -> None:
    operator.unknown("x")
    operator.unknown("y")
    operator.client.zadd("orders:unknown", {"y": 5})
    oldest, newest = operator.desk.unknowns()
    assert (oldest.command_id, oldest.since, newest.command_id) == ("y", 5, "x")
    assert oldest.record is not None
    assert json.loads(oldest.record.arguments) == CLOSE


def test_a_record_that_is_no_text_hides_no_other(operator: OperatorFixture) -> None:
    operator.unknown("x")
    operator.unknown("y")
    operator.client.hset("orders:command:x", "arguments", b"\xff")
    found = {each.command_id: each.record is not None for each in operator.desk.unknowns()}
    assert found == {"x": False, "y": True}


def test_a_page_of_many_unknowns_is_read_in_few_round_trips(operator: OperatorFixture) -> None:
    """Each cost two, which made a list of a thousand slow."""
    for number in range(7):
        operator.unknown(str(number))
        operator.client.zadd("orders:unknown", {str(number): number})
    ReconcileStore(operator.client).record_absence("3", 5)
    before = operator.client.info("stats")["total_commands_processed"]
    page = operator.desk.unknowns(start=2, limit=3)
    asked = operator.client.info("stats")["total_commands_processed"] - before - 1
    assert [(each.command_id, each.first_absence_at) for each in page] == [("2", None), ("3", 5), ("4", None)]
    assert all(each.record for each in page)
    assert asked == 2 + 3
    assert (operator.desk.count_unknowns(), operator.desk.unknowns(start=7)) == (7, [])


def test_a_record_that_somebody_has_spoilt_does_not_hide_the_others(operator: OperatorFixture) -> None:
    for command_id in ("gone", "text", "fields", "whole"):
        operator.unknown(command_id)
    operator.client.delete("orders:command:gone", "orders:command:text")
    operator.client.set("orders:command:text", "x")
    operator.client.hset("orders:command:fields", "report", "{")
    operator.client.hset("orders:looks", "whole", "soon")
    found = {each.command_id: each for each in operator.desk.unknowns()}
    assert {command_id: each.record is not None for command_id, each in found.items()} == {
        **dict.fromkeys(("gone", "text", "fields"), False),
        "whole": True,
    }
    assert found["whole"].first_absence_at is None


@pytest.mark.parametrize(("reference", "outcome"), [("ref-1", Outcome.ACCEPTED), (None, Outcome.NOT_SENT)])
def test_who_settles_an_unknown_and_why_is_in_the_report_and_the_journal(
    operator: OperatorFixture, reference: str | None, outcome: Outcome
) -> None:
    operator.unknown("x")
    report = operator.desk.resolve("x", reference=reference, who="ann", why="asked their support")
    assert (report.outcome, report.result) == (outcome, {"id": "ref-1"} if reference else None)
    assert ("ann" in report.message, "asked their support" in report.message) == (True, True)
    said = {"event": "resolve", "outcome": outcome.value, "who": "ann", "why": "asked their support"}
    assert operator.journal("x")[-1].items() >= said.items()
    assert operator.desk.unknowns() == []


def test_only_an_unknown_is_resolved(operator: OperatorFixture) -> None:
    """A settled command keeps its report, an open one its owner, and a missing record is not created."""
    operator.end(operator.begin("x"), Outcome.ACCEPTED)
    operator.begin("y")
    for command_id, error in (("x", NotUnknown), ("y", StillOpen), ("z", NoSuchCommand)):
        with pytest.raises(error, match="accepted" if error is NotUnknown else None):
            operator.desk.resolve(command_id, reference=None, who="ann", why="?")
    assert "resolve" not in operator.events()


def test_of_two_words_at_once_one_counts(operator: OperatorFixture) -> None:
    """The slower operator is told which report stands."""
    operator.unknown("x")
    real = operator.ledger

    class Slow:
        read = real.read

        def resolve(self, report: Report, **named: Any) -> Report | None:
            operator.desk.resolve("x", reference="7", who="bob", why="saw it")
            return real.resolve(report, **named)

    with pytest.raises(NotUnknown, match="by the word of bob"):
        OperatorService(operator.client, Slow(), operator.clock).resolve("x", reference=None, who="ann", why="?")
    assert operator.events("x").count("resolve") == 1


# -- halts -------------------------------------------------------------------------------------------------------------

numbers = itertools.count()


def begins(operator: OperatorFixture, command: str, account: str = "main") -> bool:
    """Whether a fresh command of this kind may begin."""
    claim = Claim(f"{command} {next(numbers)}", "f" * 64, command, account, False, "t", 1000)
    return not isinstance(operator.ledger.begin(claim, 1), Halted)


def test_a_word_whose_reply_is_lost_is_on_record_once(
    operator: OperatorFixture, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_client(f"{server.url()}/{operator.client.connection_pool.connection_kwargs['db']}")
    desk, read = OperatorService(client, operator.ledger, SystemClock()), redis.connection.Connection.read_response
    assert desk.halts() == []

    def lose(connection: Any, *given: Any, **named: Any) -> Any:
        if isinstance(reply := read(connection, *given, **named), int):
            raise redis.ConnectionError
        return reply

    with monkeypatch.context() as lossy:
        lossy.setattr(redis.connection.Connection, "read_response", lose)
        with pytest.raises(LedgerUnavailable):
            desk.halt(HaltScope(), who="ann", why="fire")
    client.close()
    assert [each.fields["event"] for each in operator.desk.journal()] == ["halt"]


def test_a_halt_is_seen_by_the_next_begin_and_ends(operator: OperatorFixture) -> None:
    """A halt of everything lets cancels and closes pass, which are halted only by name."""
    desk = operator.desk
    desk.halt(HaltScope(), who="ann", why="fire")
    assert [begins(operator, name) for name in ("withdraw", "close", "cancel")] == [False, True, True]
    desk.halt(parse_halt_scope("MAIN", "close"), who="ann", why="fire")
    assert [begins(operator, "close", account) for account in ("main", "other")] == [False, True]
    assert [each.field for each, _ in desk.halts()] == ["*/*", "main/close"]
    assert [desk.resume(HaltScope(), who="bob"), desk.resume(HaltScope(), who="bob")] == [True, False]
    assert [begins(operator, name) for name in ("withdraw", "close")] == [True, False]


def test_who_halted_and_resumed_what_and_why_is_in_the_journal(operator: OperatorFixture) -> None:
    operator.desk.halt(parse_halt_scope(None, "withdraw"), who="ann", why="fire")
    operator.desk.resume(parse_halt_scope(None, "withdraw"), who="bob", why="out")
    said = [[each[name] for name in ("event", "scope", "who", "why")] for each in operator.journal()]
    assert said == [["halt", "*/withdraw", "ann", "fire"], ["resume", "*/withdraw", "bob", "out"]]


def test_what_goes_on_record_is_one_line_that_everybody_can_see(operator: OperatorFixture) -> None:
    """A line break in a name or a reason forged a line of output, and an escape sequence controlled the terminal."""
    odd = "ann\n2026-01-01 bob \x1b[2J\u202e" + "x" * 10_000
    operator.unknown("x")
    halt = operator.desk.halt(HaltScope(), who=odd, why=odd)
    assert operator.desk.halts() == [(HaltScope(), halt)]
    operator.desk.resume(HaltScope(), who=odd, why=odd)
    report = operator.desk.resolve("x", reference=odd, who=odd, why=odd)
    entries = [fields for fields in operator.journal() if fields.get("who")]
    assert [entry["event"] for entry in entries] == ["halt", "resume", "resolve"]
    for text in (halt.who, halt.why, report.message, *(entry[name] for entry in entries for name in ("who", "why"))):
        assert text.removeprefix("executed as ").startswith("ann 2026-01-01 bob \\x1b[2J")
        assert text.isprintable()
        assert len(text) <= 1000


@pytest.mark.parametrize(
    ("account", "command"), [("a/b", None), ("*", None), (None, "trades"), (None, "*"), ("", None)]
)
def test_a_scope_that_means_nothing_is_refused(account: str | None, command: str | None) -> None:
    """Such a halt would stop nothing."""
    with pytest.raises(ValueError, match="must be"):
        parse_halt_scope(account, command)


def test_everything_can_be_halted_at_once() -> None:
    """Every command that passes a halt of everything is halted by name, also one that is added later."""
    halts = all_scopes("*")
    assert commands_still_sent(halts) == {}
    assert commands_still_sent(halts[:1]) == {name: [] for name in ("cancel", "close", "positions")}
    assert commands_still_sent(all_scopes("main")) == {command.name: ["main"] for command in COMMANDS.values()}
    assert commands_still_sent([HaltScope("*", "withdraw"), HaltScope("main", "close")])["close"] == ["main"]


# -- journal -----------------------------------------------------------------------------------------------------------


def test_the_journal_of_one_command_and_of_all_is_told_oldest_first_or_the_last_of_it(
    operator: OperatorFixture,
) -> None:
    operator.unknown("x")
    operator.unknown("y")
    assert operator.events() == ["begin", "settle", "begin", "settle"]
    assert operator.events("y") == ["begin", "settle"]
    assert [(e.fields["id"], e.fields["event"]) for e in operator.desk.journal(last=1)] == [("y", "settle")]


def test_a_long_journal_is_read_to_its_beginning_and_nothing_twice(operator: OperatorFixture) -> None:
    operator.unknown("x")
    with operator.client.pipeline() as pipe:
        for number in range(1200):
            pipe.xadd("orders:journal", {"event": "begin", "id": str(number), "token": "", "outcome": ""})
        pipe.execute()
    assert operator.events("x") == ["begin", "settle"]
    assert len(operator.events()) == 1202


def test_who_follows_the_journal_from_a_place_on_is_told_what_came_behind_it_and_what_comes(
    operator: OperatorFixture,
) -> None:
    operator.unknown("x")
    following = operator.desk.follow(operator.desk.journal()[0].position)
    assert next(following).fields["event"] == "settle"
    assert next(following) is None
    operator.begin("y")
    assert next(following).fields["id"] == "y"


# -- dead messages -----------------------------------------------------------------------------------------------------


def test_dead_messages_are_listed_without_what_is_in_them(broker: redis.Redis) -> None:
    """They are listed by task and id where these can be read, and else by how they begin."""
    message = {"headers": {"task": "orders.nonsense", "id": "7"}, "body": "c2VjcmV0"}
    for raw in (json.dumps(message).encode(), b"\x80\x04pickled", b"hello", b'{"secret": "s3cret"}'):
        broker.lpush("orders.close.dead", raw)
    broker.set("not.a.list.dead", "x")
    ((queue, count, letters),) = list(dead_letters(broker))
    assert (queue, count) == ("orders.close", 4)
    assert [letter.index for letter in letters] == [0, 1, 2, 3]
    fields, text, binary, task = letters
    assert (task.task, task.command_id, task.beginning) == ("orders.nonsense", "7", "")
    assert (fields.beginning, text.beginning) == ("JSON object of secret", "hello")
    assert binary.beginning.startswith("80 04")
    assert "s3cret" not in str(letters)


@pytest.mark.parametrize(
    ("queue", "changes", "why"),
    [
        ("orders.close", {"headers": {"task": "celery.accumulate"}}, "its task is not its queue's name"),
        ("orders.close", {"headers": {"task": "orders.withdraw"}}, "its task is not its queue's name"),
        ("orders.close", {"headers": {"compression": "application/x-bz2"}}, "it is compressed"),
        ("orders.close", {"headers": {}}, "it names no task"),
        ("orders.close", {"content-encoding": "bz2"}, "its content is encoded in another way than UTF-8"),
        ("orders.close", {"body": "x" * 65_536}, "it is longer than 65536 bytes"),
        ("celery", {"headers": {"task": "orders.nonsense"}}, "it is no command"),
        ("orders.close", {}, ""),
        ("unacked", {}, ""),
    ],
)
def test_why_a_message_is_dead_is_told_where_its_envelope_says(
    broker: redis.Redis, queue: str, changes: dict[str, Any], why: str
) -> None:
    """The reasons are those of the take script, which put it there; an entry of ``unacked`` is a list around it."""
    message: Any = {"headers": {"task": "orders.close", "id": "7"}, "content-encoding": "utf-8", "body": "", **changes}
    broker.lpush(f"{queue}.dead", json.dumps([message, "", "orders.close"] if queue == "unacked" else message))
    ((_, _, (letter,)),) = dead_letters(broker)
    assert letter.why == why
