"""The history of commands on a real server: the timeline of one, and the search through the journal."""

import json
from dataclasses import replace

import pytest
import redis

from producers.intents import Intent, write_intents
from producers.report import Outcome
from tests.contract.conftest import OperatorFixture
from tests.model.conformance import HOLD, claim, report
from tests.support.signing_keys import fixed_key
from worker.ledger.base import Begun, Doubtful, Orphaned
from worker.ledger.decisions import APPROVE, DENY, Decision
from worker.ledger.halts import HaltScope
from worker.ledger.journal import JournalEntry
from worker.ledger.records import Progress
from worker.operations.history import NO_RECORD, CommandHistory, Filter, History
from worker.operations.history_search import NO_END, OPEN, Line
from worker.operations.operator import OperatorService
from worker.operations.timeline import MAX_MOMENTS, MAX_WORDS, tell
from worker.public_keys import parse

ANNA = fixed_key("anna")
KEYS = parse(f'[operators]\nanna = "{ANNA.public().to_text()}"\n'.encode())
HOSTILE = "</td><script>\x1b[2J\u202e\n2026-01-01 accepted" + "x" * 5000


@pytest.fixture
def history(operator: OperatorFixture) -> History:
    return History(operator.client, operator.ledger, KEYS)


def told(history: History, command_id: str = "x") -> CommandHistory:
    found = history.of(command_id)
    assert found is not None
    return found


def events(found: CommandHistory) -> list[str]:
    return [each.event for each in found.moments]


def words(found: CommandHistory, event: str) -> list[str]:
    return [each.words for each in found.moments if each.event == event]


# -- one command -------------------------------------------------------------------------------------------------------


def test_a_settled_unknown_is_told_from_its_sender_to_the_word_that_settled_it(
    operator: OperatorFixture, history: History
) -> None:
    operator.unknown("before")
    operator.end(operator.begin("x"), message="the reply was lost: no answer in time", enqueued_at=5)
    assert words(told(history), "settle") == ["It ended as unknown (lost_reply): the reply was lost: no answer in time"]
    anna = OperatorService(operator.client, operator.ledger, operator.clock, ANNA)
    anna.resolve("x", reference="ref-1", who="anna", why="seen on their page")
    operator.unknown("after")
    found = told(history)
    assert events(found) == ["enqueued", "begin", "settle", "resolve"]
    assert (found.command, found.account, found.state, found.complete) == ("close", "main", "SETTLED", True)
    assert found.arguments == {"account": "main", "pair": "P", "qty": "0.5"}
    enqueued, begin, settle, resolve = found.moments
    assert (enqueued.at, enqueued.position) == (5, "")
    assert begin.words == "Attempt 1 began, and the ledger had it on record before anything was sent."
    assert settle.words == "It ended as unknown. Its report from then is not kept."
    assert (resolve.who, resolve.verdict) == ("anna", "signed by anna")
    assert resolve.words.endswith("by the word of anna, the venue's id being ref-1: seen on their page")
    journal = {each.position: each.at for each in operator.desk.journal("x")}
    assert {each.position: each.at for each in found.moments[1:]} == journal


def test_attempts_are_told_apart_and_a_begin_that_was_repeated_is_none(
    operator: OperatorFixture, history: History
) -> None:
    ledger, mine = operator.ledger, claim("x", command="close", repeatable=True)
    assert isinstance(ledger.begin(mine, 1), Begun)
    ledger.begin(mine, 1)
    ledger.renew(mine)
    ledger.pause(mine, Progress(1, 1), 1000)
    ledger.begin(mine, 2)
    ledger.park(mine, Progress(2, 2), 0)
    other = replace(mine, token="2")
    ledger.begin(other, 1)
    operator.client.hset("orders:command:x", "lease_until", 0)
    ledger.begin(replace(mine, token="3"), 1)
    ledger.settle(other, report("accepted", command_id="x"))
    said = told(history).moments
    assert [each.event for each in said] == [
        "begin",
        "begin",
        "renew",
        "pause",
        "begin",
        "park",
        "begin",
        "begin",
        "late",
    ]
    begins = [each.words for each in said if each.event == "begin"]
    assert [each.partition(" began")[0] for each in begins] == [
        "Attempt 1",
        "The begin of attempt 1 was recorded again: the reply to the first call was lost.",
        "Attempt 2",
        "Attempt 3",
        "Attempt 4",
    ]
    assert begins[3].endswith("A worker took it because it was due.")
    assert begins[4].endswith("Another worker took it over: its owner's lease had ended without a word.")
    assert said[3].words.startswith("Attempt 1 was over without an end.")
    assert said[5].words.startswith("Attempt 2 was over without an end. It was parked")
    assert "came with its outcome, accepted" in said[8].words


