"""The ledger's contract, held against the real server and against the in-memory twin."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal

import pytest
import redis

from producers.commands import Close, Withdraw
from producers.intents import INTENTS_KEY, MESSAGES_KEY
from producers.report import Outcome, Reason, Report
from tests.servers import Server
from tests.support.memory_ledger import MemoryLedger
from worker.execution.policy.ledger_server import ServerPolicy
from worker.ledger.base import (
    Begun,
    Busy,
    Claim,
    Ended,
    Halted,
    Ledger,
    LedgerUnavailable,
    Orphaned,
    Progress,
    Reused,
    State,
)
from worker.ledger.connection import connect
from worker.ledger.redis import RedisLedger


def claim(command_id: str, token: str = "a", **changes: object) -> Claim:
    """A claim of a withdrawal, unless told otherwise."""
    base = Claim(
        command_id,
        "f" * 64,
        "withdraw",
        "main",
        repeatable=False,
        token=token,
        lease_ms=60_000,
        arguments='{"qty":"1"}',
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def report(outcome: Outcome = Outcome.ACCEPTED, reason: Reason = Reason.OK, message: str = "done") -> Report:
    """A report; only its outcome matters to the ledger."""
    return Report(
        command_id="x", command="withdraw", outcome=outcome, reason=reason, message=message, fingerprint="f" * 64
    )


HALT = Halted("ann", "venue on fire", 5)
UNKNOWN = report(Outcome.UNKNOWN, Reason.CRASHED)


class Bench:
    """A ledger under test, and how to make its leases end."""

    def __init__(self, ledger: Ledger, journal: Callable[[], list[str]], halt: Callable[[str], None]) -> None:
        self.ledger = ledger
        self.journal = journal
        self.halt = halt


@pytest.fixture(params=["memory", "redis"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Both ledgers, empty."""
    if request.param == "memory":
        memory = MemoryLedger(now_ms=lambda: 1_000_000)
        yield Bench(
            memory,
            lambda: [entry["event"] for entry in memory.journal],
            lambda scope: memory.halts.update({scope: HALT}),
        )
        return
    server: Server = request.getfixturevalue("server")
    server.flush()
    client = connect(server.url(2))
    journal = lambda: [fields["event"] for _, fields in client.xrange("orders:journal")]  # noqa: E731
    stored = json.dumps({"who": HALT.who, "why": HALT.why, "at": HALT.at})
    yield Bench(RedisLedger(client), journal, lambda scope: client.hset("orders:halts", scope, stored))
    client.close()


def orphan(bench: Bench, asking: Claim) -> Orphaned:
    """What a worker finds of a dead one's send."""
    found = bench.ledger.begin(asking, 1)
    assert isinstance(found, Orphaned)
    return found


def test_first_begin_takes_the_command(bench: Bench) -> None:
    """A new command begins with fence 1, one try and nothing sent."""
    assert bench.ledger.begin(claim("1"), 1) == Begun(1, Progress(tries=1))
    record = bench.ledger.read("1")
    assert record is not None
    assert (record.state, record.fence, record.report) == (State.SENDING, 1, None)
    assert bench.journal() == ["begin"]


@pytest.mark.parametrize("key", [INTENTS_KEY, MESSAGES_KEY])
def test_intents_that_a_sender_has_spoilt_keep_no_command_from_its_end(server: Server, key: str) -> None:
    """Senders write them; what is made of them is a search for lost commands and nothing else."""
    server.flush()
    client = connect(server.url(2))
    client.zadd(INTENTS_KEY, {"1": 1})
    client.delete(key)
    client.set(key, "x")
    ledger = RedisLedger(client)
    assert ledger.begin(claim("1"), 1) == Begun(1, Progress(tries=1))
    assert ledger.settle(claim("1"), report()) == report()
    client.close()


