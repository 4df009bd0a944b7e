"""Bad usage, help, and what the program loads when."""

import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from producers.cli import app as cli
from producers.cli import options as cli_values
from producers.cli.plugins import COMMANDS, OWN_COMMANDS
from tests.unit.producers.cli.program import ROOT, Orders, only_setting

NOBODY = "redis://127.0.0.1:1"
"""Nothing listens on port 1: what gets that far ends in 1 and not in 2."""


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    only_setting(monkeypatch, NOBODY)


CLOSE = "close -a main --pair P "
BAD = {
    "no such option": CLOSE + "--bogus",
    "no such command": "bogus",
    "no account": "close --pair P",
    "no pair": "close -a main",
    "no id": "show",
    "not a number": "positions -a main --contract-id x",
    "negative timeout": "cancel -a main --order-id 1 --wait --timeout -1",
    "negative quantity": CLOSE + "--qty -1",
    "lane of two words": CLOSE + "--lane 'two words'",
    "lane without a name": CLOSE + "--lane ''",
    "not a decimal": "withdraw -a main --asset A --qty much --address x",
    "NaN": CLOSE + "--price nan",
    "blank in a name": "close -a main --pair 'A B'",
    "bad alias": "close -a no/alias --pair P",
    "bad event": CLOSE + "--trigger-event NEVER",
    "new order without a side": "submit -a main --pair P --qty 1",
    "new order of no side": "submit -a main --pair P --qty 1 --side long",
    "post-only at market": "submit -a main --pair P --qty 1 --side buy --post-only",
    "bad direction": CLOSE + "--direction up",
    "bad deadline": CLOSE + "--deadline soon",
    "deadline of thousands of digits": CLOSE + "--deadline " + "9" * 5000,
    "deadline beyond all numbers": CLOSE + "--deadline " + "9" * 400 + "h",
    "deadline of a forgotten unit": CLOSE + "--deadline 30",
    "deadline in seconds": CLOSE + "--deadline 4000000000",
    "deadline in microseconds": CLOSE + "--deadline 1900000000000000",
    "deadline that is over": CLOSE + "--deadline 1700000000000",
    "deadline now": "positions -a main --deadline 0s",
    "deadline 0": CLOSE + "--deadline 0",
    "nobody to ask": "withdraw -a main --asset A --qty 1 --address x",
    "both of a pair": CLOSE + "--close-on-trigger --no-close-on-trigger",
    "empty id": CLOSE + "--id ''",
    "id with a control character": CLOSE + "--id 'a\x1bb'",
    "endless id": CLOSE + "--id " + "x" * 256,
    "show of an empty id": "show ''",
    "show of no id": "show 'a\nb'",
    "no such level": "worker -l LOUD",
    "executed as nothing": "resolve mine --reason r --executed ' ' --yes",
    "both words, one empty": "resolve mine --reason r --executed '' --not-executed --yes",
    "the doctor's option": "doctor --bogus",
    "remote simulator": "simulator --host 0.0.0.0 --port 0",
    "port out of range": "simulator --port 70000",
}


@pytest.mark.parametrize("case", BAD)
def test_bad_usage(orders: Orders, case: str) -> None:
    """Exit 2: a message on standard error, or as one JSON document on standard output, wherever --json stands."""
    arguments = shlex.split(BAD[case])
    ran = orders(*arguments)
    assert (ran.code, ran.out, ran.err != "") == (2, "", True)
    after, before = orders(*arguments, "--json"), orders("--json", *arguments)
    for each in (after, before):
        assert (each.code, each.err, set(each.document)) == (2, "", {"error"})
        assert each.message
    assert before.document["error"]["type"] == after.document["error"]["type"]


def test_every_problem_is_named_by_its_option(orders: Orders) -> None:
    """One message has them all, without the values."""
    ran = orders("close", "-a", "main", "--pair", "P", "--trigger-price", "-5", "--recv-window", "20000")
    assert ran.err.startswith("orders close: --trigger-price must be greater than zero; --recv-window must be")
    document = orders("cancel", "-a", "", "--order-id", "", "--json").document
    assert document["error"]["type"] == "InvalidCommand"
    assert len(document["error"]["problems"]) == 2


@pytest.mark.parametrize("url", ["nonsense", "redis://host:port", "redis://:12#secret@host:6379", "http://host"])
@pytest.mark.parametrize("command", [("close", "-a", "m", "--pair", "P"), ("show", "x"), ("worker",)])
def test_unusable_url(orders: Orders, monkeypatch: pytest.MonkeyPatch, url: str, command: tuple[str, ...]) -> None:
    """Exit 2, naming the setting and nothing of its value."""
    for name in ("ORDERS_REDIS_URL", "ORDERS_BROKER_URL"):
        monkeypatch.setenv(name, url)
        ran = orders(*command)
        assert ran.code == 2
        assert name in ran.err
        assert "secret" not in ran.err
        monkeypatch.setenv(name, NOBODY)


