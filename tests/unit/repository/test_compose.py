"""What compose/ promises and can be read off it; that it also runs so is the business of tests/stack."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.celery_app.queues import SERVED
from worker.settings import WorkerSettings

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "compose"
STACK: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
WORKERS = ("worker", "worker-withdraw")
LOGINS = ("worker", "withdraw", "producer", "flower", "admin")


def queues_of(service: str) -> list[str]:
    """The queues that a worker service takes from."""
    command: list[str] = SERVICES[service]["command"]
    return command[command.index("-Q") + 1].split(",")


def sources(service: str) -> set[str]:
    """The secrets that a service is given."""
    return {each if isinstance(each, str) else each["source"] for each in SERVICES[service].get("secrets", [])}


def test_valid_for_docker_compose_2() -> None:
    """By the Compose Specification's schema. The stack itself is run with Debian's docker-compose 1.29, which knows
    options that version 2 does not."""
    program = str(Path(sys.executable).with_name("check-jsonschema"))
    words = [program, "--builtin-schema", "vendor.compose-spec", str(COMPOSE / "compose.yaml")]
    checked = subprocess.run(words, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_queue_has_a_worker_and_withdrawals_one_of_their_own() -> None:
    """A queue that nobody serves; or a withdrawal that reaches workers without the key for it."""
    assert sorted(queues_of("worker") + queues_of("worker-withdraw")) == sorted(SERVED)
    assert queues_of("worker-withdraw") == ["orders.withdraw"]


@pytest.mark.parametrize("service", WORKERS)
def test_a_stop_leaves_time_for_the_longest_execution(service: str) -> None:
    """A worker that docker kills in the middle of a send, which makes an unknown of a withdrawal."""
    grace = int(SERVICES[service]["stop_grace_period"].removesuffix("s"))
    assert grace > WorkerSettings().longest_run_seconds + 10


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_locked_up_and_bounded(service: str) -> None:
    """A new service without what all the others have."""
    found = SERVICES[service]
    assert found["read_only"]
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert {"max-size", "max-file"} <= found["logging"]["options"].keys()
    assert {"mem_limit", "memswap_limit", "cpus", "pids_limit"} <= found.keys()
    assert all(port.startswith("127.0.0.1:") for port in found.get("ports", []))
    assert "healthcheck" in found or found["profiles"] == ["tools"]


def test_who_holds_which_secret() -> None:
    """A key that withdraws, or somebody else's login, in the wrong container."""
    holders = {name: {service for service in SERVICES if name in sources(service)} for name in STACK["secrets"]}
    assert holders.pop("worker_url") == {"worker"}
    assert holders.pop("withdraw_url") == holders.pop("accounts-withdraw.toml") == {"worker-withdraw"}
    assert holders.pop("accounts.toml") == {"worker"}
    assert holders.pop("producer_url") == {"client"}
    assert holders.pop("flower_url") == holders.pop("flower_login") == {"flower"}
    assert holders.pop("users.acl") == {"server"}
    assert holders.pop("grafana_password") == {"grafana"}
    assert not holders


def test_who_is_on_which_network() -> None:
    """A server that can be reached from where nobody needs it, or a venue from anywhere but a worker."""
    on = {network: {s for s, each in SERVICES.items() if network in each["networks"]} for network in STACK["networks"]}
    assert SERVICES["server"]["networks"] == ["queue"]
    assert on["venue"] == {*WORKERS, "simulator"}
    assert on["queue"] == {"server", *WORKERS, "flower", "client"}
    assert STACK["networks"]["queue"]["internal"]
    assert STACK["networks"]["watch"]["internal"]


def test_the_server_keeps_everything_and_fits() -> None:
    """A server that forgets or evicts; or one that is killed for its memory before it refuses a write."""
    text = (COMPOSE / "server" / "valkey.conf").read_text(encoding="utf-8")
    config = dict(line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#"))
    assert (config["appendonly"], config["appendfsync"], config["maxmemory-policy"]) == ("yes", "always", "noeviction")
    assert config["maxmemory"] == "512mb"
    assert SERVICES["server"]["mem_limit"] == "1g"


def test_the_names_compose_puts_in_are_defined() -> None:
    """An image or a port that compose.yaml asks for and compose/.env does not know."""
    asked = set(re.findall(r"\$\{([A-Z_]+)\}", (COMPOSE / "compose.yaml").read_text(encoding="utf-8")))
    lines = (COMPOSE / ".env").read_text(encoding="utf-8").splitlines()
    defined = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
    assert asked | {"COMPOSE_PROJECT_NAME"} == defined


# -- compose/prepare ---------------------------------------------------------------------------------------------------


def prepare(folder: Path, *options: str, code: int = 0) -> tuple[str, str]:
    """Make the secrets; what it said on standard output and on standard error."""
    command = [str(COMPOSE / "prepare"), *options]
    environment = {"PATH": "/usr/bin:/bin", "SECRETS": str(folder)}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_a_word_that_prepare_does_not_know(tmp_path: Path) -> None:
    """It makes nothing by accident, and says what it does instead."""
    for words in (["--sandox"], ["--sandbox", "--force"]):
        said, complaint = prepare(tmp_path / "s", *words, code=2)
        assert said == ""
        assert complaint.startswith(f"compose/prepare: what is {words[-1]}?\nMake compose/secrets: ")
    assert prepare(tmp_path / "s", "--help")[0].startswith("Make compose/secrets: ")
    assert not (tmp_path / "s").exists()


def test_a_sandbox_after_all(tmp_path: Path) -> None:
    """Files of accounts are never overwritten; that they are not the simulator's is said."""
    prepare(tmp_path / "s")
    _, complaint = prepare(tmp_path / "s", "--sandbox")
    assert [line.split()[0] for line in complaint.splitlines()] == [
        f"{tmp_path}/s/accounts.toml",
        f"{tmp_path}/s/accounts-withdraw.toml",
    ]
    for name in ("accounts.toml", "accounts-withdraw.toml"):
        (tmp_path / "s" / name).unlink()
    assert prepare(tmp_path / "s", "--sandbox")[1] == ""


def test_logins_are_made_once_and_fit_the_servers_list(tmp_path: Path) -> None:
    """A second call that locks everybody out; a password in the clear; the same one for two; a rule for nobody."""
    prepare(tmp_path / "s", "--sandbox")
    before = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "s").iterdir()}
    prepare(tmp_path / "s")
    assert {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "s").iterdir()} == before
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    passwords = [before[f"{login}_url"].partition("@")[0].rpartition(":")[2] for login in LOGINS]
    assert len({*passwords}) == len(LOGINS)
    assert all(len(each) == 32 for each in passwords)
    rules = {line.split()[1]: line.split()[2:] for line in before["users.acl"].splitlines()}
    assert rules.keys() == {"default", "health", *LOGINS}
    assert not any(password in before["users.acl"] for password in passwords)
    assert all(re.fullmatch(r"#[0-9a-f]{64}", rules[login][1]) for login in LOGINS)
    for name in ("accounts.toml", "accounts-withdraw.toml"):
        assert "main" in tomllib.loads(before[name])["accounts"]


def test_the_servers_default_login_is_off_and_may_do_everything() -> None:
    """A server that lets anybody in; or one that drops the transactions of its append-only file when it starts."""
    text = (COMPOSE / "server" / "users.acl.in").read_text(encoding="utf-8")
    (default,) = re.findall(r"^user default (.*)$", text, re.MULTILINE)
    assert default.split() == ["off", "resetpass", "~*", "&*", "+@all"]
