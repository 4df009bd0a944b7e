"""What stands in the result backend when several workers store their word on one command."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery, chain, group, signature
from celery.app.task import Context
from celery.app.trace import build_tracer
from celery.exceptions import ChordError

from producers.errors import ChainBroken
from producers.intents import ALL_OUTBOXES, Intent, was_sent, write_intents
from producers.report import Report, error_for
from producers.report_signature import ReportKeys, sign_report
from producers.results import RECORD_KEY, NeverSent, Unverified, read_result
from producers.signing import SigningError
from tests.model.conformance import report
from tests.support.servers import Server
from tests.support.signing_keys import fixed_key
from worker.celery_app.results import SIGN_ATTRIBUTE, WAS_SENT_ATTRIBUTE, ReportBackend, store_arguments
from worker.celery_app.tasks import register_commands

KEY = "celery-task-meta-id"


@pytest.fixture
def backend(server: Server) -> Any:
    """The worker's result backend on an empty server."""
    server.flush()
    app = Celery("test", broker="memory://", set_as_current=False)
    app.conf.update(result_serializer="json", accept_content=["json"])
    return ReportBackend(app=app, url=server.url(1))


@pytest.fixture
def results(server: Server) -> Iterator[redis.Redis]:
    """A client of the server, to read what the backend has stored."""
    with redis.Redis.from_url(server.url(1)) as client:
        yield client


def store(backend: Any, told: Report) -> None:
    """Store a report as the end of a task with the id ``id``."""
    error = error_for(told)
    if error is None:
        backend.store_result("id", told.to_json(), "SUCCESS")
    else:
        backend.mark_as_failure("id", error)


def told(results: redis.Redis) -> Report | NeverSent | None:
    """What an ``OrderClient`` reads."""
    return read_result(results.get(KEY), "id")


WORST_TO_BEST = ["unknown", "not_sent", "rejected", "accepted"]


@pytest.mark.parametrize("then", WORST_TO_BEST)
@pytest.mark.parametrize("first", WORST_TO_BEST)
def test_only_a_better_report_takes_the_place_of_a_report(
    backend: Any, results: redis.Redis, first: str, then: str
) -> None:
    """The worker that declared a send unknown may store that after the sender has stored the venue's answer."""
    store(backend, report(first))
    store(backend, report(then))
    assert told(results) == report(max(first, then, key=WORST_TO_BEST.index))


@pytest.mark.parametrize("outcome", ["unknown", "accepted"])
@pytest.mark.parametrize("query_first", [False, True])
def test_a_query_leaves_the_report_of_its_id_alone(
    backend: Any, results: redis.Redis, outcome: str, query_first: bool
) -> None:
    """A command that changes something has the last word on its id, whichever report is stored first."""
    reports = [report("unknown"), report(outcome, command="positions")]
    for each in reversed(reports) if query_first else reports:
        store(backend, each)
    assert told(results) == report("unknown")


# -- what Celery stores by itself --------------------------------------------------------------------------------------

LINK = dict(signature("orders.withdraw", task_id="id"))
BEFORE = signature("orders.cancel", task_id="first")
CHORD = signature("celery.chord", kwargs={"header": [], "body": LINK})
REFUSED = error_for(report("rejected", command_id="the link before"))
assert REFUSED is not None


def broken(*links: Any, error: Exception = REFUSED) -> Callable[[Any], None]:
    """The failure of a command that these links follow, the last one first as in a message."""
    request = Context(id="the link before", task="orders.cancel", chain=list(links), delivery_info={})
    return lambda backend: backend.mark_as_failure("the link before", error, request=request)


def no_body(body: Any, cause: Exception | None) -> Callable[[Any], None]:
    """The failure of a part of a chord with this body."""

    def told(backend: Any) -> None:
        try:
            raise ChordError("Dependency r raised") from cause
        except ChordError as error:
            backend.chord_error_from_stack(signature(body, app=backend.app), error)

    return told


def state(name: str, value: Any = None) -> Callable[[Any], None]:
    """A state that any Celery client may store."""
    return lambda backend: backend.store_result("id", value, name)


