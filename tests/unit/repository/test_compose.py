"""What can be checked in the files of compose/ without running them; tests/stack runs them."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from producers.commands import COMMANDS
from worker.celery_app.queues import SERVED
from worker.settings import WorkerSettings

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "compose"
STACK: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
WORKERS = ("worker", "worker-withdraw")
LOGINS = ("worker", "withdraw", "producer", "flower", "archive", "operator", "admin")


def queues_of(service: str) -> list[str]:
    """The queues that a worker service takes from."""
    command: list[str] = SERVICES[service]["command"]
    return command[command.index("-Q") + 1].split(",")


def sources(service: str) -> set[str]:
    """The secrets that a service is given."""
    return {each if isinstance(each, str) else each["source"] for each in SERVICES[service].get("secrets", [])}


def test_valid_for_docker_compose_2() -> None:
    """By the schema of the Compose Specification. tests/stack runs Debian's docker-compose 1.29, which accepts options
    that version 2 does not."""
    program = str(Path(sys.executable).with_name("check-jsonschema"))
    words = [program, "--builtin-schema", "vendor.compose-spec", str(COMPOSE / "compose.yaml")]
    checked = subprocess.run(words, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_queue_has_a_worker_and_withdrawals_one_of_their_own() -> None:
    """Otherwise commands would wait for ever, or withdrawals would reach workers without the key for them."""
    assert sorted(queues_of("worker") + queues_of("worker-withdraw")) == sorted(SERVED)
    assert queues_of("worker-withdraw") == ["orders.withdraw"]


@pytest.mark.parametrize("service", WORKERS)
def test_a_stop_leaves_time_for_the_longest_execution(service: str) -> None:
    """If Docker kills a worker while it sends, the outcome of a withdrawal is unknown."""
    grace = int(SERVICES[service]["stop_grace_period"].removesuffix("s"))
    assert grace > WorkerSettings().longest_run_seconds + 10


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_locked_up_and_bounded(service: str) -> None:
    """Every service has the same restrictions and limits."""
    found = SERVICES[service]
    assert found["read_only"]
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert {"max-size", "max-file"} <= found["logging"]["options"].keys()
    assert {"mem_limit", "memswap_limit", "cpus", "pids_limit"} <= found.keys()
    assert all(port.startswith("127.0.0.1:") for port in found.get("ports", []))
    assert "healthcheck" in found or found["profiles"] == ["tools"]


def test_who_holds_which_secret() -> None:
    """No container has a key for withdrawals or a login that it does not need."""
    holders = {name: {service for service in SERVICES if name in sources(service)} for name in STACK["secrets"]}
    assert holders.pop("worker_url") == {"worker"}
    assert holders.pop("withdraw_url") == holders.pop("accounts-withdraw.toml") == {"worker-withdraw"}
    assert holders.pop("accounts.toml") == {"worker"}
    assert holders.pop("producer_url") == {"client"}
    assert holders.pop("operator_url") == {"operator", "desk"}
    assert holders.pop("desk_logins") == {"desk"}
    assert holders.pop("flower_url") == holders.pop("flower_login") == {"flower"}
    assert holders.pop("users.acl") == {"server"}
    assert holders.pop("grafana_password") == {"grafana"}
    assert not holders


def test_who_is_on_which_network() -> None:
    """The server is reachable only where it is needed, and the venue only from workers."""
    on = {network: {s for s, each in SERVICES.items() if network in each["networks"]} for network in STACK["networks"]}
    assert SERVICES["server"]["networks"] == ["queue"]
    assert on["venue"] == {*WORKERS, "simulator"}
    assert on["queue"] == {"server", *WORKERS, "flower", "client", "operator", "desk"}
    assert STACK["networks"]["queue"]["internal"]
    assert STACK["networks"]["watch"]["internal"]


def test_nobody_reconfigures_or_stops_prometheus_over_http() -> None:
    """It has no login: neither its lifecycle API nor its admin API is there."""
    assert not [word for word in SERVICES["prometheus"]["command"] if word.startswith("--web.enable")]


def test_every_image_can_be_named_by_its_digest() -> None:
    """Each is a variable of compose/.env, so that nothing needs to be edited to pin it."""
    assert all(re.fullmatch(r"\$\{[A-Z_]+_IMAGE\}", service["image"]) for service in SERVICES.values())


def test_the_server_keeps_everything_and_fits() -> None:
    """It neither forgets nor evicts, and refuses writes before it is killed for its memory."""
    text = (COMPOSE / "server" / "valkey.conf").read_text(encoding="utf-8")
    config = dict(line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#"))
    assert (config["appendonly"], config["appendfsync"], config["maxmemory-policy"]) == ("yes", "always", "noeviction")
    assert config["maxmemory"] == "512mb"
    assert SERVICES["server"]["mem_limit"] == "1g"


def test_the_names_compose_puts_in_are_defined() -> None:
    """compose/.env defines every variable of compose.yaml, and no other."""
    asked = set(re.findall(r"\$\{([A-Z_]+)\}", (COMPOSE / "compose.yaml").read_text(encoding="utf-8")))
    lines = (COMPOSE / ".env").read_text(encoding="utf-8").splitlines()
    defined = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
    assert asked | {"COMPOSE_PROJECT_NAME"} == defined


# -- compose/prepare ---------------------------------------------------------------------------------------------------


def prepare(folder: Path, *options: str, code: int = 0) -> tuple[str, str]:
    """Run compose/prepare; returns its standard output and standard error."""
    command = [str(COMPOSE / "prepare"), *options]
    environment = {"PATH": "/usr/bin:/bin", "SECRETS": str(folder)}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_prepare_refuses_an_unknown_option(tmp_path: Path) -> None:
    """It prints its usage and creates nothing."""
    for words in (["--sandox"], ["--sandbox", "--force"]):
        printed, complaint = prepare(tmp_path / "s", *words, code=2)
        assert printed == ""
        assert complaint.startswith(f"compose/prepare: what is {words[-1]}?\nMake compose/secrets: ")
    assert prepare(tmp_path / "s", "--help")[0].startswith("Make compose/secrets: ")
    assert not (tmp_path / "s").exists()


def test_prepare_keeps_existing_accounts(tmp_path: Path) -> None:
    """It says that they are not those of the simulator."""
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
    """A second call changes nothing; passwords are distinct and stored as hashes; each rule has a login."""
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


def rules_of(folder: Path) -> dict[str, list[str]]:
    """What `users.acl` grants, by login."""
    lines = (folder / "users.acl").read_text(encoding="utf-8").splitlines()
    return {line.split()[1]: line.split()[2:] for line in lines}


def test_a_producer_has_a_login_of_its_own_for_its_commands(tmp_path: Path) -> None:
    """Its queues, of any priority, and no other; the accounts are printed for the file of public keys. Other rights for
    a name that is there keep its password; without a producer its login is gone."""
    folder = tmp_path / "s"
    printed, _ = prepare(folder, "--producer", "payroll", "--may", "withdraw:treasury,cancel")
    assert printed.endswith('[producers.payroll]\nmay = ["withdraw:treasury", "cancel"]\n')
    password = (folder / "payroll_url").read_text(encoding="utf-8")
    prepare(folder, "--producer", "desk-2", "--may", "close,positions")
    granted = rules_of(folder)
    assert [right for right in granted["payroll"] if right.startswith("%W~orders.")] == [
        *("%W~orders.cancel", "%W~orders.cancel[^.]*", "%W~orders.withdraw", "%W~orders.withdraw[^.]*")
    ]
    assert not any("withdraw" in right for right in granted["desk-2"])
    hashes = [granted[name][1] for name in ("payroll", "desk-2", "producer")]
    assert len({*hashes}) == 3
    prepare(folder, "--producer", "payroll", "--may", "close")
    assert (folder / "payroll_url").read_text(encoding="utf-8") == password
    assert not any("withdraw" in right for right in rules_of(folder)["payroll"])
    assert "gone" in prepare(folder, "--remove", "payroll")[0]
    prepare(folder)
    assert {"producer", "desk-2"} <= rules_of(folder).keys() - {"payroll"} == rules_of(folder).keys()
    assert not (folder / "payroll_url").exists()


BAD_PRODUCERS = {
    "--producer payroll": "--producer payroll needs --may",
    "--producer payroll --may": "--may needs a value",
    "--may close": "--may needs --producer NAME",
    "--producer worker --may close": "worker is the name of another login",
    "--producer Payroll --may close": "'Payroll' is no name of a producer",
    "--producer a/../b --may close": "'a/../b' is no name of a producer",
    "--producer payroll --may close,": "'close,' are no rights",
    "--producer payroll --may close:a:b": "'close:a:b' are no rights",
    "--producer payroll --may close;id": "'close;id' are no rights",
    "--producer payroll --may reconcile": "reconcile is no command: close submit cancel withdraw positions",
    "--remove payroll": "there is no producer payroll",
    "--producer a\nuser --may close": "is no name of a producer",
}


@pytest.mark.parametrize("words", BAD_PRODUCERS)
def test_prepare_says_what_is_wrong_with_a_producer(tmp_path: Path, words: str) -> None:
    """It changes nothing."""
    printed, complaint = prepare(tmp_path / "s", *words.split(" "), code=2)
    assert (printed, (tmp_path / "s").exists()) == ("", False)
    assert BAD_PRODUCERS[words] in complaint.partition("Make compose/secrets")[0]


def test_prepare_knows_every_command() -> None:
    """A producer may be given any of them."""
    (line,) = re.findall(r'^commands="(.*)"$', (COMPOSE / "prepare").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(line.split()) == sorted(task.removeprefix("orders.") for task in COMMANDS)


def test_the_servers_default_login_is_off_and_may_do_everything() -> None:
    """So nobody gets in without a login, and the server can replay the transactions of its append-only file."""
    text = (COMPOSE / "server" / "users.acl.in").read_text(encoding="utf-8")
    (default,) = re.findall(r"^user default (.*)$", text, re.MULTILINE)
    assert default.split() == ["off", "resetpass", "~*", "&*", "+@all"]