def test_what_is_known_of_an_attempt_that_was_not_the_end(operator: OperatorFixture, history: History) -> None:
    ledger, mine = operator.ledger, claim("x", command="close", repeatable=True)
    ledger.begin(mine, 1)
    ledger.pause(mine, Progress(1, 1), 1000)
    ledger.begin(mine, 2)
    ledger.pause(mine, Progress(2, 2, "lost_reply"), 1000)
    ledger.begin(mine, 3)
    ledger.park(mine, Progress(3, 3, "lost_reply"), 0)
    first, second = words(told(history), "pause")
    assert first.startswith("Attempt 1 was over without an end. ")
    doubt = "; whether an attempt so far was executed is not known: no reply of the venue's own came. "
    assert second.startswith(f"Attempt 2 was over without an end{doubt}")
    assert words(told(history), "park")[0].startswith(f"Attempt 3 was over without an end{doubt}It was parked")


def test_a_command_whose_worker_died_is_looked_for_or_ended_by_another(
    operator: OperatorFixture, history: History
) -> None:
    ledger, client = operator.ledger, operator.client
    seen = claim("x", command="close", lookup='["id",0]', account_digest="d")
    for each in (seen, claim("y")):
        ledger.begin(each, 1)
        client.hset(f"orders:command:{each.command_id}", "lease_until", 0)
    assert isinstance(ledger.take_to_look(replace(seen, token="2")), Doubtful)
    assert words(told(history), "look")[0].startswith("Another worker took it over to look for it")
    ledger.pause(replace(seen, token="2"), Progress(1, 1, "crashed"), 1000)
    assert words(told(history), "pause") == ["The same worker goes on waiting, or looks for it at the venue again."]
    orphan = ledger.begin(claim("y", token="2"), 1)
    assert isinstance(orphan, Orphaned)
    assert ledger.abandon(claim("y", token="2"), orphan, report("unknown", command_id="y", message="a worker died"))
    assert words(told(history, "y"), "abandon") == [
        "Its worker was gone, its lease had ended, and another worker ended it as unknown (lost_reply): a worker died"
    ]


def test_who_approved_and_who_denied_and_why(operator: OperatorFixture, history: History) -> None:
    operator.ledger.begin(claim("x", hold=HOLD), 1)
    for decision, event, reason in ((APPROVE, "approved", ""), (DENY, "denied", "nobody knows of it")):
        signed = Decision("x", "f" * 64, event, 9, decision, reason).signed(ANNA)
        assert operator.ledger.decide("x", "f" * 64, who=event, kid="k", event=event, signed=signed)
    operator.ledger.refuse(claim("x"), report("not_sent", command_id="x", message="denied by denied"))
    held, approved, denied, refused = told(history).moments
    assert held.words.startswith("It was held for approval until 2")
    assert (approved.words, approved.who) == ("approved approved it.", "approved")
    assert denied.words == "denied denied it: nobody knows of it"
    assert "signed decision in the record" in denied.verdict
    assert refused.words.startswith("It ended as not_sent without having begun: nothing was sent (unavailable): denied")


def test_what_has_not_begun_is_told_from_its_intent(operator: OperatorFixture, history: History) -> None:
    write_intents(operator.client, [Intent("x", "orders.close", {"account": "main", "pair": "P"}, 7)])
    found = told(history)
    assert (found.state, found.command, found.account, found.complete) == ("ENQUEUED", "close", "main", True)
    assert [(each.at, each.event) for each in found.moments] == [(7, "enqueued")]
    operator.client.hset("orders:outbox:close", "y", "no intent")
    operator.client.hset("orders:outbox:close", "z", b"\xff")
    assert [history.of(each) for each in ("y", "z", "nothing", "", "x" * 300, "\n")] == [None] * 6


