"""docs/first-hour.md, typed line by line: three terminals, a worker, a first command, a first unknown that is settled.

The ports are those of the test, and the environment is the one that runs it.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.node import ROOT
from tests.support.servers import free_port
from tests.support.waiting import until

SECONDS = 120.0
PAGE = (ROOT / "docs" / "first-hour.md").read_text(encoding="utf-8")
SIMULATOR, SERVER = free_port(), free_port()
PORTS = {
    "orders simulator --with-server": f"orders simulator --with-server --port {SIMULATOR} --server-port {SERVER}",
    "orders init --simulator": f"orders init --simulator --simulator-url http://127.0.0.1:{SIMULATOR} "
    f"--redis-url redis://127.0.0.1:{SERVER}",
    "orders desk": "orders desk --port 0",
    "http://127.0.0.1:9100": f"http://127.0.0.1:{SIMULATOR}",
}
"""What of the page is typed in another way, because a test may not take ports that others have."""
NOT_TYPED = ("make demo", ". .venv-demo/bin/activate", "orders init everstrike")
"""They set up an environment, which the tests have, or ask for a key."""
STAY = ("orders simulator", "orders worker", "orders desk")
"""What runs until Ctrl-C."""
READY = {"orders simulator": "Ctrl-C stops it", "orders desk": r"http://\S+/enter\?token=\S+"}
"""What is printed once it can be used."""
CODES = {"orders withdraw": 5, "orders unknown": 5}
"""Exit codes that are not 0."""


def typed() -> list[str]:
    """The page's command lines, in their order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for said, done in PORTS.items():
        assert any(said in line for line in lines), said
        lines = [line.replace(said, done) for line in lines]
    return [line for line in lines if not line.startswith(NOT_TYPED)]


class Terminals:
    """A shell for each line, in one folder, with the variables that were exported so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.printed: dict[str, str] = {}
        self.running: list[tuple[subprocess.Popen[bytes], Path]] = []
        path = os.pathsep.join((str(Path(sys.executable).parent), "/usr/bin", "/bin"))
        self.environment = {"PATH": path, "HOME": str(folder), "PWD": str(folder)}

    def type(self, line: str) -> None:
        """Run a line, and remember what it printed."""
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self.environment[name] = os.path.expandvars(value.strip('"').replace("$PWD", str(self.folder)))
        elif line.startswith(STAY):
            self._start(line)
        else:
            ran = subprocess.run(
                ["/bin/sh", "-c", line],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
            expected = next((code for words, code in CODES.items() if line.startswith(words)), 0)
            assert ran.returncode == expected, f"{line}\n{ran.stdout}\n{ran.stderr}"
            self.printed[line] = ran.stdout

    def _start(self, line: str) -> None:
        log = self.folder / f"{len(self.running)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                shlex.split(line),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.running.append((process, log))
        if ready := next((words for name, words in READY.items() if line.startswith(name)), ""):
            until(lambda: re.search(ready, log.read_text(encoding="utf-8")), lambda: log.read_text(), SECONDS)

    def ctrl_c(self) -> list[int]:
        """End what runs, the last one first; returns the exit codes."""
        codes = []
        for process, _ in reversed(self.running):
            process.send_signal(signal.SIGINT)
            codes.append(process.wait(SECONDS))
        self.running = []
        return codes


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    """The terminals of a new user; whatever still runs at the end of a failed test is ended."""
    opened = Terminals(tmp_path)
    yield opened
    for process, _ in reversed(opened.running):
        process.terminate()
        process.wait(SECONDS)


def test_the_page_can_be_typed_from_its_first_line_to_its_last(terminals: Terminals) -> None:
    """Each command ends as the page says, and after Ctrl-C nothing is left."""
    for line in typed():
        terminals.type(line)
    said = {line.split()[1]: printed for line, printed in terminals.printed.items() if line.startswith("orders ")}
    assert "No faults" in said["init"]
    assert "USD_ETH_PERP" in said["positions"]
    assert "accepted" in said["close"]
    assert "unknown / lost_reply" in said["withdraw"]
    assert "first-unknown" in said["unknown"]
    assert "accepted" in said["reconcile"]
    assert "accepted / ok" in said["show"]
    link = re.search(READY["orders desk"], terminals.running[-1][1].read_text(encoding="utf-8"))
    assert link is not None
    assert "What needs a person" in requests.get(link[0], timeout=SECONDS).text
    assert terminals.ctrl_c() == [0, 1, 0]  # a worker's code after Ctrl-C is Celery's own
