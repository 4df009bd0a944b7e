"""Prometheus and Alertmanager as processes, with the configuration of ``compose/`` in a hurry."""

import json
import re
import shutil
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

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


class Http:
    """What both programs have: an HTTP port that says when it is ready."""

    port: int

    def get(self, path: str, **query: str) -> Any:
        """A JSON answer."""
        address = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return json.loads(answer.read())

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Prometheus(ProcessNode, Http):
    """Prometheus over the workers that name themselves in a folder."""

    def __init__(self, folder: Path, targets: Path, alertmanager: int | None, every: str = "1s") -> None:
        super().__init__("prometheus", folder)
        self.port = free_port()
        config = read(COMPOSE / "prometheus" / "prometheus.yaml")
        config["global"] = {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": "1s"}
        (orders,) = (job for job in config["scrape_configs"] if job["job_name"] == "orders")
        # Found by files here and by DNS there; everything else of the job stays.
        del orders["dns_sd_configs"]
        orders["file_sd_configs"] = [{"files": [f"{targets}/*.json"], "refresh_interval": "1s"}]
        config["scrape_configs"] = [orders]
        config["rule_files"] = [str(self.folder / "rules.yaml")]
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]}
        if alertmanager is None:
            del config["alerting"]
        (self.folder / "rules.yaml").write_text(yaml.safe_dump(rules_in_a_hurry()), encoding="utf-8")
        (self.folder / "prometheus.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    def arguments(self) -> Sequence[str]:
        """Its data goes with the folder."""
        return [
            str(program("prometheus")),
            f"--config.file={self.folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            # A minute by default: what it tells before it knows of the Alertmanager is told again then.
            "--rules.alert.resend-delay=1s",
            "--log.level=warn",
        ]

    def is_up(self) -> bool:
        """Whether it answers queries."""
        return self.is_ready()

    def series(self, expression: str, seconds: float, step: float = 1.0) -> list[dict[str, Any]]:
        """The series of an expression over the last seconds."""
        now = time.time()
        times = {"start": f"{now - seconds:.3f}", "end": f"{now:.3f}", "step": f"{step:g}"}
        answer = self.get("/api/v1/query_range", query=expression, **times)
        assert answer["status"] == "success", answer
        return list(answer["data"]["result"])

    def firing(self) -> set[str]:
        """Alerts that fire now, by name."""
        return {
            a["labels"]["alertname"] for a in self.get("/api/v1/alerts")["data"]["alerts"] if a["state"] == "firing"
        }


class Alertmanager(ProcessNode, Http):
    """Alertmanager that tells one webhook."""

    def __init__(self, folder: Path, webhook: str) -> None:
        super().__init__("alertmanager", folder)
        self.port = free_port()
        config = read(COMPOSE / "alertmanager" / "alertmanager.yaml")
        config["route"] |= {"receiver": "test", "group_wait": "0s", "group_interval": "1s"}
        config["receivers"].append({"name": "test", "webhook_configs": [{"url": webhook, "send_resolved": True}]})
        (self.folder / "alertmanager.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    def arguments(self) -> Sequence[str]:
        """Alone: no cluster."""
        return [
            str(program("alertmanager")),
            f"--config.file={self.folder / 'alertmanager.yaml'}",
            f"--storage.path={self.folder / 'alertmanager-data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
            "--log.level=warn",
        ]

    def is_up(self) -> bool:
        """Whether it takes alerts."""
        return self.is_ready()


class Webhook:
    """Whoever is on call: keeps every alert that Alertmanager sends."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        alerts = self.alerts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                alerts.extend(json.loads(body)["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def told(self, name: str, status: str = "firing") -> dict[str, Any] | None:
        """The first such alert that came."""
        return next((a for a in self.alerts if a["labels"]["alertname"] == name and a["status"] == status), None)

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


class LateVenue:
    """A venue that says yes to everything and whose clock is a minute behind."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                body = b'{"code":200,"msg":null,"result":{"id":"1"}}'
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string(int((timestamp or time.time()) - 60))

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
