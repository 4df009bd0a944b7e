"""What can be seen of a stack that runs: how it is locked up, who reaches whom, what each part says of itself."""

import json
from typing import Any

import requests
from docker.models.containers import Container

from producers.commands import COMMANDS
from tests.stack.compose_project import SERVICES, ComposeProject, output_of
from tests.stack.outcome import Outcome
from tests.support.containers import engine
from tests.support.waiting import until
from worker.broker.envelope_check import DEFAULT_QUEUE
from worker.celery_app.queues import RECONCILE
from worker.operations.doctor.rights import NOBODY, NOBODYS

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
"""Says whether a TCP port is reached."""

OPTIONAL = {
    "producer: command evalsha",  # drops the word that a command was never sent; the worker that takes it does, too
    "flower: key unacked_index",  # kombu's look for messages to restore, which is the workers' business
}
"""Refusals that a login can do without."""
TRIED_BY_THE_DOCTOR = {"acl|getuser", *(right.name.lower().replace(" ", "|") for right in NOBODYS)}
"""Commands, beside keys of an id that says so, that the doctor finds out its login has no right to."""
DESK_PAGES = ("/", "/unknowns", "/held", "/halts", "/parked", "/dead", "/queues", "/accounts", "/commands")
OTHER_QUEUES = (DEFAULT_QUEUE, RECONCILE)


def request(url: str, login: str = "", method: str = "GET") -> tuple[int, str]:
    """Status and text of one request, whatever the status; status 0 when there is no answer."""
    auth = (login.partition(":")[0], login.partition(":")[2]) if login else None
    try:
        answer = requests.request(method, url, auth=auth, data=b"{}" if method == "POST" else None, timeout=10)
    except requests.RequestException as error:
        return 0, str(error)
    return answer.status_code, answer.text


def containers_are_confined(project: ComposeProject, outcome: Outcome) -> None:
    """No service runs as root, writes to its image, has a capability or is unbounded; all publish on loopback alone."""
    for service in SERVICES:
        wrong = _not_confined(project.containers(service)[0].attrs)
        outcome.check(service, not wrong, "no root, read-only, no capabilities, limits, bounded logs", "; ".join(wrong))
    said = output_of(project.containers("worker")[0], "sh", "-c", "echo x > /opt/orders/x")
    outcome.check("worker", "Read-only" in said, "can't change its own code", said)


def _not_confined(attributes: dict[str, Any]) -> list[str]:
    host, config = attributes["HostConfig"], attributes["Config"]
    ports = [b["HostIp"] for bindings in (host["PortBindings"] or {}).values() for b in bindings]
    must = {
        "runs as root": config["User"].partition(":")[0] not in ("", "0", "root"),
        "writable root": host["ReadonlyRootfs"],
        "capabilities": host["CapDrop"] == ["ALL"] and not host["CapAdd"],
        "new privileges": any("no-new-privileges" in each for each in host["SecurityOpt"] or []),
        "privileged": not host["Privileged"],
        "no memory limit": host["Memory"] > 0,
        "no CPU limit": host["NanoCpus"] > 0,
        "no limit of processes": (host["PidsLimit"] or 0) > 0,
        "unbounded log": {"max-size", "max-file"} <= host["LogConfig"]["Config"].keys(),
        "not restarted": host["RestartPolicy"]["Name"] == "unless-stopped",
        "no health check": "Healthcheck" in config,
        f"published on {ports}": all(each == "127.0.0.1" for each in ports),
    }
    return [words for words, holds in must.items() if not holds]


def networks_are_parted(project: ComposeProject, outcome: Outcome) -> None:
    """The server is reached from `queue` alone, the venue from `venue` alone."""
    bindings = project.container("server").attrs["HostConfig"]["PortBindings"]
    outcome.check("server", not bindings, "publishes no port", bindings)
    server_address, venue_address = project.address("server", "queue"), project.address("simulator", "venue")
    for network, host, port, is_reached in (
        ("front", server_address, 6379, False),
        ("venue", server_address, 6379, False),
        ("watch", server_address, 6379, False),
        ("queue", "server", 6379, True),
        ("queue", venue_address, 9100, False),
        ("front", venue_address, 9100, False),
        ("venue", "simulator", 9100, True),
    ):
        said = _run_once(
            project.images["ORDERS_IMAGE"],
            ["python3", "-c", CONNECT, host, str(port)],
            network=project.network_name(network),
        )
        name = "server" if port == 6379 else "simulator"
        words = f"{'reached' if is_reached else 'out of reach'} from `{network}`"
        outcome.check(name, (said == "yes") == is_reached, words, said)


