"""Flower in a real browser, as the person on duty uses it: log in, see the workers, find a withdrawal that failed.

Every page that was looked at is searched for keys, passwords, addresses and amounts, in what is seen and in what the
page is made of. Pictures go to `.artefacts/`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.flower import PASSWORD, USER, FlowerNode
from tests.support.servers import Server
from tests.support.stack import accounts, foreign_app
from tests.support.waiting import until
from tests.support.workers import QUICK, WorkerNode
from worker.simulator.server import SimulatorServer

SERVER_PASSWORD = "server-pw-77aa33cc"
API_KEY, SECRET_KEY = "flower-key-0451aa", "flower-secret-0451bb"
MOVING = (StaleElementReferenceException,)
"""Tables are drawn anew while somebody looks."""
ADDRESS, QTY, SECONDS = "0xDeadBeefAddress0451", "0.0451877", 20


@dataclass
class House:
    """A server with a password, a simulator, a worker, and Flower with and without its buttons."""

    server: Server
    simulator: SimulatorServer
    worker: WorkerNode
    looking: FlowerNode
    buttons: FlowerNode

    @property
    def name(self) -> str:
        """The worker's."""
        return f"w1@{self.worker.id[:12]}"

    def withdraw(self, **more: str) -> str:
        """A withdrawal by a client that says nothing of what may be shown; its id."""
        app = foreign_app(self.url(0), self.url(1))
        kwargs = {"account": "main", "asset": "ETH", "qty": QTY, "address": f"{ADDRESS}-{uuid4().hex[:8]}", **more}
        with app.connection_for_write() as connection:
            sent = app.send_task("orders.withdraw", kwargs=kwargs, queue="orders.withdraw", connection=connection)
        return str(sent.id)

    def url(self, database: int) -> str:
        """The server's, with its password."""
        return f"redis://:{SERVER_PASSWORD}@127.0.0.1:{self.server.port}/{database}"

    def ended(self, command_id: str) -> str:
        """The state in which a command ended, waited for."""
        with redis.Redis.from_url(self.url(1), decode_responses=True) as results:
            raw = until(lambda: results.get(f"celery-task-meta-{command_id}"), f"the end of {command_id}")
        found = re.search(r'"status": "(\w+)"', str(raw))
        assert found
        return found[1]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Everything, started once."""
    folder = tmp_path_factory.mktemp("house")
    with Server() as server, SimulatorServer() as simulator:
        with redis.Redis(port=server.port) as client:
            client.config_set("requirepass", SERVER_PASSWORD)
        simulator.control.account("everstrike", API_KEY, SECRET_KEY)
        simulator.control.balance(API_KEY, "ETH", "1000")
        where = {"ORDERS_REDIS_URL": f"redis://:{SERVER_PASSWORD}@127.0.0.1:{server.port}"}
        keys = accounts({"main": ("everstrike", API_KEY, SECRET_KEY, simulator.url)})
        patient = {"ORDERS_HTTP__READ_TIMEOUT_SECONDS": "30"}
        nodes = (
            WorkerNode(folder, {**QUICK, **where, **keys, **patient}),
            FlowerNode(folder, where),
            FlowerNode(folder, where, ["--read_only=False"]),
        )
        try:
            for node in nodes:
                node.start()
            for node in nodes:
                node.ready()
            built = House(server, simulator, *nodes)
            for flower in (built.looking, built.buttons):
                flower.sees(built.name)
            # Flower asks for them too, every five seconds; what has ended by then it never hears of.
            assert foreign_app(built.url(0), built.url(1)).control.enable_events(reply=True, timeout=10)
            yield built
        finally:
            for node in reversed(nodes):
                node.teardown()


def seen(element: WebElement) -> str:
    """An element's text; Flower makes two boxes of a worker's name, which Selenium tells as two lines."""
    return "".join(str(element.text).splitlines())


@dataclass
class Visitor:
    """The person at the browser."""

    browser: Chrome
    artefacts: Path
    pages: dict[str, str] = field(default_factory=dict)
    """Source and text of each page that was looked at, by its name."""

    def log_in(self, flower: FlowerNode) -> None:
        """Give name and password, as the browser's own dialog would."""
        self.browser.get(flower.url.replace("://", f"://{USER}:{PASSWORD}@"))
        # Asked for again without them: the browser remembers, and its scripts can't use an address with a password.
        self.browser.get(flower.url)

    def look(self, name: str) -> None:
        """Take a picture, and keep everything that is on the page."""
        body = self.browser.find_element(By.TAG_NAME, "body")
        self.pages[name] = self.browser.page_source + str(body.get_property("innerText"))
        self.browser.save_screenshot(str(self.artefacts / f"flower-{name}.png"))

    def until_text(self, text: str, where: str = "body") -> None:
        """Wait until a text is seen; what is seen instead is on the picture `missing`."""
        try:
            WebDriverWait(self.browser, SECONDS, ignored_exceptions=MOVING).until(
                lambda page: any(text in seen(each) for each in page.find_elements(By.CSS_SELECTOR, where))
            )
        except TimeoutException:
            self.look("missing")
            pytest.fail(f"{text!r} was not seen in {where}")

    def press(self, css: str) -> None:
        """Press what is there, waited for."""
        found = WebDriverWait(self.browser, SECONDS, ignored_exceptions=MOVING).until(
            lambda page: next((each for each in page.find_elements(By.CSS_SELECTOR, css) if each.is_displayed()), None),
            css,
        )
        found.click()


