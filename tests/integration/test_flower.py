"""Flower as an operator starts it: what it shows is true and fit to be seen, and no button of it loses a command,
executes one twice, or ends one without its report."""

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psutil
import pytest

from tests.integration.flower_presses import BROADCASTS, PRESSES, Two
from tests.support.flower import FlowerNode
from tests.support.stack import Stack
from tests.support.waiting import until
from tests.support.workers import WorkerNode
from worker.celery_app.queues import SERVED

KEY = "demo-everstrike-key"
ADDRESS = "0xDeadBeefAddress0451"
QTY = "0.0451877"
ONE_SLOT = ("--concurrency", "1")
"""A worker that does one thing at a time, so that the second command is still queued while the first is held."""
READ_ONLY, BUTTONS, ALLOWED, OPEN = "as it comes", "with buttons", "where something is allowed", "without a login"
FLOWERS: dict[str, tuple[dict[str, str], list[str]]] = {
    READ_ONLY: ({}, []),
    BUTTONS: ({}, ["--read_only=False"]),
    ALLOWED: ({"ORDERS_REMOTE_CONTROL": "apply,shutdown"}, ["--read_only=False"]),
}


@pytest.fixture(scope="module")
def shared(make_bed: Callable[..., Stack]) -> Stack:
    """A server, a worker, and another one that is started for its end."""
    stack = make_bed(workers=2, started=1, options=ONE_SLOT, ORDERS_HTTP__READ_TIMEOUT_SECONDS="120")
    stack.workers[1].container.environment["ORDERS_REMOTE_CONTROL"] = "shutdown"
    # Only this worker's during the test: the other one is busy with a withdrawal.
    stack.workers[1].container.options = ("--queues", "orders.close", "--without-mingle", "--without-gossip")
    return stack


class OpenFlower(FlowerNode):
    """Flower without a login and without an address."""

    def arguments(self) -> Sequence[str]:
        return [sys.executable, "-m", "celery", "-A", "worker", "flower", f"--port={self.port}"]


@pytest.fixture(scope="module")
def flowers(shared: Stack) -> Iterator[dict[str, FlowerNode]]:
    """Flower in each way, told where the servers are and of no account."""
    urls = {name: value for name, value in shared.worker.environment.items() if "ACCOUNT" not in name}
    folder = shared.worker.folder
    with ExitStack() as ends:
        nodes = {way: FlowerNode(folder, {**urls, **more}, options) for way, (more, options) in FLOWERS.items()}
        nodes[OPEN] = OpenFlower(folder, urls)
        for node in nodes.values():
            ends.callback(node.teardown)
            node.start()
        for node in nodes.values():
            node.ready()
        for way in FLOWERS:
            nodes[way].sees(name_of(shared.worker))
        yield nodes


@pytest.fixture
def stack(shared: Stack) -> Stack:
    shared.reset_venue()
    shared.venue.balance(KEY, "ETH", "1000")
    return shared


def name_of(worker: WorkerNode) -> str:
    return f"w1@{worker.id[:12]}"


def withdraw(stack: Stack, command_id: str | None = None, **more: Any) -> str:
    """A withdrawal by a foreign client, which says nothing about what may be shown; its id."""
    arguments = {"account": "main", "asset": "ETH", "qty": QTY, "address": f"{ADDRESS}-{uuid4().hex}", **more}
    return stack.send("orders.withdraw", command_id=command_id, **arguments)


@contextmanager
def two_commands(stack: Stack) -> Iterator[Two]:
    """A withdrawal held at the venue, and another in the queue, until the block ends."""
    stack.venue.fault("hold", path="withdraw")
    sent = withdraw(stack)
    stack.venue.wait(arrivals=1, path="/auth/withdraw", timeout=60)
    try:
        yield Two(sent, withdraw(stack))
    finally:
        stack.venue.release()


