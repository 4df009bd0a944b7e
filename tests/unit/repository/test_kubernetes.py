"""The Kubernetes manifests are valid by Kubernetes' own schemas, and give a worker what it needs.

No Python package contains the schemas of KEDA and the Prometheus operator. `crds.json` has the part that is used here,
without optional fields, so that a misspelt field fails.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import kubernetes_validate
import pytest
import yaml
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from worker.celery_app.queues import QUEUES, SERVED
from worker.observability import catalogue
from worker.observability.metrics import Metrics
from worker.settings import WorkerSettings

FOLDER = Path(__file__).parents[3] / "compose" / "kubernetes"
CRDS: dict[str, Any] = json.loads((Path(__file__).parent / "crds.json").read_text(encoding="utf-8"))
FILES = sorted(path for path in FOLDER.glob("*.yaml") if path.name not in ("kustomization.yaml", "secrets.yaml"))
VERSIONS = ("1.30", "1.37")
"""The oldest and the newest version of Kubernetes that the manifests are checked for."""


def documents(path: Path) -> list[dict[str, Any]]:
    """The documents of a file."""
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


DOCUMENTS = {f"{each['kind']}/{each['metadata']['name']}": each for path in FILES for each in documents(path)}
WORKERS = ("orders-worker", "orders-withdraw")
DEPLOYMENTS = (*WORKERS, "orders-flower", "orders-desk")


def pod(name: str) -> dict[str, Any]:
    """The pod of a deployment."""
    spec: dict[str, Any] = DOCUMENTS[f"Deployment/{name}"]["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_valid_by_its_schema(name: str, version: str) -> None:
    """Otherwise the server would refuse the manifest, or silently ignore a misspelt field."""
    document = DOCUMENTS[name]
    schema = CRDS.get(f"{document['apiVersion']}/{document['kind']}")
    if schema:
        assert document.keys() == {"apiVersion", "kind", "metadata", "spec"}
        jsonschema.validate(document["spec"], schema)
    else:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("break_", ["terminationGracePeriodSecond", "readOnlyRootFileSystem"])
def test_a_misspelt_field_is_found(break_: str) -> None:
    """This shows that the test above can fail."""
    right = {"terminationGracePeriodSecond": "terminationGracePeriodSeconds"}.get(break_, "readOnlyRootFilesystem")
    text = (FOLDER / "worker.yaml").read_text(encoding="utf-8").replace(right, break_)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(yaml.safe_load(text), VERSIONS[0], strict=True)


def test_kustomization_names_every_file() -> None:
    """A file that is not named is never applied."""
    named = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert {*named} == {path.name.replace(".example", "") for path in FILES}


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_has_time_to_finish(name: str) -> None:
    """If a worker is killed while it sends, the outcome is unknown."""
    assert pod(name)["terminationGracePeriodSeconds"] >= WorkerSettings().longest_run_seconds + 15


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_nothing_runs_as_root_or_unbounded(name: str) -> None:
    """Containers that hold keys have no privileges, and all have limits."""
    spec = pod(name)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    for container in spec["containers"]:
        locked = container["securityContext"]
        assert locked["readOnlyRootFilesystem"] is True
        assert (locked["allowPrivilegeEscalation"], locked["capabilities"]) == (False, {"drop": ["ALL"]})
        asked, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert asked.keys() == {"cpu", "memory"}
        assert _mebibytes(asked["memory"]) <= _mebibytes(limits["memory"])
        assert container["startupProbe"]


def _mebibytes(quantity: str) -> int:
    return int(quantity.removesuffix("Mi"))


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_without_its_broker_is_unready_and_is_not_restarted(name: str) -> None:
    """It may have a report that the ledger could not store yet; if it is stopped, the command ends as unknown. And
    Kubernetes restarts a failing container less and less often, so that it would stay down after the broker is back."""
    (container,) = pod(name)["containers"]
    settings = DOCUMENTS["ConfigMap/orders-config"]["data"]
    alive = settings["ORDERS_ALIVE_FILE"]
    for probe in ("startupProbe", "livenessProbe"):
        assert alive not in str(container[probe])
        assert container[probe]["httpGet"] == {"path": "/metrics?name[]=orders_worker_faults_total", "port": "metrics"}
    assert [port["containerPort"] for port in container["ports"]] == [int(settings["ORDERS_METRICS__PORT"])]
    assert alive in str(container["readinessProbe"])


@pytest.mark.parametrize("name", WORKERS)
def test_the_liveness_probe_does_not_depend_on_the_servers(name: str) -> None:
    """A name that can't be resolved takes longer than the probe waits, and the worker would be killed."""
    (container,) = pod(name)["containers"]
    asked = urlsplit(container["livenessProbe"]["httpGet"]["path"])
    registry = CollectorRegistry()
    Metrics(registry, ["main"])
    registry.register(UnreachableServers())
    page = make_wsgi_app(registry)
    statuses: list[str] = []
    request = {"REQUEST_METHOD": "GET", "PATH_INFO": asked.path, "QUERY_STRING": asked.query}
    body = b"".join(page(request, lambda status, headers: statuses.append(status)))  # type: ignore[arg-type, func-returns-value, return-value] # the least of WSGI
    assert statuses == ["200 OK"]
    assert b'orders_worker_faults_total{command="close"} 0.0' in body


