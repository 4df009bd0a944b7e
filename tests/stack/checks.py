"""What can be seen of a stack that runs: how it is locked up, who reaches whom, what each part says of itself."""

import base64
import json
import urllib.error
import urllib.request
from typing import Any

from tests.stack.compose_project import SERVICES, Stack, docker, need, run
from tests.stack.outcome import Told
from tests.support.waiting import until

METRICS_PORT = 9464
UNWANTED = (
    r"find / -xdev \( -name pip.conf -o -name '*.whl' -o -name .git -o -name secrets -type d -o -name pip -type d \)"
)
"""Lists what an image must not hold."""
CONNECT = (
    "import socket, sys; s = socket.socket(); s.settimeout(2);\n"
    "try: s.connect((sys.argv[1], int(sys.argv[2])))\n"
    "except OSError as e: print('no:', e)\n"
    "else: print('yes')"
)


def get(url: str, login: str = "", *, method: str = "GET", body: bytes | None = None) -> tuple[int, str]:
    """Status and text of one request, whatever the status."""
    request = urllib.request.Request(url, method=method, data=body)  # noqa: S310 - our own loopback address
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


# -- how it is locked up -----------------------------------------------------------------------------------------------


def locked_up(stack: Stack, told: Told) -> None:
    """No root, nothing writable, no capability, bounded, and published on the loopback address alone."""
    for service in SERVICES:
        container = stack.ids(service)[0]
        wrong = _wrong_with(stack.inspect(container))
        told.check(service, not wrong, "no root, read-only, no capabilities, limits, bounded logs", "; ".join(wrong))
    worker = stack.ids("worker")[0]
    wrote = run([need("docker"), "exec", worker, "sh", "-c", "echo x > /opt/orders/x"], check=False)
    told.check("worker", "Read-only" in wrote.stderr, "can't change its own code", wrote.stderr)


def _wrong_with(found: dict[str, Any]) -> list[str]:
    host, config = found["HostConfig"], found["Config"]
    ports = [b["HostIp"] for bindings in (host["PortBindings"] or {}).values() for b in bindings]
    logs = host["LogConfig"]
    must = {
        "runs as root": config["User"].partition(":")[0] not in ("", "0", "root"),
        "writable root": host["ReadonlyRootfs"],
        "capabilities": host["CapDrop"] == ["ALL"] and not host["CapAdd"],
        "new privileges": any("no-new-privileges" in each for each in host["SecurityOpt"] or []),
        "privileged": not host["Privileged"],
        "no memory limit": host["Memory"] > 0,
        "no CPU limit": host["NanoCpus"] > 0,
        "no limit of processes": (host["PidsLimit"] or 0) > 0,
        "unbounded log": {"max-size", "max-file"} <= logs["Config"].keys(),
        "not restarted": host["RestartPolicy"]["Name"] == "unless-stopped",
        "no health check": "Healthcheck" in config,
        f"published on {ports}": all(each == "127.0.0.1" for each in ports),
    }
    return [words for words, well in must.items() if not well]


def networks(stack: Stack, told: Told) -> None:
    """The server is reached from `queue` alone, the venue from `venue` alone."""
    server = stack.inspect(stack.one("server"))["NetworkSettings"]["Networks"]
    told.check("server", list(server) == [stack.network("queue")], "is on one network, `queue`", list(server))
    told.check("server", not stack.inspect(stack.one("server"))["HostConfig"]["PortBindings"], "publishes no port")
    inner = [docker("network", "inspect", "-f", "{{.Internal}}", stack.network(n)) for n in ("queue", "watch")]
    told.check("server", inner == ["true", "true"], "`queue` and `watch` have no way out", inner)
    address = next(iter(server.values()))["IPAddress"]
    venue = stack.inspect(stack.one("simulator"))["NetworkSettings"]["Networks"][stack.network("venue")]["IPAddress"]
    for network, host, port, reaches in (
        ("front", address, 6379, False), ("venue", address, 6379, False), ("watch", address, 6379, False),
        ("queue", "server", 6379, True), ("queue", venue, 9100, False), ("front", venue, 9100, False),
        ("venue", "simulator", 9100, True),
    ):  # fmt: skip
        said = docker("run", "--rm", "--network", stack.network(network), "--entrypoint", "python3",
                      stack.images["ORDERS_IMAGE"], "-c", CONNECT, host, str(port))  # fmt: skip
        name = "server" if port == 6379 else "simulator"
        words = f"{'reached' if reaches else 'out of reach'} from `{network}`"
        told.check(name, (said == "yes") == reaches, words, said)


