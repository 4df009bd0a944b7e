"""Log lines as JSON: one object a line, whatever is in it, and nothing that was not meant to be there."""

import io
import json
import logging
import sys
from typing import Any

import pytest

from worker.observability.json_format import JsonFormatter, LineFormatter, write_json
from worker.observability.log_lines import LogEvent


def written(message: object, *args: object, level: int = logging.INFO, **more: Any) -> dict[str, Any]:
    """What comes of a line."""
    record = logging.getLogger("a.b").makeRecord("a.b", level, "file", 1, message, args, None, extra=more)
    text = JsonFormatter().format(record)
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
    assert told["command_id"] == "1"
    assert told["task"] == "orders.withdraw"
    assert told["message"] == "Task orders.withdraw[1] succeeded"
    assert "0xabc" not in json.dumps(told)


@pytest.mark.parametrize("text", ['two\nlines "quoted"', "ü\u2028\x00", "50 %"])
def test_whatever_is_in_a_message_it_stays_one_line(text: str) -> None:
    """A line break of a venue's would forge a line."""
    assert written("said %s", text)["message"] == f"said {text}"


def shown(message: object, *args: object, **more: Any) -> str:
    """What a person is shown of a line."""
    record = logging.getLogger("a.b").makeRecord(
        "a.b", logging.INFO, "file", 1, message, args, **{"exc_info": None, **more}
    )
    return LineFormatter(logging.Formatter("%(levelname)s %(message)s")).format(record)


FORGED = "no\n2026-01-01 INFO \x1b[2J\x9b1A\u202e\u2066\u200b\x00"


def test_nothing_in_a_line_moves_a_cursor_or_forges_another() -> None:
    """What a sender, a venue or a server says, in whosever line."""
    assert shown("said %s", FORGED) == r"INFO said no 2026-01-01 INFO \x1b[2J\x9b1A\u202e\u2066\u200b\x00"
    assert shown(LogEvent("end", {"account": FORGED, "n": 1}, FORGED)).count("\n") == 0
    assert shown(LogEvent("end", {"account": 'x" id=2'}, "")) == r'INFO end account="x\" id=2"'
    assert written("said %s", FORGED)["message"] == f"said {FORGED}", "of JSON the reader makes what it likes"


def test_a_traceback_keeps_its_lines_and_nothing_else() -> None:
    """Each of them is safe."""
    try:
        raise KeyError("a") from ValueError(FORGED)
    except KeyError:
        text = shown("failed", exc_info=sys.exc_info())
    assert text.startswith("INFO failed\nValueError: no\n2026-01-01 INFO \\x1b[2J")
    assert '\n  File "' in text
    assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize("message", ["x" * 10**7, "\u200b" * 10**7])
def test_no_line_is_endless(message: str) -> None:
    """Whoever wrote it, and however it is written down."""
    record = logging.getLogger("a.b").makeRecord("a.b", logging.INFO, "file", 1, "said %s", (message,), None)
    assert len(JsonFormatter().format(record)) < 100_000
    assert len(LineFormatter(None).format(record)) < 100_000
    assert len(str(LogEvent("end", {"command_id": message, "account": message}, message))) < 2000


def test_json_is_written_in_ascii() -> None:
    """A terminal that shows the file obeys no mark of direction in it."""
    record = logging.getLogger("a.b").makeRecord("a.b", logging.INFO, "file", 1, FORGED, (), None)
    assert JsonFormatter().format(record).isascii()


def test_a_traceback_is_a_field() -> None:
    """Twenty lines that belong together."""
    try:
        raise KeyError("x")
    except KeyError:
        record = logging.LogRecord("a", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    told = json.loads(JsonFormatter().format(record))
    assert told["traceback"].endswith("KeyError: 'x'")


class Terminal(io.StringIO):
    """A stream that a person looks at."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.mark.parametrize(
    ("wanted", "stream", "is_json"),
    [
        ("auto", Terminal(), False),
        ("auto", io.StringIO(), True),
        ("json", Terminal(), True),
        ("console", io.StringIO(), False),
    ],
)
def test_people_get_lines_and_programs_get_json(wanted: str, stream: io.StringIO, is_json: bool) -> None:
    """Nobody reads JSON at a terminal, and no program reads anything else well."""
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("worker.observability.test")
    logger.addHandler(handler)
    write_json(logger, wanted)
    logger.error("hello")
    logger.removeHandler(handler)
    assert stream.getvalue().startswith('{"time": "') is is_json