class UnreachableServers(Collector):
    """The metrics that are read from the servers; reading them fails the test."""

    def describe(self) -> Iterator[Metric]:
        """The names of the metrics."""
        for metric in catalogue.STATE:
            yield GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)

    def collect(self) -> Iterator[Metric]:
        """Fail the test."""
        raise AssertionError("the probe reads from the servers")


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_secrets_are_files(name: str) -> None:
    """Environment variables are visible to other programs and in crash reports."""
    for container in pod(name)["containers"]:
        assert not [each for each in container.get("env", []) if "valueFrom" in each]
        assert {kind for source in container.get("envFrom", []) for kind in source} <= {"configMapRef"}
    for document in DOCUMENTS.values():
        if document["kind"] == "ConfigMap":
            assert not re.search(r"(?i)api_key|secret_key|password|_url", " ".join(document["data"]))


@pytest.mark.parametrize("name", WORKERS)
def test_a_drained_node_leaves_workers(name: str) -> None:
    """The disruption budget selects the pods, and there are more than it allows to be down."""
    budget = DOCUMENTS[f"PodDisruptionBudget/{name}"]["spec"]
    deployment = DOCUMENTS[f"Deployment/{name}"]["spec"]
    assert budget["selector"]["matchLabels"].items() <= deployment["template"]["metadata"]["labels"].items()
    least = deployment.get("replicas") or DOCUMENTS[f"ScaledObject/{name}"]["spec"]["minReplicaCount"]
    assert budget["maxUnavailable"] < least


def test_flower_is_configured_as_in_compose() -> None:
    """It is read-only, needs a login, and has no other secrets."""
    compose = (FOLDER.parent / "flower" / "flowerconfig.py").read_text(encoding="utf-8")
    there = DOCUMENTS["ConfigMap/orders-flower"]["data"]["flowerconfig.py"]
    assert there.replace("/run/secrets/orders/", "/run/secrets/") == compose
    (secret,) = [volume["secret"] for volume in pod("orders-flower")["volumes"] if "secret" in volume]
    assert DOCUMENTS[f"Secret/{secret['secretName']}"]["stringData"].keys() == {"ORDERS_REDIS_URL", "flower_login"}
    (container,) = pod("orders-flower")["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["command"][-1] == f"--conf={mounts['flower']}/flowerconfig.py"
    assert there.count(mounts["secrets"]) == 2


def test_every_queue_is_served_and_withdrawals_apart() -> None:
    """Commands in a queue without a worker would wait for ever."""
    served = {}
    for name in WORKERS:
        (container,) = pod(name)["containers"]
        queues = container["args"][container["args"].index("-Q") + 1].split(",")
        served |= dict.fromkeys(queues, name)
    assert set(served) == set(SERVED)
    assert [queue for queue, name in served.items() if name == "orders-withdraw"] == ["orders.withdraw"]


def test_everything_that_the_manifests_refer_to_exists() -> None:
    """A pod whose secret or config map is missing never starts."""
    there = {(d["kind"], d["metadata"]["name"]) for d in DOCUMENTS.values()}
    for name in DEPLOYMENTS:
        for volume in pod(name)["volumes"]:
            if "secret" in volume:
                assert ("Secret", volume["secret"]["secretName"]) in there
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there
    ports = {port["name"] for name in DEPLOYMENTS for c in pod(name)["containers"] for port in c["ports"]}
    for policy in ("orders-workers", "orders-flower", "orders-desk"):
        for rule in DOCUMENTS[f"NetworkPolicy/{policy}"]["spec"]["ingress"]:
            assert {port["port"] for port in rule["ports"]} <= ports


@pytest.mark.parametrize("secret", ["orders-worker", "orders-withdraw", "orders-flower", "orders-desk"])
def test_the_settings_can_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, secret: str) -> None:
    """By a worker: the config map as variables, and the secret as files. The CA is where it is mounted."""
    for name, value in DOCUMENTS["ConfigMap/orders-config"]["data"].items():
        monkeypatch.setenv(name, value)
    for name, value in DOCUMENTS[f"Secret/{secret}"]["stringData"].items():
        (tmp_path / name).write_text(value, encoding="utf-8")
    monkeypatch.setenv("ORDERS_SECRETS_DIR", str(tmp_path))
    if secret in ("orders-flower", "orders-desk"):
        monkeypatch.delenv("ORDERS_ACCOUNTS__MAIN__VENUE")
    settings = WorkerSettings()
    assert "ssl_ca_certs=/etc/orders/ca.pem" in settings.broker_url
    for name in DEPLOYMENTS:
        mounts = {mount["name"]: mount["mountPath"] for c in pod(name)["containers"] for mount in c["volumeMounts"]}
        assert (mounts["ca"], mounts["secrets"]) == ("/etc/orders", "/run/secrets/orders")


