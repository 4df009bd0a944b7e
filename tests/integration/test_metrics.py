"""What Prometheus finds at a real worker: every metric of the catalogue, true numbers, a page that promtool accepts."""

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.servers import free_port
from tests.support.stack import Stack
from tests.support.waiting import until
from worker.observability import catalogue

PAIR = "USD_BTC_PERP"
CLOSE = {"account": "main", "pair": PAIR, "qty": "0.001"}
SERVERS = ("broker", "ledger", "results")


def page(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        return str(answer.read().decode())


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Scrape:
    """One look at a worker's page."""

    def __init__(self, port: int) -> None:
        self.text = page(port)
        self._samples = samples(self.text)

    def value(self, name: str, **labels: str) -> float | None:
        """A sample with exactly these labels."""
        return self._samples.get((name, frozenset(labels.items())))

    def total(self, name: str, **labels: str) -> float:
        """The sum of all samples with at least these labels."""
        return sum(v for (n, found), v in self._samples.items() if n == name and labels.items() <= dict(found).items())

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self._samples}


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def stack(make_bed: Callable[..., Stack], port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A worker that has seen most of what there is to see."""
    stack = make_bed(
        ORDERS_METRICS__PORT=str(port),
        ORDERS_METRICS__TARGETS_DIR=str(tmp_path_factory.mktemp("targets")),
        ORDERS_POLICY__MODE="warn",
    )
    stack.reset_venue()
    ids = [stack.send("orders.close", **CLOSE) for _ in range(5)]
    stack.all_ended(ids)
    stack.ended(stack.send("orders.close", command_id=ids[0], **CLOSE))
    until(lambda: Scrape(port).total("orders_replays_total") == 1, "the second sending")
    stack.send("orders.close", command_id=ids[1], account="main", pair=PAIR, qty="0.002")
    stack.venue.fault("envelope", status=429, message="Too many requests", path="close", times=1)
    stack.ended(stack.send("orders.close", **CLOSE))
    stack.venue.fault("cut_after", path="withdraw", times=1)
    stack.ended(stack.send("orders.withdraw", account="main", asset="ETH", qty="0.01", address="0xabc"))
    stack.ended(stack.send("orders.positions", account="main"))
    stack.ended(stack.send("orders.cancel", account="main", order_id="none", command_id="c1"))
    stack.broker.lpush("orders.close", "no message")
    until(lambda: stack.broker.llen("orders.close.dead") == 1, "the dead message")
    stack.ledger.hset("orders:halts", "main/withdraw", '{"who": "ann", "why": "a drill", "at": 1700000000000}')
    stack.drained()
    return stack


@pytest.fixture(scope="module")
def scrape(stack: Stack, port: int) -> Scrape | None:
    """The page after all that, when what was kept of each server is old enough to be asked again."""
    fresh = {"orders_halted": {"command": "withdraw"}, "orders_queue_dead_messages": {"queue": "orders.close"}}

    def look() -> Scrape | None:
        scrape = Scrape(port)
        return scrape if all(scrape.total(name, **labels) for name, labels in fresh.items()) else None

    return until(look, "a fresh look at both servers", 60, 0.5)


HAPPENED = [
    ("orders_commands_total", "command=close account=main venue=everstrike outcome=accepted reason=ok", 6),
    ("orders_attempts_total", "command=close account=main", 7),
    ("orders_retries_total", "command=close account=main venue=everstrike", 1),
    ("orders_replays_total", "command=close account=main", 1),
    ("orders_ids_reused_total", "command=close account=main", 1),
    ("orders_answers_total", "command=withdraw venue=everstrike status=lost", 1),
    ("orders_queue_wait_seconds_count", "command=close", 6),
    ("orders_signature_age_seconds_count", "venue=everstrike", 10),
    ("orders_ledger_round_trip_seconds_count", "move=begin_on_disk", 1),
    ("orders_policy_rulings_total", "account=main ruling=warned", 1),
    ("orders_cool_downs_total", "account=main venue=everstrike", 1),
]
STANDS = [
    ("orders_unknown_open", "account=main", 1),
    ("orders_halted", "account=main command=withdraw", 1),
    ("orders_halted_timestamp_seconds", "account=main command=withdraw", 1.7e9),
    ("orders_queue_dead_messages", "queue=orders.close", 1),
    ("orders_worker_ready", "", 1),
    ("orders_worker_consumes", "queue=orders.withdraw", 1),
    ("orders_worker_slots", "", 16),
    *((name, f"server={each}", 1) for name in ("orders_server_up", "orders_server_writable") for each in SERVERS),
]
ZERO = [
    # Told before anything of the kind has happened.
    ("orders_answers_total", "command=withdraw venue=everstrike status=401"),
    ("orders_answers_total", "command=positions venue=bitz status=403"),
    ("orders_unknown_open", "account=bz"),
    ("orders_policy_rulings_total", "account=main ruling=denied"),
    ("orders_policy_file_usable", ""),
    ("orders_policy_file_applied", ""),
    ("orders_queue_messages", "queue=orders.close"),
    ("orders_worker_account_busy", "account=main"),
    ("orders_worker_account_busy", "account=other"),
    ("orders_parked_messages", "queue=orders.close waits_for=retry"),
    ("orders_parked_overdue_seconds", "queue=orders.close"),
    ("orders_cool_down_seconds", "account=bz"),
    ("orders_lanes_held", ""),
]


def labels_of(text: str) -> dict[str, str]:
    return dict(each.split("=") for each in text.split())


def test_it_tells_what_happened_and_what_is(scrape: Scrape) -> None:
    """Numbers that people will act upon, and what an alert wakes somebody for."""
    for name, labels, value in (*HAPPENED, *STANDS):
        assert scrape.total(name, **labels_of(labels)) == value, (name, labels)
    for name, labels in ZERO:
        assert scrape.value(name, **labels_of(labels)) == 0, (name, labels)
    assert scrape.total("orders_unknown_oldest_timestamp_seconds", account="main") > 1.7e9
    clocks = [scrape.value("orders_server_clock_offset_seconds", server=server) for server in SERVERS]
    clocks.append(scrape.value("orders_venue_clock_offset_seconds", account="main", venue="everstrike"))
    assert all(offset is not None and abs(offset) < 2 for offset in clocks), clocks


WAITING = {catalogue.QUEUED_SINCE.name, catalogue.HELD_SINCE.name}
SEALS = {catalogue.BADLY_SEALED.name, catalogue.KEYS_FILE_USABLE.name}
WEBHOOKS = {metric.name for metric in (*catalogue.EVENTS, *catalogue.STATE) if "webhook" in metric.labels}
NOT_HERE = WAITING | SEALS | WEBHOOKS | {catalogue.LOOKS.name}
"""Nothing waits here, no seal is asked for (see tests/alerts), no venue knows client order ids, and there is no webhook
(see tests/contract/test_webhooks_by_hand.py)."""


def test_every_metric_is_there(scrape: Scrape) -> None:
    """No metric of the catalogue is missing from the page."""
    told = {name.removesuffix("_count") for name in scrape.names}
    assert {metric.name for metric in (*catalogue.EVENTS, *catalogue.STATE)} - told == NOT_HERE


def test_nothing_is_there_that_the_catalogue_does_not_name(scrape: Scrape) -> None:
    """Every metric and label is documented, and no label holds a value that a sender chose."""
    labels = {metric.name: set(metric.labels) for metric in (*catalogue.EVENTS, *catalogue.STATE)}
    for name, found in samples(scrape.text):
        if not name.startswith("process_"):
            base = name if name in labels else name.rsplit("_", 1)[0]
            assert {label for label, _ in found} - {"le"} == labels[base], name
    for hidden in ("0xabc", PAIR, "ETH", "c1", "demo-everstrike"):
        assert hidden not in scrape.text


WITHOUT_ATTEMPT = ("replayed", "id_reused", "policy_warning", "parked", "throttled", "cool_down")


def test_every_line_of_the_log_is_json(stack: Stack, scrape: Scrape) -> None:
    """Celery's too: with one line in another form, whoever collects them has two formats to read. The banner, printed
    before the first, is none."""
    del scrape
    lines = stack.worker.logs().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("{"))
    told = [json.loads(line) for line in lines[first:] if line.strip()]
    assert {"orders.executor", "worker.broker.delivery", "celery.app.trace", "celery.worker.strategy"} <= {
        t["logger"] for t in told
    }
    events = [t for t in told if "event" in t]
    assert {"begin", "attempt", "waiting", "cool_down", "parked", "end", "replayed", "id_reused"} <= {
        t["event"] for t in events
    }
    for event in events:
        assert event["command_id"]
        assert event["account"] == "main"
        assert "attempt" in event or event["event"] in WITHOUT_ATTEMPT
    assert "0xabc" not in json.dumps(events)


def test_promtool_accepts_the_page(scrape: Scrape, require_service: Callable[[str, object], None]) -> None:
    """Prometheus' own judgement of names, units and help."""
    promtool = shutil.which("promtool")
    require_service("promtool (Debian's package prometheus)", promtool)
    checked = subprocess.run(
        [str(promtool), "check", "metrics"], input=scrape.text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_a_second_worker_takes_the_next_port(make_bed: Callable[..., Stack], tmp_path: Path) -> None:
    """Two workers of one machine, each found by the file that it wrote and takes away; and one that finds no port
    executes all the same."""
    first = next(port for port in iter(free_port, None) if _is_free(port + 1))
    environment = {
        "ORDERS_METRICS__PORT": str(first),
        "ORDERS_METRICS__PORTS": "2",
        "ORDERS_METRICS__TARGETS_DIR": str(tmp_path),
    }
    stack = make_bed(workers=3, **environment)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"127.0.0.1_{first + n}.json" for n in (0, 1)]
    assert all(Scrape(port).value("orders_worker_ready") == 1 for port in (first, first + 1))
    nodes = [worker.container for worker in stack.workers]
    (without,) = [node for node in nodes if "no metrics: none of the ports" in node.logs()]
    stopped = next(node for node in nodes if node is not without)
    stopped.stop(60)
    assert len(list(tmp_path.iterdir())) == 1


def _is_free(port: int) -> bool:
    try:
        page(port)
    except urllib.error.URLError:
        return True
    return False


def test_processes_of_a_pool_are_summed(make_bed: Callable[..., Stack], tmp_path: Path) -> None:
    """With prefork each process counts for itself, and a scrape would find one of them."""
    port = free_port()
    # Not `--pool prefork`: Celery takes that for its own default, and the configured pool of threads instead.
    options = ("--pool", "processes", "--concurrency", "2")
    stack = make_bed(options=options, ORDERS_METRICS__PORT=str(port), TMPDIR=str(tmp_path))
    stack.reset_venue()
    stack.all_ended([stack.send("orders.close", **CLOSE) for _ in range(20)])
    until(lambda: Scrape(port).total("orders_commands_total") == 20, "all commands of both processes")
    scrape = Scrape(port)
    assert scrape.value("orders_queue_wait_seconds_count", command="close") == 20
    assert scrape.value("orders_worker_slots") == 2
    assert scrape.value("orders_server_up", server="ledger") == 1
    (shared,) = tmp_path.glob("orders-metrics-*")
    assert len(list(shared.glob("counter_*.db"))) >= 2
    stack.worker.stop(60)
    assert not shared.exists(), "its files are gone with it"


def test_a_server_that_is_away_is_told(stack: Stack, port: int) -> None:
    """Last in this file: the alert on a ledger that is gone needs a worker that still answers."""
    server = stack.setup.broker.container
    server.kill()

    def is_told() -> bool:
        """Each server is asked once in a while; and what is not known is not told as zero."""
        scrape = Scrape(port)
        known = [scrape.value("orders_server_up", server="ledger"), scrape.value("orders_worker_ready")]
        return known == [0, 0] and "orders_queue_messages" not in scrape.names

    until(is_told, lambda: f"the server's end\n{Scrape(port).text}", 60, 0.5)
    server.start()
    server.ready()
    until(lambda: Scrape(port).value("orders_server_up", server="broker") == 1, "the server's return", 60, 0.5)
    until(lambda: Scrape(port).value("orders_worker_ready") == 1, "the worker's return", 60, 0.5)
