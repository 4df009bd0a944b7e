"""Rules, dashboard and Prometheus' configuration: valid, over metrics that exist, and each alert with something to do.

Each alert is fired for real by ``make alerts-test``, see ``tests/alerts``.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from worker.celery_app.queues import QUEUES
from worker.observability import catalogue

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "compose"
RULES = COMPOSE / "prometheus" / "rules" / "orders.yaml"
DASHBOARD = json.loads((COMPOSE / "grafana" / "dashboards" / "orders.json").read_text(encoding="utf-8"))
ALERTS = [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
LABELS = {metric.name: {*metric.labels} for metric in (*catalogue.EVENTS, *catalogue.STATE)}
PROMETHEUS_OWN = {"instance", "job", "le", "alertname", "alertstate"}

Tool = Callable[..., str]


@pytest.fixture
def tool(require_service: Callable[[str, object], None]) -> Tool:
    """Runs one of Debian's programs and returns what it says; it must end well."""

    def run(*words: str, cwd: Path = ROOT) -> str:
        path = shutil.which(words[0])
        require_service(f"{words[0]} (Debian's packages prometheus and prometheus-alertmanager)", path)
        done = subprocess.run([str(path), *words[1:]], cwd=cwd, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


# -- what Prometheus and Alertmanager say ------------------------------------------------------------------------------


def test_promtool_accepts_the_rules(tool: Tool) -> None:
    """A rule file with a fault keeps Prometheus from starting."""
    assert f"SUCCESS: {len(ALERTS)} rules found" in tool("promtool", "check", "rules", str(RULES))


def test_the_rules_unit_tests_pass(tool: Tool) -> None:
    """When each alert fires, and that none does on a quiet day."""
    assert "SUCCESS" in tool("promtool", "test", "rules", str(COMPOSE / "prometheus" / "tests" / "orders.yaml"))


def test_the_rules_unit_tests_can_fail(tool: Tool, tmp_path: Path) -> None:
    """The check itself: with another threshold they fail."""
    tool("promtool", "--version")
    shutil.copytree(COMPOSE / "prometheus", tmp_path / "prometheus")
    rules = tmp_path / "prometheus" / "rules" / "orders.yaml"
    rules.write_text(rules.read_text(encoding="utf-8").replace("> 600", "> 6000"), encoding="utf-8")
    with pytest.raises(AssertionError, match="OrdersUnknownOpen"):
        tool("promtool", "test", "rules", str(tmp_path / "prometheus" / "tests" / "orders.yaml"))


def test_every_alert_has_a_unit_test() -> None:
    """An alert that was added without one."""
    text = (COMPOSE / "prometheus" / "tests" / "orders.yaml").read_text(encoding="utf-8")
    patterns = [re.compile(pattern) for pattern in re.findall(r'alertname=~"([^"]+)"', text)]
    for rule in ALERTS:
        assert f'"{rule["alert"]}"' in text or any(pattern.fullmatch(rule["alert"]) for pattern in patterns)


def test_promtool_accepts_the_configuration(tool: Tool, tmp_path: Path) -> None:
    """As the container sees it: its rules are where it looks for them."""
    text = (COMPOSE / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8")
    config = tmp_path / "prometheus.yaml"
    config.write_text(text.replace("/etc/prometheus/rules", str(RULES.parent)), encoding="utf-8")
    assert "SUCCESS: 1 rule files found" in tool("promtool", "check", "config", str(config))


def test_amtool_accepts_alertmanagers_configuration(tool: Tool) -> None:
    """An Alertmanager that does not start tells nobody."""
    assert "SUCCESS" in tool("amtool", "check-config", str(COMPOSE / "alertmanager" / "alertmanager.yaml"))


# -- alerts ------------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made of them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("rule", ALERTS, ids=[rule["alert"] for rule in ALERTS])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """Whoever is woken by it needs the page that helps, and that page the part."""
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor in anchors(ROOT / page)
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert {"summary", "description", "runbook"} == rule["annotations"].keys()


def test_every_night_is_reached_by_an_alert_or_named_as_another() -> None:
    """A part of the page that no alert leads to any more."""
    used = {rule["annotations"]["runbook"].partition("#")[2] for rule in ALERTS}
    nights = anchors(ROOT / "docs" / "runbook.md") - {"runbook", "first"}
    assert nights - used == set()


def test_no_queue_is_forgotten() -> None:
    """A queue without workers that nobody would hear of."""
    (rule,) = (rule for rule in ALERTS if rule["alert"] == "OrdersNoWorkerOnQueue")
    assert set(re.findall(r'queue="([^"]+)"', rule["expr"])) == set(QUEUES)


# -- queries -----------------------------------------------------------------------------------------------------------


def panels() -> list[dict[str, Any]]:
    """Those that show something."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Every query of rules and dashboard."""
    for rule in ALERTS:
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_a_query_asks_for_what_exists(where: str, query: str) -> None:
    """A metric or a label that nobody has gives no error, only no data; and so no alert."""
    del where
    found = re.findall(r"\b(orders_\w+?)(?:_bucket|_sum|_count)?(?:\{([^}]*)\}|\b)", query)
    for name, selectors in found:
        assert name in LABELS
        assert set(re.findall(r"(\w+)=", selectors)) <= LABELS[name] | PROMETHEUS_OWN
    known = set().union(*(LABELS[name] for name, _ in found)) | PROMETHEUS_OWN
    for names in re.findall(r"\bby \(([^)]*)\)", query):
        assert {name.strip() for name in names.split(",")} <= known


LEDGER_IS_UP = {'orders_server_up{instance="a", server="ledger"}': 1, 'orders_intents_open{instance="a"}': 0}
LEDGER_IS_AWAY = {f'orders_server_up{{instance="a", server="{server}"}}': 0 for server in ("broker", "ledger")}


@pytest.mark.parametrize(
    ("title", "told", "shown"),
    [
        ("Servers", LEDGER_IS_UP | {'orders_server_writable{instance="a", server="ledger"}': 1}, 1),
        ("Servers", LEDGER_IS_UP | {'orders_server_writable{instance="a", server="ledger"}': 0}, 0),
        ("Servers", LEDGER_IS_AWAY, 0),
        ("Oldest unknown", LEDGER_IS_UP, 0),
        ("Oldest unknown", LEDGER_IS_UP | {'orders_unknown_oldest_timestamp_seconds{account="main"}': 60}, 240),
        ("Oldest unknown", LEDGER_IS_AWAY, None),
        ("Halts", LEDGER_IS_UP, 0),
        ("Halts", LEDGER_IS_UP | {'orders_halted{instance="a", account="*", command="*"}': 1}, 1),
        ("Halts", LEDGER_IS_AWAY, None),
    ],
)
def test_what_nobody_can_know_is_not_shown_as_well(
    tool: Tool, tmp_path: Path, title: str, told: dict[str, int], shown: int | None
) -> None:
    """A ledger that is away has no halts and no unknowns to tell of, which is not none; and servers that are all away
    are off, not without data."""
    (panel,) = (panel for panel in panels() if panel["title"] == title)
    (target,) = panel["targets"]
    samples = [] if shown is None else [{"labels": "{}", "value": shown}]
    asked = {"expr": target["expr"].replace("$account", ".*"), "eval_time": "5m", "exp_samples": samples}
    series = [{"series": name, "values": f"{value}x40"} for name, value in told.items()]
    test = {"interval": "15s", "input_series": series, "promql_expr_test": [asked]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"tests": [test]}), encoding="utf-8")
    assert "SUCCESS" in tool("promtool", "test", "rules", str(tmp_path / "test.yaml"))


