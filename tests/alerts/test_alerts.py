"""Each alert fires for what it is there for, and whoever is on call hears of it; the dashboard's queries are answered.

In one story, because starting everything takes longer than each of its parts: conditions are brought about one after
the other while a steady load runs, and what Alertmanager told its webhook is looked at.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from producers.intents import Intent, write_intents
from tests.alerts.load import PAIR, Load
from tests.alerts.rig import (
    DASHBOARD,
    RULES,
    Alertmanager,
    LateVenue,
    Prometheus,
    Webhook,
    metrics_into,
    program,
    read,
)
from tests.support.stack import Stack, accounts
from tests.support.tcp_proxy import FaultyProxy
from tests.support.waiting import until
from tests.support.workers import WorkerNode

pytestmark = pytest.mark.integration

ALERTS = [rule["alert"] for group in read(RULES)["groups"] for rule in group["rules"]]
QUEUES = "orders.cancel,orders.close,orders.withdraw,orders.positions"
"""All but one: nobody takes from orders.reconcile."""


class FaultyWorker(WorkerNode):
    """A worker with a bug, which leaves one queue alone."""

    def arguments(self) -> Sequence[str]:
        """As the other, with another app."""
        words = [word if word != "worker" else "tests.alerts.faulty_app" for word in super().arguments()[:5]]
        return [sys.executable, *words[1:], *super().arguments()[5:], "-Q", QUEUES]


@dataclass
class Story:
    """Everything of the story, and what came of it."""

    bed: Stack
    prometheus: Prometheus
    webhook: Webhook
    other: WorkerNode
    ledger_proxy: FaultyProxy
    unanswered: list[str]

    def heard(self, *names: str, seconds: float = 30.0) -> None:
        """Wait until these alerts were told."""

        def missing() -> list[str]:
            return [name for name in names if self.webhook.told(name) is None]

        until(
            lambda: not missing(),
            lambda: f"{missing()}; firing: {self.prometheus.firing()}, told: {self.heard_of}",
            seconds,
            0.1,
        )

    @property
    def heard_of(self) -> set[str]:
        """Every alert that was told."""
        return {alert["labels"]["alertname"] for alert in self.webhook.alerts if alert["status"] == "firing"}


@pytest.fixture(scope="module")
def late_venue() -> Iterator[LateVenue]:
    """A venue with another clock."""
    venue = LateVenue()
    yield venue
    venue.close()


@pytest.fixture(scope="module")
def story(
    make_bed: Callable[..., Stack],
    late_venue: LateVenue,
    tmp_path_factory: pytest.TempPathFactory,
    require_service: Callable[[str, object], None],
) -> Iterator[Story]:
    """The story, told to its end."""
    require_service(
        "Debian's packages prometheus and prometheus-alertmanager", all(map(program, ("prometheus", "alertmanager")))
    )
    folder = tmp_path_factory.mktemp("alerts")
    targets = folder / "targets"
    settings = {
        **accounts({"late": ("everstrike", "late-venue-key", "late-venue-secret", late_venue.url)}),
        **metrics_into(targets),
        "ORDERS_LEDGER__INTENT_SECONDS": "1",
    }
    bed = make_bed(started=0, **settings)
    proxy = FaultyProxy(bed.broker_url)
    environment = bed.workers[0].container.environment | {"ORDERS_LEDGER_URL": f"redis://127.0.0.1:{proxy.port}/2"}
    workers = [FaultyWorker(folder / name, environment) for name in ("one", "two")]
    webhook = Webhook()
    alertmanager = Alertmanager(folder, webhook.url)
    prometheus = Prometheus(folder, targets, alertmanager.port)
    nodes = [alertmanager, prometheus, *workers]
    try:
        for node in nodes:
            node.start()
        for node in nodes:
            node.ready()
        told = Story(bed, prometheus, webhook, workers[1], proxy, [])
        tell(told)
        yield told
    finally:
        for node in reversed(nodes):
            node.teardown()
        webhook.close()
        proxy.close()


def tell(story: Story) -> None:
    """Bring about one thing after the other."""
    bed = story.bed
    bed.venue.reset()
    with Load(bed) as load:
        until(lambda: load.sent > 20, "the load")
        # What grows before it was ever scraped did not grow.
        until(lambda: len(story.prometheus.series('up{job="orders"} == 1', 5)) == 2, "two looks at both workers")
        commands_go_wrong(bed)
        queues_go_wrong(bed)
        story.heard(
            "OrdersUnknownOpen", "OrdersHaltForgotten", "OrdersIdsReused", "OrdersWorkerFault", "OrdersVenueFails"
        )
        story.heard("OrdersKeyRefused")
        story.heard("OrdersQueueWait", "OrdersQueueStands", "OrdersNoWorkerOnQueue", "OrdersDeadLetters")
        story.heard("OrdersRepublished", "OrdersClockOff")
        bed.venue.clear_faults()
        story.unanswered.extend(unanswered(story.prometheus))
        story.other.kill()
        story.ledger_proxy.reply_delay_seconds = 0.3
        story.heard("OrdersLedgerSlow", "OrdersWorkerNotScraped")
        story.ledger_proxy.reply_delay_seconds = 0.0
    servers_go_wrong(story)


def commands_go_wrong(bed: Stack) -> None:
    """A lost withdrawal, a halt that nobody remembers, a reused id, a bug, a venue that fails, a key that it refuses, a
    clock that is off."""
    long_ago = int(time.time() * 1000) - 7_200_000
    bed.venue.fault("cut_after", path="withdraw", times=1)
    lost = bed.send("orders.withdraw", account="main", asset="ETH", qty="0.01", address="0xabc")
    until(lambda: bed.ledger.zcard("orders:unknown"), "an unknown")
    for command_id in bed.ledger.zrange("orders:unknown", 0, -1):
        bed.ledger.zadd("orders:unknown", {command_id: long_ago})
    bed.ended(lost)
    bed.ledger.hset("orders:halts", "bz/withdraw", json.dumps({"who": "ann", "why": "a drill", "at": long_ago}))
    bed.ended(bed.send("orders.close", command_id="twice", account="main", pair=PAIR, qty="0.001"))
    bed.send("orders.close", command_id="twice", account="main", pair=PAIR, qty="0.002")
    bed.send("orders.cancel", account="main", order_id="the-bug")
    bed.venue.fault("envelope", status=429, message="Too many requests", path="close", times=None)
    bed.venue.fault("envelope", path="positions", status=401, message="Unauthorized", times=12)
    for _ in range(3):
        bed.ended(bed.send("orders.close", account="late", pair=PAIR, qty="0.001"))


def queues_go_wrong(bed: Stack) -> None:
    """Commands that waited, one that nobody takes, one that nobody can read, one that was lost on its way."""
    late = {"enqueued_at": int(time.time() * 1000) - 60_000}
    for _ in range(60):
        bed.send("orders.cancel", account="main", order_id="none", headers=late)
    bed.send("orders.reconcile", headers=late)
    bed.broker.lpush("orders.close", "no message")
    arguments = {"account": "main", "pair": PAIR, "qty": "0.001"}
    write_intents(bed.ledger, [Intent("lost", "orders.close", arguments, late["enqueued_at"])])


def servers_go_wrong(story: Story) -> None:
    """Nearly full, made a replica, gone; and back."""
    ledger, server = story.bed.ledger, story.bed.setup.broker.container
    ledger.config_set("maxmemory", int(ledger.info("memory")["used_memory"] * 1.15))
    story.heard("OrdersServerMemory")
    ledger.config_set("maxmemory", 0)
    ledger.replicaof("127.0.0.1", "1")
    story.heard("OrdersServerNotWritable")
    ledger.replicaof("NO", "ONE")
    server.kill()
    story.heard("OrdersServerDown", "OrdersWorkerNotReady")
    server.start()
    server.ready()
    until(lambda: story.webhook.told("OrdersServerDown", "resolved"), "the all-clear", 60, 0.2)


# -- what came of it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_fires(story: Story, name: str) -> None:
    """An alert that has never fired is a hope."""
    alert = story.webhook.told(name)
    assert alert is not None, f"heard of: {sorted(story.heard_of)}"
    assert alert["annotations"]["runbook"].startswith("docs/runbook.md#")
    for text in alert["annotations"].values():
        assert "<no value>" not in text
        assert "{{" not in text


def test_no_alert_but_these(story: Story) -> None:
    """The story is the list: what fires here is tested above."""
    assert story.heard_of == set(ALERTS)


def expressions() -> dict[str, str]:
    """Every query of the dashboard by where it is."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    }
    notes = {f"annotation {note['name']}": note["expr"] for note in dashboard["annotations"]["list"]}
    return {where: as_asked(expression) for where, expression in {**panels, **notes}.items()}


def as_asked(expression: str) -> str:
    """What Grafana makes of an expression."""
    return expression.replace("$__rate_interval", "20s").replace("$account", ".*")


def unanswered(prometheus: Prometheus) -> list[str]:
    """Queries of the dashboard that have no series in the last minute."""
    return [where for where, expression in expressions().items() if not prometheus.series(expression, 60)]


def test_every_query_of_the_dashboard_has_series(story: Story) -> None:
    """An empty panel at night: a metric that was renamed, a label that is not there."""
    assert len(expressions()) > 40
    assert story.unanswered == []


def test_the_check_of_queries_can_fail(story: Story) -> None:
    """The check itself."""
    assert story.prometheus.series("orders_queue_messages_of_old", 60) == []


def test_what_grafana_lists_as_accounts_is_there(story: Story) -> None:
    """The variable at the top of the dashboard."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    (query,) = [v["query"]["query"] for v in dashboard["templating"]["list"] if v["name"] == "account"]
    found = re.fullmatch(r"label_values\((\w+), (\w+)\)", query)
    assert found
    names: Any = story.prometheus.get(f"/api/v1/label/{found[2]}/values", **{"match[]": found[1]})["data"]
    assert set(names) == {"main", "bz", "late"}
