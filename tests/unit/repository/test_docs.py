"""The documents are true: links and anchors resolve, whatever they name exists, and their examples run."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
import typer
import yaml

from producers.cli.app import app
from producers.signing import PrivateKey
from worker.observability.catalogue import ARCHIVE, EVENTS, STATE
from worker.settings import load
from worker.simulator.control import SimulatorControl

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = (ROOT / folder for folder in ("compose", "docs", "producers"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in folder.rglob("*.md"))])
NAMES = [str(document.relative_to(ROOT)) for document in DOCUMENTS]
MISSPELT = {"ORDERS_RETRY__ATEMPTS", "ORDERS_ACCOUNT__MAIN__VENUE"}
"""Settings that examples misspell on purpose."""
LANGUAGES = {"python", "js", "go", "sh", "console", "json", "toml", "yaml", "mermaid", "text"}
"""What a block of code may be in. ``text`` is for what nothing can check."""
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
RUN_ELSEWHERE = re.compile("webhook-signature|celery-node|celery-ts")
"""In the examples that tests/integration runs: receivers of webhooks, and clients of npm."""
RUN_SECONDS = 60.0
"""Ten times what the slowest example takes on an idle machine."""


def text(name: str) -> str:
    """The text of a document."""
    return (ROOT / name).read_text(encoding="utf-8")


def each_block(*languages: str, without: re.Pattern[str] | None = None) -> pytest.MarkDecorator:
    """Run a test once for each block of code in one of these languages, of those ``without`` such a text."""
    found = [
        pytest.param(block, id=f"{name}-{number}")
        for name in NAMES
        for number, (language, block) in enumerate(BLOCK.findall(text(name)))
        if language in languages and not (without and without.search(block))
    ]
    return pytest.mark.parametrize("block", found)


def anchors(name: str) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    prose = BLOCK.sub("", text(name))
    made: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
        slug = words.strip().replace(" ", "-")
        made.add(next(s for s in (slug, *(f"{slug}-{n}" for n in range(1, 99))) if s not in made))
    return made


def quoted(name: str) -> Iterator[str]:
    """Everything between backticks, and each line of a block of code."""
    for _, block in BLOCK.findall(text(name)):
        yield from block.splitlines()
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text(name))


@pytest.mark.parametrize("name", NAMES)
def test_links_and_anchors_resolve(name: str) -> None:
    """A linked file was moved, or a linked heading was reworded."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text(name)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / name).parent / path if path else ROOT / name
        assert found.exists(), f"{name} links to {target}"
        if anchor:
            assert anchor in anchors(str(found.resolve().relative_to(ROOT))), f"{name} links to {target}"


@pytest.mark.parametrize("name", NAMES)
def test_named_files_exist(name: str) -> None:
    """A path in the text leads nowhere."""
    for said in quoted(name):
        for path in re.findall(
            r"(?<![\w/.~-])((?:worker|producers|tests|docs|compose|\.ci)/[\w./-]*\w)(?![\w*<{$])", said
        ):
            made = path.removeprefix("compose/").partition("/")[0] + "/" in text("compose/.gitignore").split()
            made = made or path in text(".gitignore").split()
            assert (ROOT / path).exists() or made or "*" in said, f"{name} names {path}"


@pytest.mark.parametrize("name", [*NAMES, "Makefile"])
def test_named_modules_definitions_and_tests_exist(name: str) -> None:
    """A module or what it defines was renamed. ``worker.log`` and ``worker.py`` are names of files, and
    ``[producers.payroll]`` is a table of the public keys."""
    for dotted in re.findall(r"(?<![\w./\[-])((?:worker|producers|tests)(?:\.(?!log\b|py\b)\w+)+)", text(name)):
        path, names = ROOT, dotted.split(".")
        while names and ((path / names[0]).is_dir() or (path / f"{names[0]}.py").exists()):
            path /= names.pop(0)
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        defined = set(re.findall(r"\w+", source.read_text(encoding="utf-8"))) if names else set()
        assert defined.issuperset(names), f"{name} names {dotted}"
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert tests.issuperset(re.findall(r"(?<![\w/.])test_\w+\.py", text(name)))


@pytest.mark.parametrize("name", NAMES)
def test_named_settings_exist(name: str) -> None:
    """A setting was renamed, and a document still has its old name."""
    places = "\n".join(map(text, ("Makefile", "compose/.env", "compose/build")))
    listed = set(re.findall(r"^\| `(ORDERS_[A-Z_<>]+)`", text("docs/settings.md"), re.MULTILINE))
    known = listed | MISSPELT | set(re.findall(r"ORDERS_[A-Z_]+\w", places)) | {name.split("__")[0] for name in listed}
    tested = {
        variable
        for source in (ROOT / "tests").rglob("*.py")
        for variable in re.findall(r"ORDERS_(?:TEST|BENCH)\w+", source.read_text(encoding="utf-8"))
    }
    for setting in set(re.findall(r"ORDERS_[A-Z][A-Z_]*[A-Z]", text(name))):
        of_account = re.sub(r"^(ORDERS_ACCOUNTS__)[A-Z]+(__)", r"\1<ALIAS>\2", setting)
        of_account = re.sub(r"^(ORDERS_WEBHOOKS__)[A-Z]+(__)", r"\1<NAME>\2", of_account)
        assert of_account in known | tested or any(k.startswith(f"{setting}_") for k in known), f"{name}: {setting}"