def test_a_record_keeps_the_arguments_and_the_first_begin(bench: Bench) -> None:
    """What a reconcile looks for, and from when on: also after another owner took over, and after the end."""
    bench.ledger.begin(claim("1", repeatable=True, lease_ms=0), 1)
    first = bench.ledger.read("1")
    bench.ledger.begin(claim("1", "b", repeatable=True), 1)
    bench.ledger.settle(claim("1", "b"), UNKNOWN)
    last = bench.ledger.read("1")
    assert first is not None
    assert last is not None
    assert (first.arguments, last.arguments) == ('{"qty":"1"}', '{"qty":"1"}')
    assert 0 < last.first_begun_at == first.first_begun_at <= first.lease_until < last.lease_until


def test_a_refused_command_keeps_its_arguments_too(bench: Bench) -> None:
    """But was never begun."""
    bench.ledger.refuse(claim("1"), report(Outcome.NOT_SENT, Reason.HALTED))
    record = bench.ledger.read("1")
    assert record is not None
    assert (record.arguments, record.first_begun_at) == ('{"qty":"1"}', 0)


def test_begin_repeated_by_its_owner_counts_once(bench: Bench) -> None:
    """The reply to a begin may be lost; asking again is the same attempt."""
    bench.ledger.begin(claim("1"), 1)
    assert bench.ledger.begin(claim("1"), 1) == Begun(1, Progress(tries=1))


def test_a_living_owner_keeps_others_out(bench: Bench) -> None:
    """While the lease lasts everybody else is told to wait."""
    bench.ledger.begin(claim("1", "a"), 1)
    answer = bench.ledger.begin(claim("1", "b"), 1)
    assert isinstance(answer, Busy)
    assert 0 < answer.lease_left_ms <= 60_000


def test_a_dead_owners_withdrawal_is_never_taken_over(bench: Bench) -> None:
    """After the lease it is orphaned, with the send that may have left counted."""
    bench.ledger.begin(claim("1", "a", lease_ms=0), 1)
    answer = bench.ledger.begin(claim("1", "b"), 1)
    assert isinstance(answer, Orphaned)
    assert (answer.token, answer.sending, answer.progress) == ("a", True, Progress(tries=1, sent=1))


def test_abandoning_settles_as_unknown_once(bench: Bench) -> None:
    """One of those who find an orphan declares it; the next reads the report."""
    bench.ledger.begin(claim("1", "a", lease_ms=0), 1)
    found = orphan(bench, claim("1", "b"))
    assert bench.ledger.abandon(claim("1", "b"), found, UNKNOWN)
    assert not bench.ledger.abandon(claim("1", "c"), found, UNKNOWN)
    assert bench.ledger.begin(claim("1", "c"), 1) == Ended(UNKNOWN)
    assert bench.ledger.read("1").state is State.UNKNOWN  # type: ignore[union-attr]


def test_a_living_owner_is_not_abandoned(bench: Bench) -> None:
    """Neither by a wrong token nor before the lease is over."""
    bench.ledger.begin(claim("1", "a"), 1)
    seemingly = Orphaned("a", begun_at=0, sending=True, progress=Progress(tries=1, sent=1))
    assert not bench.ledger.abandon(claim("1", "b"), seemingly, UNKNOWN)
    bench.ledger.begin(claim("2", "a", lease_ms=0), 1)
    assert not bench.ledger.abandon(claim("2", "b"), replace(seemingly, token="someone else"), UNKNOWN)


def test_what_was_found_orphaned_must_still_be_so(bench: Bench) -> None:
    """Its owner came back for one more attempt: the report that was made for what was found is untrue by now."""
    bench.ledger.begin(claim("1", "a"), 1)
    bench.ledger.pause(claim("1", "a"), Progress(tries=1, sent=1), 0)
    found = bench.ledger.refuse(claim("1", "b"), report(Outcome.NOT_SENT, Reason.INVALID))
    assert isinstance(found, Orphaned)
    bench.ledger.begin(claim("1", "a", lease_ms=0), 2)
    assert not bench.ledger.abandon(claim("1", "b"), found, report(Outcome.NOT_SENT, Reason.INVALID))
    bench.ledger.pause(claim("1", "a"), Progress(tries=2, sent=2), 0)
    assert not bench.ledger.abandon(claim("1", "b"), found, report(Outcome.NOT_SENT, Reason.INVALID))


