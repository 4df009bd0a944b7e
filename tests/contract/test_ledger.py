"""The ledger's contract, held against the real server and against the in-memory ledger.

What each call answers and does in each record is told by :mod:`tests.model.transition_table`: both ledgers are held
against it here, and whatever it leaves out is tested by itself.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal

import pytest
import redis

from producers.commands import Close, Withdraw
from producers.intents import OUTBOX_KEYS
from tests.contract.conftest import configured
from tests.model.conformance import (
    HALT,
    HOLD,
    LEASE_MS,
    UnderTest,
    asks_where_it_can_be_looked_for,
    claim,
    compare,
    report,
)
from tests.model.transition_table import TABLE
from tests.support.servers import Server
from worker.execution.policy.ledger_server import ServerPolicy
from worker.ledger.base import (
    Admitted,
    Begun,
    Busy,
    Ended,
    Ledger,
    LedgerUnavailable,
    Orphaned,
    Progress,
    Record,
    State,
    TooLate,
)
from worker.ledger.connection import connect
from worker.ledger.holds import Held
from worker.ledger.keys import DUE_KEYS
from worker.ledger.redis import RedisLedger

OUTBOX = OUTBOX_KEYS["orders.close"]

UNKNOWN = report("unknown")
MINUTE_MS = 60_000


def read(ledger: Ledger, command_id: str = "id") -> Record:
    """A record that must exist."""
    record = ledger.read(command_id)
    assert record is not None
    return record


@pytest.mark.parametrize("repeatable", [False, True], ids=["withdraw", "cancel"])
def test_every_call_answers_and_does_what_the_table_says_and_every_row_is_needed(
    under_test: UnderTest, repeatable: bool
) -> None:
    """Begins, repeated ones, takeovers, renewals, pauses, looks, ends, late ends, refusals, abandoned and resolved
    ones: by the owner and by another, while the lease lasts and after."""
    start = under_test.save()
    used = compare(TABLE, repeatable, under_test)
    under_test.restore(start)
    used |= compare(TABLE, repeatable, under_test, asks_where_it_can_be_looked_for)
    others = {"begin: in doubt", "begin: look first"} if repeatable else {"begin: take over a send"}
    assert TABLE.keys() - used == others


def test_a_record_keeps_the_arguments_and_the_first_begin(ledger: Ledger) -> None:
    """A reconcile needs both, also after another owner has taken over and after the end."""
    ledger.begin(claim(repeatable=True, lease_ms=0), 1)
    first = read(ledger)
    ledger.begin(claim(token="2", repeatable=True), 1)
    ledger.settle(claim(token="2"), UNKNOWN)
    last = read(ledger)
    assert (first.arguments, last.arguments) == ('{"qty":"1"}', '{"qty":"1"}')
    assert 0 < last.first_begun_at == first.first_begun_at <= first.lease_until < last.lease_until


def test_a_refused_command_keeps_its_arguments_and_was_never_begun(ledger: Ledger) -> None:
    assert ledger.read("id") is None
    ledger.refuse(claim(), report("not_sent"))
    assert (read(ledger).arguments, read(ledger).first_begun_at) == ('{"qty":"1"}', 0)


def test_a_takeover_keeps_times_and_the_first_doubt(ledger: Ledger) -> None:
    progress = Progress(tries=1, sent=1, tainted="lost_reply", first_sent_at=5, last_signed_at=6)
    ledger.begin(claim(), 1)
    ledger.pause(claim(), progress, 0)
    assert ledger.begin(claim(token="2", lease_ms=0, repeatable=True), 1) == Begun(2, replace(progress, tries=2))
    assert ledger.begin(claim(token="3", repeatable=True), 1) == Begun(3, replace(progress, tries=3, sent=2))


def test_a_send_that_is_taken_over_is_a_doubt_about_a_crash(ledger: Ledger) -> None:
    ledger.begin(claim(lease_ms=0, repeatable=True), 1)
    taken = ledger.begin(claim(token="2", repeatable=True), 1)
    assert taken == Begun(2, Progress(tries=2, sent=1, tainted="crashed"))


def begun(answer: object) -> Begun:
    """An answer that must be a begin."""
    assert isinstance(answer, Begun)
    return answer


def test_what_is_parked_goes_on_where_it_was(under_test: UnderTest) -> None:
    """Also a command that can't be repeated: its last attempt is proven not executed. Its budget starts once for
    all who take it up, and what the last who parked it knew is told, also of a dead owner after that."""
    progress = Progress(tries=1, sent=1, first_sent_at=5, last_signed_at=6)
    ledger = under_test.ledger
    assert begun(ledger.begin(claim(), 1)).since_ms < MINUTE_MS
    under_test.age(MINUTE_MS)
    assert ledger.park(claim(), progress, MINUTE_MS, "what it knows")
    assert isinstance(ledger.begin(claim(token="2"), 1), Busy)
    assert isinstance(ledger.begin(claim(), 2), Busy)
    under_test.age(MINUTE_MS)
    taken = begun(ledger.begin(claim(token="2"), 1))
    assert (taken.fence, taken.progress, taken.doubt) == (2, replace(progress, tries=2), "what it knows")
    assert 2 * MINUTE_MS <= taken.since_ms < 3 * MINUTE_MS
    assert ledger.park(claim(token="2"), taken.progress, 0, "and again")
    again = begun(ledger.begin(claim(token="3", lease_ms=0), 1))
    assert (again.fence, again.progress.tries, again.doubt) == (3, 3, "and again")
    assert 2 * MINUTE_MS <= again.since_ms < 3 * MINUTE_MS
    dead = ledger.begin(claim(token="4"), 1)
    assert isinstance(dead, Orphaned)
    assert dead.doubt == "and again"


def test_a_takeover_has_a_budget_of_its_own_and_later_attempts_of_its_owner_have_not(under_test: UnderTest) -> None:
    ledger = under_test.ledger
    ledger.begin(claim(repeatable=True), 1)
    under_test.age(LEASE_MS + MINUTE_MS)
    assert begun(ledger.begin(claim(token="2", repeatable=True), 1)).since_ms < MINUTE_MS
    under_test.age(MINUTE_MS)
    assert MINUTE_MS <= begun(ledger.begin(claim(token="2", repeatable=True), 2)).since_ms < 2 * MINUTE_MS
    ledger.pause(claim(token="2"), Progress(tries=2), 0)
    assert begun(ledger.begin(claim(token="3"), 1)).since_ms < MINUTE_MS


def test_the_end_of_a_parked_command_that_a_worker_can_not_execute_keeps_its_attempts(ledger: Ledger) -> None:
    """As that of an owner that died between two attempts: nothing was sent that is not in its progress."""
    progress = Progress(tries=1, sent=1, first_sent_at=5, last_signed_at=6)
    ledger.begin(claim(), 1)
    ledger.park(claim(), progress, 0)
    found = ledger.refuse(claim(token="2"), report("not_sent"))
    assert isinstance(found, Orphaned)
    assert (found.token, found.sending, found.progress) == ("1", False, progress)
    assert ledger.abandon(claim(token="2"), found, report("not_sent"))
    assert (read(ledger).report, read(ledger).progress) == (report("not_sent"), progress)


@pytest.mark.parametrize(
    ("places", "told"),
    [(["here"], "here"), (["here", "here"], "here"), (["here", "there"], "*"), (["here", "there", "here"], "*")],
)
def test_a_record_says_where_it_was_sent_by_each_of_its_owners(ledger: Ledger, places: list[str], told: str) -> None:
    """Owners may have been configured for different places."""
    for number, place in enumerate(places):
        owner = claim(token=str(number), lease_ms=0, repeatable=True, account_digest=place)
        assert isinstance(ledger.begin(owner, 1), Begun)
    assert read(ledger).account_digest == told


def test_a_record_that_is_put_back_says_where_it_was_sent(ledger: Ledger) -> None:
    """Without the place, a reconcile looked at what the alias meant by then, and settled the command by absence."""
    ledger.settle(claim(account_digest="here"), UNKNOWN)
    assert (read(ledger).state, read(ledger).account_digest) == (State.UNKNOWN, "here")


PAST, FUTURE = 1, 2**52


def test_an_id_that_has_no_record_is_neither_begun_nor_ended_after_its_time(ledger: Ledger) -> None:
    """It may have been executed, and its record have expired. What has a record was begun in time."""
    assert (
        ledger.begin(claim(begin_by=PAST), 1)
        == ledger.refuse(claim(begin_by=PAST), report("not_sent"))
        == TooLate(PAST)
    )
    assert ledger.read("id") is None
    assert isinstance(ledger.begin(claim(begin_by=FUTURE, repeatable=True, lease_ms=0), 1), Begun)
    assert isinstance(ledger.begin(claim(token="2", begin_by=PAST, repeatable=True, lease_ms=0), 1), Begun)
    assert isinstance(ledger.refuse(claim(token="3", begin_by=PAST), report("not_sent")), Orphaned)
    ledger.settle(claim(token="2"), report())
    assert ledger.begin(claim(token="4", begin_by=PAST), 1) == Ended(report())
    assert ledger.refuse(claim("other", begin_by=FUTURE), report("not_sent")) is None


def test_what_is_held_begins_as_it_was_seen_and_is_ended_in_time(ledger: Ledger) -> None:
    """Whoever has seen its approvals has not seen a denial that came since. Who sealed it is told as it was held, and a
    message whose time is over ends it only when its own time is over."""
    asked = claim(hold=replace(HOLD, sealed_by="payroll"))
    held = ledger.begin(asked, 1)
    assert isinstance(held, Held)
    ledger.decide("id", asked.fingerprint, who="ben", kid="1", event="denied", signed="no")  # type: ignore[attr-defined]
    seen = ledger.begin(claim(token="2", hold=replace(HOLD, decided=held.decided)), 1)
    assert (isinstance(seen, Held), seen) == (True, Held(held.until, "payroll", "1", ("no",)))
    assert ledger.refuse(claim(begin_by=PAST), report("not_sent")) == TooLate(PAST)
    assert isinstance(ledger.begin(claim(token="2", hold=replace(HOLD, decided="1")), 1), Begun)


def test_a_record_says_who_sealed_its_first_begin(ledger: Ledger) -> None:
    ledger.begin(claim(sealed_by="payroll", repeatable=True, lease_ms=0), 1)
    ledger.begin(claim(token="2", repeatable=True, lease_ms=0), 1)
    assert read(ledger).sealed_by == "payroll"
    ledger.begin(claim("other"), 1)
    assert read(ledger, "other").sealed_by == ""


@pytest.mark.parametrize(
    ("scope", "stopped"),
    [
        ("*/*", {f"{each} {account}" for each in ("withdraw", "submit") for account in ("main", "other")}),
        ("main/*", {"withdraw main", "submit main"}),
        ("*/withdraw", {"withdraw main", "withdraw other"}),
        ("*/cancel", {"cancel main", "cancel other"}),
        ("main/close", {"close main"}),
        ("*/submit", {"submit main", "submit other"}),
    ],
)
def test_a_halt_stops_what_it_names_and_nothing_is_recorded_of_it(
    under_test: UnderTest, scope: str, stopped: set[str]
) -> None:
    """Cancels and closes reduce risk, so they pass unless they are halted by name. A new order does not, and never
    passes, not even one that may only reduce a position: the ledger can't see what it is."""
    under_test.halt(scope)
    seen, ledger = set(), under_test.ledger
    for name in (
        f"{command} {account}" for command in ("withdraw", "close", "submit", "cancel") for account in ("main", "other")
    ):
        command, account = name.split()
        if ledger.begin(claim(name, command=command, account=account), 1) == HALT:
            seen.add(name)
            assert ledger.read(name) is None
    assert seen == stopped