def _run_once(image: str, command: list[str], **options: Any) -> str:
    """What a command prints in a container of its own."""
    printed = engine().containers.run(image, command[1:], entrypoint=command[:1], remove=True, **options)
    return str(printed.decode().strip())


def logins_are_confined(project: ComposeProject, outcome: Outcome) -> None:
    """The server lets each login do what it must and no more."""
    said = output_of(project.container("server"), "valkey-cli", "LLEN", "orders.close")
    outcome.check("server", "NOAUTH" in said, "refuses whoever has no login", said)
    for login, command in (
        ("worker", "FLUSHALL"),
        ("worker", "CONFIG SET appendonly no"),
        ("worker", "SHUTDOWN NOW"),
        ("worker", "DEL orders:command:x"),
        ("worker", "XTRIM orders:journal MAXLEN 0"),
        ("producer", "HSET orders:command:x state SETTLED"),
        ("producer", "DEL celery-task-meta-x"),
        ("producer", "LRANGE orders.withdraw 0 -1"),
        ("producer", "DEL orders.withdraw"),
        ("producer", "ZADD orders.withdraw.parked 1 x"),
        ("producer", "LPUSH orders.withdraw.waiting:main x"),
        ("worker", "HSET orders.withdraw.parked.messages x y"),
        ("flower", "LPUSH orders.withdraw x"),
        ("flower", "LRANGE orders.withdraw 0 -1"),
        ("flower", "DEL unacked"),
        ("flower", "HGETALL orders:command:x"),
        ("operator", "LPUSH orders.withdraw x"),
        ("operator", "ZREM orders.withdraw.parked x"),
        ("archive", "XADD orders:journal * a b"),
        ("health", "GET x"),
    ):
        said = project.ask_server(login, *command.split())
        outcome.check("server", "NOPERM" in said, f"{login} may not {' '.join(command.split()[:2])}", said)
    project.ask_server("admin", "ACL", "LOG", "RESET")


def no_login_was_refused(project: ComposeProject, outcome: Outcome) -> None:
    """The server refused no login anything that it needed, in all that happened."""
    entries = json.loads(project.ask_server("admin", "--json", "ACL", "LOG", "128"))
    rows = [each if isinstance(each, dict) else dict(zip(each[::2], each[1::2], strict=True)) for each in entries]
    said = {f"{row['username']}: {row['reason']} {row['object']}" for row in rows if not _by_the_doctor(row["object"])}
    outcome.check("server", said <= OPTIONAL, "refused no login anything it needed (ACL LOG)", said - OPTIONAL)


def _by_the_doctor(refused: str) -> bool:
    return refused in TRIED_BY_THE_DOCTOR or NOBODY in refused


def desk_wants_its_login(project: ComposeProject, outcome: Outcome) -> None:
    """The desk shows nobody a page without its login, and to its login every page."""
    url = project.url("desk", 8088)
    name, _, password = project.secret("desk_password").partition(":")
    with requests.Session() as browser:
        browser.headers["Origin"] = url

        def statuses() -> dict[str, int]:
            return {path: browser.get(url + path, allow_redirects=False, timeout=10).status_code for path in DESK_PAGES}

        def log_in(given: str) -> int:
            form = {"name": name, "password": given}
            return browser.post(f"{url}/login", data=form, allow_redirects=False, timeout=10).status_code

        before, wrong = statuses(), log_in("no")
        outcome.check("desk", set(before.values()) == {303}, "shows no page without its login", before)
        outcome.check("desk", wrong == 403, "refuses a wrong password", wrong)
        right, after = log_in(password), statuses()
        outcome.check("desk", right == 303 and set(after.values()) == {200}, "shows its login every page", after)


def flower_only_shows(project: ComposeProject, outcome: Outcome, workers: int) -> None:
    """Flower wants a login, shows every worker, and carries out nothing."""
    url, login = project.url("flower", 5555), project.secret("flower_login")
    pages, logins = ("", "workers", "tasks", "api/workers"), ("", "flower:no")
    refused = [request(f"{url}/{page}", each)[0] for page in pages for each in logins]
    outcome.check("flower", set(refused) == {401}, "refuses without its login, and with a wrong one", refused)
    names: set[str] = set()
    rows: dict[str, Any] = {}

    def all_online() -> bool:
        """Flower remembers workers of before as offline."""
        status, text = request(f"{url}/workers?json=1", login)
        data = json.loads(text)["data"] if status == 200 else []
        names.clear()
        names.update(row["hostname"] for row in data if row["status"])
        return len(names) == workers

    def all_asked() -> bool:
        status, text = request(f"{url}/api/workers?refresh=1", login)
        rows.update(json.loads(text) if status == 200 else {})
        return all(rows.get(name, {}).get("active_queues") for name in names)

    until(all_online, f"flower shows {workers} workers online", 60, every=0.5)
    outcome.check("flower", True, f"shows {workers} workers online to its login")
    until(all_asked, f"flower asked {workers} workers", 60, every=0.5)
    queues = {each["name"] for name in names for each in rows[name]["active_queues"]}
    outcome.check(
        "flower", queues == {*COMMANDS, *OTHER_QUEUES}, "knows every queue, from the workers themselves", queues
    )
    name = min(names)
    acts = (
        "worker/shutdown/{}",
        "task/async-apply/orders.close",
        "worker/pool/grow/{}?n=1",
        "task/revoke/x?terminate=1",
    )
    answers = [request(f"{url}/api/{act.format(name)}", login, "POST")[0] for act in acts]
    outcome.check("flower", set(answers) == {403}, "shuts down, sends, grows and revokes nothing", answers)


