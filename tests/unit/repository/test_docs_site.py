"""The documentation's site: it can be built without a warning, needs no network, and has what the code says."""

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest

from tests.support.ci_scripts import ci_script

ROOT = Path(__file__).resolve().parents[3]
BUILD_SECONDS = 120.0
"""Ten times what it takes on an idle machine, and more."""
LOADED = re.compile(r"<(?:link|script|img|iframe|source)\b[^>]*?\b(?:href|src)=\"([^\"]+)\"")
LINKED = re.compile(r"<a\b[^>]*?\bhref=\"([^\"]+)\"")


@pytest.fixture(scope="module")
def docs() -> ModuleType:
    """``.ci/docs.py`` as a module."""
    return ci_script("docs")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does. A warning is an error."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    # A proxy that is not there: whoever asks for something elsewhere gets an error.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:1")
    built = subprocess.run(
        [sys.executable, ".ci/docs.py", str(folder)],
        cwd=ROOT,
        env={**os.environ, **nowhere},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


def pages(site: Path) -> dict[str, str]:
    """Every page's HTML by its path in the site."""
    return {str(path.relative_to(site)): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}


def test_every_page_is_in_the_navigation_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """Style, script, font or picture of another server would make a page unreadable where there is no network."""
    found = pages(site)
    expected = {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")} - {"README.html"}
    assert expected | {"index.html", "search.html", "commands.html", "all-settings.html"} <= found.keys()
    for name, html in found.items():
        assert not [url for url in LOADED.findall(html) if re.match(r"(?:https?:)?//", url)], name
    for style in site.rglob("*.css"):
        assert not re.search(r"@import|url\(\s*[\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style


def test_every_link_in_the_site_leads_somewhere(site: Path) -> None:
    """A link to a file outside docs/, or to a heading, was not carried over."""
    found = pages(site)
    for name, html in found.items():
        for link in {*LINKED.findall(html), *LOADED.findall(html)}:
            path, _, anchor = unquote(unescape(link)).partition("#")
            if ":" in path:
                continue
            target = ((site / name).parent / path.partition("?")[0]).resolve() if path else site / name
            assert target.exists(), f"{name} links to {link}"
            if anchor and target.suffix == ".html":
                assert f'id="{anchor}"' in target.read_text(encoding="utf-8"), f"{name} links to {link}"


def test_the_search_finds_a_word_of_the_help_and_one_of_the_settings(site: Path) -> None:
    """The index is a file of the site."""
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert "orders_ledger__keep_day" in index.lower()  # the index has stems of words
    assert "reconcil" in index


def test_every_command_s_help_is_there(site: Path, docs: ModuleType) -> None:
    """Printed by the program itself."""
    page = (site / "commands.html").read_text(encoding="utf-8")
    for words in docs.program_commands():
        assert f"Usage: {' '.join(['orders', *words])} " in page


def test_every_setting_is_there_with_its_meaning(docs: ModuleType) -> None:
    """The same settings as docs/settings.md explains, and none without a docstring."""
    table = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(ORDERS_[A-Z_<>]+)`", table, re.MULTILINE))
    rows = list(docs.settings_rows())
    assert {row[0] for row in rows} <= documented
    assert len({row[0] for row in rows}) == len(rows) > 50
    assert [row[0] for row in rows if not row[3]] == []


def test_types_bounds_and_defaults_are_told(docs: ModuleType) -> None:
    """As one would write the value."""
    rows = {name: (kind, default) for name, kind, default, _ in docs.settings_rows()}
    assert rows["ORDERS_RETRY__ATTEMPTS"] == ("whole number, ≥ 1, ≤ 100", "by default `5`")
    assert rows["ORDERS_ACCOUNTS__<ALIAS>__SECRET_KEY"] == ("secret", "empty by default")
    assert rows["ORDERS_LEDGER__WITHDRAW_DISK"] == ("`auto` or `require` or `off`", "by default `auto`")
    assert rows["ORDERS_TRACES"] == ("true or false", "by default `false`")
    assert rows["ORDERS_ACCOUNTS__<ALIAS>__VENUE"] == ("text", "required")


def test_links_are_changed_to_where_the_pages_are(docs: ModuleType, tmp_path: Path) -> None:
    """Also those to a folder, which becomes a page with its files; those in code blocks stay."""
    block = "```sh\n[e](../README.md)\n```\n"
    text = f"[a](../README.md#try-it) [b](README.md) [c](../producers/schemas) [d](#here)\n{block}"
    moved = docs.moved(text, "docs/cli.md", tmp_path)
    assert moved == (
        f"[a](project/README.md#try-it) [b](index.md) [c](project/producers/schemas/index.md) [d](#here)\n{block}"
    )
    assert "[report.json](report.json)" in (tmp_path / "project/producers/schemas/index.md").read_text()


def test_a_diagram_is_shown_as_its_picture(docs: ModuleType, site: Path) -> None:
    """A browser could only draw it with a script from elsewhere. One that has no picture yet is shown as text."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (diagram, *_) = re.findall(r"^```mermaid\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    name = docs.picture_of("architecture", diagram).name
    assert f'src="_images/{name}"' in (site / "architecture.html").read_text(encoding="utf-8")
    assert "<svg" in (site / "_images" / name).read_text(encoding="utf-8")
    assert docs.moved("```mermaid\nA --> B\n```\n", "docs/cli.md", site) == "```text\nA --> B\n```\n"