@pytest.mark.parametrize(
    ("scope", "stopped"), [("*/positions", True), ("main/positions", True), ("other/positions", False), ("*/*", False)]
)
def test_a_query_is_halted_by_its_name_alone(under_test: UnderTest, scope: str, stopped: bool) -> None:
    """A query begins nothing in the ledger, so the ledger is asked for a halt."""
    under_test.halt(scope)
    assert under_test.ledger.admit_query(claim(command="positions")) == (HALT if stopped else Admitted())


def test_of_twelve_at_once_one_begins_and_the_others_wait(ledger: Ledger) -> None:
    ready = threading.Barrier(12)

    def one(token: int) -> object:
        ready.wait()
        return ledger.begin(claim(token=str(token)), 1)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(one, range(12)))
    assert sorted(type(answer).__name__ for answer in answers) == ["Begun", *["Busy"] * 11]


# -- on a server -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [DUE_KEYS[OUTBOX], OUTBOX])
def test_intents_that_a_sender_has_spoilt_keep_no_command_from_its_end(client: redis.Redis, key: str) -> None:
    """Senders write the intents, which serve only the search for lost commands."""
    client.hset(OUTBOX, "id", "intent")
    client.zadd(DUE_KEYS[OUTBOX], {"id": 1})
    client.delete(key)
    client.set(key, "x")
    ledger = RedisLedger(client)
    assert ledger.begin(claim(), 1) == Begun(1, Progress(tries=1))
    assert ledger.settle(claim(), report()) == report()


