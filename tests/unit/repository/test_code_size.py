"""The size of modules and functions."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 40
LONGER_MODULES = {
    *("producers/client.py", "worker/broker/acks.py", "worker/broker/take.py", "worker/celery_app/results.py"),
    *("worker/execution/executor.py", "worker/execution/lease.py", "worker/reconciliation/matching.py"),
    "worker/settings.py",
}
"""Modules that are still to be split."""
LONGER_FUNCTIONS = {
    "celery_config": "a list of settings, each with its reason",
    "backoff_policy": "one policy that is read from top to bottom",
    "close": "the options of a command, a parameter each",
    "_worker": "the options of a command, a parameter each",
    "_reconcile": "the options of a command, a parameter each",
    "_execute": "the steps of one execution in their order",
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
    """Except those that are named above."""
    sources = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for package in ("producers", "worker")
        for path in (ROOT / package).rglob("*.py")
    }
    modules = {path for path, source in sources.items() if len(source.splitlines()) > MAX_MODULE_LINES}
    assert modules <= LONGER_MODULES
    functions = {f"{path}: {name}" for path, source in sources.items() for name in longer_functions(source)}
    assert [each for each in functions if each.rpartition(" ")[2] not in LONGER_FUNCTIONS] == []