BY_ITSELF: dict[str, Callable[[Any], None]] = {
    "link of a chain": broken(LINK),
    "later link": broken(LINK, dict(signature("orders.cancel", task_id="between"))),
    "link after a fault": broken(LINK, error=RuntimeError("a fault")),
    "body in a chain": broken(
        dict(signature("celery.chord", kwargs={"header": [], "body": LINK}), subtask_type="chord")
    ),
    "chord's body": no_body(LINK, REFUSED),
    "body after another service's part": no_body(LINK, ValueError("not ours")),
    "body in a group": no_body(dict(group(signature(LINK))), REFUSED),
    "body in a chain's end": no_body(dict(chain(BEFORE, signature(LINK))), REFUSED),
    "revoked": lambda backend: backend.mark_as_revoked("id", "revoked", request=Context(id="id", task="orders.close")),
    "retry": lambda backend: backend.mark_as_retry("id", ValueError("again")),
    "started": lambda backend: backend.mark_as_started("id", pid=1),
    "pending": state("PENDING"),
    "another's state": state("PROGRESS", {"done": 1}),
    "no report": state("SUCCESS", "done"),
    "another's report": state("SUCCESS", report("accepted", command_id="another").to_json()),
    "failure by hand": state("FAILURE", REFUSED),
    "own fault": lambda backend: backend.mark_as_failure(
        "id", OverflowError("eta"), request=Context(id="id", task="orders.withdraw", delivery_info={})
    ),
}
NEVER_SENT = [name for name in BY_ITSELF if "link" in name or "body" in name]


@pytest.mark.parametrize("way", BY_ITSELF)
@pytest.mark.parametrize("outcome", WORST_TO_BEST)
def test_a_report_stands_whatever_celery_stores(backend: Any, results: redis.Redis, outcome: str, way: str) -> None:
    """A withdrawal of unknown fate was shown as another command's refusal, or as revoked."""
    store(backend, report(outcome))
    BY_ITSELF[way](backend)
    assert told(results) == report(outcome)


@pytest.mark.parametrize("way", BY_ITSELF)
@pytest.mark.parametrize("outcome", ["unknown", "accepted"])
def test_a_report_takes_the_place_of_whatever_celery_stored(
    backend: Any, results: redis.Redis, outcome: str, way: str
) -> None:
    """What Celery stored never answers for a command that is sent later with the same id."""
    BY_ITSELF[way](backend)
    store(backend, report(outcome))
    assert told(results) == report(outcome)


@pytest.mark.parametrize("way", NEVER_SENT)
def test_what_was_never_sent_is_no_report(backend: Any, results: redis.Redis, way: str) -> None:
    """An ``OrderClient`` finds the reason in place of a report, and every Celery client a FAILURE that names it."""
    BY_ITSELF[way](backend)
    found = told(results)
    assert isinstance(found, NeverSent)
    known = found.report.get("command_id") == "the link before"
    assert known or found.report["message"].split(":")[0] in ("RuntimeError", "ChordError")
    failed = backend.get_task_meta("id")
    assert (failed["status"], type(failed["result"])) == ("FAILURE", ChainBroken)


@pytest.mark.parametrize("way", ["revoked", "own fault"])
def test_celery_ends_no_command(backend: Any, results: redis.Redis, way: str) -> None:
    """Nothing is stored, so that a report may still come; an error here ended the worker."""
    BY_ITSELF[way](backend)
    assert told(results) is None
    assert results.get(KEY) is None


@pytest.mark.parametrize("task", ["notify.done", "orders.reconcile"])
def test_another_services_task_in_the_same_chain_or_chord_ends_as_celery_ends_it(backend: Any, task: str) -> None:
    """But never by the class of a command's own report: under an id that a command has as well it would pass for it."""
    link = dict(signature(task, task_id="id"))
    broken(link)(backend)
    assert type(backend.get_task_meta("id")["result"]).__name__ == "ChainBroken"
    no_body(link, REFUSED)(backend)
    assert type(backend.get_task_meta("id")["result"]).__name__ == "ChordError"
    backend.mark_as_revoked("id", "expired", request=Context(id="id", task=task))
    assert backend.get_task_meta("id")["status"] == "REVOKED"
    backend.store_result("id", "done", "SUCCESS")
    backend.store_result("id", ValueError("late"), "FAILURE")
    assert backend.get_task_meta("id")["result"] == "done"