def test_a_begin_that_was_granted_is_not_halted_when_it_is_repeated(bench: Bench) -> None:
    """Its reply was lost and an operator halted meanwhile: the send has begun all the same."""
    bench.ledger.begin(claim("1"), 1)
    bench.halt("*/*")
    assert bench.ledger.begin(claim("1"), 1) == Begun(1, Progress(tries=1))


def test_a_repeatable_command_is_taken_over_with_a_higher_fence(bench: Bench) -> None:
    """And the dead owner's send of unknown fate is not forgotten."""
    bench.ledger.begin(claim("1", "a", lease_ms=0, repeatable=True), 1)
    taken = bench.ledger.begin(claim("1", "b", repeatable=True), 1)
    assert taken == Begun(2, Progress(tries=2, sent=1, tainted="crashed"))


def test_between_attempts_anyone_may_take_over(bench: Bench) -> None:
    """A withdrawal whose attempts are all proven not executed goes on with the next worker, its times kept."""
    bench.ledger.begin(claim("1", "a"), 1)
    progress = Progress(tries=1, sent=1, first_sent_at=5, last_signed_at=6)
    assert bench.ledger.pause(claim("1", "a"), progress, 0)
    assert bench.ledger.begin(claim("1", "b"), 1) == Begun(2, replace(progress, tries=2))


def test_taint_survives_a_takeover(bench: Bench) -> None:
    """An unknown attempt earlier in the command's life stays on record."""
    bench.ledger.begin(claim("1", "a", repeatable=True), 1)
    bench.ledger.pause(claim("1", "a"), Progress(tries=1, sent=1, tainted="lost_reply"), 0)
    taken = bench.ledger.begin(claim("1", "b", repeatable=True, lease_ms=0), 1)
    assert isinstance(taken, Begun)
    assert taken.progress.tainted == "lost_reply"
    again = bench.ledger.begin(claim("1", "c", repeatable=True), 1)
    assert isinstance(again, Begun)
    assert (again.progress.tainted, again.progress.sent) == ("lost_reply", 2)


def test_the_next_attempt_of_the_same_owner_counts(bench: Bench) -> None:
    """Attempt numbers make a repeated call and a new attempt two things."""
    bench.ledger.begin(claim("1"), 1)
    bench.ledger.pause(claim("1"), Progress(tries=1, sent=1), 1000)
    assert bench.ledger.begin(claim("1"), 2) == Begun(1, Progress(tries=2, sent=1))
    assert bench.ledger.begin(claim("1"), 2) == Begun(1, Progress(tries=2, sent=1))


def test_settling_ends_the_command(bench: Bench) -> None:
    """The report stands, and a repeated settle changes nothing."""
    bench.ledger.begin(claim("1"), 1)
    assert bench.ledger.settle(claim("1"), report()) == report()
    assert bench.ledger.settle(claim("1"), report()) == report()
    assert bench.ledger.begin(claim("1", "b"), 1) == Ended(report())
    assert bench.journal() == ["begin", "settle"]


def test_only_the_owner_settles(bench: Bench) -> None:
    """A late owner is told that another is at work, and its word goes to the journal."""
    bench.ledger.begin(claim("1", "a", lease_ms=0, repeatable=True), 1)
    bench.ledger.begin(claim("1", "b", repeatable=True), 1)
    assert bench.ledger.settle(claim("1", "a"), report()) is None
    assert bench.ledger.settle(claim("1", "b"), report(message="by b")) == report(message="by b")
    assert bench.ledger.settle(claim("1", "a"), report()) == report(message="by b")
    assert bench.journal() == ["begin", "begin", "late", "settle", "late"]


