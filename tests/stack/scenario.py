"""What happens to the stack: commands, load, a worker that is killed, a server that is cut off, a stop, a restart."""

import json
import secrets as random
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.faults.traffic import KEYS as ACCOUNTS
from tests.stack.compose_project import ComposeProject, StackError, need, run
from tests.stack.outcome import Outcome
from tests.support.containers import engine
from tests.support.node import ROOT
from tests.support.waiting import until

GRACE_SECONDS = 60
"""`stop_grace_period` of the workers in compose.yaml."""
Pair = tuple[str, str]
"""API key and secret key."""


class Keys:
    """An account's two pairs of keys: one that trades, and one that withdraws, which only its own workers have."""

    def __init__(self) -> None:
        self.trade = {alias: (key, random.token_hex(16)) for alias, key in ACCOUNTS.items()}
        self.withdraw = {alias: (f"w{random.token_hex(8)}", random.token_hex(16)) for alias in ACCOUNTS}

    @property
    def pairs(self) -> list[Pair]:
        """All of them."""
        return [*self.trade.values(), *self.withdraw.values()]

    @property
    def withdraw_keys(self) -> list[str]:
        """The API keys that withdraw."""
        return [key for key, _ in self.withdraw.values()]

    @property
    def secrets(self) -> list[str]:
        """What must show up nowhere."""
        return [*(secret for _, secret in self.pairs), *self.withdraw_keys]

    @property
    def aliases(self) -> dict[str, str]:
        """The API key of each account's withdrawals to the one that the account is known by."""
        return {self.withdraw[alias][0]: key for alias, key in ACCOUNTS.items()}

    def write(self, folder: Path) -> None:
        """Write them into the files that compose/prepare made; owner and mode of these stay."""
        trade = _tables("everstrike", self.trade) + _tables("bitz", {"bz": ("demo-bitz-key", "demo-bitz-secret")})
        (folder / "accounts.toml").write_text(trade, encoding="utf-8")
        (folder / "accounts-withdraw.toml").write_text(_tables("everstrike", self.withdraw), encoding="utf-8")


def _tables(venue: str, keys: Mapping[str, Pair]) -> str:
    return "".join(
        f'[accounts.{alias}]\nvenue = "{venue}"\napi_key = "{key}"\nsecret_key = "{secret}"\n'
        'base_url = "http://simulator:9100"\nallow_http = true\n\n'
        for alias, (key, secret) in keys.items()
    )


class Helper:
    """A container on `queue` and `venue`, with a producer's login, as a service of somebody else would be."""

    def __init__(self, project: ComposeProject) -> None:
        ours, oneoff = project.label.split("="), "com.docker.compose.oneoff"
        mounts = {ROOT / "tests": "/work/tests", project.secrets / "producer_url": "/run/secrets/ORDERS_REDIS_URL"}
        self._container = engine().containers.run(
            project.images["ORDERS_SANDBOX_IMAGE"],
            ["900"],
            entrypoint=["sleep"],
            detach=True,
            network=project.network_name("queue"),
            labels={ours[0]: ours[1], oneoff: "True"},
            read_only=True,
            cap_drop=["ALL"],
            volumes={str(path): {"bind": inside, "mode": "ro"} for path, inside in mounts.items()},
            environment={"ORDERS_SECRETS_DIR": "/run/secrets", "PYTHONPATH": "/work"},
            working_dir="/work",
        )
        project.network("venue").connect(self._container)

    def ask(self, what: str, timeout_seconds: float = 120.0, **asked: Any) -> dict[str, Any]:
        """One of the ways of tests/stack/inside.py."""
        words = [need("docker"), "exec", "-i", self._container.id, "python3", "-m", "tests.stack.inside", what]
        found: dict[str, Any] = json.loads(run(words, text=json.dumps(asked), seconds=timeout_seconds).stdout)
        return found

    def arrivals(self, path: str | None = None) -> int:
        """How many requests have reached the venue."""
        return int(self.ask("arrivals", path=path)["count"])