@pytest.fixture
def visitor(browser: Chrome, artefacts: Path) -> Visitor:
    """Somebody with a fresh browser."""
    return Visitor(browser, artefacts)


@pytest.fixture
def failed(house: House) -> str:
    """A withdrawal that failed, between some that did not; its id. The venue's words repeat amount and address."""
    for _ in range(3):
        assert house.ended(house.withdraw()) == "SUCCESS"
    words = f"no {QTY} for {ADDRESS}-failed"
    house.simulator.control.fault("envelope", path="withdraw", status=401, message=words)
    command_id = house.withdraw(address=f"{ADDRESS}-failed")
    assert house.ended(command_id) == "FAILURE"
    return command_id


def test_nobody_gets_in_without_a_login(house: House, visitor: Visitor) -> None:
    """Without name and password no page tells anything."""
    visitor.browser.get(house.looking.url + "/tasks")
    assert house.name not in visitor.browser.page_source
    assert "orders." not in visitor.browser.page_source


def test_a_night_on_duty(house: House, visitor: Visitor, failed: str) -> None:
    """Log in, see the workers, find the failed withdrawal and why it failed; nothing secret is on any page."""
    visitor.log_in(house.looking)
    visitor.until_text(house.name, "#workers-table")
    visitor.until_text("Online", "#workers-table")
    visitor.look("workers")

    visitor.browser.get(house.looking.url + "/tasks")
    visitor.until_text("FAILURE", "#tasks-table")
    visitor.look("tasks")
    search = visitor.browser.find_element(By.CSS_SELECTOR, "input[type=search]")
    search.send_keys("state:FAILURE")
    WebDriverWait(visitor.browser, SECONDS).until(
        lambda page: "SUCCESS" not in page.find_element(By.ID, "tasks-table").text, "only failures"
    )
    visitor.until_text("OrderRejected", "#tasks-table")
    visitor.look("failures")

    visitor.press(f"a[href*='{failed}']")
    visitor.until_text("rejected/refused")
    text = visitor.browser.find_element(By.TAG_NAME, "body").text
    assert "{'account': 'main', 'asset': 'ETH', 'qty': '***', 'address': '***'}" in text
    assert "no *** for ***" in text
    visitor.look("failed-withdrawal")

    visitor.browser.get(f"{house.looking.url}/worker/{house.name}")
    tabs = visitor.browser.find_elements(By.CSS_SELECTOR, "[role=tab]")
    assert len(tabs) >= 6
    for tab in tabs:
        tab.click()
        visitor.look("worker-" + re.sub(r"\W+", "-", tab.text.lower()))
    visitor.browser.get(house.looking.url + "/broker")
    visitor.until_text("orders.withdraw")
    visitor.look("queues")

    assert no_leak(visitor)
    assert not visitor.browser.find_elements(By.CSS_SELECTOR, "#task-revoke, #worker-shutdown, #worker-pool-grow")


def test_buttons_that_are_pressed_all_the_same(house: House, visitor: Visitor) -> None:
    """With Flower's buttons switched on: each says why not, and the command that was being sent is executed once."""
    venue = house.simulator.control
    before = len(venue.executions(path="/auth/withdraw"))
    venue.fault("hold", path="withdraw")
    since = max((arrival.seq for arrival in venue.arrivals()), default=0)
    command_id = house.withdraw()
    venue.wait(arrivals=1, path="/auth/withdraw", since=since)
    worker_page = f"{house.buttons.url}/worker/{house.name}"
    try:
        visitor.log_in(house.buttons)
        visitor.browser.get(f"{house.buttons.url}/task/{command_id}")
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
    assert house.ended(command_id) == "SUCCESS"
    assert len(venue.executions(path="/auth/withdraw")) == before + 1
    assert house.worker.status == "running"
    assert no_leak(visitor)


def no_leak(visitor: Visitor) -> bool:
    """Whether no page had a secret, an address or an amount; fails with the place otherwise."""
    secrets = (SERVER_PASSWORD, API_KEY, SECRET_KEY, PASSWORD, ADDRESS, QTY)
    found = {
        (name, secret): text[max(0, text.find(secret) - 100) : text.find(secret) + 60]
        for name, text in visitor.pages.items()
        for secret in secrets
        if secret in text
    }
    assert not found
    return True


def test_a_worker_that_was_killed_is_told_offline(house: House, visitor: Visitor) -> None:
    """Who looks at the list of workers must not see one that is dead among the living."""
    visitor.log_in(house.looking)
    visitor.until_text("Online", "#workers-table")
    house.worker.kill("SIGKILL")
    try:
        visitor.until_text("Offline", "#workers-table")
        visitor.look("killed-worker")
    finally:
        house.worker.start()
        house.worker.ready()
    visitor.until_text("Online", "#workers-table")