def test_the_absence_of_a_parked_command_counts_after_it_is_due(client: redis.Redis) -> None:
    """So that nothing publishes it again while it waits."""
    due = DUE_KEYS[OUTBOX]
    client.hset(OUTBOX, "id", "intent")
    client.zadd(due, {"id": 1})
    ledger, close = RedisLedger(client), claim(command="close")
    ledger.begin(close, 1)
    ledger.park(close, Progress(tries=1), 3_600_000)
    assert client.zscore(due, "id") == read(ledger).lease_until + 120_000
    assert int(client.time()[0]) * 1000 + 3_590_000 < read(ledger).lease_until


def test_what_may_mean_money_paid_out_stays_and_the_rest_expires(client: redis.Redis) -> None:
    """A withdrawal that was accepted, or ever in doubt, is kept for ever; one that was refused or never sent is not: a
    sender could fill the server with them."""
    ledger = RedisLedger(client, keep_ms=60_000)
    refused, unsent = report("rejected"), report("not_sent")
    for command_id, command, end in (
        *(
            ("w", "withdraw", report()),
            ("r", "withdraw", refused),
            ("n", "withdraw", unsent),
            ("d", "withdraw", UNKNOWN),
        ),
        *(("c", "close", report()), ("u", "close", UNKNOWN)),
    ):
        ledger.begin(claim(command_id, command=command), 1)
        ledger.settle(claim(command_id, command=command), end)
    ledger.refuse(claim("i", command="withdraw"), unsent)
    ledger.begin(claim("t", command="withdraw"), 1)
    ledger.pause(claim("t", command="withdraw"), Progress(tries=1, sent=1, tainted="lost_reply"), 1000)
    ledger.settle(claim("t", command="withdraw"), unsent)
    ledger.resolve(unsent.model_copy(update={"command_id": "d"}), who="me", why="looked")
    kept = {each for each in "wrnducit" if client.pttl(f"orders:command:{each}") == -1}
    assert kept == {"w", "d", "u", "t"}
    assert client.zrange("orders:unknown", 0, -1) == ["u"]
    ledger.settle(claim("u", command="close"), report())
    assert client.zrange("orders:unknown", 0, -1) == []


