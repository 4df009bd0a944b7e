"""The alert rules, the dashboard and the configuration of Prometheus are valid and use only metrics that exist.

``make alerts-test`` fires each alert with real servers, see ``tests/alerts``.
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
LABELS = {metric.name: {*metric.labels} for metric in (*catalogue.EVENTS, *catalogue.STATE, *catalogue.ARCHIVE)}
PROMETHEUS_OWN = {"instance", "job", "le", "alertname", "alertstate"}

Tool = Callable[..., str]


@pytest.fixture
def tool(require_service: Callable[[str, object], None]) -> Tool:
    """Runs one of Debian's programs, which must succeed; returns its output."""

    def run(*words: str, cwd: Path = ROOT) -> str:
        path = shutil.which(words[0])
        require_service(f"{words[0]} (Debian's packages prometheus and prometheus-alertmanager)", path)
        done = subprocess.run([str(path), *words[1:]], cwd=cwd, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


# -- checks by promtool and amtool ------------------------------------------------------------------------------------


def test_promtool_accepts_the_rules(tool: Tool) -> None:
    """With an invalid rule file Prometheus does not start."""
    assert f"SUCCESS: {len(ALERTS)} rules found" in tool("promtool", "check", "rules", str(RULES))


def test_the_rules_unit_tests_pass(tool: Tool) -> None:
    """They show when each alert fires, and that none fires without a reason."""
    assert "SUCCESS" in tool("promtool", "test", "rules", str(COMPOSE / "prometheus" / "tests" / "orders.yaml"))


def test_the_rules_unit_tests_can_fail(tool: Tool, tmp_path: Path) -> None:
    """With another threshold they do."""
    tool("promtool", "--version")
    shutil.copytree(COMPOSE / "prometheus", tmp_path / "prometheus")
    rules = tmp_path / "prometheus" / "rules" / "orders.yaml"
    rules.write_text(rules.read_text(encoding="utf-8").replace("> 600", "> 6000"), encoding="utf-8")
    with pytest.raises(AssertionError, match="OrdersUnknownOpen"):
        tool("promtool", "test", "rules", str(tmp_path / "prometheus" / "tests" / "orders.yaml"))


def test_every_alert_has_a_unit_test() -> None:
    """By its name, or by a pattern that matches it."""
    text = (COMPOSE / "prometheus" / "tests" / "orders.yaml").read_text(encoding="utf-8")
    patterns = [re.compile(pattern) for pattern in re.findall(r'alertname=~"([^"]+)"', text)]
    for rule in ALERTS:
        assert f'"{rule["alert"]}"' in text or any(pattern.fullmatch(rule["alert"]) for pattern in patterns)


def test_promtool_accepts_the_configuration(tool: Tool, tmp_path: Path) -> None:
    """Its rules are where the container looks for them."""
    text = (COMPOSE / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8")
    config = tmp_path / "prometheus.yaml"
    config.write_text(text.replace("/etc/prometheus/rules", str(RULES.parent)), encoding="utf-8")
    assert "SUCCESS: 1 rule files found" in tool("promtool", "check", "config", str(config))


def test_amtool_accepts_alertmanagers_configuration(tool: Tool) -> None:
    """With an invalid configuration it does not start, and nobody is notified."""
    assert "SUCCESS" in tool("amtool", "check-config", str(COMPOSE / "alertmanager" / "alertmanager.yaml"))


# -- alerts ------------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("rule", ALERTS, ids=[rule["alert"] for rule in ALERTS])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """It has a severity, a description and a link to a section that exists in the runbook."""
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor in anchors(ROOT / page)
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert {"summary", "description", "runbook"} == rule["annotations"].keys()


def test_every_section_of_the_runbook_is_linked_by_an_alert() -> None:
    """Except the introduction."""
    used = {rule["annotations"]["runbook"].partition("#")[2] for rule in ALERTS}
    sections = anchors(ROOT / "docs" / "runbook.md") - {"runbook", "first"}
    assert sections - used == set()


def test_no_queue_is_forgotten() -> None:
    """The alert about queues without a worker names every queue."""
    (rule,) = (rule for rule in ALERTS if rule["alert"] == "OrdersNoWorkerOnQueue")
    assert set(re.findall(r'queue="([^"]+)"', rule["expr"])) == set(QUEUES)


# -- queries -----------------------------------------------------------------------------------------------------------


def panels() -> list[dict[str, Any]]:
    """The panels, without the rows that group them."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Every query of the rules and the dashboard, with its alert or panel."""
    for rule in ALERTS:
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_a_query_asks_for_what_exists(where: str, query: str) -> None:
    """A query for a metric or label that does not exist returns no data instead of an error, and so never alerts."""
    del where
    found = re.findall(r"\b(orders_\w+?)(?:_bucket|_sum|_count)?(?:\{([^}]*)\}|\b)", query)
    for name, selectors in found:
        assert name in LABELS
        assert set(re.findall(r"(\w+)=", selectors)) <= LABELS[name] | PROMETHEUS_OWN
    known = set().union(*(LABELS[name] for name, _ in found)) | PROMETHEUS_OWN
    for names in re.findall(r"\bby \(([^)]*)\)", query):
        assert {name.strip() for name in names.split(",")} <= known


LEDGER_IS_UP = {'orders_server_up{instance="a", server="ledger"}': 1, 'orders_intents_open{instance="a"}': 0}
LEDGER_IS_DOWN = {f'orders_server_up{{instance="a", server="{server}"}}': 0 for server in ("broker", "ledger")}


@pytest.mark.parametrize(
    ("title", "told", "shown"),
    [
        ("Servers", LEDGER_IS_UP | {'orders_server_writable{instance="a", server="ledger"}': 1}, 1),
        ("Servers", LEDGER_IS_UP | {'orders_server_writable{instance="a", server="ledger"}': 0}, 0),
        ("Servers", LEDGER_IS_DOWN, 0),
        ("Oldest unknown", LEDGER_IS_UP, 0),
        ("Oldest unknown", LEDGER_IS_UP | {'orders_unknown_oldest_timestamp_seconds{account="main"}': 60}, 240),
        ("Oldest unknown", LEDGER_IS_DOWN, None),
        ("Halts", LEDGER_IS_UP, 0),
        ("Halts", LEDGER_IS_UP | {'orders_halted{instance="a", account="*", command="*"}': 1}, 1),
        ("Halts", LEDGER_IS_DOWN, None),
    ],
)
def test_an_unreachable_ledger_is_not_shown_as_a_good_state(
    tool: Tool, tmp_path: Path, title: str, told: dict[str, int], shown: int | None
) -> None:
    """While it is unreachable, the numbers of halts and unknowns are not known, and must not be shown as zero.
    Unreachable servers are shown as down."""
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
    """The differences of two JSON values, except what only the second one contains."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            yield from lost(value, theirs.get(key, "<nothing>"), f"{where}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (mine, their) in enumerate(zip(ours, theirs, strict=True)):
            yield from lost(mine, their, f"{where}[{number}]")
    elif ours != theirs:
        yield f"{where}: {ours!r} is {theirs!r}"


def by_grafana(dashboard: dict[str, Any]) -> dict[str, Any]:
    """The dashboard as read and written by Grafana's own models, which drop unknown fields."""
    register_default_plugins()
    return dict(json.loads(JSONEncoder(sort_keys=True, indent=None).encode(Dashboard.from_json(dashboard))))


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    """Grafana silently ignores a misspelt field."""
    assert list(lost(DASHBOARD, by_grafana(DASHBOARD))) == []


def test_the_check_of_fields_can_fail() -> None:
    """It finds a misspelt field."""
    changed = json.loads(json.dumps(DASHBOARD))
    changed["panels"][1]["fieldConfig"]["defaults"]["unti"] = "s"
    assert list(lost(changed, by_grafana(changed))) == [".panels[1].fieldConfig.defaults.unti: 's' is '<nothing>'"]


def test_panels_lie_side_by_side() -> None:
    """None covers another one or lies outside the 24 columns."""
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(p["x"] >= 0 and p["x"] + p["w"] <= 24 for p in places)
    for a, b in combinations(places, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_every_panel_asks_the_chosen_prometheus() -> None:
    """A fixed data source would exist in one installation only; the default is the provisioned one."""
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels():
        assert panel["datasource"] == chosen
        assert all(target["datasource"] == chosen for target in panel["targets"])
        assert panel["description"].endswith(".")
    provisioned = COMPOSE / "grafana" / "provisioning" / "datasources" / "prometheus.yaml"
    (source,) = yaml.safe_load(provisioned.read_text(encoding="utf-8"))["datasources"]
    (variable,) = (v for v in DASHBOARD["templating"]["list"] if v["name"] == "datasource")
    assert variable["current"]["value"] == source["uid"]


def test_every_metric_is_used() -> None:
    """In a panel or an alert; otherwise nobody would see it."""
    asked = {name for _, query in queries() for name in re.findall(r"orders_\w+", query)}
    asked = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert set(LABELS) - asked == {"orders_build_info"}
