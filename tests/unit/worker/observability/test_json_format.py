"""Log lines as JSON: one object a line, whatever is in it, and nothing that was not meant to be there."""

import io
import json
import logging
import sys
from typing import Any

import pytest

from worker.observability.json_format import JsonFormatter, LineFormatter, write_json
from worker.observability.log_lines import LogEvent

LINES = LineFormatter(logging.Formatter("%(levelname)s %(message)s"))
FORGED = "no\n2026-01-01 INFO \x1b[2J\x9b1A\u202e\u2066\u200b\x00"


def record(message: object, *args: object, exc_info: Any = None, **more: Any) -> logging.LogRecord:
    """A line of somebody's."""
    return logging.getLogger("a.b").makeRecord("a.b", logging.INFO, "file", 1, message, args, exc_info, extra=more)


def written(message: object, *args: object, **more: Any) -> dict[str, Any]:
    """What comes of a line as JSON: one line, and ASCII, so that a terminal obeys no mark of direction in it."""
    text = JsonFormatter().format(record(message, *args, **more))
    assert text.isascii()
    assert "\n" not in text
    return dict(json.loads(text))


def test_a_line_of_ours_has_its_fields() -> None:
    """A field that can't be asked for is only text."""
    told = written(LogEvent("attempt", {"command_id": "1", "account": "main", "attempt": 2, "latency": None}, "why"))
    assert told.pop("time").endswith("Z")
    assert told == {
        "level": "INFO",
        "logger": "a.b",
        "message": "attempt id=1 account=main attempt=2 latency=None: why",
        "event": "attempt",
        "command_id": "1",
        "account": "main",
        "attempt": 2,
        "latency": None,
    }


def test_celerys_line_about_a_task_names_the_command_and_nothing_else() -> None:
    """Celery hands its records the arguments and the result of the task: a formatter that writes down all it is given
    would write down addresses."""
    data = {"id": "1", "name": "orders.withdraw", "kwargs": "{'address': '0xabc'}", "return_value": "0xabc"}
    told = written("Task %(name)s[%(id)s] succeeded", data, data=data, other="0xabc")
    assert (told["command_id"], told["task"]) == ("1", "orders.withdraw")
    assert told["message"] == "Task orders.withdraw[1] succeeded"
    assert "0xabc" not in json.dumps(told)


@pytest.mark.parametrize("text", ['two\nlines "quoted"', "ü\u2028\x00", "50 %", FORGED])
def test_whatever_is_in_a_message_it_stays_one_line(text: str) -> None:
    """A line break of a venue's would forge a line. Of JSON the reader makes what it likes."""
    assert written("said %s", text)["message"] == f"said {text}"


def test_nothing_in_a_line_moves_a_cursor_or_forges_another() -> None:
    """What a sender, a venue or a server says, in whosever line."""
    shown = LINES.format
    assert shown(record("said %s", FORGED)) == r"INFO said no 2026-01-01 INFO \x1b[2J\x9b1A\u202e\u2066\u200b\x00"
    assert shown(record(LogEvent("end", {"account": FORGED, "n": 1}, FORGED))).count("\n") == 0
    assert shown(record(LogEvent("end", {"account": 'x" id=2'}, ""))) == r'INFO end account="x\" id=2"'


def test_a_traceback_keeps_its_lines_and_nothing_else() -> None:
    """Each of them is safe; in JSON they are one field."""
    try:
        raise KeyError("a") from ValueError(FORGED)
    except KeyError:
        failed = record("failed", exc_info=sys.exc_info())
    text = LINES.format(failed)
    assert text.startswith("INFO failed\nValueError: no\n2026-01-01 INFO \\x1b[2J")
    assert '\n  File "' in text
    assert all(line.isprintable() for line in text.splitlines())
    assert json.loads(JsonFormatter().format(failed))["traceback"].endswith("KeyError: 'a'")


@pytest.mark.parametrize("message", ["x" * 10**7, "\u200b" * 10**7])
def test_no_line_is_endless(message: str) -> None:
    """Whoever wrote it, and however it is written down."""
    said = record("said %s", message)
    assert len(JsonFormatter().format(said)) < 100_000
    assert len(LineFormatter(None).format(said)) < 100_000
    assert len(str(LogEvent("end", {"command_id": message, "account": message}, message))) < 2000


class Terminal(io.StringIO):
    """A stream that a person looks at."""

    isatty = staticmethod(lambda: True)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("wanted", "stream", "is_json"),
    [
        ("auto", Terminal(), False),
        ("auto", io.StringIO(), True),
        ("json", Terminal(), True),
        ("console", io.StringIO(), False),
    ],
)
def test_people_get_lines_and_programs_get_json(
    wanted: str, stream: io.StringIO, is_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody reads JSON at a terminal, and no program reads anything else well."""
    logger = logging.getLogger("worker.observability.test")
    monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(stream)])
    write_json(logger, wanted)
    logger.error("hello")
    assert stream.getvalue().startswith('{"time": "') is is_json
