"""Prometheus and Alertmanager as processes, with the configuration of ``compose/`` in a hurry."""

import json
import re
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.support.node import ROOT
from tests.support.processes import ProcessNode
from tests.support.servers import free_port

COMPOSE = ROOT / "compose"
RULES = COMPOSE / "prometheus" / "rules" / "orders.yaml"
DASHBOARD = COMPOSE / "grafana" / "dashboards" / "orders.json"
PROGRAMS = {"prometheus": ("prometheus",), "alertmanager": ("prometheus-alertmanager", "alertmanager")}
"""Debian's names first."""


def program(name: str) -> str | None:
    """A program's path; None when it is not here."""
    return next((path for candidate in PROGRAMS[name] if (path := shutil.which(candidate))), None)


def metrics_into(targets: Path) -> dict[str, str]:
    """Settings of workers that tell Prometheus where they are, by files in ``targets``."""
    return {
        "ORDERS_METRICS__PORT": str(free_port()),
        "ORDERS_METRICS__PORTS": "100",
        "ORDERS_METRICS__TARGETS_DIR": str(targets),
    }


def read(path: Path) -> Any:
    """A YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules_in_a_hurry() -> Any:
    """The rules with minutes made seconds: windows of 20 s, and no `for` longer than 1 s. Thresholds stay."""
    rules = read(RULES)
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"\[\d+m\]", "[20s]", rule["expr"])
            if "for" in rule:
                rule["for"] = "1s"
    return rules


class HttpNode(ProcessNode):
    """What both programs have: a configuration, and an HTTP port that says when it is ready."""

    def __init__(self, name: str, folder: Path, config: Any) -> None:
        super().__init__(name, folder)
        self.port = free_port()
        self.config_file = self.folder / f"{self.name}.yaml"
        self.config_file.write_text(yaml.safe_dump(config), encoding="utf-8")

    @property
    def url(self) -> str:
        """The program's URL."""
        return f"http://127.0.0.1:{self.port}"

    def is_up(self) -> bool:
        """Whether the program says that it is ready."""
        try:
            return requests.get(f"{self.url}/-/ready", timeout=2).ok
        except requests.RequestException:
            return False

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer of Prometheus' API."""
        answer = requests.get(f"{self.url}/api/v1/{path}", params=query, timeout=10).json()
        assert answer["status"] == "success", answer
        return answer["data"]


class Archive(ProcessNode):
    """`orders archive`, which serves its metrics."""

    def __init__(self, folder: Path, ledger_url: str) -> None:
        super().__init__("archive", folder, {"ORDERS_LEDGER_URL": ledger_url})
        self.port = free_port()

    def arguments(self) -> Sequence[str]:
        """The command line."""
        words = ("archive", "--to", str(self.folder / "archive"), "--metrics-port", str(self.port))
        return [sys.executable, "-c", "from producers.cli.app import main; main()", *words]

    def is_up(self) -> bool:
        """Whether it follows the journal."""
        try:
            page = requests.get(f"http://127.0.0.1:{self.port}/metrics", timeout=5).text
        except requests.RequestException:
            return False
        return "orders_archive_follows 1.0" in page


class Prometheus(HttpNode):
    """Prometheus over the workers that name themselves in a folder, and over an archive."""

    def __init__(self, folder: Path, targets: Path, alertmanager: int | None, archive: int | None = None) -> None:
        config = read(COMPOSE / "prometheus" / "prometheus.yaml")
        config["global"] = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s")
        (orders,) = (job for job in config["scrape_configs"] if job["job_name"] == "orders")
        # Found by files here and by DNS there; everything else of the job stays.
        del orders["dns_sd_configs"]
        orders["file_sd_configs"] = [{"files": [f"{targets}/*.json"], "refresh_interval": "1s"}]
        addresses = [f"127.0.0.1:{archive}"] if archive else []
        archives = {"job_name": "orders-archive", "static_configs": [{"targets": addresses}]}
        config["scrape_configs"] = [orders, archives]
        rules = folder / "rules.yaml"
        rules.write_text(yaml.safe_dump(rules_in_a_hurry()), encoding="utf-8")
        config["rule_files"] = [str(rules)]
        addresses = [f"127.0.0.1:{alertmanager}"] if alertmanager else []
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": addresses}]}]}
        super().__init__("prometheus", folder, config)

    def arguments(self) -> Sequence[str]:
        """The command line; the data goes with the folder."""
        return [
            str(program("prometheus")),
            f"--config.file={self.config_file}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            # A minute by default: what it tells before it knows of the Alertmanager is told again then.
            "--rules.alert.resend-delay=1s",
            "--log.level=warn",
        ]

    def series(self, expression: str, seconds: float) -> list[dict[str, Any]]:
        """The series of an expression over the last seconds."""
        now = time.time()
        times = {"start": f"{now - seconds:.3f}", "end": f"{now:.3f}", "step": "1"}
        return list(self.ask("query_range", query=expression, **times)["result"])

    def firing(self) -> set[str]:
        """Alerts that fire now, by name."""
        return {each["labels"]["alertname"] for each in self.ask("alerts")["alerts"] if each["state"] == "firing"}


class Alertmanager(HttpNode):
    """Alertmanager that tells one webhook."""

    def __init__(self, folder: Path, webhook: str) -> None:
        config = read(COMPOSE / "alertmanager" / "alertmanager.yaml")
        config["route"] |= {"receiver": "test", "group_wait": "0s", "group_interval": "1s"}
        config["receivers"].append({"name": "test", "webhook_configs": [{"url": webhook, "send_resolved": True}]})
        super().__init__("alertmanager", folder, config)

    def arguments(self) -> Sequence[str]:
        """The command line: alone, no cluster."""
        return [
            str(program("alertmanager")),
            f"--config.file={self.config_file}",
            f"--storage.path={self.folder / 'alertmanager-data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
            "--log.level=warn",
        ]


class Webhook(ThreadingHTTPServer):
    """Whoever is on call: keeps every alert that Alertmanager sends, for the time of a ``with`` block."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.alerts: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def received(self, name: str, status: str = "firing") -> dict[str, Any] | None:
        """The first such alert that came."""
        return next((a for a in self.alerts if a["labels"]["alertname"] == name and a["status"] == status), None)

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.alerts.extend(json.loads(body)["alerts"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""