@pytest.mark.parametrize("move", ["pause", "renew"])
def test_only_the_owner_moves(bench: Bench, move: str) -> None:
    """Neither pausing nor renewing works for another token, nor after the end."""
    moves = {
        "pause": lambda token: bench.ledger.pause(claim("1", token), Progress(), 10),
        "renew": lambda token: bench.ledger.renew(claim("1", token)),
    }
    bench.ledger.begin(claim("1", "a"), 1)
    assert not moves[move]("b")
    assert moves[move]("a")
    bench.ledger.settle(claim("1", "a"), report())
    assert not moves[move]("a")


def test_renewing_keeps_the_owner_alive(bench: Bench) -> None:
    """A renewed lease is as good as a new one."""
    bench.ledger.begin(claim("1", "a", lease_ms=0), 1)
    assert bench.ledger.renew(claim("1", "a"))
    assert isinstance(bench.ledger.begin(claim("1", "b"), 1), Busy)


def test_a_renewed_lease_is_in_the_journal(bench: Bench) -> None:
    """What is signed under it may be sent long after its begin: whoever asks what may have been sent then finds it."""
    bench.ledger.begin(claim("1", "a"), 1)
    assert not bench.ledger.renew(claim("1", "b"))
    assert bench.ledger.renew(claim("1", "a"))
    assert bench.journal() == ["begin", "renew"]


@pytest.mark.parametrize(
    ("places", "told"),
    [(["here"], "here"), (["here", "here"], "here"), (["here", "there"], "*"), (["here", "there", "here"], "*")],
)
def test_a_record_says_where_it_was_sent(bench: Bench, places: list[str], told: str) -> None:
    """By each of its owners; they may have been configured differently."""
    for number, place in enumerate(places):
        owner = claim("1", f"owner-{number}", lease_ms=0, repeatable=True, account_digest=place)
        assert isinstance(bench.ledger.begin(owner, 1), Begun)
    assert bench.ledger.read("1").account_digest == told  # type: ignore[union-attr]


def test_a_record_that_is_put_back_says_where_it_was_sent(bench: Bench) -> None:
    """The ledger lost it: a reconcile looked at whatever account its alias means by then, and settled it by absence."""
    bench.ledger.settle(claim("1", account_digest="here"), UNKNOWN)
    record = bench.ledger.read("1")
    assert record is not None
    assert (record.state, record.account_digest) == (State.UNKNOWN, "here")


def test_its_own_sender_settles_an_unknown_by_evidence(bench: Bench) -> None:
    """A worker that was taken for dead brings the venue's answer; nobody else can, and doubt is no evidence."""
    bench.ledger.begin(claim("1", "a", lease_ms=0), 1)
    bench.ledger.abandon(claim("1", "b"), orphan(bench, claim("1", "b")), UNKNOWN)
    assert bench.ledger.settle(claim("1", "b"), report()) == UNKNOWN
    assert bench.ledger.settle(claim("1", "a"), report(Outcome.UNKNOWN, Reason.LOST_REPLY)) == UNKNOWN
    assert bench.ledger.settle(claim("1", "a"), report()) == report()
    assert bench.ledger.read("1").state is State.SETTLED  # type: ignore[union-attr]


@pytest.mark.parametrize("move", ["begin", "refuse"])
def test_an_id_with_other_arguments_is_refused(bench: Bench, move: str) -> None:
    """While the first runs there is no report to show, afterwards the first one stands."""
    ask = {
        "begin": lambda other: bench.ledger.begin(other, 1),
        "refuse": lambda other: bench.ledger.refuse(other, report(Outcome.NOT_SENT, Reason.INVALID)),
    }[move]
    other = claim("1", "b", fingerprint="e" * 64)
    bench.ledger.begin(claim("1", "a"), 1)
    assert ask(other) == Reused(None)
    bench.ledger.settle(claim("1", "a"), report())
    assert ask(other) == Reused(report())
    assert bench.journal().count("id_reused") == 2