@pytest.mark.parametrize("name", NAMES)
def test_named_targets_modules_and_commands_exist(name: str) -> None:
    """A reader types a command that was renamed."""
    targets = set(re.findall(r"^([\w-]+):", text("Makefile"), re.MULTILINE))
    commands = set(typer.main.get_group(app).commands)
    for said in quoted(name):
        for target in re.findall(r"(?:^|[;&|] *)make ([a-z][\w-]*)", said):
            assert target in targets, f"{name}: make {target}"
        for module in re.findall(r"python -m ((?:tests|worker|producers)[\w.]*)", said):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{name}: {module}"
        for words in re.findall(r"(?:^|[$;&(] *)orders ([a-z][a-z-]*(?:\|[a-z-]+)*)", said):
            assert set(words.split("|")) <= commands, f"{name}: orders {words}"


@pytest.mark.parametrize("name", [*NAMES, "compose/prometheus/rules/orders.yaml"])
def test_named_metrics_exist(name: str) -> None:
    """A metric was renamed, and a document or an alert still has its old name."""
    known = {metric.name for metric in (*EVENTS, *STATE, *ARCHIVE)}
    for metric in set(
        re.findall(r"\borders_[a-z_]+_(?:total|seconds|bytes|open|messages|busy|slots|ready)\b", text(name))
    ):
        assert metric in known, f"{name}: {metric}"


@pytest.mark.parametrize("name", NAMES)
def test_every_block_names_its_language(name: str) -> None:
    """A block without a language is checked by nothing, and nobody sees that."""
    assert {language for language, _ in BLOCK.findall(text(name))} <= LANGUAGES


@each_block("json", "yaml")
def test_data_can_be_parsed(block: str) -> None:
    """A brace or an indent got lost."""
    assert json.loads(block) if block.startswith("{") else yaml.safe_load(block)


@each_block("toml")
def test_toml_can_be_loaded_as_settings(block: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An example names a setting that does not exist, or gives it a value that is refused."""
    for name in [name for name in os.environ if name.startswith("ORDERS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "orders.toml").write_text(block, encoding="utf-8")
    monkeypatch.setenv("ORDERS_CONFIG_FILE", str(tmp_path / "orders.toml"))
    assert load().accounts.keys() >= tomllib.loads(block).get("accounts", {}).keys()


@each_block("sh", "console")
def test_orders_can_parse_its_command_lines(block: str) -> None:
    """An option was renamed. A line that is meant to be refused is followed by the refusal."""
    commands = typer.main.get_group(app).commands
    for line, following in re.findall(r"^(?:\$ |.*exec worker )?(orders [a-z]+\b(?!:).*)\n?(.*)", block, re.MULTILINE):
        command = line.partition(" | ")[0]
        _, name, *arguments = [word for word in shlex.split(command, comments=True) if word != "--json"]
        refused = following.startswith((f"orders {name}: --", '{"error"'))
        with suppress(typer.BadParameter.__base__) if refused else nullcontext():
            commands[name].make_context(name, arguments)


@pytest.fixture(scope="module")
def demo() -> Iterator[dict[str, str]]:
    """The running demo, a server, the simulator and a worker: where they are."""
    command = [sys.executable, "-m", "worker.demo", "--keep", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
        finally:
            process.send_signal(signal.SIGINT)


@pytest.mark.integration
@each_block("python", "js", without=RUN_ELSEWHERE)
def test_a_sender_runs(
    block: str, demo: dict[str, str], tmp_path: Path, require_service: Callable[[str, object], None]
) -> None:
    """A name of the client was changed, or a message that is written by hand is not one that workers take."""
    program = ["node", "--input-type=module", "--eval"] if "node:" in block else [sys.executable, "-c"]
    require_service(program[0], shutil.which(program[0]))
    SimulatorControl(demo["simulator"]).reset()
    environment = {**os.environ, "ORDERS_REDIS_URL": demo["redis_url"]}
    if "ORDERS_SEAL_KEY_FILE" in block:
        (tmp_path / "key").write_text(PrivateKey.generate("payroll", "1").to_file_text(), encoding="utf-8")
        environment["ORDERS_SEAL_KEY_FILE"] = str(tmp_path / "key")
    printed = subprocess.run(
        [*program, block], env=environment, stdout=subprocess.PIPE, text=True, timeout=RUN_SECONDS, check=True
    ).stdout
    assert printed == ("accepted ok the venue took it\n" if "print(" in block or "console.log" in block else "")
