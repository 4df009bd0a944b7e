"""Flower in a real browser, as the person on duty uses it: log in, see the workers, find a withdrawal that failed.

Every page that was looked at is searched for keys, passwords, addresses and amounts, in what is seen and in what the
page is made of.
"""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery

from tests.browser.conftest import Visitor
from tests.support.flower import PASSWORD, USER, FlowerNode
from tests.support.node import running
from tests.support.servers import Server
from tests.support.stack import accounts, foreign_app
from tests.support.waiting import until
from tests.support.workers import QUICK, WorkerNode
from worker.simulator.server import SimulatorServer

SERVER_PASSWORD = "server-pw-77aa33cc"
API_KEY, SECRET_KEY = "flower-key-0451aa", "flower-secret-0451bb"
ADDRESS, QTY = "0xDeadBeefAddress0451", "0.0451877"
SECRETS = (SERVER_PASSWORD, API_KEY, SECRET_KEY, PASSWORD, ADDRESS, QTY)


@dataclass
class FlowerStack:
    """A server with a password, a simulator, a worker, and Flower with and without its buttons."""

    server: Server
    simulator: SimulatorServer
    app: Celery
    worker: WorkerNode
    flower: FlowerNode
    flower_with_buttons: FlowerNode

    def withdraw(self, address: str = "") -> str:
        """A withdrawal by a client that says nothing of what may be shown; its id."""
        kwargs = {"account": "main", "asset": "ETH", "qty": QTY, "address": address or f"{ADDRESS}-{uuid4().hex[:8]}"}
        with self.app.connection_for_write() as connection:
            sent = self.app.send_task("orders.withdraw", kwargs=kwargs, queue="orders.withdraw", connection=connection)
        return str(sent.id)

    def final_state(self, command_id: str) -> Any:
        """The state in which a command ended, waited for."""
        with self.server.client(1) as results:
            raw = until(lambda: results.get(f"celery-task-meta-{command_id}"), f"the end of {command_id}")
        return json.loads(raw)["status"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlowerStack]:
    """Everything, started once."""
    folder = tmp_path_factory.mktemp("flower")
    with ExitStack() as exits:
        simulator = exits.enter_context(SimulatorServer())
        simulator.control.account("everstrike", API_KEY, SECRET_KEY)
        simulator.control.balance(API_KEY, "ETH", "1000")
        server = Server("--requirepass", SERVER_PASSWORD)
        server.connection_options = {"password": SERVER_PASSWORD}
        exits.enter_context(server)
        url = server.url().replace("://", f"://:{SERVER_PASSWORD}@")
        settings = accounts({"main": ("everstrike", API_KEY, SECRET_KEY, simulator.url)})
        settings |= {**QUICK, "ORDERS_REDIS_URL": url, "ORDERS_HTTP__READ_TIMEOUT_SECONDS": "30"}
        worker = WorkerNode(folder, settings)
        flowers = [FlowerNode(folder, {"ORDERS_REDIS_URL": url}, more) for more in ([], ["--read_only=False"])]
        exits.enter_context(running(worker, *flowers))
        for flower in flowers:
            flower.sees(worker.node_name)
        app = foreign_app(f"{url}/0", f"{url}/1")
        # Flower asks for them too, every five seconds; what has ended by then it never hears of.
        assert app.control.enable_events(reply=True, timeout=10)
        yield FlowerStack(server, simulator, app, worker, *flowers)


def log_in(visitor: Visitor, flower: FlowerNode) -> None:
    """Give name and password, as the browser's own dialog would."""
    visitor.browser.get(flower.url.replace("://", f"://{USER}:{PASSWORD}@"))
    # Asked for again without them: the browser remembers, and its scripts can't use an address with a password.
    visitor.browser.get(flower.url)


@pytest.fixture
def failed(stack: FlowerStack) -> str:
    """A withdrawal that failed, between some that did not; its id. The venue's words repeat amount and address."""
    for _ in range(3):
        assert stack.final_state(stack.withdraw()) == "SUCCESS"
    address = f"{ADDRESS}-failed"
    stack.simulator.control.fault("envelope", path="withdraw", status=401, message=f"no {QTY} for {address}")
    command_id = stack.withdraw(address)
    assert stack.final_state(command_id) == "FAILURE"
    return command_id