def test_refusing_takes_the_id(bench: Bench) -> None:
    """A command that can't be made has its report too, and the id is used up."""
    refused = report(Outcome.NOT_SENT, Reason.INVALID)
    assert bench.ledger.refuse(claim("1"), refused) is None
    assert bench.ledger.refuse(claim("1", "b"), refused) == Ended(refused)
    assert bench.ledger.begin(claim("1", "b"), 1) == Ended(refused)


def test_refusing_waits_for_a_living_owner_and_sees_an_orphan(bench: Bench) -> None:
    """A worker that can't execute a command must not end one that another has begun."""
    refused = report(Outcome.NOT_SENT, Reason.INVALID)
    bench.ledger.begin(claim("1", "a"), 1)
    assert isinstance(bench.ledger.refuse(claim("1", "b"), refused), Busy)
    bench.ledger.pause(claim("1", "a"), Progress(tries=1, sent=1), 0)
    found = bench.ledger.refuse(claim("1", "b"), refused)
    assert isinstance(found, Orphaned)
    assert (found.sending, found.progress.sent) == (False, 1)
    assert bench.ledger.abandon(claim("1", "b"), found, refused)
    assert bench.ledger.read("1").state is State.SETTLED  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("scope", "stopped"),
    [
        ("*/*", {"withdraw main", "withdraw other"}),
        ("main/*", {"withdraw main"}),
        ("*/withdraw", {"withdraw main", "withdraw other"}),
        ("*/cancel", {"cancel main", "cancel other"}),
        ("main/close", {"close main"}),
    ],
)
def test_a_halt_stops_what_it_names(bench: Bench, scope: str, stopped: set[str]) -> None:
    """Cancels and closes reduce risk: they pass unless halted by name. Nothing is recorded of what is halted."""
    bench.halt(scope)
    seen = set()
    for command in ("withdraw", "close", "cancel"):
        for account in ("main", "other"):
            answer = bench.ledger.begin(claim(f"{command} {account}", command=command, account=account), 1)
            if answer == HALT:
                seen.add(f"{command} {account}")
                assert bench.ledger.read(f"{command} {account}") is None
    assert seen == stopped


@pytest.mark.parametrize(
    ("scope", "stopped"), [("*/positions", True), ("main/positions", True), ("other/positions", False), ("*/*", False)]
)
def test_a_query_is_halted_by_its_name_alone(bench: Bench, scope: str, stopped: bool) -> None:
    """It begins nothing, so the ledger is asked."""
    bench.halt(scope)
    assert bench.ledger.halted("main", "positions") == (HALT if stopped else None)


def test_a_halt_stops_the_next_attempt_and_lets_it_be_settled(bench: Bench) -> None:
    """Seen before the next send, in the same step as the begin; what has ended is still told."""
    bench.ledger.begin(claim("1"), 1)
    bench.ledger.pause(claim("1"), Progress(tries=1, sent=1), 1000)
    bench.halt("*/*")
    assert bench.ledger.begin(claim("1"), 2) == HALT
    assert bench.ledger.settle(claim("1"), report(Outcome.NOT_SENT, Reason.HALTED)) is not None
    assert bench.ledger.begin(claim("1", "b"), 1) == Ended(report(Outcome.NOT_SENT, Reason.HALTED))


def test_an_unknown_is_resolved_once(bench: Bench) -> None:
    """By evidence or an operator's word; what is open or settled is not touched."""
    assert bench.ledger.resolve(report(), who="ann", why="saw it") is None
    bench.ledger.begin(claim("x"), 1)
    assert bench.ledger.resolve(report(), who="ann", why="saw it") is None
    bench.ledger.settle(claim("x"), UNKNOWN)
    assert bench.ledger.resolve(report(), who="ann", why="saw it") == report()
    assert bench.ledger.resolve(report(message="no"), who="bob", why="?") == report()
    assert bench.ledger.read("x").state is State.SETTLED  # type: ignore[union-attr]
    assert bench.journal() == ["begin", "settle", "resolve"]


