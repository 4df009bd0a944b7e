"""Prometheus' own pages in a real browser, as the person who was woken opens them: which workers are scraped, a graph
of what they do, and the alert that fires when one of them dies.

Debian's Prometheus over real workers under load, with the rules of ``compose/`` in a hurry (:mod:`tests.alerts.rig`).
"""

import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.alerts.load import Load
from tests.alerts.rig import Prometheus, metrics_into, program
from tests.browser.conftest import Visitor
from tests.integration.conftest import make_bed, simulator
from tests.support.node import running
from tests.support.stack import Stack
from tests.support.waiting import until

__all__ = ["make_bed", "simulator"]

SECRETS = (
    "demo-everstrike-key",
    "demo-everstrike-secret",
    "demo-bitz-key",
    "demo-bitz-secret",
    "0xabc",
    "USD_BTC_PERP",
)
"""Keys, and of the load's commands what no metric may tell."""
EXPRESSION = "sum by (command, outcome) (rate(orders_commands_total[20s]))"


@dataclass
class Watched:
    """Two workers under load, and Prometheus over them."""

    stack: Stack
    prometheus: Prometheus

    def until_seen(self, visitor: Visitor, page: str, *texts: str, **query: str) -> None:
        """Open a page, again and again as a person would, until all these texts are on it."""
        address = f"{self.prometheus.url}/classic/{page}?{urllib.parse.urlencode(query)}"

        def all_seen(browser: object) -> bool:
            visitor.browser.get(address)
            return all(text in visitor.text() for text in texts)

        visitor.until(all_seen, f"{texts} on {address}")


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
    stack = make_bed(workers=2, started=2, **metrics_into(targets))
    stack.reset_venue()
    with running(Prometheus(folder, targets, None)) as (prometheus,), Load(stack):
        until(lambda: prometheus.series(EXPRESSION, 20), "the load, scraped")
        yield Watched(stack, prometheus)


def test_every_worker_is_scraped(watched: Watched, visitor: Visitor) -> None:
    """The page of targets: both are up, and what each tells holds no key, no address, no instrument."""
    watched.until_seen(visitor, "targets", "orders (2/2 up)")
    visitor.look("targets")
    links = [each.get_attribute("href") for each in visitor.all(".endpoint a")]
    assert len(links) == 2
    for number, link in enumerate(links):
        visitor.browser.get(str(link))
        assert "orders_commands_total{" in visitor.text()
        visitor.look(f"worker-{number}")
    assert not visitor.leaks(*SECRETS)


def test_an_alert_that_fires(watched: Watched, visitor: Visitor) -> None:
    """A worker is killed: its target is down, its alert fires and names the part of the operator's page to read; when
    the worker is back, the alert ends."""
    watched.until_seen(visitor, "alerts", "OrdersWorkerNotScraped (0 active)")
    visitor.look("alerts-calm")
    worker = watched.stack.workers[1].container
    worker.kill()
    try:
        watched.until_seen(visitor, "targets", "orders (1/2 up)", "DOWN")
        visitor.look("targets-one-down")
        watched.until_seen(visitor, "alerts", "OrdersWorkerNotScraped (1 active)", "Firing (1)")
        visitor.press("button.show-annotations")
        (row,) = (each for each in visitor.all(".alert_header") if "OrdersWorkerNotScraped" in each.text)
        row.click()
        visitor.until_text("docs/runbook.md#a-worker-is-gone")
        visitor.browser.execute_script("arguments[0].scrollIntoView()", row)  # type: ignore[no-untyped-call]
        visitor.look("alert-firing")
    finally:
        worker.start()
        worker.ready()
    watched.until_seen(visitor, "alerts", "OrdersWorkerNotScraped (0 active)")
    assert not visitor.leaks(*SECRETS)


def test_a_graph_of_what_workers_do(watched: Watched, visitor: Visitor) -> None:
    """A query, typed and drawn: a line for each kind of command and how it ended."""
    watched.until_seen(visitor, "graph", **{"g0.expr": EXPRESSION, "g0.tab": "0", "g0.range_input": "1m"})
    visitor.until(lambda _: len(visitor.all(".graph_area svg path")) >= 4, "four lines of a graph")
    legend = visitor.all(".legend")[0].text
    for command, outcome in (("close", "accepted"), ("cancel", "rejected"), ("withdraw", "accepted")):
        assert f'{{command="{command}",outcome="{outcome}"}}' in legend
    visitor.look("graph")
    assert not visitor.leaks(*SECRETS)
