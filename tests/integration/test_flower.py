"""Flower as an operator starts it: what it shows is true and fit to be seen, and no button of it loses a command,
executes one twice, or ends one without its report."""

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from tests.support.flower import FlowerNode, Page
from tests.support.stack import Stack as Bed
from tests.support.stack import demo_accounts
from tests.support.waiting import until
from tests.support.workers import QUICK, WorkerNode
from worker.celery_app.queues import SERVED

pytestmark = pytest.mark.integration

KEY = "demo-everstrike-key"
ADDRESS = "0xDeadBeefAddress0451"
QTY = "0.0451877"
SLOTS = "1"
"""The worker does one thing at a time, so that the second command is still queued while the first is held."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where these tests' own processes log."""
    return tmp_path_factory.mktemp("flower")


@pytest.fixture(scope="module")
def bed(make_bed: Callable[..., Bed]) -> Bed:
    """A server; the worker that is used is made below."""
    return make_bed(workers=1, started=0)


def environment(bed: Bed, **more: str) -> dict[str, str]:
    """What worker and Flower are told."""
    settings = bed.queue_settings
    names = {"ORDERS_BROKER_URL": "broker_url", "ORDERS_RESULT_BACKEND": "result_backend"}
    urls = {name: getattr(settings, field) for name, field in names.items()}
    return {**urls, "ORDERS_LEDGER_URL": settings.ledger_url, **more}


@pytest.fixture(scope="module")
def worker(bed: Bed, folder: Path) -> Iterator[WorkerNode]:
    """One worker that does one thing at a time."""
    settings = environment(
        bed, **{**QUICK, **demo_accounts(bed.simulator.url), "ORDERS_HTTP__READ_TIMEOUT_SECONDS": "20"}
    )
    node = WorkerNode(folder, settings, ["--concurrency", SLOTS])
    node.start()
    node.ready()
    yield node
    node.teardown()


@pytest.fixture(scope="module")
def flowers(bed: Bed, worker: WorkerNode, folder: Path) -> Iterator[dict[str, FlowerNode]]:
    """Flower as it comes, with its buttons, and where it may send commands."""
    nodes = {
        "as it comes": FlowerNode(folder, environment(bed)),
        "buttons": FlowerNode(folder, environment(bed), ["--read_only=False"]),
        "apply": FlowerNode(folder, environment(bed, ORDERS_REMOTE_CONTROL="apply"), ["--read_only=False"]),
    }
    for node in nodes.values():
        node.start()
    for node in nodes.values():
        node.ready()
    for node in nodes.values():
        node.sees(name_of(worker))
    yield nodes
    for node in nodes.values():
        node.teardown()


@pytest.fixture
def clean(bed: Bed) -> Bed:
    """The bed with a fresh venue."""
    bed.venue.reset()
    bed.venue.balance(KEY, "ETH", "1000")
    return bed


def name_of(worker: WorkerNode) -> str:
    """The node's name, as Flower lists it."""
    return f"w1@{worker.id[:12]}"


def withdraw(bed: Bed, command_id: str | None = None, **more: Any) -> str:
    """A withdrawal by a foreign client, which says nothing about what may be shown; its id."""
    arguments = {"account": "main", "asset": "ETH", "qty": QTY, "address": f"{ADDRESS}-{uuid4().hex}", **more}
    return bed.send("orders.withdraw", command_id=command_id, **arguments)


# -- the buttons -------------------------------------------------------------------------------------------------------

Press = Callable[[FlowerNode, str, str, str], Page]
"""Flower, the worker's name, the id of the command being sent, the id of the queued one."""