def test_nobody_gets_in_without_a_login(stack: FlowerStack, visitor: Visitor) -> None:
    """Without name and password no page tells anything."""
    visitor.browser.get(stack.flower.url + "/tasks")
    assert stack.worker.node_name not in visitor.browser.page_source
    assert "orders." not in visitor.browser.page_source


def test_a_night_on_duty(stack: FlowerStack, visitor: Visitor, failed: str) -> None:
    """Log in, see the workers, find the failed withdrawal and why it failed; nothing secret is on any page."""
    log_in(visitor, stack.flower)
    visitor.until_text(stack.worker.node_name, "#workers-table")
    visitor.until_text("Online", "#workers-table")
    visitor.look("workers")

    visitor.browser.get(stack.flower.url + "/tasks")
    visitor.until_text("FAILURE", "#tasks-table")
    visitor.look("tasks")
    visitor.all("input[type=search]")[0].send_keys("state:FAILURE")
    visitor.until(lambda _: "SUCCESS" not in visitor.all("#tasks-table")[0].text, "a table of failures alone")
    visitor.until_text("OrderRejected", "#tasks-table")
    visitor.look("failures")

    visitor.press(f"a[href*='{failed}']")
    visitor.until_text("rejected/refused")
    assert "{'account': 'main', 'asset': 'ETH', 'qty': '***', 'address': '***'}" in visitor.text()
    assert "no *** for ***" in visitor.text()
    visitor.look("failed-withdrawal")

    visitor.browser.get(f"{stack.flower.url}/worker/{stack.worker.node_name}")
    tabs = visitor.all("[role=tab]")
    assert len(tabs) >= 6
    for tab in tabs:
        tab.click()
        visitor.look("worker-" + re.sub(r"\W+", "-", tab.text.lower()))
    visitor.browser.get(stack.flower.url + "/broker")
    visitor.until_text("orders.withdraw")
    visitor.look("queues")

    assert not visitor.leaks(*SECRETS)
    assert not visitor.all("#task-revoke, #worker-shutdown, #worker-pool-grow")


def test_buttons_that_are_pressed_all_the_same(stack: FlowerStack, visitor: Visitor) -> None:
    """With Flower's buttons switched on: each says why not, and the command that was being sent is executed once."""
    venue, flower = stack.simulator.control, stack.flower_with_buttons
    before = len(venue.executions(path="/auth/withdraw"))
    venue.fault("hold", path="withdraw")
    since = max((arrival.seq for arrival in venue.arrivals()), default=0)
    command_id = stack.withdraw()
    venue.wait(arrivals=1, path="/auth/withdraw", since=since)
    worker_page = f"{flower.url}/worker/{stack.worker.node_name}"
    try:
        log_in(visitor, flower)
        visitor.browser.get(f"{flower.url}/task/{command_id}")
        visitor.press("#task-terminate")
        visitor.until_text("refused: revoke is not done by remote control: a command can't be taken back")
        visitor.look("refused-terminate")
        visitor.browser.get(worker_page)
        visitor.press("#worker-group")
        visitor.press("#worker-shutdown")
        visitor.until_text("refused: shutdown")
        visitor.look("refused-shutdown")
        visitor.browser.get(worker_page)
        visitor.press("#worker-tab-queues")
        visitor.press("button[id='worker-cancel-consumer-orders.withdraw']")
        visitor.until_text("refused: cancel_consumer")
        visitor.look("refused-cancel-consumer")
    finally:
        venue.release()
    assert stack.final_state(command_id) == "SUCCESS"
    assert len(venue.executions(path="/auth/withdraw")) == before + 1
    assert stack.worker.status == "running"
    assert not visitor.leaks(*SECRETS)


def test_a_worker_that_was_killed_is_shown_offline(stack: FlowerStack, visitor: Visitor) -> None:
    """Who looks at the list of workers must not see one that is dead among the living."""
    log_in(visitor, stack.flower)
    visitor.until_text("Online", "#workers-table")
    stack.worker.kill()
    try:
        visitor.until_text("Offline", "#workers-table")
        visitor.look("killed-worker")
    finally:
        stack.worker.start()
        stack.worker.ready()
    visitor.until_text("Online", "#workers-table")