def test_unreadable_settings_file(orders: Orders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Exit 2, naming the file."""
    monkeypatch.setenv("ORDERS_CONFIG_FILE", str(tmp_path / "gone.toml"))
    ran = orders("show", "x", "--json")
    assert ran.code == 2
    assert ran.document["error"]["type"] == "SettingsError"
    assert "gone.toml" in ran.document["error"]["message"]


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("30s", 30_000), ("1.5m", 90_000), ("500ms", 500), ("1h", 3_600_000), ("+30s", 30_000)]
)
def test_deadline_from_now(text: str, milliseconds: int) -> None:
    """A duration counts from now; a bare number is UNIX milliseconds."""
    assert cli_values.deadline_ms(text, now=1_000_000) == 1_000_000 + milliseconds
    assert cli_values.deadline_ms("1700000000000", now=1_000_000) == 1_700_000_000_000


def test_a_deadline_counts_from_one_reading_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline of now is over, though the clock ticks meanwhile."""
    monkeypatch.setattr(cli_values, "now_ms", itertools.count(1_700_000_000_000).__next__)
    with pytest.raises(typer.BadParameter, match="has passed"):
        cli_values.given_deadline("0s")


@pytest.mark.parametrize("text", ["", "-5s", "5 s", "s", "5d", "1e3s", "٣s", "-1"])
def test_no_deadline(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(typer.BadParameter):
        cli_values.deadline_ms(text, now=1_000_000)


def test_a_forgotten_unit_is_noticed(orders: Orders) -> None:
    """`--deadline 30` is 1970: it is said, with how to write what was meant."""
    error = orders("close", "-a", "main", "--pair", "P", "--deadline", "30", "--json").document["error"]["message"]
    assert "30 has passed (1970-01-01 00:00:00.030 UTC)" in error
    assert "a duration from now has a unit, as in 30s" in error


SHOWN = (*OWN_COMMANDS, *COMMANDS)


def test_orders_alone_shows_help(orders: Orders) -> None:
    """Every command is listed, and the exit codes are."""
    ran = orders()
    assert ran.code == 0
    for name in SHOWN:
        assert name in ran.out
    assert "not_sent" in ran.out


@pytest.mark.parametrize("name", SHOWN)
def test_each_command_has_help(orders: Orders, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """With its own options, each name whole on 80 columns, and --json everywhere."""
    monkeypatch.setenv("COLUMNS", "80")
    ran = orders(name, "-h")
    assert ran.code == 0
    assert orders(name, "--help") == ran
    assert f"Usage: orders {name}" in ran.out
    assert name in ("help", "completion") or all(option in ran.out for option in ("--json", "-o, --output"))
    assert not re.search(r"--\S*…", ran.out), "an option's name is cut"


def test_version(orders: Orders) -> None:
    """`--version` says which."""
    ran = orders("--version")
    assert ran.code == 0
    assert ran.out.startswith("orders")
    assert set(orders("--json", "--version").document) == {"version"}
    assert orders("--json").document["error"]["message"] == "Missing command."


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines in a fresh interpreter."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_listing_the_commands_loads_nothing_of_the_worker() -> None:
    """Neither help nor sending needs the worker or its dependencies, nor does help need Celery."""
    code = """
import sys
from producers import commands
from producers.cli import app as cli
try:
    cli.main(["--help"])
except SystemExit as ended:
    assert not ended.code
loaded = {name.split(".")[0] for name in sys.modules}
print(sorted(loaded & {"worker", "celery", "requests", "tenacity", "uvicorn", "starlette"}), file=sys.stderr)
"""
    ran = python(code)
    assert ran.stderr == "[]\n"


@pytest.mark.parametrize(("name", "missing", "extra"), [("doctor", "requests", "worker"), ("demo", "requests", "demo")])
def test_what_is_not_installed(name: str, missing: str, extra: str) -> None:
    """Exit 2: what is missing, and how to install it."""
    code = f"""
import sys
sys.modules[{missing!r}] = None
from producers import commands
from producers.cli import app as cli
cli.main([{name!r}, "--json"])
"""
    ran = python(code)
    assert ran.returncode == 2, ran.stderr
    error = json.loads(ran.stdout)["error"]
    assert error["type"] == "NotInstalled"
    assert f"needs {missing}, which is not installed" in error["message"]
    assert f"pip install ./producers '.[{extra}]' in a checkout" in error["message"]


def test_show_without_the_worker() -> None:
    """Where the worker's package is cut away the ledger is not looked at, and it is said so."""
    code = """
import sys
sys.modules["worker"] = None
from producers import commands
from producers.cli import app as cli
cli.main(["show", "x"])
"""
    ran = python(code)
    assert ran.returncode == 1, "the results can't be reached either"
    assert "the worker is not installed here" in ran.stderr


def test_a_bug_shows_no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracebacks are Python's own: with variables they could show a secret."""
    assert cli.app.pretty_exceptions_enable is False
    assert cli.app.pretty_exceptions_show_locals is False

    from worker.cli import worker as worker_cli
    from worker.cli.doctor import doctor

    for app in (worker_cli.worker, doctor, worker_cli.simulator, worker_cli.demo):
        assert app.pretty_exceptions_enable is False