def each_command(project: ComposeProject, outcome: Outcome) -> None:
    """One of each, as a person sends them: `compose run client …`."""
    address = "0x52908400098527886E0F7030069857D2E4169EE7"
    for service, words, wanted in (
        ("worker", "close -a main --pair USD_BTC_PERP --qty 0.001", ("accepted", 0)),
        ("worker", "cancel -a main --order-id nobody-knows-it", ("rejected", 3)),
        ("worker", "positions -a main", ("accepted", 0)),
        ("worker-withdraw", f"withdraw -a main --asset ETH --qty 0.25 --address {address} --yes", ("accepted", 0)),
    ):
        said = project.run_client(*words.split(), "--wait", "--json")
        report = json.loads(said.stdout)
        found = report.get("outcome"), said.returncode
        name = words.split()[0]
        line = f"orders {name}: {report.get('outcome')}/{report.get('reason')}, exit code {said.returncode}"
        outcome.check(service, found == wanted, line, said.stdout + said.stderr)


class Load:
    """Commands that are sent beside whatever else is done, and judged afterwards."""

    def __init__(self, helper: Helper, seed: int, count: int, rate: int) -> None:
        self._helper = helper
        self._asked = {"seed": seed, "count": count, "rate": rate, "latency_ms": 700}
        self._sent: dict[str, Any] = {}
        self._failed: list[BaseException] = []
        self._before = helper.arrivals()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        try:
            self._sent.update(self._helper.ask("load", 180, **self._asked))
        except BaseException as error:  # noqa: BLE001 - told by `ended`, in the thread that asks
            self._failed.append(error)

    def until_arrived(self, count: int) -> None:
        """Wait until so many requests have reached the venue."""

        def arrived() -> bool:
            return bool(self._failed) or self._helper.arrivals() > self._before + count

        until(arrived, f"{count} requests of the load at the venue", 60, every=0.5)

    def ended(self) -> dict[str, Any]:
        """Wait until everything is sent and reported: what was sent, and ``outcomes`` and ``longest_ms`` of reports."""
        self._thread.join(200)
        if self._failed or not self._sent:
            raise StackError(f"the load did not end well: {self._failed}")
        ids = [each[0] for each in self._sent["sent"]]
        return {**self._sent, **self._helper.ask("wait", 200, ids=ids, seconds=150)}


def outage_under_load(project: ComposeProject, helper: Helper, outcome: Outcome, keys: Keys, count: int = 400) -> None:
    """A little load; meanwhile a worker is killed, and the server is cut off the network for a while."""
    load = Load(helper, 7, count, 16)
    load.until_arrived(60)
    victim = project.containers("worker")[0]
    victim.kill()
    code = victim.wait()["StatusCode"]
    outcome.check("worker", code == 137, "one of three is killed (docker kill)", code)
    _cut_off_the_server(project, outcome, seconds=8)
    ended = load.ended()
    words = f"sending failed {ended['failed']} times meanwhile, and was made again under the same ids"
    outcome.check("client", ended["failed"] > 0, words)
    words = f"each of {count} commands has its report, the slowest in {ended['longest_ms'] / 1000:.0f} s"
    outcome.check("worker", len(ended["outcomes"]) == count, words)
    _check_what_was_executed(project, helper, outcome, keys, ended)
    victim.start()
    project.until_healthy("worker", 3)
    outcome.check("worker", True, "the killed one is back, three are healthy")


def upgrade_under_load(project: ComposeProject, helper: Helper, outcome: Outcome, keys: Keys, count: int = 150) -> None:
    """Every worker is replaced by a new container under a little load, as docs/deploying.md tells to upgrade."""
    load = Load(helper, 8, count, 10)
    load.until_arrived(20)
    before = _worker_ids(project)
    project.up("--no-deps", "--force-recreate", "--scale", "worker=3", "worker", "worker-withdraw")
    ended = load.ended()
    project.until_healthy("worker", 3)
    project.until_healthy("worker-withdraw")
    left = before & _worker_ids(project)
    longest = ended["longest_ms"] / 1000
    words = f"all replaced under load (up -d --force-recreate), {count} reports, the slowest in {longest:.0f} s"
    outcome.check("worker", not left and len(ended["outcomes"]) == count, words, left)
    _check_what_was_executed(project, helper, outcome, keys, ended)
    unknown = [each for each in ended["outcomes"] if each[1] == "unknown"]
    outcome.check("worker", not unknown, "none of them unknown: what had begun was ended before the stop", unknown)


def _worker_ids(project: ComposeProject) -> set[str]:
    return {each.id for service in ("worker", "worker-withdraw") for each in project.containers(service)}


