"""Prometheus' own pages in a real browser, as the person who was woken opens them: which workers are scraped, a graph
of what they do, and the alert that fires when one of them dies.

Debian's Prometheus over real workers under load, with the rules of ``compose/`` in a hurry (:mod:`tests.alerts.rig`).
Pictures go to `.artefacts/`.
"""

import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from selenium.common.exceptions import TimeoutException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.alerts.load import Load
from tests.alerts.rig import Prometheus, metrics_into, program
from tests.integration.conftest import make_bed, simulator
from tests.support.stack import Stack
from tests.support.waiting import until

__all__ = ["make_bed", "simulator"]

SECONDS = 30
UNFIT = ("demo-everstrike-key", "demo-everstrike-secret", "demo-bitz-key", "demo-bitz-secret", "0xabc", "USD_BTC_PERP")
"""Keys, and of the load's commands what no metric may tell."""
EXPRESSION = "sum by (command, outcome) (rate(orders_commands_total[20s]))"


@dataclass
class Watched:
    """Two workers under load, and Prometheus over them."""

    bed: Stack
    prometheus: Prometheus


@pytest.fixture(scope="module")
def watched(
    make_bed: Callable[..., Stack],
    tmp_path_factory: pytest.TempPathFactory,
    require_service: Callable[[str, object], None],
) -> Iterator[Watched]:
    """Everything, started once."""
    require_service("Debian's package prometheus", program("prometheus"))
    folder = tmp_path_factory.mktemp("watched")
    targets = folder / "targets"
    bed = make_bed(workers=2, started=2, **metrics_into(targets))
    bed.venue.reset()
    prometheus = Prometheus(folder, targets, None)
    prometheus.start()
    try:
        prometheus.ready()
        with Load(bed):
            until(lambda: prometheus.series(EXPRESSION, 20), "the load, scraped")
            yield Watched(bed, prometheus)
    finally:
        prometheus.teardown()


@dataclass
class Visitor:
    """The person at the browser."""

    browser: Chrome
    prometheus: Prometheus
    artefacts: Path
    pages: dict[str, str] = field(default_factory=dict)
    """Source and text of each page that was looked at, by its name."""

    def until_seen(self, page: str, *texts: str, **query: str) -> None:
        """Open a page, again and again as a person would, until all these texts are on it."""
        address = f"http://127.0.0.1:{self.prometheus.port}/classic/{page}?{urllib.parse.urlencode(query)}"

        def there(browser: Chrome) -> bool:
            browser.get(address)
            return all(text in self.text() for text in texts)

        try:
            WebDriverWait(self.browser, SECONDS).until(there)
        except TimeoutException:
            self.look("missing")
            pytest.fail(f"{texts} not seen on {address}, but:\n{self.text()[:2000]}")

    def text(self) -> str:
        """What is seen."""
        return str(self.browser.find_element(By.TAG_NAME, "body").text)

    def look(self, name: str) -> None:
        """Take a picture, and keep everything that is on the page."""
        self.pages[name] = self.browser.page_source + self.text()
        self.browser.save_screenshot(str(self.artefacts / f"prometheus-{name}.png"))

    def told(self) -> dict[str, list[str]]:
        """Whatever no page should have told, by page; empty when all is well."""
        found = {name: [word for word in UNFIT if word in text] for name, text in self.pages.items()}
        return {name: words for name, words in found.items() if words}


@pytest.fixture
def visitor(browser: Chrome, watched: Watched, artefacts: Path) -> Visitor:
    """Somebody with a fresh browser."""
    return Visitor(browser, watched.prometheus, artefacts)


def test_every_worker_is_scraped(visitor: Visitor) -> None:
    """The page of targets: both are up, and what each tells holds no key, no address, no instrument."""
    visitor.until_seen("targets", "orders (2/2 up)")
    visitor.look("targets")
    links = [each.get_attribute("href") for each in visitor.browser.find_elements(By.CSS_SELECTOR, ".endpoint a")]
    assert len(links) == 2
    for number, link in enumerate(links):
        visitor.browser.get(str(link))
        assert "orders_commands_total{" in visitor.text()
        visitor.look(f"worker-{number}")
    assert not visitor.told()


def test_an_alert_that_fires(watched: Watched, visitor: Visitor) -> None:
    """A worker is killed: its target is down, its alert fires and names the part of the operator's page to read; when
    it is back, so is the calm."""
    visitor.until_seen("alerts", "OrdersWorkerNotScraped (0 active)")
    visitor.look("alerts-calm")
    worker = watched.bed.workers[1].container
    worker.kill()
    try:
        visitor.until_seen("targets", "orders (1/2 up)", "DOWN")
        visitor.look("targets-one-down")
        visitor.until_seen("alerts", "OrdersWorkerNotScraped (1 active)", "Firing (1)")
        visitor.browser.find_element(By.CSS_SELECTOR, "button.show-annotations").click()
        (row,) = (
            each
            for each in visitor.browser.find_elements(By.CSS_SELECTOR, ".alert_header")
            if "OrdersWorkerNotScraped" in each.text
        )
        row.click()
        WebDriverWait(visitor.browser, SECONDS).until(
            lambda _: "docs/runbook.md#a-worker-is-gone" in visitor.text(), "the alert's runbook"
        )
        visitor.browser.execute_script("arguments[0].scrollIntoView()", row)  # type: ignore[no-untyped-call]
        visitor.look("alert-firing")
    finally:
        worker.start()
        worker.ready()
    visitor.until_seen("alerts", "OrdersWorkerNotScraped (0 active)")
    assert not visitor.told()


def test_a_graph_of_what_workers_do(visitor: Visitor) -> None:
    """A query, typed and drawn: a line for each kind of command and how it ended."""
    visitor.until_seen("graph", **{"g0.expr": EXPRESSION, "g0.tab": "0", "g0.range_input": "1m"})
    WebDriverWait(visitor.browser, SECONDS).until(
        lambda page: len(page.find_elements(By.CSS_SELECTOR, ".graph_area svg path")) >= 4, "lines of a graph"
    )
    legend = visitor.browser.find_element(By.CSS_SELECTOR, ".legend").text
    for command, outcome in (("close", "accepted"), ("cancel", "rejected"), ("withdraw", "accepted")):
        assert f'{{command="{command}",outcome="{outcome}"}}' in legend
    visitor.look("graph")
    assert not visitor.told()