def test_a_server_that_is_away_or_refuses_is_unavailable(server: Server, client: redis.Redis) -> None:
    """A server that is down or full raises the same error, which does not contain the server's password."""
    with pytest.raises(LedgerUnavailable) as raised:
        RedisLedger(connect("redis://:hunter2@127.0.0.1:1/2", timeout=0.5)).begin(claim(), 1)
    assert "hunter2" not in str(raised.value)
    with configured(client, maxmemory="1mb"), pytest.raises(LedgerUnavailable, match="refuses"):
        RedisLedger(client).begin(claim(), 1)


# -- on disk -----------------------------------------------------------------------------------------------------------

MONEY = Withdraw(account="a", asset="ETH", qty=Decimal(1), address="x")


def can_wait_for_disk(client: redis.Redis) -> bool:
    """Redis before 7.2 has no ``WAITAOF``."""
    return "waitaof" in {name.lower() for name in client.command_list()}


def test_a_withdrawal_begins_when_it_is_on_disk(server: Server, client: redis.Redis) -> None:
    """The begin and the wait for the disk are one round trip, where the server can wait; no other command waits."""
    ledger = RedisLedger(connect(server.url(2)))
    ledger.begin(claim("0", command="close"), 1)  # the server knows the script from here on
    with client.monitor() as monitor:
        assert isinstance(ledger.begin(claim("1"), 1), Begun)
        assert isinstance(ledger.begin(claim("2", command="close"), 1), Begun)
        client.execute_command("ECHO", "end")
        seen = []
        while "ECHO" not in (command := monitor.next_command()["command"]):
            seen.append(command.split()[0])
    assert seen.count("WAITAOF") == can_wait_for_disk(client)
    if can_wait_for_disk(client):
        assert seen.index("WAITAOF") < len(seen) - 1 - seen[::-1].index("EVALSHA")


