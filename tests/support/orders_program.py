"""The `orders` program, run in the process of the test: one of its own takes a second to start."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from producers.cli import app


@dataclass(frozen=True)
class Ran:
    """How one run of the program ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which must be one JSON document."""
        assert self.out, self.err
        return json.loads(self.out)

    @property
    def message(self) -> str:
        """The error for people, or the message of the one in JSON."""
        return self.document["error"]["message"] if self.out.startswith("{") else self.err


Orders = Callable[..., Ran]


def orders_in_process(capsys: pytest.CaptureFixture[str]) -> Orders:
    """The program with the environment of this process."""

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.main(arguments)
        printed = capsys.readouterr()
        return Ran(int(ended.value.code or 0), printed.out, printed.err)

    return run


def set_width(monkeypatch: pytest.MonkeyPatch, columns: str | None) -> None:
    """Give the program a terminal of so many columns; none where it has no width."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