def test_a_record_that_was_lost_is_put_back_by_its_owner(bench: Bench) -> None:
    """A server that restarts without its last writes must not make the truth disappear."""
    assert bench.ledger.settle(claim("1"), report()) == report()
    assert bench.ledger.begin(claim("1", "b"), 1) == Ended(report())


def test_of_many_at_once_one_begins(bench: Bench) -> None:
    """Twelve claims at the same moment: one is begun, the others wait."""
    ready = threading.Barrier(12)

    def one(token: int) -> object:
        ready.wait()
        return bench.ledger.begin(claim("1", str(token)), 1)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(one, range(12)))
    assert sum(isinstance(answer, Begun) for answer in answers) == 1
    assert sum(isinstance(answer, Busy) for answer in answers) == 11


def test_nothing_is_read_of_an_absent_command(bench: Bench) -> None:
    """Reading what was never there gives nothing."""
    assert bench.ledger.read("absent") is None


def test_withdrawals_and_unknowns_stay_others_expire(server: Server) -> None:
    """Ended records are kept for days, but what may be money out for ever."""
    server.flush()
    client = connect(server.url(2))
    ledger = RedisLedger(client, keep_ms=60_000)
    for command_id, command, end in (
        ("w", "withdraw", report()),
        ("c", "close", report()),
        ("u", "close", UNKNOWN),
    ):
        ledger.begin(claim(command_id, command=command), 1)
        ledger.settle(claim(command_id, command=command), end)
    assert client.pttl("orders:command:w") == -1
    assert 0 < client.pttl("orders:command:c") <= 60_000
    assert client.pttl("orders:command:u") == -1
    assert client.zrange("orders:unknown", 0, -1) == ["u"]
    ledger.settle(claim("u", command="close"), report())
    assert client.zrange("orders:unknown", 0, -1) == []


def test_a_server_that_is_away_or_refuses_is_unavailable(server: Server) -> None:
    """Down, full or without permission: one error, and nothing of the server's password in it."""
    with pytest.raises(LedgerUnavailable):
        RedisLedger(connect("redis://:hunter2@127.0.0.1:1/2", timeout=0.5)).begin(claim("1"), 1)
    client = redis.Redis.from_url(server.url(2))
    client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(LedgerUnavailable, match="refuses"):
            RedisLedger(connect(server.url(2))).begin(claim("2"), 1)
    finally:
        client.config_set("maxmemory", "0")


def test_a_withdrawal_begins_when_it_is_on_disk(server: Server) -> None:
    """One round trip, that ends with the disk's word, where the server can; no other command waits for it."""
    server.flush()
    client = connect(server.url(2))
    can = "waitaof" in {name.lower() for name in client.command_list()}
    ledger = RedisLedger(connect(server.url(2)))
    ledger.begin(claim("0", command="close"), 1)  # the server knows the script from here on
    with client.monitor() as monitor:
        assert isinstance(ledger.begin(claim("1"), 1), Begun)
        assert isinstance(ledger.begin(claim("2", command="close"), 1), Begun)
        client.execute_command("ECHO", "end")  # type: ignore[no-untyped-call]
        seen = []
        while "ECHO" not in (command := monitor.next_command()["command"]):
            seen.append(command.split()[0])
    waits = [name for name in seen if name == "WAITAOF"]
    if not can:  # Redis before 7.2 has no such command, which MONITOR then does not show
        assert waits == []
        return
    assert len(waits) == 1
    assert seen.index("WAITAOF") < len(seen) - 1 - seen[::-1].index("EVALSHA")


