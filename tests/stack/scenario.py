"""What happens to the stack: commands, load, a worker that is killed, a server that is cut off, a stop, a restart."""

import json
import secrets as random
import threading
import time
from pathlib import Path
from typing import Any

from tests.stack.compose_project import ROOT, Stack, StackError, docker, need, run
from tests.stack.outcome import Told
from tests.support.waiting import until

ACCOUNTS = {
    "main": "demo-everstrike-key",
    **{f"desk-{number}": f"faults-key-{number}-{'k' * 39}" for number in range(1, 4)},
}
"""Accounts at the simulated Everstrike and the API keys that trade: those of tests/faults/traffic.py."""
GRACE_SECONDS = 60
"""`stop_grace_period` of the workers in compose.yaml."""


class Keys:
    """An account's two pairs of keys: one that trades, and one that withdraws, which only its own workers have."""

    def __init__(self) -> None:
        self.trade = {alias: (key, random.token_hex(16)) for alias, key in ACCOUNTS.items()}
        self.withdraw = {alias: (f"w{random.token_hex(8)}", random.token_hex(16)) for alias in ACCOUNTS}

    @property
    def secrets(self) -> list[str]:
        """What must show up nowhere."""
        pairs = [*self.trade.values(), *self.withdraw.values()]
        return [secret for _, secret in pairs] + [key for key, _ in self.withdraw.values()]

    @property
    def aliases(self) -> dict[str, str]:
        """The API key of each account's withdrawals to the one that it is known by."""
        return {self.withdraw[alias][0]: key for alias, key in ACCOUNTS.items()}

    def write(self, folder: Path) -> None:
        """Into the files that compose/prepare made."""
        for name, keys in (("accounts.toml", self.trade), ("accounts-withdraw.toml", self.withdraw)):
            tables = [_table(alias, "everstrike", *pair) for alias, pair in keys.items()]
            if keys is self.trade:
                tables.append(_table("bz", "bitz", "demo-bitz-key", "demo-bitz-secret"))
            (folder / name).write_text("\n".join(tables), encoding="utf-8")  # owner and mode stay


def _table(alias: str, venue: str, key: str, secret: str) -> str:
    return (
        f'[accounts.{alias}]\nvenue = "{venue}"\napi_key = "{key}"\nsecret_key = "{secret}"\n'
        'base_url = "http://simulator:9100"\nallow_http = true\n'
    )