# -- dashboard ---------------------------------------------------------------------------------------------------------


def lost(ours: Any, theirs: Any, where: str = "") -> Iterator[str]:
    """What is in our JSON and not in theirs, or otherwise."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            yield from lost(value, theirs.get(key, "<nothing>"), f"{where}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (mine, their) in enumerate(zip(ours, theirs, strict=True)):
            yield from lost(mine, their, f"{where}[{number}]")
    elif ours != theirs:
        yield f"{where}: {ours!r} is {theirs!r}"


def by_grafana(dashboard: dict[str, Any]) -> dict[str, Any]:
    """The dashboard as Grafana's own models read and write it: what they don't know is gone."""
    register_default_plugins()
    return dict(json.loads(JSONEncoder(sort_keys=True, indent=None).encode(Dashboard.from_json(dashboard))))


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    """A misspelt field is dropped in silence, and the panel is not what it was meant to be."""
    assert list(lost(DASHBOARD, by_grafana(DASHBOARD))) == []


def test_the_check_of_fields_can_fail() -> None:
    """The check itself."""
    changed = json.loads(json.dumps(DASHBOARD))
    changed["panels"][1]["fieldConfig"]["defaults"]["unti"] = "s"
    assert list(lost(changed, by_grafana(changed))) == [".panels[1].fieldConfig.defaults.unti: 's' is '<nothing>'"]


def test_panels_lie_side_by_side() -> None:
    """One that lies on another, or outside the 24 columns, hides something."""
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(p["x"] >= 0 and p["x"] + p["w"] <= 24 for p in places)
    for a, b in combinations(places, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_every_panel_asks_the_chosen_prometheus() -> None:
    """A fixed data source would be there in one installation alone; the provisioned one is the default."""
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels():
        assert panel["datasource"] == chosen
        assert all(target["datasource"] == chosen for target in panel["targets"])
        assert panel["description"].endswith(".")
    provisioned = COMPOSE / "grafana" / "provisioning" / "datasources" / "prometheus.yaml"
    (source,) = yaml.safe_load(provisioned.read_text(encoding="utf-8"))["datasources"]
    (variable,) = (v for v in DASHBOARD["templating"]["list"] if v["name"] == "datasource")
    assert variable["current"]["value"] == source["uid"]


def test_every_metric_is_looked_at() -> None:
    """A metric that neither a panel nor an alert shows is one that nobody sees."""
    asked = {name for _, query in queries() for name in re.findall(r"orders_\w+", query)}
    asked = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert set(LABELS) - asked == {"orders_build_info"}