def test_a_journal_that_was_trimmed_says_so_and_what_is_left(operator: OperatorFixture, history: History) -> None:
    operator.unknown("x")
    operator.unknown("y")
    operator.client.delete("orders:command:y")
    gone = told(history, "y")
    assert (gone.state, gone.command, gone.account, gone.report, gone.complete) == (
        NO_RECORD,
        "close",
        "main",
        None,
        True,
    )
    operator.client.xtrim("orders:journal", maxlen=3, approximate=False)
    found = told(history)
    assert (events(found), found.complete) == (["settle"], False)
    assert words(found, "settle")[0].startswith("It ended as unknown, although no begin is on record any more")
    assert told(history, "y").complete is False


def test_what_strangers_wrote_is_visible_and_short(operator: OperatorFixture, history: History) -> None:
    """Whatever a field is: anybody with a worker's login may have written it."""
    operator.unknown("x")
    fields = dict.fromkeys(("who", "why", "until", "outcome", "reference", "scope", "queue", "problem"), HOSTILE)
    known = (
        "begin",
        "held",
        "approved",
        "settle",
        "refuse",
        "late",
        "resolve",
        "badly_sealed",
        "cool_down",
        "dead_resend",
    )
    for event in (*known, HOSTILE, ""):
        operator.client.xadd("orders:journal", {"event": event, "id": "x", **fields})
    found = told(history)
    assert len(found.moments) == 14
    for each in found.moments:
        for text in (each.words, each.who, each.verdict, each.event):
            assert text.isprintable()
            assert len(text) <= MAX_WORDS
        assert each.words


def test_a_very_long_timeline_keeps_its_beginning_and_its_end() -> None:
    entries = [JournalEntry(f"{number}-0", {"event": "pause", "id": "x"}) for number in range(1000)]
    found = tell(entries, None, None, None)
    assert [found[0].at, found[-1].at, len(found)] == [0, 999, MAX_MOMENTS + 1]
    assert [each.words for each in found if each.event == "omitted"] == [
        "600 entries between these are not shown here; `orders journal ID` shows all of them."
    ]


# -- the search --------------------------------------------------------------------------------------------------------


def ids(lines: tuple[Line, ...]) -> list[str]:
    return [each.command_id for each in lines]


@pytest.fixture
def filled(operator: OperatorFixture) -> None:
    """Commands of each kind, and entries that are no command's."""
    operator.unknown("c-1")
    operator.ledger.begin(claim("w-1", account="Other", hold=HOLD), 1)
    operator.end(operator.begin("c-2"), Outcome.ACCEPTED)
    operator.desk.halt(HaltScope(), who="ann", why="fire")
    operator.ledger.refuse(claim("w-2", account="other"), report("not_sent", command_id="w-2"))
    operator.begin("c-3")
    operator.ledger.begin(claim("c-3"), 1)  # other arguments
    operator.desk.resolve("c-1", reference=None, who="ann", why="asked")


@pytest.mark.usefixtures("filled")
def test_the_last_command_is_listed_first_and_each_once(history: History) -> None:
    page = history.search(Filter())
    assert (ids(page.lines), page.more) == (["c-3", "w-2", "c-2", "w-1", "c-1"], "")
    assert [(each.command, each.account, each.outcome, each.reason) for each in page.lines] == [
        ("close", "main", "", "SENDING"),
        ("withdraw", "other", "not_sent", "unavailable"),
        ("close", "main", "accepted", "ok"),
        ("withdraw", "Other", "", "HELD"),
        ("close", "main", "not_sent", "unavailable"),
    ]
    assert [bool(each.ended_at) for each in page.lines] == [False, True, True, False, True]
    assert all(each.ended_at in (0, each.ended_at) and each.began_at > 0 for each in page.lines)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"account": "OTHER"}, ["w-2", "w-1"]),
        ({"command": "close"}, ["c-3", "c-2", "c-1"]),
        ({"outcome": "not_sent"}, ["w-2", "c-1"]),
        ({"outcome": "unknown"}, []),
        ({"outcome": OPEN}, ["c-3", "w-1"]),
        ({"id_prefix": "w-"}, ["w-2", "w-1"]),
        ({"command": "close", "outcome": "accepted"}, ["c-2"]),
        ({"since_ms": 10**13}, []),
    ],
)
def test_a_filter_leaves_the_others_out(history: History, wanted: dict[str, str], found: list[str]) -> None:
    assert ids(history.search(Filter(**wanted)).lines) == found  # type: ignore[arg-type]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_that_follow_each_other_have_each_command_once(history: History, limit: int) -> None:
    """Also of those whose records are gone, and whose end is on an earlier page."""
    history._client.delete("orders:command:c-1", "orders:command:c-2")
    lines, before = list[Line](), ""
    while True:
        page = history.search(Filter(), limit, before)
        assert len(page.lines) <= limit
        lines += page.lines
        before = page.more
        if not before:
            break
    assert [each.command_id for each in lines] == ["c-3", "w-2", "c-2", "w-1", "c-1"]
    assert [each.outcome for each in lines] == ["", "not_sent", "accepted", "", "not_sent"]


