"""What the documents name is there: files, headings, settings, make targets, commands, metrics, modules."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from producers.cli.app import app
from worker.observability.catalogue import EVENTS, STATE

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "compose").rglob("*.md")])
NAMES = [str(document.relative_to(ROOT)) for document in DOCUMENTS]
MISSPELT = {"ORDERS_RETRY__ATEMPTS", "ORDERS_ACCOUNT__MAIN__VENUE"}
"""Examples of what happens to settings that there are not."""


def text(name: str) -> str:
    """A document."""
    return (ROOT / name).read_text(encoding="utf-8")


def anchors(name: str) -> set[str]:
    """What links to its headings end in, as GitHub makes it; blocks of code have none."""
    prose = re.sub(r"^```.*?^```", "", text(name), flags=re.MULTILINE | re.DOTALL)
    made: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
        slug = words.strip().replace(" ", "-")
        made.add(next(s for s in (slug, *(f"{slug}-{n}" for n in range(1, 99))) if s not in made))
    return made


def quoted(name: str) -> Iterator[str]:
    """Everything between backticks, and each line of a block of code."""
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text(name), re.MULTILINE | re.DOTALL):
        yield from block.splitlines()
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text(name))


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    """A file that was moved, a heading that was reworded."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text(name)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / name).parent / path if path else ROOT / name
        assert found.exists(), f"{name} links to {target}"
        if anchor:
            assert anchor in anchors(str(found.resolve().relative_to(ROOT))), f"{name} links to {target}"


@pytest.mark.parametrize("name", NAMES)
def test_named_files_are_there(name: str) -> None:
    """A path in the text that nobody will find."""
    for said in quoted(name):
        for path in re.findall(
            r"(?<![\w/.~-])((?:worker|producers|tests|docs|compose|\.ci)/[\w./-]*\w)(?![\w*<{$])", said
        ):
            made = path.removeprefix("compose/").partition("/")[0] + "/" in text("compose/.gitignore").split()
            made = made or path in text(".gitignore").split()
            assert (ROOT / path).exists() or made or "*" in said, f"{name} names {path}"


def defined_settings() -> set[str]:
    """Every setting that docs/settings.md lists, its groups among them."""
    found = set(re.findall(r"^\| `(ORDERS_[A-Z_<>]+)`", text("docs/settings.md"), re.MULTILINE))
    return found | {name.split("__")[0] for name in found}


@pytest.mark.parametrize("name", NAMES)
def test_named_settings_exist(name: str) -> None:
    """A setting that was renamed, and is still promised somewhere."""
    places = "\n".join(map(text, ("Makefile", "compose/.env", "compose/build")))
    known = defined_settings() | MISSPELT | set(re.findall(r"ORDERS_[A-Z_]+\w", places))
    tested = {
        variable
        for source in (ROOT / "tests").rglob("*.py")
        for variable in re.findall(r"ORDERS_(?:TEST|BENCH)\w+", source.read_text(encoding="utf-8"))
    }
    for setting in set(re.findall(r"ORDERS_[A-Z][A-Z_]*[A-Z]", text(name))):
        of_account = re.sub(r"^(ORDERS_ACCOUNTS__)[A-Z]+(__)", r"\1<ALIAS>\2", setting)
        assert of_account in known | tested or any(k.startswith(f"{setting}_") for k in known), f"{name}: {setting}"


@pytest.mark.parametrize("name", NAMES)
def test_named_targets_and_modules_exist(name: str) -> None:
    """A command that a reader types, and nothing happens."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for said in quoted(name):
        for target in re.findall(r"(?:^|[;&|] *)make ([a-z][\w-]*)", said):
            assert target in targets, f"{name}: make {target}"
        for module in re.findall(r"python -m ((?:tests|worker|producers)[\w.]*)", said):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{name}: {module}"


@pytest.mark.parametrize("name", NAMES)
def test_named_commands_exist(name: str) -> None:
    """A command of the program that was renamed."""
    known = set(typer.main.get_group(app).commands)
    for said in quoted(name):
        for words in re.findall(r"(?:^|[$;&(] *)orders ([a-z]+(?:\|[a-z]+)*)", said):
            assert set(words.split("|")) <= known, f"{name}: orders {words}"


@pytest.mark.parametrize("name", [*NAMES, "compose/prometheus/rules/orders.yaml"])
def test_named_metrics_exist(name: str) -> None:
    """A metric that was renamed."""
    known = {metric.name for metric in (*EVENTS, *STATE)}
    for metric in set(
        re.findall(r"\borders_[a-z_]+_(?:total|seconds|bytes|open|messages|busy|slots|ready)\b", text(name))
    ):
        assert metric in known, f"{name}: {metric}"