def test_scaling_depends_on_real_queues_and_keeps_workers_running() -> None:
    """A misspelt queue or metric is an error for ever; and only a running worker publishes lost commands again."""
    spec = DOCUMENTS["ScaledObject/orders-worker"]["spec"]
    queries = [trigger["metadata"]["query"] for trigger in spec["triggers"]]
    queues = {queue for query in queries for queue in re.findall(r'queue="([^"]+)"', query)}
    assert queues < set(QUEUES)
    assert "orders.withdraw" not in queues
    assert {name for query in queries for name in re.findall(r"orders_\w+", query)} <= {m.name for m in catalogue.STATE}
    assert {trigger["metadata"]["ignoreNullValues"] for trigger in spec["triggers"]} == {"false"}
    assert spec["minReplicaCount"] >= 2
    assert "idleReplicaCount" not in spec


@pytest.mark.parametrize(("waiting", "busy", "scaled_by"), [(40, 16, 40), (40, 2, 0), (0, 32, 0)])
def test_what_waits_for_a_limit_starts_no_worker(
    tmp_path: Path, promtool: str, waiting: int, busy: int, scaled_by: int
) -> None:
    query = DOCUMENTS["ScaledObject/orders-worker"]["spec"]["triggers"][1]["metadata"]["query"]
    told = {
        'orders_queue_messages{queue="orders.close"}': waiting,
        "orders_worker_busy": busy,
        "orders_worker_slots": 64,
    }
    series = [{"series": name, "values": f"{value}x40"} for name, value in told.items()]
    asked = {"expr": query, "eval_time": "5m", "exp_samples": [{"labels": "{}", "value": scaled_by}]}
    (tmp_path / "test.yaml").write_text(
        yaml.safe_dump({"tests": [{"interval": "15s", "input_series": series, "promql_expr_test": [asked]}]})
    )
    done = subprocess.run(
        [promtool, "test", "rules", str(tmp_path / "test.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def promtool(require_service: Callable[[str, object], None]) -> str:
    path = shutil.which("promtool")
    require_service("promtool (Debian's package prometheus)", path)
    return str(path)


def test_prometheus_names_the_workers_as_the_alerts_do() -> None:
    """By default the operator names the job after the monitor, and `up{job="orders"} == 0` would never be true."""
    (endpoint,) = DOCUMENTS["PodMonitor/orders-workers"]["spec"]["podMetricsEndpoints"]
    (named,) = (each["replacement"] for each in endpoint["relabelings"] if each["targetLabel"] == "job")
    rules = (FOLDER.parent / "prometheus" / "rules" / "orders.yaml").read_text(encoding="utf-8")
    dashboard = (FOLDER.parent / "grafana" / "dashboards" / "orders.json").read_text(encoding="utf-8")
    assert {*re.findall(r'job=\\*"(\w+)', rules + dashboard)} == {named}


def test_no_real_secret_is_in_the_examples() -> None:
    """Every value says that it must be changed."""
    for document in documents(FOLDER / "secrets.example.yaml"):
        for name, value in document["stringData"].items():
            passwords = re.findall(r":([^:@/]+)@|password=([^&]+)", value) or [(value,)]
            assert all("CHANGE-ME" in "".join(found) for found in passwords), name