BUTTONS: dict[str, Press] = {
    "revoke, being sent": lambda f, _, sent, __: f.post(f"/api/task/revoke/{sent}"),
    "revoke, queued": lambda f, _, __, queued: f.post(f"/api/task/revoke/{queued}"),
    "terminate, being sent": lambda f, _, sent, __: f.post(f"/api/task/revoke/{sent}", terminate="true"),
    "kill, being sent": lambda f, _, sent, __: f.post(f"/api/task/revoke/{sent}", terminate="true", signal="SIGKILL"),
    "terminate, queued": lambda f, _, __, queued: f.post(f"/api/task/revoke/{queued}", terminate="true"),
    "abort, being sent": lambda f, _, sent, __: f.post(f"/api/task/abort/{sent}"),
    "abort, queued": lambda f, _, __, queued: f.post(f"/api/task/abort/{queued}"),
    "shut down": lambda f, worker, *_: f.post(f"/api/worker/shutdown/{worker}"),
    "pool restart": lambda f, worker, *_: f.post(f"/api/worker/pool/restart/{worker}"),
    "pool grow": lambda f, worker, *_: f.post(f"/api/worker/pool/grow/{worker}", n="3"),
    "pool shrink": lambda f, worker, *_: f.post(f"/api/worker/pool/shrink/{worker}", n="1"),
    "autoscale": lambda f, worker, *_: f.post(f"/api/worker/pool/autoscale/{worker}", min="0", max="1"),
    "add consumer": lambda f, worker, *_: f.post(f"/api/worker/queue/add-consumer/{worker}", queue="others"),
    "cancel consumer": lambda f, w, *_: f.post(f"/api/worker/queue/cancel-consumer/{w}", queue="orders.withdraw"),
    "rate limit": lambda f, w, *_: f.post("/api/task/rate-limit/orders.withdraw", workername=w, ratelimit="1/h"),
    "soft limit": lambda f, w, *_: f.post("/api/task/timeout/orders.withdraw", workername=w, soft="1"),
    "hard limit": lambda f, w, *_: f.post("/api/task/timeout/orders.withdraw", workername=w, hard="1"),
    "apply": lambda f, *_: f.post("/api/task/apply/orders.withdraw", {"kwargs": {"account": "main"}}),
    "async-apply": lambda f, *_: f.post("/api/task/async-apply/orders.withdraw", {"kwargs": {"account": "main"}}),
    "send-task": lambda f, *_: f.post("/api/task/send-task/orders.withdraw", {"kwargs": {"account": "main"}}),
}


@dataclass(frozen=True)
class Two:
    """A command that is being sent, and one that is queued."""

    sent: str
    queued: str


@contextmanager
def two_commands(bed: Bed) -> Iterator[Two]:
    """A withdrawal held at the venue, and another in the queue, until the block ends."""
    bed.venue.fault("hold", path="withdraw")
    sent = withdraw(bed)
    bed.venue.wait(arrivals=1, path="/auth/withdraw")
    try:
        yield Two(sent, withdraw(bed))
    finally:
        bed.venue.release()


@pytest.mark.parametrize("button", BUTTONS)
@pytest.mark.parametrize("way", ["as it comes", "buttons"])
def test_no_button_touches_a_command(
    clean: Bed, worker: WorkerNode, flowers: dict[str, FlowerNode], way: str, button: str
) -> None:
    """Pressed while one command is being sent and another is queued: it is refused with a reason, each is executed
    once and has its report, and so is the next."""
    with two_commands(clean) as two:
        answer = BUTTONS[button](flowers[way], name_of(worker), two.sent, two.queued)
    assert answer.status == 403, answer
    assert "read only" in answer.text.lower() if way == "as it comes" else answer.text.startswith("refused: ")
    ends = clean.all_ended([two.sent, two.queued, withdraw(clean)])
    assert [end.outcome for end in ends] == [("accepted", "ok")] * 3
    assert len(clean.venue.executions(path="/auth/withdraw")) == 3
    assert worker.status == "running"


FOREIGN: dict[str, tuple[str, dict[str, Any]]] = {
    "revoke": ("revoke", {"task_id": [], "terminate": False, "signal": "SIGTERM"}),
    "revoke and kill": ("revoke", {"task_id": [], "terminate": True, "signal": "SIGKILL"}),
    "terminate": ("terminate", {"task_id": [], "signal": "SIGKILL"}),
    "by header": ("revoke_by_stamped_headers", {"headers": {"a": "b"}, "terminate": True}),
    "rate limit": ("rate_limit", {"task_name": "orders.withdraw", "rate_limit": "1/h"}),
    "time limit": ("time_limit", {"task_name": "orders.withdraw", "hard": 0.1, "soft": 0.1}),
    "restart": ("pool_restart", {"reload": True}),
    "grow": ("pool_grow", {"n": 2}),
    "shrink": ("pool_shrink", {"n": 1}),
    "autoscale": ("autoscale", {"max": 1, "min": 0}),
    "add consumer": ("add_consumer", {"queue": "others"}),
    "cancel consumer": ("cancel_consumer", {"queue": "orders.withdraw"}),
    "election": ("election", {"id": "1", "topic": "task", "action": None}),
    "shut down": ("shutdown", {}),
}