def _cut_off_the_server(project: ComposeProject, outcome: Outcome, seconds: float) -> None:
    server, network, workers = project.container("server"), project.network("queue"), _worker_ids(project)
    network.disconnect(server)
    time.sleep(seconds)
    network.connect(server, aliases=["server"])
    words = f"is cut off the network for {seconds:g} s (docker network disconnect), and is back"
    outcome.check("server", True, words)
    restarts = [engine().containers.get(each).attrs["RestartCount"] for each in workers]
    outcome.check("worker", _worker_ids(project) == workers and not any(restarts), "no worker ended of it", restarts)


def _check_what_was_executed(
    project: ComposeProject, helper: Helper, outcome: Outcome, keys: Keys, sent: dict[str, Any]
) -> None:
    found = helper.ask("verdict", **sent, url=project.secret("admin_url"), aliases=keys.aliases)
    outcome.check("worker", not found["lost"], "lost: 0", found["lost"])
    words = f"executed twice: 0 of {found['executions']}, by its own book"
    outcome.check("simulator", not found["twice"], words, found["twice"])
    outcome.check("worker", not found["untrue"], "untrue reports: 0, by ledger, results and book", found["untrue"][:5])
    words = "every withdrawal came with the key that only worker-withdraw has"
    outcome.check("worker-withdraw", not found["under_the_wrong_key"], words, found["under_the_wrong_key"])
    for each, number in found["outcomes"].items():
        outcome.note("worker", f"{number:4d} x {each}")


def graceful_stop(project: ComposeProject, helper: Helper, outcome: Outcome) -> None:
    """A worker that is stopped ends what it has begun, inside the time it is given, and then ends itself."""
    helper.ask("fault", kind="slow", path="withdraw", delay_ms=7000)
    before = helper.arrivals("/auth/withdraw")
    words = "withdraw -a main --asset ETH --qty 0.125 --address 0xslow --yes --id slow-1"
    sent = project.run_client(*words.split())
    assert sent.returncode == 0, sent.stderr
    until(lambda: helper.arrivals("/auth/withdraw") > before, "the slow withdrawal at the venue", 20)
    worker, started = project.container("worker-withdraw"), time.monotonic()
    project.compose("stop", "worker-withdraw", seconds=GRACE_SECONDS + 30)
    took = time.monotonic() - started
    worker.reload()
    code = worker.attrs["State"]["ExitCode"]
    words = f"stops in {took:.1f} s with an attempt of 7 s under way, exit code {code}"
    outcome.check("worker-withdraw", code == 0 and 3 < took < GRACE_SECONDS, words)
    report = json.loads(project.run_client("show", "slow-1", "--wait", "--json").stdout)
    words = f"that command ended {report.get('outcome')}/{report.get('reason')}, {report.get('attempts')} attempt"
    holds = (report.get("outcome"), report.get("attempts")) == ("accepted", 1)
    outcome.check("worker-withdraw", holds, words, report)
    project.up("worker-withdraw")
    project.until_healthy("worker-withdraw")


def server_restart(project: ComposeProject, outcome: Outcome) -> None:
    """A server that is killed comes back with all it had acknowledged."""
    before = _stored(project)
    server = project.container("server")
    server.kill()
    server.wait()
    server.start()
    project.until_healthy("server")
    after = _stored(project)
    words = "killed and started, it has every one of {} reports, {} ledger records, {} journal entries".format(*before)
    outcome.check("server", before == after and min(before) > 0, words, after)
    project.until_healthy("worker", 3)
    project.until_healthy("worker-withdraw")
    outcome.check("worker", True, "all are healthy again, none was restarted")
    said = project.run_client("positions", "-a", "main", "--wait", "--json")
    outcome.check("worker", said.returncode == 0, "orders positions: accepted again", said.stdout + said.stderr)


def _stored(project: ComposeProject) -> tuple[int, int, int]:
    """How many reports, ledger records and journal entries the server has."""
    reports = project.ask_server("admin", "-n", "1", "--scan", "--pattern", "celery-task-meta-*").split()
    records = project.ask_server("admin", "-n", "2", "--scan", "--pattern", "orders:command:*").split()
    return len(reports), len(records), int(project.ask_server("admin", "-n", "2", "XLEN", "orders:journal"))
