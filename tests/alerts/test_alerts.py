"""Each alert fires for what it is there for, and whoever is on call hears of it; the dashboard's queries are answered.

In one story, because starting everything takes longer than each of its parts: conditions are brought about one after
the other while a steady load runs, and what Alertmanager sent to its webhook is looked at.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

import pytest

from producers.commands import COMMANDS
from producers.intents import Intent, write_intents
from producers.seal import HEADER
from tests.alerts.load import PAIR, Load
from tests.alerts.rig import DASHBOARD, RULES, Alertmanager, Archive, Prometheus, Webhook, metrics_into, program, read
from tests.support.node import running
from tests.support.parked_messages import park
from tests.support.policies import LIMIT, POLICY
from tests.support.seals import PAYROLL, write_keys
from tests.support.stack import Stack, accounts, ledger_url
from tests.support.tcp_proxy import FaultyProxy
from tests.support.waiting import until
from tests.support.workers import WorkerNode
from worker.simulator.server import SimulatorServer

ALERTS = [rule["alert"] for group in read(RULES)["groups"] for rule in group["rules"]]
QUEUES = ",".join(COMMANDS)
"""All but one: nobody takes from orders.reconcile."""
LATE_KEYS = ("late-venue-key", "late-venue-secret")
"""Of an account to which the venue answers as if its clock were behind."""
MAIN_KEY = "demo-everstrike-key"
LIMITED_KEYS = ("limited-key", "limited-secret")
"""Of an account from which the venue wants no requests."""


class FaultyWorker(WorkerNode):
    """A worker with a bug."""

    app = "tests.alerts.faulty_app"


@dataclass
class Story:
    """Everything of the story, and what came of it."""

    stack: Stack
    prometheus: Prometheus
    webhook: Webhook
    workers: list[WorkerNode]
    ledger_proxy: FaultyProxy
    keys: Path
    policy: Path
    unanswered: list[str]

    def until_received(self, *names: str, seconds: float = 30.0) -> None:
        """Wait until these alerts were sent to the webhook."""

        def missing() -> list[str]:
            return [name for name in names if self.webhook.received(name) is None]

        def state() -> str:
            return f"{missing()}; firing: {self.prometheus.firing()}, received: {self.received}"

        until(lambda: not missing(), state, seconds, 0.1)

    @property
    def received(self) -> set[str]:
        """Every alert that the webhook received."""
        return {alert["labels"]["alertname"] for alert in self.webhook.alerts if alert["status"] == "firing"}


@pytest.fixture(scope="module")
def story(
    make_bed: Callable[..., Stack],
    simulator: SimulatorServer,
    tmp_path_factory: pytest.TempPathFactory,
    require_service: Callable[[str, object], None],
) -> Iterator[Story]:
    """The story, told to its end."""
    programs = "Debian's packages prometheus and prometheus-alertmanager"
    require_service(programs, all(map(program, ("prometheus", "alertmanager"))))
    folder = tmp_path_factory.mktemp("alerts")
    targets = folder / "targets"
    with ExitStack() as exits:
        keys_of = {"late": LATE_KEYS, "limited": LIMITED_KEYS}
        more_accounts = accounts({alias: ("everstrike", *keys, simulator.url) for alias, keys in keys_of.items()})
        # Nobody seals a cancel.
        keys = write_keys(folder / "keys.toml", PAYROLL)
        seals = {"ORDERS_AUTH__CANCEL": "warn", "ORDERS_AUTH__KEYS_FILE": str(keys)}
        more = {**more_accounts, **seals, "ORDERS_LEDGER__INTENT_SECONDS": "1"}
        stack = make_bed(started=0, **metrics_into(targets), **more)
        proxy = FaultyProxy(stack.broker_url)
        exits.callback(proxy.close)
        policy = folder / "policy.toml"
        policy.write_text(POLICY.replace(LIMIT, ""), encoding="utf-8")
        environment = stack.worker.environment | {"ORDERS_LEDGER_URL": f"redis://127.0.0.1:{proxy.port}/2"}
        environment |= {"ORDERS_POLICY__MODE": "require", "ORDERS_POLICY_FILE": str(policy)}
        workers = [FaultyWorker(folder / name, environment, ("-Q", QUEUES)) for name in ("one", "two")]
        webhook = exits.enter_context(Webhook())
        alertmanager = Alertmanager(folder, webhook.url)
        archive = Archive(folder, ledger_url(stack.broker_url))
        prometheus = Prometheus(folder, targets, alertmanager.port, archive.port)
        exits.enter_context(running(alertmanager, prometheus, archive, *workers))
        told = Story(stack, prometheus, webhook, workers, proxy, keys, policy, [])
        tell(told)
        yield told


def tell(story: Story) -> None:
    """Bring about one condition after the other."""
    stack = story.stack
    stack.venue.reset()
    with Load(stack) as load:
        until(lambda: load.sent > 20, "the load")
        # What grows before it was ever scraped did not grow.
        until(lambda: len(story.prometheus.series('up{job="orders"} == 1', 5)) == 2, "two looks at both workers")
        commands_go_wrong(stack)
        queues_go_wrong(stack)
        story.keys.write_text("[producers")
        stack.send("orders.cancel", headers={HEADER: "sealed"}, account="main", order_id="none")
        story.policy.write_text("[withdrawals", encoding="utf-8")
        story.until_received(
            "OrdersUnknownOpen", "OrdersHaltForgotten", "OrdersApprovalAwaited", "OrdersIdsReused", "OrdersWorkerFault"
        )
        story.until_received("OrdersWithdrawalsDenied", "OrdersPolicyBroken", "OrdersPolicyNotApplied")
        story.until_received("OrdersVenueFails", "OrdersKeyRefused", "OrdersRepublished", "OrdersClockOff")
        story.until_received("OrdersQueueWait", "OrdersQueueStands", "OrdersNoWorkerOnQueue", "OrdersDeadLetters")
        story.until_received("OrdersUnsealed", "OrdersBadlySealed", "OrdersKeysFileBroken")
        story.until_received("OrdersParkedOverdue", "OrdersCoolDown")
        story.until_received("OrdersWebhookLate", "OrdersWebhookGaveUp")
        stack.venue.clear_faults()
        story.unanswered.extend(unanswered(story.prometheus))
        story.workers[1].kill()
        story.ledger_proxy.reply_delay_seconds = 0.3
        story.until_received("OrdersLedgerSlow", "OrdersWorkerNotScraped")
        story.ledger_proxy.reply_delay_seconds = 0.0
    stack.ledger.delete("orders:journal:head", "orders:journal")
    story.until_received("OrdersJournalTampered")
    server_goes_wrong(story)


def commands_go_wrong(stack: Stack) -> None:
    """A lost withdrawal, a denied one, a halt that nobody remembers, a reused id, a bug, a venue that fails, a key that
    it refuses, a clock that is off."""
    two_hours_ago = int(time.time() * 1000) - 7_200_000
    stack.ledger.hset("orders:webhooks", "books", "0-0 0 0")
    stack.ledger.zadd("orders:webhook:books:open", {f"{two_hours_ago}-0": two_hours_ago})
    stack.ledger.zadd("orders:webhook:books:dead", {f"{two_hours_ago}-1": two_hours_ago})
    stack.venue.fault("cut_after", path="withdraw", times=1)
    lost = stack.send("orders.withdraw", account="main", asset="ETH", qty="0.01", address="0xabc")
    until(lambda: stack.ledger.zcard("orders:unknown"), "an unknown")
    for command_id in stack.ledger.zrange("orders:unknown", 0, -1):
        stack.ledger.zadd("orders:unknown", {command_id: two_hours_ago})
    stack.ended(lost)
    halt = {"who": "ann", "why": "a drill", "at": two_hours_ago}
    stack.ledger.hset("orders:halts", "bz/withdraw", json.dumps(halt))
    stack.ledger.hset("orders:command:held", mapping={"state": "HELD", "held_at": two_hours_ago})
    stack.ledger.zadd("orders:held", {"held": two_hours_ago * 2})
    stack.ended(stack.send("orders.withdraw", account="main", asset="ETH", qty="0.01", address="0xother"))
    stack.ended(stack.send("orders.close", command_id="twice", account="main", pair=PAIR, qty="0.001"))
    stack.send("orders.close", command_id="twice", account="main", pair=PAIR, qty="0.002")
    stack.send("orders.cancel", account="main", order_id="the-bug")
    stack.venue.account("everstrike", *LATE_KEYS)
    head = f"HTTP/1.1 200 OK\r\ndate: {formatdate(time.time() - 60, usegmt=True)}\r\ncontent-length: $LENGTH\r\n\r\n"
    stack.venue.fault("raw", api_key=LATE_KEYS[0], body=head + "$BODY", reset=False, times=None)
    for _ in range(3):
        stack.ended(stack.send("orders.close", account="late", pair=PAIR, qty="0.001"))
    stack.venue.fault("envelope", status=503, message="Out of order", path="close", api_key=MAIN_KEY, times=None)
    stack.venue.account("everstrike", *LIMITED_KEYS)
    stack.venue.fault("envelope", status=429, message="Too many requests", api_key=LIMITED_KEYS[0], times=None)
    for _ in range(5):
        stack.send("orders.close", account="limited", pair=PAIR)
    stack.venue.fault("envelope", path="positions", status=401, message="Unauthorized", times=12)


def queues_go_wrong(stack: Stack) -> None:
    """Commands that waited, one that nobody takes and another one that was parked there, one that nobody can read, one
    that was lost on its way."""
    late = {"enqueued_at": int(time.time() * 1000) - 60_000}
    for _ in range(60):
        stack.send("orders.cancel", account="main", order_id="none", headers=late)
    stack.send("orders.reconcile", headers=late)
    park(stack.broker, "orders.reconcile", "overdue", "retry", "main", late["enqueued_at"], late["enqueued_at"] - 9000)
    stack.broker.lpush("orders.close", "no message")
    arguments = {"account": "main", "pair": PAIR, "qty": "0.001"}
    write_intents(stack.ledger, [Intent("lost", "orders.close", arguments, late["enqueued_at"])])


def server_goes_wrong(story: Story) -> None:
    """The server is nearly full, made a replica, gone; and back."""
    ledger, server = story.stack.ledger, story.stack.setup.broker.container
    ledger.config_set("maxmemory", int(ledger.info("memory")["used_memory"] * 1.15))
    story.until_received("OrdersServerMemory")
    ledger.config_set("maxmemory", 0)
    ledger.replicaof("127.0.0.1", "1")
    story.until_received("OrdersServerNotWritable")
    ledger.replicaof("NO", "ONE")
    server.kill()
    story.until_received("OrdersServerDown", "OrdersWorkerNotReady", "OrdersArchiveStopped")
    server.start()
    server.ready()
    until(lambda: story.webhook.received("OrdersServerDown", "resolved"), "the all-clear", 60)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_fires(story: Story, name: str) -> None:
    """An alert that has never fired is a hope."""
    alert = story.webhook.received(name)
    assert alert is not None, f"received: {sorted(story.received)}"
    assert alert["annotations"]["runbook"].startswith("docs/runbook.md#")
    for text in alert["annotations"].values():
        assert "<no value>" not in text
        assert "{{" not in text


def test_no_alert_but_these_fires(story: Story) -> None:
    """The story is the list: what fires here is tested above."""
    assert story.received == set(ALERTS)


def expressions() -> dict[str, str]:
    """Every query of the dashboard by where it is, as Grafana asks it."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    found = {f"annotation {note['name']}": note["expr"] for note in dashboard["annotations"]["list"]}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    return {at: each.replace("$__rate_interval", "20s").replace("$account", ".*") for at, each in found.items()}


def unanswered(prometheus: Prometheus) -> list[str]:
    """Queries of the dashboard that have no series in the last minute."""
    return [where for where, expression in expressions().items() if not prometheus.series(expression, 60)]


def test_every_query_of_the_dashboard_has_series(story: Story) -> None:
    """An empty panel at night: a metric that was renamed, a label that is not there."""
    assert len(expressions()) > 40
    # Neither venue here knows client order ids, so that nothing is looked for; and the workers serve no webhook.
    assert story.unanswered == ["Attempts, by proof C", "Attempts at webhooks A"]


def test_a_query_of_a_metric_that_does_not_exist_has_no_series(story: Story) -> None:
    """The check of the dashboard's queries can fail."""
    assert story.prometheus.series("orders_queue_messages_of_old", 60) == []


def test_what_grafana_lists_as_accounts_is_there(story: Story) -> None:
    """The variable at the top of the dashboard."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    (query,) = [v["query"]["query"] for v in dashboard["templating"]["list"] if v["name"] == "account"]
    found = re.fullmatch(r"label_values\((\w+), (\w+)\)", query)
    assert found
    listed = story.prometheus.ask(f"label/{found[2]}/values", **{"match[]": found[1]})
    assert set(listed) == {"main", "bz", "late", "limited"}