def test_no_client_does_either(clean: Bed, worker: WorkerNode) -> None:
    """Any Celery client can broadcast what Flower's buttons do: the worker refuses each with a reason, and goes on."""
    control = clean.setup.app.control
    with two_commands(clean) as two:
        for name, (command, arguments) in FOREIGN.items():
            ids = {"task_id": [two.sent, two.queued]} if "task_id" in arguments else {}
            given = {**arguments, **ids}
            (reply,) = control.broadcast(command, given, destination=[name_of(worker)], reply=True, timeout=10, limit=1)
            assert reply[name_of(worker)]["error"].startswith(f"refused: {command} "), (name, reply)
    ends = clean.all_ended([two.sent, two.queued, withdraw(clean)])
    assert [end.outcome for end in ends] == [("accepted", "ok")] * 3
    assert len(clean.venue.executions(path="/auth/withdraw")) == 3


def test_what_another_worker_calls_revoked_is_executed(clean: Bed, worker: WorkerNode) -> None:
    """Workers tell each other what was revoked when they start, so a stock worker on the same broker could pass on a
    revocation; a command dropped for that would have no report."""
    command_id = str(uuid4())
    inspect = clean.setup.app.control.inspect([name_of(worker)], timeout=10, limit=1)
    inspect._request("hello", from_node="older@elsewhere", revoked=[command_id])
    assert command_id in inspect.revoked()[name_of(worker)], "the worker has heard of it"
    assert clean.ended(withdraw(clean, command_id)).outcome == ("accepted", "ok")


def test_an_expired_message_ends_in_a_report(clean: Bed, worker: WorkerNode) -> None:
    """Stock Celery drops a message past its `expires`; here it is a command that was not sent, and says so."""
    app = clean.setup.app
    past = datetime.now(UTC) - timedelta(minutes=1)
    kwargs = {"account": "main", "asset": "ETH", "qty": QTY, "address": ADDRESS}
    command_id = app.send_task("orders.withdraw", kwargs=kwargs, queue="orders.withdraw", expires=past).id
    end = clean.ended(command_id)
    assert (end.state, end.outcome) == ("FAILURE", ("not_sent", "expired"))
    assert not clean.venue.arrivals(path="/auth/withdraw")
    later = datetime.now(UTC) + timedelta(minutes=5)
    command_id = app.send_task("orders.withdraw", kwargs=kwargs, queue="orders.withdraw", expires=later).id
    assert clean.ended(command_id).outcome == ("accepted", "ok")


def test_sending_again_from_flower(clean: Bed, worker: WorkerNode, flowers: dict[str, FlowerNode]) -> None:
    """Where it is allowed, Flower's API is one more client: the same id again answers with the stored report, other
    arguments under it send nothing, and a new id is a new command."""
    flower, address = flowers["apply"], f"{ADDRESS}-{uuid4().hex}"
    first = withdraw(clean, address=address)
    assert clean.ended(first).outcome == ("accepted", "ok")
    kwargs = {"account": "main", "asset": "ETH", "qty": QTY, "address": address}
    again = flower.post("/api/task/apply/orders.withdraw", {"kwargs": kwargs, "task_id": first, "timeout": 10}).json
    assert (again["state"], again["result"]["replayed"]) == ("SUCCESS", False), "what is stored is not overwritten"
    other = {**kwargs, "qty": "2"}
    flower.post("/api/task/send-task/orders.withdraw", {"kwargs": other, "task_id": first, "queue": "orders.withdraw"})
    clean.drained()
    assert [e.fields["qty"] for e in clean.venue.executions(path="/auth/withdraw")] == [QTY]
    new = flower.post("/api/task/async-apply/orders.withdraw", {"kwargs": kwargs}).json["task-id"]
    assert clean.ended(new).outcome == ("accepted", "ok")
    assert len(clean.venue.executions(path="/auth/withdraw")) == 2