def prometheus_finds_everything(project: ComposeProject, outcome: Outcome, workers: int) -> None:
    """Prometheus finds every worker, and Alertmanager."""
    url = project.url("prometheus", 9090)

    def ask(path: str) -> Any:
        return json.loads(request(f"{url}/api/v1/{path}")[1])["data"]

    def targets() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for each in ask("targets?state=active")["activeTargets"]:
            found.setdefault(each["labels"]["job"], []).append(each["health"])
        return found

    def all_asked() -> bool:
        found = targets()
        return len(found.get("orders", [])) == workers and not any("unknown" in each for each in found.values())

    until(all_asked, f"prometheus finds {workers} workers and has asked each", 60, every=0.5)
    found = targets()
    outcome.check("prometheus", True, f"finds {workers} workers by their name", found)
    others = found["flower"] + found["prometheus"] + found["alertmanager"]
    outcome.check("prometheus", set(others) == {"up"}, "scrapes flower, alertmanager and itself", found)
    until(lambda: set(targets()["orders"]) == {"up"}, "every worker scraped", 45, every=0.5)
    outcome.check("prometheus", True, "scrapes every worker")
    rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    bad = [rule["name"] for rule in rules if rule["health"] == "err"]
    outcome.check("prometheus", rules and not bad, f"{len(rules)} rules are loaded, none fails", bad)
    active = ask("alertmanagers")["activeAlertmanagers"]
    outcome.check("prometheus", len(active) == 1, "tells Alertmanager", active)
    status, text = request(project.url("alertmanager", 9093) + "/api/v2/status")
    holds = status == 200 and "receiver: nobody" in text
    outcome.check("alertmanager", holds, "runs with its configuration", text[:200])


def doctor_finds_no_fault(project: ComposeProject, outcome: Outcome) -> None:
    """The doctor finds no fault where a worker runs, with that worker's settings."""
    for service in ("worker", "worker-withdraw"):
        code, output = project.containers(service)[0].exec_run(["orders", "doctor", "--json"], stderr=False)
        document = json.loads(output)
        faults = [f"{each['name']}: {each['message']}" for each in document["findings"] if each["level"] == "fault"]
        outcome.check(service, document["ok"] and code == 0, "orders doctor finds nothing to mend", faults)


def no_secret_is_shown(project: ComposeProject, outcome: Outcome, keys: list[str]) -> None:
    """No password and no key in what docker shows, in a log, or in how the images were made."""
    passwords = [project.password(login) for login in ("worker", "withdraw", "producer", "flower", "admin")]
    own = [project.secret(name).partition(":")[2] for name in ("flower_login", "desk_password")]
    own.append(project.secret("grafana_password"))
    for service in SERVICES:
        shown = "\n".join(map(_all_that_docker_shows, project.containers(service, running=False)))
        found = [f"{word[:4]}…" for word in (*passwords, *own, *keys) if word in shown]
        outcome.check(service, not found, "no secret in its inspection, its log, its command lines", found)
    for service, name in (("worker", "ORDERS_IMAGE"), ("simulator", "ORDERS_SANDBOX_IMAGE")):
        image = engine().images.get(project.images[name])
        made = json.dumps([image.history(), image.attrs["Config"]["Env"]])
        outcome.check(service, "://" not in made, "its image names no address", made)
        listing = _run_once(project.images[name], ["sh", "-c", UNWANTED], user="0")
        outcome.check(service, not listing, "its image holds no pip, no wheels, no repository, no secrets", listing)


def _all_that_docker_shows(container: Container) -> str:
    top = container.top() if container.status == "running" else {}
    return json.dumps([container.attrs, top]) + container.logs().decode(errors="replace")