@pytest.mark.parametrize("task", ["orders.close", "notify.done", "orders.reconcile"])
def test_nothing_answers_for_a_command_that_was_sent(backend: Any, results: redis.Redis, task: str) -> None:
    """Whoever sends a chain, a chord or a reconcile chooses ids: another's command has no end but its report."""
    setattr(backend.app, WAS_SENT_ATTRIBUTE, {"id"}.__contains__)
    link, own = dict(signature(task, task_id="id")), Context(id="id", task=task, delivery_info={})
    broken(link)(backend)
    no_body(link, REFUSED)(backend)
    backend.mark_as_done("id", [{"command_id": "x"}], request=own)
    backend.mark_as_failure("id", LookupError("no command has such an id"), request=own)
    assert results.get(KEY) is None
    store(backend, report("unknown"))
    assert told(results) == report("unknown")


def test_a_command_that_begins_and_ends_while_it_is_looked_for_was_sent(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for it would be told that it was never sent."""
    key, exists = RECORD_KEY.format("id"), client.exists
    write_intents(client, [Intent("id", "orders.close", {}, 1)])

    def end(*names: str) -> int:
        found = int(exists(*names))
        client.hset(key, "state", "SETTLED")
        client.delete(*ALL_OUTBOXES)
        return found

    monkeypatch.setattr(client, "exists", end)
    assert was_sent(client, "id")


def test_a_command_that_is_sent_after_all_is_no_longer_told_as_never_sent(backend: Any, results: redis.Redis) -> None:
    """Neither after its link was sent, nor after a worker took it; a report stays."""
    BY_ITSELF["link of a chain"](backend)
    backend.on_task_call(None, "id")
    assert told(results) is None
    store(backend, report("rejected"))
    backend.on_task_call(None, "id")
    assert told(results) == report("rejected")


# -- signed reports ----------------------------------------------------------------------------------------------------

WORKER = fixed_key("worker", "1")
KEYS = ReportKeys(f"worker/1={WORKER.public().to_text()}")


@pytest.mark.parametrize("outcome", WORST_TO_BEST)
def test_a_report_is_signed_as_it_is_stored_and_takes_the_place_of_an_unsigned_one_of_its_rank(
    backend: Any, results: redis.Redis, outcome: str
) -> None:
    """Also an ``accepted`` one, which otherwise stays; and not the place of a better one."""
    answer = {"qty": 1e-7, "n": 284578000.5, "text": "caf\u00e9 \u2028"}
    told_first = report(outcome, result=answer)
    store(backend, told_first)
    assert isinstance(read_result(results.get(KEY), "id", KEYS), Unverified)
    setattr(backend.app, SIGN_ATTRIBUTE, lambda each: sign_report(each, WORKER))
    store(backend, told_first.as_replay())
    found = read_result(results.get(KEY), "id", KEYS)
    assert isinstance(found, Report)
    assert (found.outcome.value, found.result, found.replayed) == (outcome, answer, True)
    store(backend, report("unknown"))
    store(backend, report("accepted", message="another"))
    last = read_result(results.get(KEY), "id", KEYS)
    assert isinstance(last, Report)
    assert last.message == (found.message if outcome == "accepted" else "another")


def test_what_is_no_report_is_not_signed_and_one_that_can_not_be_signed_is_stored_all_the_same(
    backend: Any, results: redis.Redis
) -> None:
    def sign(_: Any) -> Any:
        raise SigningError("no key")

    setattr(backend.app, SIGN_ATTRIBUTE, sign)
    store(backend, report("rejected"))
    assert told(results) == report("rejected")
    setattr(backend.app, SIGN_ATTRIBUTE, lambda each: pytest.fail(f"signed: {each}"))
    backend.store_result("other", {"outcome": "accepted", "command_id": "id"}, "SUCCESS")


# -- what else may stand there -----------------------------------------------------------------------------------------


def deep(levels: int = 3000) -> str:
    """JSON that is nested deeper than most readers can follow."""
    return "[" * levels + "]" * levels


@pytest.mark.parametrize("outcome", ["unknown", "accepted"])
def test_a_report_stands_however_strange_the_venues_answer_in_it(
    backend: Any, results: redis.Redis, outcome: str
) -> None:
    """The server's JSON reader stops at a thousand levels, and must not take what it can't read for no report."""
    store(backend, report(outcome))
    whole = results.get(KEY).replace(b'"result": null', b'"result": ' + deep().encode())
    results.set(KEY, whole)
    for way in BY_ITSELF.values():
        way(backend)
    assert results.get(KEY) == whole


def test_a_report_stands_in_whichever_way_it_is_written(backend: Any, results: redis.Redis) -> None:
    """Another program may write it with other blanks and in another order."""
    meta = {"result": {"exc_message": [report("unknown").to_json()], "exc_type": "OrderUnknown"}, "status": "FAILURE"}
    written = json.dumps(meta, separators=(",", ":")).encode()
    results.set(KEY, written)
    for way in BY_ITSELF.values():
        way(backend)
    assert results.get(KEY) == written
    store(backend, report("accepted"))
    assert told(results) == report("accepted")


RUBBISH = {
    "no JSON": "{",
    "no text": b"\xff\xfe\x00",
    "a number": "5",
    "a list": "[[]]",
    "no result": '{"status": "FAILURE"}',
    "odd error": '{"status": "FAILURE", "result": {"exc_type": 5, "exc_message": {"a": 1}}}',
    "odd report": '{"status": "SUCCESS", "result": {"command_id": "id", "command": 5}}',
    "odd status": '{"status": {}, "result": null}',
    "deep": deep(100_000),
    "long number": '{"status": "SUCCESS", "result": ' + "9" * 200_000 + "}",
}


@pytest.mark.parametrize("what", [*RUBBISH, "another type"])
def test_rubbish_that_somebody_has_stored_gives_way_to_a_report(backend: Any, results: redis.Redis, what: str) -> None:
    if what in RUBBISH:
        results.set(KEY, RUBBISH[what])
    else:
        results.rpush(KEY, "x")
    store(backend, report("rejected"))
    assert told(results) == report("rejected")


# -- the arguments of a script that stores a report --------------------------------------------------------------------


@pytest.mark.parametrize("outcome", WORST_TO_BEST)
@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("follows", [{}, {"parent_id": "before", "group": "g", "root_id": "before"}])
def test_a_report_is_stored_by_arguments_as_its_task_stores_it(
    backend: Any, results: redis.Redis, outcome: str, follows: dict[str, str], *, signs: bool
) -> None:
    """To the byte, but for the time."""
    ended = report(outcome, message="sent to 0xabc", command="withdraw", result={"n": 1e-7, "text": "caf\u00e9 0xabc"})
    app, arguments = backend.app, {"address": "0xabc"}
    app._local.backend = backend
    if signs:
        setattr(app, SIGN_ATTRIBUTE, lambda each: sign_report(each, WORKER))
    register_commands(app, lambda: SimpleNamespace(execute=lambda _: ended))  # type: ignore[arg-type, return-value]
    task = app.tasks["orders.withdraw"]
    request = {"id": "id", "delivery_info": {}, "is_eager": False, **follows}
    build_tracer(task.name, task, app=app)("id", (), arguments, request)
    stored = results.get(KEY)
    assert isinstance(stored, bytes)
    assert results.ttl(KEY) in range(86_000, 86_401)
    key, value, seconds, rank, _, signed = store_arguments(backend, ended, Context(request))
    assert (key, seconds, signed) == (KEY.encode(), 86_400, int(signs))
    assert rank == 11 + WORST_TO_BEST.index(outcome)
    assert undated(value.encode()) == undated(stored)  # type: ignore[attr-defined]
    celerys = backend._get_result_meta(None, "SUCCESS", None, Context(request)) | {"task_id": "id"}
    ours = json.loads(stored)
    assert [*ours] == [*celerys]
    changed = {"status", "result", "date_done"}
    assert {name: ours[name] for name in ours if name not in changed} == {
        name: celerys[name] for name in celerys if name not in changed
    }
    assert datetime.fromisoformat(ours["date_done"]).utcoffset() == timedelta(0)


def undated(stored: bytes) -> bytes:
    without, dates = re.subn(rb'"date_done": "[^"]*"', b"", stored)
    assert dates == 1
    return without