def test_a_shutdown_that_is_allowed_is_graceful(clean: Bed, worker: WorkerNode, flowers: dict[str, FlowerNode]) -> None:
    """With ORDERS_REMOTE_CONTROL=shutdown a worker ends by Flower's button; what it was sending ends in its report."""
    settings = {**worker.environment, "ORDERS_REMOTE_CONTROL": "shutdown"}
    queues = "orders.close"  # only this worker's during the test: the other one is busy with a withdrawal
    other = WorkerNode(worker.folder, settings, ["--queues", queues, "--without-mingle", "--without-gossip"])
    flower = FlowerNode(worker.folder, environment(clean, ORDERS_REMOTE_CONTROL="shutdown"), ["--read_only=False"])
    other.start()
    flower.start()
    try:
        other.ready()
        flower.ready()
        flower.sees(name_of(other))
        until(lambda: name_of(worker) in alive(flower), "Flower hearing what workers say")
        with two_commands(clean):
            clean.venue.position(KEY, "P_LEAVING", "1")
            clean.venue.fault("hold", path="close")
            close = clean.send("orders.close", account="main", pair="P_LEAVING", qty="0.5")
            clean.venue.wait(arrivals=1, path="/auth/close")
            assert flower.post(f"/api/worker/shutdown/{name_of(other)}").status == 200
        assert clean.ended(close).outcome == ("accepted", "ok")
        assert other.wait_for_exit() == 0
        until(lambda: alive(flower).get(name_of(other)) is False, lambda: f"it gone, and not {alive(flower)}")
        until(lambda: alive(flower).get(name_of(worker)) is True, "Flower saying that the other is there")
        assert len(clean.venue.executions(path="/auth/close")) == 1
    finally:
        flower.teardown()
        other.teardown()


def alive(flower: FlowerNode) -> dict[str, bool]:
    """What its list of workers says of each."""
    return {row["hostname"]: row["status"] for row in flower.get("/workers", json="1").json["data"]}


# -- what it shows -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """Everything that Flower, `inspect` and the logs show after each outcome came about."""

    ids: dict[str, str]
    tasks: dict[str, Any]
    """Flower's list of tasks, by id."""
    pages: dict[str, str]


@pytest.fixture(scope="module")
def shown(bed: Bed, worker: WorkerNode, flowers: dict[str, FlowerNode]) -> Shown:
    """A withdrawal of each outcome, one of them while it is being sent and with the venue repeating its address."""
    bed.venue.reset()
    bed.venue.balance(KEY, "ETH", "1")
    flower = flowers["as it comes"]
    # Each Flower does so every five seconds; what came before is not on its pages.
    assert bed.setup.app.control.enable_events(reply=True, timeout=10)
    ids = {"accepted": withdraw(bed)}
    bed.ended(ids["accepted"])
    echoing = f"{ADDRESS}-echo"
    bed.venue.fault("envelope", path="withdraw", status=401, message=f"no {QTY} for {echoing}, only 1{QTY}")
    ids["rejected"] = withdraw(bed, address=echoing)
    ids["not_sent"] = withdraw(bed, deadline=1)
    bed.all_ended(list(ids.values()))
    bed.venue.fault("cut_after", path="withdraw")
    ids["unknown"] = withdraw(bed)
    bed.ended(ids["unknown"])
    node = name_of(worker)
    inspect = bed.setup.app.control.inspect([node], timeout=10, limit=1)
    with two_commands(bed) as two:
        held = [inspect.active(), inspect.reserved(), inspect.query_task(two.sent), inspect.active_queues()]
        assert [task["id"] for task in held[0][node]] == [two.sent]
        flower.get("/api/workers", refresh="1", workername=node)
        until(lambda: "FAILURE" in flower.get("/api/task/info/" + ids["unknown"]).text, "the events' arrival")
        paths = ["/", "/tasks", "/broker", "/metrics", "/api/tasks", "/api/workers", f"/worker/{node}"]
        paths += ["/api/queues/length", "/workers?json=1"]
        for command_id in (*ids.values(), two.sent, two.queued):
            paths += [f"/task/{command_id}", f"/api/task/result/{command_id}"]
        pages = {path: flower.get(path) for path in paths}
    bed.all_ended([two.sent, two.queued])
    queued = f"/task/{two.queued}"
    assert {path for path, page in pages.items() if page.status != 200} == {queued}, "no event of what is only queued"
    texts = {path: page.text for path, page in pages.items()}
    texts |= {"inspect": json.dumps(held), "worker's log": worker.logs(), "Flower's log": flower.logs()}
    return Shown(ids, flower.get("/api/tasks").json, texts)


def test_states_are_the_contracts(shown: Shown) -> None:
    """`accepted` is SUCCESS; the others are FAILURE with the error that says which, and never something in between."""
    told = {name: shown.tasks[command_id] for name, command_id in shown.ids.items()}
    assert {name: task["state"] for name, task in told.items()} == {
        "accepted": "SUCCESS",
        "rejected": "FAILURE",
        "not_sent": "FAILURE",
        "unknown": "FAILURE",
    }
    errors = {"rejected": "OrderRejected", "not_sent": "OrderNotSent", "unknown": "OrderUnknown"}
    for name, error in errors.items():
        assert re.match(rf"{error}\(['\"]{name}/", told[name]["exception"])


