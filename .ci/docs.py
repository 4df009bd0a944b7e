"""Builds the documentation's site: ``python .ci/docs.py [FOLDER]``; the default is ``build/docs``.

The pages are the repository's Markdown files, which a code host shows as they are. They are copied to one folder, and
their links are changed to where each page is there. Two more pages are made from the code: the help of every command
of the program, and every setting. docs/README.md is the first page, and its lists are the navigation.
"""

import ast
import contextlib
import hashlib
import inspect
import io
import itertools
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

ROOT = Path(__file__).resolve().parent.parent
DIAGRAMS = ROOT / "docs" / "pictures" / "diagrams"
START = "docs/README.md"
HELP, SETTINGS = "commands.md", "all-settings.md"
"""The pages that are made from the code."""
PAGES = (START, "README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")
BESIDE = {"cli.md": HELP, "settings.md": SETTINGS}
"""After which page of the navigation each page that is made from the code comes."""
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
BLOCK = re.compile(r"(^```[^\n]*\n.*?^```$)", re.MULTILINE | re.DOTALL)
PLACEHOLDERS = {"accounts": "ALIAS", "webhooks": "NAME"}
"""What stands for the name of a member, by the group whose members have names of the reader's own."""
HELP_WIDTH = 88
"""Columns of the terminal for which the program's help is printed."""


# -- the pages of the repository ---------------------------------------------------------------------------------------


def place(source: str) -> str:
    """Where a file of the repository is in the site: the pages of docs/ at the top, the others in `project/`."""
    if source == START:
        return "index.md"
    return source.removeprefix("docs/") if source.startswith("docs/") else f"project/{source}"


def picture_of(page: str, text: str) -> Path:
    """Where the picture of a diagram is, which `.ci/diagrams.py` draws; a diagram that is changed has another one."""
    return DIAGRAMS / f"{page}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.svg"


def lay_out(folder: Path) -> None:
    """Write every page, and every file that one links to, into a folder."""
    docs = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
    wanted = dict.fromkeys([*PAGES, *docs])
    for source in wanted:
        text = moved((ROOT / source).read_text(encoding="utf-8"), source, folder)
        if source == START:
            text += navigation(text)
        write(folder / place(source), text)
    write(folder / HELP, help_page())
    write(folder / SETTINGS, settings_page())


def moved(text: str, source: str, folder: Path) -> str:
    """A page's text with each link to a file as it is from the page's place; what is not a page is copied there."""
    here = Path(place(source)).parent

    def link(found: re.Match[str]) -> str:
        target, hash_sign, anchor = found[2].partition("#")
        if not target or "://" in target or target.startswith("mailto:"):
            return found[0]
        path = (ROOT / source).parent.joinpath(target).resolve()
        there = place(str(path.relative_to(ROOT)))
        if path.is_dir():
            there = f"{there}/index.md"
            write(folder / there, listing(path, folder))
        elif path.suffix != ".md":
            copy(path, folder / there)
        return f"{found[1]}{os.path.relpath(there, here)}{hash_sign}{anchor}{found[3]}"

    def shown(block: str) -> str:
        if not block.startswith("```mermaid"):
            return block
        picture = picture_of(Path(source).stem, block.removeprefix("```mermaid\n").removesuffix("```"))
        if not picture.exists():
            return block.replace("```mermaid", "```text", 1)
        there = place(str(picture.relative_to(ROOT)))
        copy(picture, folder / there)
        # A click shows it in its own size, from where Sphinx puts pictures.
        return f"```{{image}} {os.path.relpath(there, here)}\n:alt: diagram\n:target: _images/{picture.name}\n```"

    parts = BLOCK.split(text)
    return "".join(shown(part) if part.startswith("```") else LINK.sub(link, part) for part in parts)


def listing(path: Path, folder: Path) -> str:
    """A page with the files of a folder of the repository."""
    name = str(path.relative_to(ROOT))
    files = sorted(each.name for each in path.iterdir() if each.is_file())
    for each in files:
        copy(path / each, folder / place(f"{name}/{each}"))
    return f"---\norphan: true\n---\n\n# {name}\n\n" + "".join(f"- [{each}]({each})\n" for each in files)


