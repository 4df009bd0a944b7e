"""What the program imports before it answers: help, refusals and completion must not wait for libraries that they do
not use. ``tests/benchmarks/program_start.py`` measures the time."""

import json
import re
import tomllib

import pytest
import typer

from producers.cli.app import app
from producers.cli.plugins import COMMANDS, OWN_COMMANDS
from tests.unit.producers.cli.program import ROOT
from tests.unit.producers.cli.test_usage import python

HEAVY = {
    *("pydantic", "pydantic_settings", "pydantic_core", "celery", "kombu", "redis", "rich", "yaml", "asyncio"),
    *("worker", "cryptography", "opentelemetry", "markdown_it", "pygments"),
}
QUICK = [
    "--help",
    "-h",
    "version",
    "--version --json",
    "close --help",
    "help withdraw",
    "send -h",
    "submit --help",
    "show -h",
]
QUICK += [
    "submit --help",
    "bogus",
    "close",
    "close --bogus",
    "close -a main --pair P --deadline soon",
    "--json show",
    "-o table --json",
]


@pytest.mark.parametrize("line", QUICK)
def test_what_is_told_without_a_server_imports_little(line: str) -> None:
    """Importing pydantic takes longer than everything that these need."""
    code = f"""
import contextlib, io, json, sys
from producers.cli.entry import main
sys.argv = ["orders", *{line.split()!r}]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
loaded = {{name.split(".")[0] for name in sys.modules}}
print(json.dumps(sorted(loaded & set({sorted(HEAVY)!r}))))
"""
    ran = python(code)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == []


def test_every_command_that_is_listed_is_there_and_the_other_way_round() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(project["entry-points"]["orders.commands"]) == set(COMMANDS)
    assert set(typer.main.get_group(app).commands) == {*OWN_COMMANDS, *COMMANDS}


@pytest.mark.parametrize("name", [*OWN_COMMANDS, *COMMANDS])
def test_every_command_of_a_command_has_the_short_option_of_help(name: str) -> None:
    """What a wrong line is answered with, "Try 'orders dead drop -h' for help", was refused itself."""
    command = typer.main.get_group(app).commands[name].load()
    for each in (command, *getattr(command, "commands", {}).values()):
        with pytest.raises(SystemExit) as end:
            each.main(["-h"], prog_name=each.name)
        assert end.value.code == 0


@pytest.mark.parametrize("name", [*OWN_COMMANDS, *COMMANDS])
def test_the_line_of_help_in_the_list_says_what_the_command_says(name: str) -> None:
    """The list of commands has its own copy, so that it need not import them: its verb must be in the command's."""
    listed = typer.main.get_group(app).commands[name]
    summary = re.findall(r"[a-z]+", str(listed.help).lower())
    paragraph = re.findall(r"[a-z]+", str(listed.load().help).partition("\n\n")[0].lower())
    assert summary[0] in paragraph
    assert len(str(listed.help)) + 15 <= 80, "it fits a terminal beside the name"