def check_untouched(stack: Stack, two: Two) -> None:
    """Each was executed once and has its report, and so is the next."""
    ends = stack.all_ended([two.sent, two.queued, withdraw(stack)], 60)
    assert [end.outcome for end in ends] == [("accepted", "ok")] * 3
    assert len(stack.venue.executions(path="/auth/withdraw")) == 3
    assert stack.worker.status == "running"


# -- the buttons -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [READ_ONLY, BUTTONS])
def test_no_button_touches_a_command(stack: Stack, flowers: dict[str, FlowerNode], way: str) -> None:
    """All are pressed while one command is being sent and another is queued: each is refused with a reason."""
    with two_commands(stack) as two:
        pages = {name: press(flowers[way], name_of(stack.worker), two) for name, press in PRESSES.items()}
    assert {name: page.status for name, page in pages.items() if page.status != 403} == {}
    reason = "read only" if way == READ_ONLY else "refused: "
    assert {name: page.text for name, page in pages.items() if reason not in page.text.lower()} == {}
    check_untouched(stack, two)


def test_no_client_touches_a_command(stack: Stack) -> None:
    """Any Celery client can broadcast what Flower's buttons do: the worker refuses each with a reason, and goes on. So
    do the programs `celery -A worker control revoke` and `purge`."""
    control, name = stack.setup.app.control, name_of(stack.worker)
    with two_commands(stack) as two:
        for command, arguments in BROADCASTS:
            ids = {"task_id": [two.sent, two.queued]} if "task_id" in arguments else {}
            options = {"destination": [name], "reply": True, "timeout": 60, "limit": 1}
            (reply,) = control.broadcast(command, {**arguments, **ids}, **options)
            assert reply[name]["error"].startswith(f"refused: {command} "), (command, reply)
        for words in (["control", "revoke", two.queued], ["purge", "-f"]):
            code, output = stack.worker.exec_run([sys.executable, "-m", "celery", "-A", "worker", *words])
            assert code != 0
            assert "refused: " in output.decode()
    check_untouched(stack, two)


def test_what_another_worker_calls_revoked_is_executed(stack: Stack) -> None:
    """Stock workers tell each other what was revoked when they start. A command dropped for that would have no report,
    and ids that were kept would fill the worker's memory."""
    command_id = str(uuid4())
    inspect = stack.setup.app.control.inspect([name_of(stack.worker)], timeout=60, limit=1)
    inspect._request("hello", from_node="older@elsewhere", revoked=[command_id])
    assert inspect.revoked()[name_of(stack.worker)] == []
    assert stack.ended(withdraw(stack, command_id)).outcome == ("accepted", "ok")


def test_an_expired_message_ends_in_a_report(stack: Stack) -> None:
    """Stock Celery drops a message past its `expires`; here it is a command that was not sent, and says so."""
    kwargs = {"account": "main", "asset": "ETH", "qty": QTY, "address": ADDRESS}
    past, later = (
        stack.setup.app.send_task(
            "orders.withdraw",
            kwargs=kwargs,
            queue="orders.withdraw",
            expires=datetime.now(UTC) + timedelta(minutes=minutes),
        ).id
        for minutes in (-1, 5)
    )
    assert stack.ended(past).outcome == ("not_sent", "expired")
    assert stack.ended(later).outcome == ("accepted", "ok")
    assert len(stack.venue.arrivals(path="/auth/withdraw")) == 1