class Helper:
    """A container on `queue` and `venue`, with a producer's login, as a service of somebody else would be."""

    def __init__(self, stack: Stack) -> None:
        login = stack.secrets / "producer_url"
        self.id = docker(
            "run", "-d", "--network", stack.network("queue"), "--label", f"com.docker.compose.project={stack.name}",
            "--label", "com.docker.compose.oneoff=True", "--read-only", "--cap-drop", "ALL",
            "-v", f"{ROOT / 'tests'}:/work/tests:ro", "-v", f"{login}:/run/secrets/ORDERS_REDIS_URL:ro",
            "-e", "ORDERS_SECRETS_DIR=/run/secrets", "-e", "PYTHONPATH=/work", "-w", "/work",
            "--entrypoint", "sleep", stack.images["ORDERS_SANDBOX_IMAGE"], "900",
        )  # fmt: skip
        docker("network", "connect", stack.network("venue"), self.id)

    def ask(self, what: str, asked: dict[str, Any], seconds: float = 120.0) -> dict[str, Any]:
        """One of the ways of tests/stack/inside.py."""
        words = [need("docker"), "exec", "-i", self.id, "python3", "-m", "tests.stack.inside", what]
        found: dict[str, Any] = json.loads(run(words, text=json.dumps(asked), seconds=seconds).stdout)
        return found

    def venue(self, path: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
        """A word to the simulator's remote control."""
        script = (
            "import json, sys, urllib.request as u\n"
            "url, body = 'http://simulator:9100/_control/' + sys.argv[2], sys.stdin.buffer.read()\n"
            "asked = u.Request(url, method=sys.argv[1], data=body if sys.argv[1] != 'GET' else None)\n"
            "print(u.urlopen(asked, timeout=30).read().decode())"
        )
        words = [need("docker"), "exec", "-i", self.id, "python3", "-c", script, method, path]
        return json.loads(run(words, text=json.dumps(body or {})).stdout)


def commands(stack: Stack, told: Told) -> None:
    """One of each, as a person sends them: `compose run client …`."""
    address = "0x52908400098527886E0F7030069857D2E4169EE7"
    for service, words, wanted in (
        ("worker", "close -a main --pair USD_BTC_PERP --qty 0.001", ("accepted", 0)),
        ("worker", "cancel -a main --order-id nobody-knows-it", ("rejected", 3)),
        ("worker", "positions -a main", ("accepted", 0)),
        ("worker-withdraw", f"withdraw -a main --asset ETH --qty 0.25 --address {address}", ("accepted", 0)),
    ):
        said = stack.run_client(*words.split(), "--wait", "--json")
        report = json.loads(said.stdout)
        found = report.get("outcome"), said.returncode
        words = (
            f"orders {words.split()[0]}: {report.get('outcome')}/{report.get('reason')}, exit code {said.returncode}"
        )
        told.check(service, found == wanted, words, said.stdout + said.stderr)


class Load:
    """Commands that are sent beside whatever else is done, and judged afterwards."""

    def __init__(self, helper: Helper, seed: int, count: int, rate: int) -> None:
        self._helper = helper
        self._asked = {"seed": seed, "count": count, "rate": rate, "latency_ms": 700}
        self._sent: dict[str, Any] = {}
        self._failed: list[BaseException] = []
        self._before = len(helper.venue("arrivals", method="GET")["arrivals"])
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        try:
            self._sent.update(self._helper.ask("load", self._asked, seconds=180))
        except BaseException as error:  # noqa: BLE001 - told by `ended`, in the thread that asks
            self._failed.append(error)

    def arrived(self, count: int) -> None:
        """Wait until so many requests have reached the venue."""

        def enough() -> bool:
            return (
                bool(self._failed)
                or len(self._helper.venue("arrivals", method="GET")["arrivals"]) > self._before + count
            )

        until(enough, f"{count} requests of the load at the venue", 60, every=0.5)

    def ended(self) -> dict[str, Any]:
        """Everything sent and reported: what was sent, and ``outcomes`` and ``longest_ms`` of the reports."""
        self._thread.join(200)
        if self._failed or not self._sent:
            raise StackError(f"the load did not end well: {self._failed}")
        ids = [each[0] for each in self._sent["sent"]]
        return {**self._sent, **self._helper.ask("wait", {"ids": ids, "seconds": 150}, seconds=200)}


def under_load(stack: Stack, helper: Helper, told: Told, keys: Keys, count: int = 400) -> None:
    """A little load; meanwhile a worker is killed, and the server is cut off the network for a while."""
    load = Load(helper, 7, count, 16)
    load.arrived(60)
    victim = stack.ids("worker")[0]
    docker("kill", "-s", "KILL", victim)
    killed = time.monotonic()
    code = stack.inspect(victim)["State"]["ExitCode"]
    told.check("worker", code == 137, "one of three is killed (docker kill -s KILL)", code)
    time.sleep(3)
    _cut(stack, told, seconds=8)
    ended = load.ended()
    words = f"sending failed {ended['failed']} times meanwhile, and was made again under the same ids"
    told.check("client", ended["failed"] > 0, words)
    longest, since_kill = ended["longest_ms"] / 1000, time.monotonic() - killed
    words = (
        f"each of {count} commands has its report, the slowest in {longest:.0f} s, {since_kill:.0f} s after the kill"
    )
    told.check("worker", len(ended["outcomes"]) == count, words)
    _judge(stack, helper, told, keys, ended)
    docker("start", victim)
    stack.healthy("worker", 3)
    told.check("worker", True, "the killed one is back, three are healthy")


def upgrade(stack: Stack, helper: Helper, told: Told, keys: Keys, count: int = 150) -> None:
    """Every worker is replaced by a new container under a little load, as docs/deploying.md tells to upgrade."""
    load = Load(helper, 8, count, 10)
    load.arrived(20)
    before = set(stack.ids("worker") + stack.ids("worker-withdraw"))
    stack.up("--no-deps", "--force-recreate", "--scale", "worker=3", "worker", "worker-withdraw")
    ended = load.ended()
    stack.healthy("worker", 3)
    stack.healthy("worker-withdraw")
    left = before & set(stack.ids("worker") + stack.ids("worker-withdraw"))
    longest = ended["longest_ms"] / 1000
    words = f"all replaced under load (up -d --force-recreate), {count} reports, the slowest in {longest:.0f} s"
    told.check("worker", not left and len(ended["outcomes"]) == count, words, left)
    _judge(stack, helper, told, keys, ended)
    unknown = [each for each in ended["outcomes"] if each[1] == "unknown"]
    told.check("worker", not unknown, "none of them unknown: what had begun was ended before the stop", unknown)


def _cut(stack: Stack, told: Told, seconds: float) -> None:
    """Take the server off the network for so long."""
    server, network = stack.one("server"), stack.network("queue")
    docker("network", "disconnect", network, server)
    workers = stack.ids("worker") + stack.ids("worker-withdraw")
    time.sleep(seconds)
    docker("network", "connect", "--alias", "server", network, server)
    running = stack.ids("worker") + stack.ids("worker-withdraw")
    told.check("server", True, f"is cut off the network for {seconds:g} s (docker network disconnect), and is back")
    restarts = [stack.inspect(each)["RestartCount"] for each in running]
    told.check("worker", running == workers and not any(restarts), "no worker ended of it", restarts)


def _judge(stack: Stack, helper: Helper, told: Told, keys: Keys, sent: dict[str, Any]) -> None:
    found = helper.ask("verdict", {**sent, "url": stack.secret("admin_url"), "aliases": keys.aliases})
    told.check("worker", not found["lost"], "lost: 0", found["lost"])
    told.check(
        "simulator", not found["twice"], f"executed twice: 0 of {found['executions']}, by its own book", found["twice"]
    )
    told.check("worker", not found["untrue"], "untrue reports: 0, by ledger, results and book", found["untrue"][:5])
    words = "every withdrawal came with the key that only worker-withdraw has"
    told.check("worker-withdraw", not found["under_the_wrong_key"], words, found["under_the_wrong_key"])
    for each, number in found["outcomes"].items():
        told.note("worker", f"{number:4d} x {each}")


def graceful_stop(stack: Stack, helper: Helper, told: Told) -> None:
    """A worker that is stopped ends what it has begun, inside the time it is given, and then ends itself."""
    helper.venue("faults", {"kind": "slow", "path": "withdraw", "delay_ms": 7000})
    before = len(helper.venue("arrivals?path=/auth/withdraw", method="GET")["arrivals"])
    words = "withdraw -a main --asset ETH --qty 0.125 --address 0xslow --yes --id slow-1"
    sent = stack.run_client(*words.split())
    assert sent.returncode == 0, sent.stderr
    until(
        lambda: len(helper.venue("arrivals?path=/auth/withdraw", method="GET")["arrivals"]) > before,
        "it arrives",
        20,
        every=0.5,
    )
    worker, started = stack.one("worker-withdraw"), time.monotonic()
    stack.compose("stop", "worker-withdraw", seconds=GRACE_SECONDS + 30)
    took, state = time.monotonic() - started, stack.inspect(worker)["State"]
    words = f"stops in {took:.1f} s with an attempt of 7 s under way, exit code {state['ExitCode']}"
    told.check("worker-withdraw", state["ExitCode"] == 0 and 3 < took < GRACE_SECONDS, words, state)
    report = json.loads(stack.run_client("show", "slow-1", "--wait", "--json").stdout)
    words = f"that command ended {report.get('outcome')}/{report.get('reason')}, {report.get('attempts')} attempt"
    told.check("worker-withdraw", (report.get("outcome"), report.get("attempts")) == ("accepted", 1), words, report)
    stack.up("worker-withdraw")
    stack.healthy("worker-withdraw")


def server_restart(stack: Stack, told: Told) -> None:
    """A server that is killed comes back with all it had acknowledged."""
    before = _kept(stack)
    server = stack.one("server")
    docker("kill", "-s", "KILL", server)
    docker("start", server)
    stack.healthy("server")
    after = _kept(stack)
    words = "killed and started, it has every one of {} reports, {} ledger records, {} journal entries".format(*before)
    told.check("server", before == after and min(before) > 0, words, after)
    stack.healthy("worker", 3)
    stack.healthy("worker-withdraw")
    told.check("worker", True, "all are healthy again, none was restarted")
    said = stack.run_client("positions", "-a", "main", "--wait", "--json")
    told.check("worker", said.returncode == 0, "orders positions: accepted again", said.stdout + said.stderr)


def _kept(stack: Stack) -> tuple[int, int, int]:
    """How many reports, ledger records and journal entries the server has."""
    reports = stack.server("admin", "-n", "1", "--scan", "--pattern", "celery-task-meta-*").split()
    records = stack.server("admin", "-n", "2", "--scan", "--pattern", "orders:command:*").split()
    return len(reports), len(records), int(stack.server("admin", "-n", "2", "XLEN", "orders:journal"))