# -- what each part says of itself -------------------------------------------------------------------------------------


def server(stack: Stack, told: Told) -> None:
    """It keeps everything, and lets each login do what it must and no more."""
    config = dict(
        zip(*[iter(stack.server("admin", "CONFIG", "GET", "append*", "maxmemory*").split("\n"))] * 2, strict=False)
    )
    wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "maxmemory": "536870912"}
    told.check(
        "server", wanted.items() <= config.items(), "append-only, synced always, evicts nothing, bounded", config
    )
    stranger = docker("exec", stack.one("server"), "valkey-cli", "LLEN", "orders.close", check=False)
    told.check("server", "NOAUTH" in stranger, "refuses whoever has no login", stranger)
    for login, words in (
        ("worker", ("FLUSHALL",)), ("worker", ("CONFIG", "SET", "appendonly", "no")), ("worker", ("SHUTDOWN", "NOW")),
        ("producer", ("HSET", "orders:command:x", "state", "SETTLED")), ("producer", ("DEL", "celery-task-meta-x")),
        ("flower", ("LPUSH", "orders.withdraw", "x")), ("flower", ("DEL", "unacked")),
        ("flower", ("HGETALL", "orders:command:x")), ("health", ("GET", "x")),
    ):  # fmt: skip
        said = stack.server(login, *words) if login != "health" else _as_health(stack, *words)
        told.check("server", "NOPERM" in said, f"{login} may not {' '.join(words[:2])}", said)
    stack.server("admin", "ACL", "LOG", "RESET")


def _as_health(stack: Stack, *words: str) -> str:
    login = ("--no-auth-warning", "--user", "health", "--pass", "health")
    return docker("exec", stack.one("server"), "valkey-cli", *login, *words, check=False)


def refusals(stack: Stack, told: Told) -> None:
    """Nobody was refused anything that it needed, in all that happened."""
    entries = json.loads(stack.server("admin", "--json", "ACL", "LOG", "20"))
    rows = [each if isinstance(each, dict) else dict(zip(each[::2], each[1::2], strict=True)) for each in entries]
    # The doctor asks whether the login `default` has its rights, and is content with a no.
    said = [f"{row['username']}: {row['reason']} {row['object']}" for row in rows if row["object"] != "acl|getuser"]
    told.check("server", not said, "refused no login anything it asked for (ACL LOG)", said)


def flower(stack: Stack, told: Told, workers: int) -> None:
    """A login, every worker, and nothing that does anything."""
    url, login = stack.port("flower", 5555), stack.secret("flower_login")
    refused = [
        get(f"{url}/{path}", user)[0] for path in ("", "workers", "tasks", "api/workers") for user in ("", "flower:no")
    ]
    told.check("flower", set(refused) == {401}, "refuses without its login, and with a wrong one", refused)

    def alive() -> list[str]:
        """Those that Flower calls online: it remembers the ones before them as offline."""
        status, text = get(f"{url}/workers?json=1", login)
        rows = json.loads(text)["data"] if status == 200 else []
        return [row["hostname"] for row in rows if row["status"]]

    def known() -> dict[str, Any]:
        found = json.loads(get(f"{url}/api/workers?refresh=1", login)[1] or "{}")
        return {name: row for name, row in found.items() if name in names and row.get("active_queues")}

    names = until(
        lambda: alive() if len(alive()) == workers else [], f"flower shows {workers} workers online", 60, every=0.5
    )
    told.check("flower", True, f"shows {workers} workers online to its login", names)
    rows = until(lambda: known() if len(known()) == workers else {}, f"flower asked {workers} workers", 60, every=0.5)
    queues = sorted({each["name"] for row in rows.values() for each in row["active_queues"]})
    told.check("flower", len(queues) == 5, "knows every queue, from the workers themselves", queues)
    name = names[0]
    acts = [f"api/worker/shutdown/{name}", "api/task/async-apply/orders.close", f"api/worker/pool/grow/{name}?n=1",
            "api/task/revoke/x?terminate=true"]  # fmt: skip
    answers = [get(f"{url}/{path}", login, method="POST", body=b"{}")[0] for path in acts]
    told.check("flower", set(answers) == {403}, "shuts down, sends, grows and revokes nothing", answers)