def test_a_command_of_several_attempts_is_where_it_first_began(operator: OperatorFixture, history: History) -> None:
    """Also where its page begins between two of its attempts."""
    mine = claim("x", command="close")
    operator.ledger.begin(mine, 1)
    operator.client.hincrby("orders:command:x", "first_begun_at", -1)  # by another millisecond than the second
    operator.unknown("y")
    operator.ledger.pause(mine, Progress(1, 1), 1000)
    operator.ledger.begin(mine, 2)
    page = history.search(Filter(), 1)
    assert ids(page.lines) == ["y"]
    assert ids(history.search(Filter(), 1, page.more).lines) == ["x"]


def test_a_command_whose_begin_the_server_lost_is_listed_by_its_end(
    operator: OperatorFixture, history: History
) -> None:
    """A restart without the last writes: its owner puts the truth back."""
    lost = operator.begin("x")
    operator.client.delete("orders:command:x", "orders:journal", "orders:journal:head")
    operator.unknown("y")
    operator.end(lost, Outcome.ACCEPTED)
    lines = history.search(Filter()).lines
    assert [(each.command_id, each.outcome) for each in lines] == [("x", "accepted"), ("y", "unknown")]
    assert (told(history, "x").complete, told(history, "y").complete) == (False, True)
    assert words(told(history, "x"), "settle")[0].startswith("It ended as accepted, although no begin is on record")


def test_a_begin_that_was_trimmed_within_its_millisecond_is_missed(operator: OperatorFixture, history: History) -> None:
    operator.unknown("x")
    operator.client.xtrim("orders:journal", maxlen=1, approximate=False)
    (settle,) = operator.desk.journal("x")
    operator.client.hset("orders:command:x", "first_begun_at", settle.at)
    assert told(history).complete is False


def test_a_command_of_which_nothing_is_left_but_its_begin_is_not_called_open(
    operator: OperatorFixture, history: History
) -> None:
    operator.begin("x")
    operator.client.delete("orders:command:x")
    (line,) = history.search(Filter()).lines
    assert (line.outcome, line.reason) == ("", NO_END)
    assert history.search(Filter(outcome=OPEN)).lines == ()


def test_a_search_of_a_long_journal_is_continued(
    operator: OperatorFixture, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is found twice, and nothing is left out because a page was full."""
    monkeypatch.setattr("worker.operations.history_search.MOST_READ", 1000)
    operator.unknown("first")
    with operator.client.pipeline() as pipe:
        for number in range(2500):
            entry = {
                "event": "begin",
                "id": str(number),
                "token": "",
                "outcome": "",
                "command": "close",
                "account": "b",
            }
            pipe.xadd("orders:journal", entry)
        pipe.execute()
    operator.unknown("last")
    pages = [history.search(Filter(account="main"))]
    while pages[-1].more:
        pages.append(history.search(Filter(account="main"), before=pages[-1].more))
    assert [each for page in pages for each in ids(page.lines)] == ["last", "first"]
    assert len(pages) == 3


def test_a_record_that_was_spoilt_stops_nothing(
    operator: OperatorFixture, client: redis.Redis, history: History
) -> None:
    for command_id, fields in (("x", {"report": json.dumps({"outcome": "unknown"})}), ("y", {"fence": HOSTILE})):
        operator.unknown(command_id)
        client.hset(f"orders:command:{command_id}", mapping=fields)
    client.set("orders:command:z", "no hash")
    client.xadd("orders:journal", {"event": "begin", "id": "z"})
    lines = history.search(Filter()).lines
    assert [(each.command_id, each.outcome) for each in lines] == [("z", ""), ("y", "unknown"), ("x", "unknown")]
    assert (told(history, "x").state, told(history, "y").report) == (NO_RECORD, None)