def test_a_server_without_append_only_file_is_told_about_once(
    client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """The withdrawal begins, with a warning."""
    ledger = RedisLedger(client)
    with configured(client, appendonly="no"):
        assert isinstance(ledger.begin(claim("1"), 1), Begun)
        assert isinstance(ledger.begin(claim("2"), 1), Begun)
    assert caplog.text.count("withdrawals don't wait for the ledger's disk") == 1


def test_a_disk_that_must_confirm_and_can_not(server: Server, client: redis.Redis) -> None:
    """It is a server before 7.2, or a user who may not call ``WAITAOF``: withdrawals are refused, and a begin fails."""
    can = can_wait_for_disk(client)
    may = ["~*", "&*", "+@all", *(["-waitaof"] if can else [])]
    client.execute_command("ACL", "SETUSER", "clerk", "on", ">word", *may)
    clerk = connect(server.url(2).replace("redis://", "redis://clerk:word@"))
    try:
        assert "can't confirm its disk" in (ServerPolicy(clerk, need_disk=True).refusal(MONEY) or "")
        assert (ServerPolicy(client, need_disk=True).refusal(MONEY) is None) == can
        assert ServerPolicy(clerk).refusal(MONEY) is None
        strict = RedisLedger(clerk, need_disk=True)
        for _ in range(2):
            with pytest.raises(LedgerUnavailable, match="refuses"):
                strict.begin(claim(), 1)
        with pytest.raises(LedgerUnavailable, match="refuses"):
            strict.begin(claim("held", hold=HOLD), 1)  # its message is kept nowhere else
    finally:
        client.execute_command("ACL", "DELUSER", "clerk")


def test_a_wait_for_the_disk_that_is_broken_off_is_no_confirmation(server: Server, client: redis.Redis) -> None:
    """A server that becomes a replica breaks the wait off, and the withdrawal must not be sent then."""
    if not can_wait_for_disk(client):
        pytest.skip("Redis before 7.2 has no WAITAOF")
    ledger, ended = RedisLedger(connect(server.url(2)), disk_ms=4000), threading.Event()
    ledger.begin(claim("0", command="close"), 1)  # the server knows the script from here on

    def break_off() -> None:
        # The command of others may have been the same; a server says whether it has let one go.
        while not ended.is_set():
            waiting = [int(each["id"]) for each in client.client_list() if each["cmd"] == "waitaof"]
            if any(client.client_unblock(each, error=True) for each in waiting):
                return

    breaker = threading.Thread(target=break_off)
    # What is written is then on disk when the kernel likes.
    with configured(client, appendfsync="no"):
        breaker.start()
        try:
            with pytest.raises(LedgerUnavailable, match="UNBLOCKED"):
                ledger.begin(claim("1"), 1)
        finally:
            ended.set()
            breaker.join()


@pytest.mark.parametrize(
    ("limit", "eviction", "refused"),
    [("0", "allkeys-lru", False), ("100mb", "noeviction", False), ("100mb", "allkeys-lru", True)],
)
def test_withdrawals_are_refused_on_a_server_that_evicts(
    client: redis.Redis, limit: str, eviction: str, refused: bool
) -> None:
    """Such a server may forget that a withdrawal was sent."""
    with configured(client, maxmemory=limit, maxmemory_policy=eviction):
        policy = ServerPolicy(client)
        assert ("evicts" in (policy.refusal(MONEY) or "")) == refused
        assert policy.refusal(Close(account="a", pair="P")) is None