def test_sending_again_from_flower(stack: Stack, flowers: dict[str, FlowerNode]) -> None:
    """Where it is allowed, Flower's API is one more client: the same id again answers with the stored report, other
    arguments under it send nothing, and a new id is a new command."""
    flower, address = flowers[ALLOWED], f"{ADDRESS}-{uuid4().hex}"
    first = withdraw(stack, address=address)
    assert stack.ended(first).outcome == ("accepted", "ok")
    kwargs = {"account": "main", "asset": "ETH", "qty": QTY, "address": address}
    again = flower.post("/api/task/apply/orders.withdraw", {"kwargs": kwargs, "task_id": first, "timeout": 10}).json
    assert (again["state"], again["result"]["replayed"]) == ("SUCCESS", False), "what is stored is not overwritten"
    other = {"kwargs": {**kwargs, "qty": "2"}, "task_id": first, "queue": "orders.withdraw"}
    flower.post("/api/task/send-task/orders.withdraw", other)
    stack.drained()
    assert [each.fields["qty"] for each in stack.venue.executions(path="/auth/withdraw")] == [QTY]
    new = flower.post("/api/task/async-apply/orders.withdraw", {"kwargs": kwargs}).json["task-id"]
    assert stack.ended(new).outcome == ("accepted", "ok")
    assert len(stack.venue.executions(path="/auth/withdraw")) == 2


# -- what it shows -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """Everything that Flower, `inspect` and the logs show after each outcome came about."""

    ids: dict[str, str]
    tasks: dict[str, Any]
    """Flower's list of tasks, by id."""
    pages: dict[str, str]


@pytest.fixture(scope="module")
def shown(shared: Stack, flowers: dict[str, FlowerNode]) -> Shown:
    """A withdrawal of each outcome, one of them answered with its own address, and one that is being sent."""
    shared.reset_venue()
    shared.venue.balance(KEY, "ETH", "1")
    flower, node = flowers[READ_ONLY], name_of(shared.worker)
    # Each Flower does so every five seconds; what came before is not on its pages.
    assert shared.setup.app.control.enable_events(reply=True, timeout=60, limit=1)
    ids = {"accepted": withdraw(shared), "not_sent": withdraw(shared, deadline=1)}
    shared.all_ended(list(ids.values()))
    echoing = f"{ADDRESS}-echo"
    shared.venue.fault("envelope", path="withdraw", status=401, message=f"no {QTY} for {echoing}, only 1{QTY}")
    ids["rejected"] = withdraw(shared, address=echoing)
    shared.ended(ids["rejected"])
    shared.venue.fault("cut_after", path="withdraw")
    ids["unknown"] = withdraw(shared)
    shared.ended(ids["unknown"])
    inspect = shared.setup.app.control.inspect([node], timeout=60, limit=1)
    shared.venue.fault("hold", path="withdraw")
    arrived = len(shared.venue.arrivals(path="/auth/withdraw"))
    two = Two(withdraw(shared), withdraw(shared))
    shared.venue.wait(arrivals=arrived + 1, path="/auth/withdraw", timeout=60)
    held = [inspect.active(), inspect.reserved(), inspect.query_task(two.sent), inspect.active_queues()]
    assert [task["id"] for task in held[0][node]] == [two.sent]
    flower.get("/api/workers", refresh="1", workername=node)
    until(lambda: "FAILURE" in flower.get("/api/task/info/" + ids["unknown"]).text, "the events' arrival")
    paths = ["/", "/tasks", "/broker", "/metrics", "/api/tasks", "/api/workers", f"/worker/{node}"]
    paths += ["/api/queues/length", "/workers?json=1"]
    for command_id in (*ids.values(), two.sent, two.queued):
        paths += [f"/task/{command_id}", f"/api/task/result/{command_id}"]
    pages = {path: flower.get(path) for path in paths}
    shared.venue.release()
    shared.all_ended([two.sent, two.queued])
    queued = f"/task/{two.queued}"
    assert {path for path, page in pages.items() if page.status != 200} == {queued}, "no event of what is only queued"
    texts = {path: page.text for path, page in pages.items()}
    texts |= {"inspect": json.dumps(held), "worker's log": shared.worker.logs(), "Flower's log": flower.logs()}
    return Shown(ids, flower.get("/api/tasks").json, texts)


def test_states_are_the_contracts(shown: Shown) -> None:
    """`accepted` is SUCCESS; the others are FAILURE with the error that says which, and never something in between."""
    errors = {"rejected": "OrderRejected", "not_sent": "OrderNotSent", "unknown": "OrderUnknown"}
    assert shown.tasks[shown.ids["accepted"]]["state"] == "SUCCESS"
    for name, error in errors.items():
        assert shown.tasks[shown.ids[name]]["state"] == "FAILURE"
        assert re.match(rf"{error}\(['\"]{name}/", shown.tasks[shown.ids[name]]["exception"])