def test_a_server_without_append_only_file_is_told_about(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """The withdrawal goes on, with a plain warning, once."""
    server.flush()
    client = connect(server.url(2))
    client.config_set("appendonly", "no")
    try:
        ledger = RedisLedger(client)
        assert isinstance(ledger.begin(claim("1"), 1), Begun)
        assert isinstance(ledger.begin(claim("2"), 1), Begun)
    finally:
        client.config_set("appendonly", "yes")
    assert caplog.text.count("withdrawals don't wait for the ledger's disk") == 1


def test_a_disk_that_must_confirm_and_can_not(server: Server) -> None:
    """By a server before 7.2, or a user who may not ask: refused beforehand, and begun for nothing when that is new."""
    server.flush()
    client = connect(server.url(2))
    can = "waitaof" in {name.lower() for name in client.command_list()}
    may = ["~*", "&*", "+@all", *(["-waitaof"] if can else [])]
    client.execute_command("ACL", "SETUSER", "clerk", "on", ">word", *may)  # type: ignore[no-untyped-call]
    clerk = connect(server.url(2).replace("redis://", "redis://clerk:word@"))
    withdrawal = Withdraw(account="a", asset="ETH", qty=Decimal(1), address="x")
    try:
        assert "can't confirm its disk" in (ServerPolicy(clerk, need_disk=True).refusal(withdrawal) or "")
        assert (ServerPolicy(client, need_disk=True).refusal(withdrawal) is None) == can
        assert ServerPolicy(clerk).refusal(withdrawal) is None
        strict = RedisLedger(clerk, need_disk=True)
        for _ in range(2):
            with pytest.raises(LedgerUnavailable, match="refuses"):
                strict.begin(claim("1"), 1)
    finally:
        client.execute_command("ACL", "DELUSER", "clerk")  # type: ignore[no-untyped-call]


def test_a_wait_for_the_disk_that_is_broken_off_is_no_confirmation(server: Server) -> None:
    """As a server does that is made a replica meanwhile: the withdrawal must not be sent on its word."""
    server.flush()
    client = connect(server.url(2))
    if "waitaof" not in {name.lower() for name in client.command_list()}:
        pytest.skip("Redis before 7.2 has no WAITAOF")
    ledger = RedisLedger(connect(server.url(2)), disk_ms=4000)
    ledger.begin(claim("0", command="close"), 1)  # the server knows the script from here on
    client.config_set("appendfsync", "no")  # what is written is then on disk when the kernel likes

    ended = threading.Event()

    def break_off() -> None:
        # The command of others may have been the same; a server says whether it has let one go.
        while not ended.is_set() and not any(
            client.client_unblock(int(each["id"]), error=True)
            for each in client.client_list()
            if each["cmd"] == "waitaof"
        ):
            pass

    breaker = threading.Thread(target=break_off)
    breaker.start()
    try:
        with pytest.raises(LedgerUnavailable, match="UNBLOCKED"):
            ledger.begin(claim("1"), 1)
    finally:
        ended.set()
        breaker.join(10)
        client.config_set("appendfsync", "always")


@pytest.mark.parametrize(
    ("limit", "eviction", "refused"),
    [("0", "allkeys-lru", False), ("100mb", "noeviction", False), ("100mb", "allkeys-lru", True)],
)
def test_withdrawals_are_refused_on_a_server_that_evicts(
    server: Server, limit: str, eviction: str, refused: bool
) -> None:
    """Such a server may forget that a withdrawal was sent."""
    client = connect(server.url(2))
    client.config_set("maxmemory", limit)
    client.config_set("maxmemory-policy", eviction)
    try:
        policy = ServerPolicy(client)
        words = policy.refusal(Withdraw(account="a", asset="ETH", qty=Decimal(1), address="x"))
        assert ("evicts" in (words or "")) == refused
        assert policy.refusal(Close(account="a", pair="P")) is None
    finally:
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")