def navigation(text: str) -> str:
    """A table of contents for each group of readers that the first page names, with the pages of its list."""
    listed: set[str] = {"index.md"}
    made = []
    for caption, rest in re.findall(r"^\*\*(.+?)\*\*\n(.*?)(?=^\*\*|\Z)", text, re.MULTILINE | re.DOTALL):
        named = [page for page in re.findall(r"^- \[[^]]*\]\(([^)#]+)\)", rest, re.MULTILINE) if page not in listed]
        pages = [page for each in named for page in (each, *filter(None, [BESIDE.get(each)]))]
        listed.update(pages)
        made.append("\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""]))
    return "\n" + "\n".join(made)


def write(path: Path, text: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def copy(path: Path, to: Path) -> None:
    """Copy a file, and make the folders above it."""
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, to)


# -- the program's help ------------------------------------------------------------------------------------------------


def help_page() -> str:
    """The help of every command, as a terminal shows it."""
    os.environ |= {"COLUMNS": str(HELP_WIDTH), "TERMINAL_WIDTH": str(HELP_WIDTH), "NO_COLOR": "1", "TERM": "dumb"}
    page = ["# Every command's help", "", "As `orders COMMAND --help` prints it; [cli.md](cli.md) explains it.", ""]
    for words in program_commands():
        page += ["## " + " ".join(["orders", *words]), "", "```text", printed_help(words), "```", ""]
    return "\n".join(page)


def program_commands() -> Iterator[list[str]]:
    """The words of every command: none for the program itself, two for a command of `orders policy`."""
    import typer

    from producers.cli.app import app
    from producers.cli.plugins import COMMANDS, GROUP, load

    yield []
    for name in typer.main.get_group(app).commands:
        yield [name]
        if name in COMMANDS:
            default = f"worker.cli.{COMMANDS[name][3]}:{name.replace('-', '_')}"
            command: Any = typer.main.get_command(load(GROUP, name, default))
            yield from ([name, inner] for inner in getattr(command, "commands", ()))


def printed_help(words: list[str]) -> str:
    """What `orders WORDS --help` prints."""
    from producers.cli.app import main

    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    return "\n".join(line.rstrip() for line in output.getvalue().strip("\n").splitlines())


# -- the settings ------------------------------------------------------------------------------------------------------


def settings_page() -> str:
    """Every setting with its type, bounds, default and meaning, as the models have them."""
    page = [
        "# Every setting, from the code",
        "",
        "Types, bounds and defaults as the models of the code have them. [settings.md](settings.md) says more about",
        "each, and where a setting is set.",
    ]
    groups = itertools.groupby(settings_rows(), lambda row: row[0].rpartition("__")[0])
    for group, rows in groups:
        page += ["", f"## `{group}__…`" if group else "## Without a group", ""]
        page += [f"- `{name}`: {kind}; {default}. {meaning}" for name, kind, default, meaning in rows]
    return "\n".join([*page, ""])


def settings_rows() -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and meaning of every setting; one row for what every account, or every venue, has."""
    from worker.settings import WorkerSettings

    # A group's settings come after those of no group, wherever it stands in the model.
    rows = list(rows_of(WorkerSettings, "ORDERS_"))
    yield from sorted(rows, key=lambda row: "__" in row[0])


def rows_of(model: Any, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """The rows of a model and of the groups in it."""
    from pydantic import BaseModel

    meanings = docstrings(model)
    seen = set()
    for name, field in model.model_fields.items():
        groups = [a for a in (field.annotation, *get_args(field.annotation)) if isinstance(a, type)]
        group = next((a for a in groups if issubclass(a, BaseModel)), None)
        if group is None:
            default = "required" if field.is_required() else shown(field.default)
            yield f"{prefix}{name.upper()}", type_of(field), default, meanings.get(name, "")
            continue
        # The members of a group of equal groups differ in their name alone.
        kind = "VENUE" if "Venue" in group.__name__ and "VENUES" in prefix else ""
        if kind and group in seen:
            continue
        seen.add(group)
        mapped = get_origin(field.annotation) is dict
        inner = (
            f"{prefix}<{kind}>__"
            if kind
            else f"{prefix}{name.upper()}__" + (f"<{PLACEHOLDERS[name]}>__" if mapped else "")
        )
        yield from rows_of(group, inner)


def docstrings(model: Any) -> dict[str, str]:
    """The text below each attribute of a class and of those above it."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if not each.__module__.startswith(("worker.", "producers.")):
            continue
        try:
            body = ast.parse(inspect.getsource(each)).body[0].body  # type: ignore[attr-defined]
        except (OSError, IndentationError, TypeError):  # a class that is made when the program runs
            continue
        for statement, following in itertools.pairwise(body):
            text = getattr(getattr(following, "value", None), "value", None)
            if isinstance(statement, ast.AnnAssign) and isinstance(text, str):
                found[statement.target.id] = in_markdown(text)  # type: ignore[union-attr]
    return found


def in_markdown(text: str) -> str:
    """A docstring in one line: its literals between single backticks, and modules by their names."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"``\1``", " ".join(text.split()))
    return text.replace("``", "`")


def type_of(field: Any) -> str:
    """A field's type in words, with its bounds."""
    kinds = {"str": "text", "SecretStr": "secret", "bool": "true or false", "int": "whole number", "float": "number"}
    parts = [each for each in (get_args(field.annotation) or (field.annotation,)) if each is not type(None)]
    choices = [value for each in parts for value in (get_args(each) or ([each] if isinstance(each, str) else []))]
    if choices:
        return " or ".join(f"`{value}`" for value in choices)
    bounds = []
    for rule in field.metadata:
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
            if getattr(rule, name, None) is not None:
                bounds.append(f"{sign} {getattr(rule, name)}")
    return ", ".join([kinds.get(getattr(parts[0], "__name__", ""), "text"), *bounds])


def shown(default: Any) -> str:
    """A default as one writes it in the environment."""
    text = getattr(default, "get_secret_value", lambda: default)()
    text = str(text).lower() if isinstance(text, bool) else str(text)
    return "empty by default" if default is None or not text else f"by default `{text}`"


# -- the build ---------------------------------------------------------------------------------------------------------


def build(site: Path) -> int:
    """Build the site; returns Sphinx's exit code, which is not 0 for a warning either."""
    from sphinx.cmd.build import main

    with tempfile.TemporaryDirectory() as folder:
        pages = Path(folder) / "pages"
        lay_out(pages)
        shutil.rmtree(site, ignore_errors=True)
        options = ["-W", "--keep-going", "-q", "-b", "html", "-d", f"{folder}/doctrees", "-c", str(ROOT / "docs")]
        return int(main([*options, str(pages), str(site)]))


if __name__ == "__main__":
    to = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs"
    code = build(to)
    print(f"{to}/index.html" if code == 0 else "the site was not built as it should be: see the warnings above")
    raise SystemExit(code)