def test_no_address_and_no_amount_anywhere(shown: Shown) -> None:
    """On no page, in no answer of the API or of `inspect`, in neither log; where the venue repeats them, neither.
    Account and asset are seen, although the client says nothing of what may be shown."""
    hidden = re.compile(re.escape(ADDRESS) + rf"|(?<![\d]){re.escape(QTY)}")
    assert {place: found for place, text in shown.pages.items() if (found := hidden.findall(text))} == {}
    assert "no *** for ***, only 1" + QTY in shown.tasks[shown.ids["rejected"]]["exception"]
    for task in (shown.tasks[command_id] for command_id in shown.ids.values()):
        assert task["kwargs"].startswith("{'account': 'main', 'asset': 'ETH', 'qty': '***', 'address': '***'")
        assert task["args"] == "()"


def test_queues_and_workers_are_told(shown: Shown, stack: Stack) -> None:
    """Flower's page of queues works with our transport, and says how many commands wait; its list of workers says that
    ours is there, and counts what it did."""
    lengths = {q["name"]: q["messages"] for q in json.loads(shown.pages["/api/queues/length"])["active_queues"]}
    assert (lengths["orders.withdraw"], set(lengths)) == (1, set(SERVED))
    rows = {row["hostname"]: row for row in json.loads(shown.pages["/workers?json=1"])["data"]}
    row = rows[name_of(stack.worker)]
    assert (row["status"], row["task-failed"] >= 3) == (True, True)


def test_without_login(flowers: dict[str, FlowerNode]) -> None:
    """Its figures and its health are told to anybody, which docs/flower.md says; nothing else is."""
    paths = ("/metrics", "/healthcheck", "/", "/tasks", "/api/tasks", "/api/workers", "/broker", "/api/task/result/x")
    statuses = [flowers[READ_ONLY].get(path, login=False).status for path in paths]
    assert statuses == [200, 200, *[401] * 6]


def test_flower_without_a_login_listens_on_this_machine_alone(flowers: dict[str, FlowerNode]) -> None:
    """Stock listens on every address and shows everybody who is sending what."""
    connections = psutil.Process(flowers[OPEN].pid).net_connections("tcp")
    assert {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


def test_a_shutdown_that_is_allowed_is_graceful(stack: Stack, flowers: dict[str, FlowerNode]) -> None:
    """With ORDERS_REMOTE_CONTROL=shutdown a worker ends by Flower's button; what it was sending ends in its report."""
    flower, worker, leaving = flowers[ALLOWED], stack.worker, stack.workers[1].container
    leaving.start()
    leaving.ready()
    flower.sees(name_of(leaving))
    until(lambda: name_of(worker) in alive(flower), "Flower hearing what workers say")
    with two_commands(stack):
        stack.venue.position(KEY, "P_LEAVING", "1")
        stack.venue.fault("hold", path="close")
        close = stack.send("orders.close", account="main", pair="P_LEAVING", qty="0.5")
        stack.venue.wait(arrivals=1, path="/auth/close", timeout=60)
        assert flower.post(f"/api/worker/shutdown/{name_of(leaving)}").status == 200
    assert stack.ended(close).outcome == ("accepted", "ok")
    assert leaving.wait_for_exit() == 0
    until(lambda: alive(flower).get(name_of(leaving)) is False, lambda: f"it gone, and not {alive(flower)}")
    until(lambda: alive(flower).get(name_of(worker)) is True, "Flower saying that the other is there")
    assert len(stack.venue.executions(path="/auth/close")) == 1


def alive(flower: FlowerNode) -> dict[str, bool]:
    return {row["hostname"]: row["status"] for row in flower.get("/workers", json="1").json["data"]}