def test_arguments_without_addresses_and_amounts(shown: Shown) -> None:
    """Sent by a client that says nothing of what may be shown: account and asset are seen, nothing else."""
    for command_id in shown.ids.values():
        task = shown.tasks[command_id]
        assert task["kwargs"].startswith("{'account': 'main', 'asset': 'ETH', 'qty': '***', 'address': '***'")
        assert task["args"] == "()"


def test_no_address_and_no_amount_anywhere(shown: Shown) -> None:
    """On no page, in no answer of the API or of `inspect`, in neither log; where the venue repeats them, neither."""
    leaks = {
        place: text[max(0, found.start() - 80) : found.end() + 20]
        for place, text in shown.pages.items()
        if (found := re.search(re.escape(ADDRESS) + rf"|(?<![\d]){re.escape(QTY)}", text))
    }
    assert not leaks
    assert "no *** for ***, only 1" + QTY in shown.tasks[shown.ids["rejected"]]["exception"]


def test_the_queues_are_told(shown: Shown) -> None:
    """Flower's page of queues works with our transport, and says how many commands wait."""
    lengths = {q["name"]: q["messages"] for q in json.loads(shown.pages["/api/queues/length"])["active_queues"]}
    assert lengths["orders.withdraw"] == 1
    assert set(lengths) == set(SERVED)


def test_the_worker_is_told_alive(shown: Shown, worker: WorkerNode) -> None:
    """The list of workers says that it is there, and counts what it did."""
    rows = {row["hostname"]: row for row in json.loads(shown.pages["/workers?json=1"])["data"]}
    row = rows[name_of(worker)]
    assert row["status"] is True
    assert row["task-failed"] >= 3


def test_it_sweeps_nothing(make_bed: Callable[..., Bed], folder: Path) -> None:
    """What a dead worker had not acknowledged is left to the next one: who only looks, and may have no right to write,
    puts no message back on its queue."""
    bed = make_bed(workers=1, started=0)
    bed.broker.hset("unacked", "tag", '[{"properties": {"delivery_tag": "tag"}}, "orders.close", "orders.close"]')
    bed.broker.zadd("unacked_index", {"tag": 1})
    flower = FlowerNode(folder, environment(bed))
    flower.start()
    try:
        flower.ready()
        until(lambda: flower.get("/api/queues/length").status == 200, "its page of queues")
        for _ in range(3):  # each waits for answers of workers, with nothing else to do
            assert flower.get("/api/workers", refresh="1").json == {}
        assert bed.broker.hkeys("unacked") == ["tag"]
    finally:
        flower.teardown()


def test_without_login(flowers: dict[str, FlowerNode]) -> None:
    """Its figures and its health are told to anybody, which docs/flower.md says; nothing else is."""
    flower = flowers["as it comes"]
    assert {path: flower.get(path, login=False).status for path in ("/metrics", "/healthcheck")} == {
        "/metrics": 200,
        "/healthcheck": 200,
    }
    for path in ("/", "/tasks", "/api/tasks", "/api/workers", "/broker", "/api/task/result/x"):
        assert flower.get(path, login=False).status == 401, path


class OpenFlower(FlowerNode):
    """Flower without a login and without an address."""

    def arguments(self) -> Sequence[str]:
        """The port alone."""
        return [sys.executable, "-m", "celery", "-A", "worker", "flower", f"--port={self.port}"]


def test_flower_without_a_login_listens_on_this_machine_alone(bed: Bed, folder: Path) -> None:
    """Stock listens on every address and shows everybody who is sending what."""
    flower = OpenFlower(folder, environment(bed))
    flower.start()
    try:
        flower.ready()
        connections = psutil.Process(flower.pid).net_connections("tcp")
        assert {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
    finally:
        flower.teardown()


def test_celerys_command_line_is_refused_too(clean: Bed, worker: WorkerNode) -> None:
    """`celery -A worker control revoke` and `purge` say why not, and drop nothing."""
    with two_commands(clean) as two:
        for words in (["control", "revoke", two.queued], ["purge", "-f"]):
            code, output = worker.exec_run([sys.executable, "-m", "celery", "-A", "worker", *words])
            assert code != 0
            assert "refused: " in output.decode()
    assert [end.outcome for end in clean.all_ended([two.sent, two.queued])] == [("accepted", "ok")] * 2
