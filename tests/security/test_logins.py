"""Each login of compose's server can do what it is for: the server refuses nothing (``ACL LOG``) in all that is done
here. What a login may not do is in tests/contract/test_logins.py."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from celery import chain, chord, group
from celery.canvas import Signature

from producers.client import OrderClient
from producers.commands import Cancel, Close, Command, Positions, Submit, parse_command
from producers.report import Outcome
from producers.settings import database_url
from tests.model.conformance import claim
from tests.support.compose_stack import WITHDRAW, ComposeStack
from tests.support.flower import FlowerNode
from tests.support.parked_messages import park
from tests.support.policies import APPROVERS, KEYS
from tests.support.stack import foreign_app
from tests.support.waiting import until
from worker.broker.dead_letters import dead_letters
from worker.ledger.base import Begun, Progress
from worker.ledger.connection import connect
from worker.ledger.keys import BEGINS_KEY, COOL_DOWNS_KEY
from worker.ledger.pacing import CoolDown, Pace
from worker.ledger.redis import RedisLedger
from worker.operations.doctor.rights import NO_PRODUCERS, NOBODY, NOBODYS
from worker.rate_limits import RateLimit

CANCEL = Cancel(account="main", order_id="order-1")
CLOSE = Close(account="main", pair="USD_BTC_PERP", qty="0.001")
SUBMIT = Submit(account="main", pair="USD_BTC_PERP", side="buy", qty="0.001")
ORDERS = Path(sys.executable).with_name("orders")
FORGETS = {("producer", "command", "evalsha")}
"""A sender tries to remove the mark that a command was never sent; the worker that takes the command does it too."""


@pytest.fixture(autouse=True)
def refusals(stack: ComposeStack) -> Iterator[Callable[[], set[tuple[str, str, str]]]]:
    """What was refused in this test; nothing is, unless the test has asked and seen what."""
    asked: list[bool] = []
    stack.server.refusals()

    def ask() -> set[tuple[str, str, str]]:
        asked.append(True)
        return {*stack.server.refusals()}

    yield ask
    assert asked or set(stack.server.refusals()) == set()


def withdrawal() -> Command:
    return parse_command("orders.withdraw", WITHDRAW)


def canvases(sign: Callable[[Command], Signature]) -> list[tuple[Signature, int]]:
    """Signatures, and how many commands each sends. Queries are executed as often as they are asked."""
    query = Positions(account="main")
    return [
        (chain(sign(query), sign(query)), 2),
        (group(sign(query), sign(withdrawal())), 2),
        (chord([sign(query), sign(withdrawal())], sign(query)), 3),
        (chain(group(sign(query), sign(query)), group(sign(query), sign(query))), 4),
    ]


def test_a_service_sends_waits_and_reads_with_order_client(
    stack: ComposeStack, refusals: Callable[[], set[tuple[str, str, str]]]
) -> None:
    executed = results(stack)
    with OrderClient(stack.queue_settings("producer")) as client:
        sent = client.enqueue_many([CLOSE, CANCEL, withdrawal(), Positions(account="main"), SUBMIT])
        *ends, refused = (report.outcome for report in client.wait_many(sent, 60))
        assert ({*ends} <= {Outcome.ACCEPTED, Outcome.REJECTED}, refused) == (True, Outcome.NOT_SENT)
        assert refusals() == set()
        client.wait(client.enqueue(Positions(account="main"), f"own-{uuid4()}"), 60)
        sizes = [(canvas.apply_async(), size)[1] for canvas, size in canvases(client.signature)]
    until(lambda: results(stack) == executed + 6 + sum(sizes), lambda: f"{results(stack)} results", 60)
    assert refusals() == FORGETS


def results(stack: ComposeStack) -> int:
    return len(list(stack.admin(1).scan_iter("celery-task-meta-*", count=1000)))


def test_any_celery_client_sends_waits_and_reads(stack: ComposeStack) -> None:
    """In every priority, and what follows a command too."""
    url = stack.server.urls["producer"]
    with foreign_app(database_url(url, 0), database_url(url, 1)) as app:
        for priority in (None, 3, 9):
            options = {"kwargs": {"account": "main"}, "queue": "orders.positions", "priority": priority}
            assert app.send_task("orders.positions", **options).get(timeout=60)["outcome"] == "accepted"

        def sign(command: Command) -> Signature:
            return app.signature(command.task, kwargs=command.arguments(), immutable=True, queue=command.task)

        for canvas, _ in canvases(sign):
            assert canvas.apply_async().get(timeout=60)


def orders(stack: ComposeStack, login: str, *words: str, **settings: str) -> tuple[int, str]:
    """Exit code and output of the `orders` program with somebody's login."""
    environment = {**os.environ, "ORDERS_REDIS_URL": stack.server.urls[login], **settings}
    done = subprocess.run(
        [str(ORDERS), *words], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


def test_a_person_sends_and_looks_with_a_producers_login(
    stack: ComposeStack, refusals: Callable[[], set[tuple[str, str, str]]]
) -> None:
    """`orders show` says whether the ledger has a command, of which the login may read no more."""
    command_id = f"own-{uuid4()}"
    assert orders(stack, "producer", "positions", "-a", "main", "--id", command_id, "--wait")[0] == 0
    assert orders(stack, "producer", "show", command_id)[0] == 0
    # A report is shown with its timeline, where the login may read the ledger.
    assert refusals() == FORGETS | {("producer", "command", "hgetall")}
    stack.admin(2).hset("orders:outbox:withdraw", command_id, "an intent")
    stack.admin(1).delete(f"celery-task-meta-{command_id}")
    code, said = orders(stack, "producer", "show", command_id)
    assert (code, "the ledger has it, enqueued, held or begun" in said) == (6, True), said
    stack.admin(2).hdel("orders:outbox:withdraw", command_id)
    code, said = orders(stack, "producer", "show", command_id)
    assert (code, "nothing in the ledger" in said) == (6, True), said
    assert refusals() == {("producer", "command", "hgetall")}


def dead_letter(stack: ComposeStack, text: str) -> str:
    """The digest of the dead letter that is this text; other tests may have left others."""
    with stack.server.login("admin", decode_responses=False) as broker:
        letters = [letter for _, _, found in dead_letters(broker) for letter in found]
    return next((each.digest for each in letters if each.beginning == text), "")


def test_an_operator_operates(stack: ComposeStack) -> None:
    text = f"no command {uuid4()}"
    stack.put(text, "orders.close")
    until(lambda: dead_letter(stack, text), "a dead letter")
    stack.venue.fault("cut_after", path="withdraw", times=2)
    looked_up, unknown = (stack.send("orders.withdraw", kwargs=WITHDRAW) for _ in range(2))
    assert {stack.ended(each).outcome for each in (looked_up, unknown)} == {("unknown", "lost_reply")}
    with limited(stack):
        for words, code in (
            (["halt", "--all", "--reason", "x", "--who", "ann"], 0),
            (["resume", "--all", "--reason", "x", "--who", "ann"], 0),
            (["journal"], 0),
            (["unknown"], 5),
            (["dead"], 0),
            (["list"], 0),
            (["dead", "drop", dead_letter(stack, text), "--reason", "x", "--who", "ann", "--yes"], 0),
            (["parked"], 0),
            (["parked", "--end-cool-down", BUCKET, "--reason", "x", "--who", "ann"], 0),
            (["reconcile", looked_up, "--by-worker"], 5),
            (["resolve", unknown, "--not-executed", "--reason", "x", "--who", "ann", "--yes"], 4),
            (["show", unknown], 4),
        ):
            found, said = orders(stack, "operator", *words)
            assert found == code, (words, said)


def test_what_waits_needs_no_right_beyond_a_workers(tmp_path: Path) -> None:
    """Commands are parked for their next attempt and for their time, wait by account while it cools down, are probes,
    and stand in lanes: of both kinds of workers, each with its own login."""
    waits = {"ORDERS_RETRY__INITIAL_SECONDS": "0.3", "ORDERS_RETRY__MAX_SECONDS": "0.5"}
    with ComposeStack(tmp_path, **waits) as waiting:
        for path in ("close", "withdraw"):
            waiting.venue.fault("envelope", status=429, message="Too many requests", path=path, times=1)
        soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        headers = [{"eta": soon}, *[{"orders_lane": "book"}] * 3]
        sent = [waiting.send("orders.withdraw", kwargs=WITHDRAW, headers=each) for each in headers]
        close = CLOSE.arguments()
        sent += [waiting.send("orders.close", kwargs=close, headers=each) for each in (*headers, *[{}] * 60)]
        assert {waiting.ended(each).report["outcome"] for each in sent} <= {"accepted", "rejected"}
        waiting.drained()
        journal = waiting.admin(2).xrange("orders:journal")
        assert {"park", "cool_down"} <= {fields["event"] for _, fields in journal}
        assert waiting.server.refusals() == []


BUCKET = "0123456789abcdef"
"""An operator has no venue's keys, and names a cool-down by the digest."""


@contextmanager
def limited(stack: ComposeStack) -> Iterator[None]:
    """Meanwhile an account cools down, a command of it is parked, and another one holds its lane."""
    pace = Pace(BUCKET, "venue.test:443")
    RedisLedger(stack.admin(2)).cool_down(claim("q", command="positions", pace=pace), CoolDown(60, False, "HTTP 429"))
    broker, far = stack.admin(0), 9 * 10**12
    park(broker, "orders.close", "parked-1", "eta", "main", 1, far)
    broker.hset("orders.lane:main/x", mapping={"id": "held-1", "queue": "orders.close", "since": far, "tag": "t"})
    broker.zadd("orders.lanes", {"main/x": far})
    yield
    # Other tests wait until nothing is parked.
    broker.delete(*broker.keys("orders.close.parked*"), "orders.lane:main/x", "orders.lanes")


@pytest.mark.parametrize("login", ["worker", "withdraw"])
def test_a_worker_counts_and_cools_down(stack: ComposeStack, login: str) -> None:
    """Every command of the scripts, the deletion of what somebody has spoilt among them."""
    bucket = f"{login} {uuid4()}"
    pace = Pace(bucket, f"{bucket}:443", (RateLimit(2, 1000),))
    stack.admin(2).set(BEGINS_KEY.format(bucket), "x")
    stack.admin(2).hset(COOL_DOWNS_KEY, bucket, "x")
    with connect(database_url(stack.server.urls[login], 2)) as client:
        ledger = RedisLedger(client)
        for number in range(4):
            mine = claim(f"{bucket} {number}", command="close", repeatable=True, pace=pace)
            until(lambda mine=mine: isinstance(ledger.begin(mine, 1), Begun), "a begin")  # type: ignore[misc]
            ledger.pause(mine, Progress(tries=1), 0)
        ledger.cool_down(mine, CoolDown(0, by_address=False, why="HTTP 429"))
        probe = replace(mine, command_id=f"{bucket} probe", token="probe", probe=True)
        until(lambda: isinstance(ledger.begin(probe, 1), Begun), "the probe")
        ledger.park(probe, Progress(tries=1), 0)
    assert not stack.admin(2).hexists(COOL_DOWNS_KEY, bucket)
    assert 0 < stack.admin(2).llen(BEGINS_KEY.format(bucket)) <= 2


POLICY = """
[withdrawals.main]
[[withdrawals.main.to]]
name = "treasury"
asset = "ETH"
address = "0xabc"
approve_above = "0"
[[withdrawals.main.limit]]
asset = "ETH"
window = "24h"
total = "1"
"""


def test_a_withdrawal_is_held_counted_and_approved(tmp_path: Path) -> None:
    """By workers that have a policy, and a person with an operator's login."""
    (tmp_path / "policy.toml").write_text(POLICY + APPROVERS)
    (tmp_path / "anna.key").write_text(KEYS["anna"].to_file_text())
    policy = {"ORDERS_POLICY__MODE": "require", "ORDERS_POLICY_FILE": str(tmp_path / "policy.toml")}
    with ComposeStack(tmp_path, **policy, ORDERS_LEDGER__INTENT_SECONDS="1") as guarded:
        sent = [guarded.send("orders.withdraw", kwargs=WITHDRAW) for _ in range(2)]
        until(lambda: guarded.admin(2).zcard("orders:held") == 2, "two held withdrawals", 60)
        key = {"ORDERS_OPERATOR_KEY_FILE": str(tmp_path / "anna.key")}
        for words in (["held"], ["approve", sent[0], "--yes"], ["deny", sent[1], "--reason", "x", "--yes"]):
            code, said = orders(guarded, "operator", *words, **key)
            assert code in (0, 4), (words, said)
        assert [guarded.ended(each).report["outcome"] for each in sent] == ["accepted", "not_sent"]
        assert guarded.server.refusals() == []


@pytest.mark.parametrize("login", ["worker", "producer"])
def test_the_doctor_needs_no_right_beyond_its_login(
    stack: ComposeStack, refusals: Callable[[], set[tuple[str, str, str]]], login: str
) -> None:
    """A check that a producer's may not make is a warning and no fault. A worker's makes each, and is refused only the
    rights that the doctor tries."""
    code, said = orders(stack, login, "doctor", "--json")
    assert code == 0, said
    unchecked = [each["name"] for each in json.loads(said)["findings"] if each["message"] == "can't be checked"]
    assert (unchecked == []) == (login == "worker")
    tried = {
        part for right in (*NOBODYS, *NO_PRODUCERS) for part in (right.name.lower().replace(" ", "|"), *right.command)
    }
    refused = {name for _, _, name in refusals()}
    assert login == "producer" or all(name in {*tried, "acl|getuser"} or NOBODY in name for name in refused)


def test_an_archive_follows_and_verifies_the_journal(stack: ComposeStack, tmp_path: Path) -> None:
    stack.ended(stack.send("orders.withdraw", kwargs=WITHDRAW))
    command = [str(ORDERS), "archive", "--to", str(tmp_path / "archive")]
    environment = {**os.environ, "ORDERS_REDIS_URL": stack.server.urls["archive"]}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as archiver:
        until(lambda: list((tmp_path / "archive").rglob("*")), "an archive", 60)
        archiver.terminate()
        assert archiver.wait(60) == 0, archiver.communicate()[0]
    for login in ("archive", "operator", "worker"):
        code, said = orders(stack, login, "journal", "--verify", "--archive", str(tmp_path / "archive"))
        assert code == 0, (login, said)


def test_flower_sees_workers_queues_and_results(stack: ComposeStack) -> None:
    name = f"w1@{stack.workers['worker'].id[:12]}"
    flower = FlowerNode(stack.folder, {"ORDERS_REDIS_URL": stack.server.urls["flower"]})
    try:
        flower.start()
        flower.ready()
        flower.sees(name)
        sent: list[str] = []
        seen: list[str] = []

        def shown() -> bool:
            # The worker sends events from when Flower has asked for them, and each a little after its command's end.
            sent.append(stack.send("orders.positions", kwargs={"account": "main"}))
            stack.ended(sent[-1])
            tasks = flower.get("/api/tasks").json
            seen[:] = [each for each in sent if each in tasks]
            return bool(seen)

        until(shown, "a task at Flower", 60, every=0.5)
        ended = seen[-1]
        assert flower.get(f"/api/task/result/{ended}").json["state"] == "SUCCESS"
        queues = {each["name"]: each["messages"] for each in flower.get("/api/queues/length").json["active_queues"]}
        assert queues["orders.withdraw"] == 0
        for path in ("/workers", "/tasks", "/broker", "/metrics"):
            assert flower.get(path).status == 200
    finally:
        flower.teardown()
        # Workers go on sending events, and other tests share them.
        with foreign_app(stack.server.urls["flower"], "disabled://") as app:
            assert app.control.disable_events(reply=True, timeout=60, limit=len(stack.workers))


def test_a_lane_goes_on_between_the_workers_of_two_logins(stack: ComposeStack) -> None:
    """Each writes its own commands' messages alone: `worker` has the lane of a withdrawal go on, and adds none."""
    fault = stack.venue.fault("hold", path="close", times=1)
    with OrderClient(stack.queue_settings("producer")) as client:
        sent = [client.enqueue(CLOSE, lane="two")]
        stack.venue.wait(arrivals=1, timeout=60)
        for at, command in enumerate([withdrawal(), CLOSE, withdrawal()], 1):
            sent.append(client.enqueue(command, lane="two"))
            until(lambda: stack.admin(0).llen("orders.lane:main/two.waiting") == at, "it waits", 60)  # noqa: B023
        stack.venue.release("proceed", fault)
        ended = client.wait_many(sent, 60)
    assert [each.outcome for each in ended] == [Outcome.ACCEPTED] * 4
    paths = [each.path.rpartition("/")[2] for each in stack.venue.executions()]
    assert paths == ["close", "withdraw", "close", "withdraw"]
    until(lambda: not stack.admin(0).exists("orders.lane:main/two"), "the lane is free", 60)
