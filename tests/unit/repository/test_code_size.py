"""The size of modules and functions."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 40
LONGER_FUNCTIONS = {
    "close": "the options of a command, a parameter each",
    "_init": "the options of a command, a parameter each",
    "submit": "the options of a command, a parameter each",
    "_list": "the options of a command, a parameter each",
    "_worker": "the options of a command, a parameter each",
}
"""Functions that would not become clearer by being split, each with the reason."""


def longer_functions(source: str) -> Iterator[str]:
    """The names of the functions that are too long."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if (node.end_lineno or 0) - first >= MAX_FUNCTION_LINES:
                yield node.name


def test_modules_and_functions_are_short() -> None:
    """No module is too long, and no function but those that are named above."""
    sources = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for package in ("producers", "worker")
        for path in (ROOT / package).rglob("*.py")
    }
    assert [path for path, source in sources.items() if len(source.splitlines()) > MAX_MODULE_LINES] == []
    functions = {f"{path}: {name}" for path, source in sources.items() for name in longer_functions(source)}
    assert {each.rpartition(" ")[2] for each in functions} == set(LONGER_FUNCTIONS)