def prometheus(stack: Stack, told: Told, workers: int) -> None:
    """It finds every worker, and Alertmanager."""
    url = stack.port("prometheus", 9090)

    def targets() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for each in json.loads(get(f"{url}/api/v1/targets?state=active")[1])["data"]["activeTargets"]:
            found.setdefault(each["labels"]["job"], []).append(each["health"])
        return found

    def settled() -> dict[str, list[str]]:
        found = targets()
        return (
            found
            if len(found.get("orders", [])) == workers and all("unknown" not in each for each in found.values())
            else {}
        )

    found = until(settled, f"prometheus finds {workers} workers and has asked each", 60, every=0.5)
    told.check("prometheus", True, f"finds {workers} workers by their name", found)
    own = found["flower"] + found["prometheus"] + found["alertmanager"]
    told.check("prometheus", set(own) == {"up"}, "scrapes flower, alertmanager and itself", found)
    served = "yes" in docker("exec", stack.ids("worker")[0], "python3", "-c", CONNECT, "127.0.0.1", str(METRICS_PORT))
    if served:
        until(lambda: set(targets()["orders"]) == {"up"}, "every worker scraped", 45, every=0.5)
        told.check("prometheus", set(targets()["orders"]) == {"up"}, "scrapes every worker")
    else:
        told.note("prometheus", f"workers serve no metrics on port {METRICS_PORT} in this build: not looked at")
    rules = json.loads(get(f"{url}/api/v1/rules")[1])["data"]["groups"]
    count = sum(len(group["rules"]) for group in rules)
    bad = [rule["name"] for group in rules for rule in group["rules"] if rule["health"] == "err"]
    told.check("prometheus", not bad, f"{count} rules are loaded, none fails", bad)
    active = json.loads(get(f"{url}/api/v1/alertmanagers")[1])["data"]["activeAlertmanagers"]
    told.check("prometheus", len(active) == 1, "tells Alertmanager", active)
    status, text = get(stack.port("alertmanager", 9093) + "/api/v2/status")
    told.check("alertmanager", status == 200 and "receiver: nobody" in text, "runs with its configuration", text[:200])


def doctor(stack: Stack, told: Told) -> None:
    """Green where a worker runs, with its settings."""
    for service in ("worker", "worker-withdraw"):
        said = run([need("docker"), "exec", stack.ids(service)[0], "orders", "doctor", "--json"], check=False)
        document = json.loads(said.stdout)
        faults = [f"{each['name']}: {each['message']}" for each in document["findings"] if each["level"] == "fault"]
        told.check(service, document["ok"] and not said.returncode, "orders doctor finds nothing to mend", faults)


# -- secrets -----------------------------------------------------------------------------------------------------------


def secrets(stack: Stack, told: Told, keys: list[str]) -> None:
    """No password and no key in what docker shows, in a log, or in how the images were made."""
    passwords = [stack.password(login) for login in ("worker", "withdraw", "producer", "flower", "admin")]
    words = [*passwords, *keys, stack.secret("flower_login").partition(":")[2], stack.secret("grafana_password")]
    for service in SERVICES:
        shown = []
        for each in stack.ids(service, running=False):
            logs = run([need("docker"), "logs", each], check=False)
            shown += [docker("inspect", each), logs.stdout, logs.stderr, docker("top", each, check=False)]
        there = [f"{word[:4]}…" for word in words if any(word in text for text in shown)]
        told.check(service, not there, "no secret in its inspection, its log, its command lines", there)
    for service, name in (("worker", "ORDERS_IMAGE"), ("simulator", "ORDERS_SANDBOX_IMAGE")):
        image = stack.images[name]
        history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
        environment = docker("inspect", "-f", "{{json .Config.Env}}", image)
        told.check(service, "://" not in history + environment, "its image names no address", history + environment)
        listing = docker("run", "--rm", "--user", "0", "--entrypoint", "sh", image, "-c", UNWANTED)
        told.check(service, not listing, "its image holds no pip, no wheels, no repository, no secrets", listing)
