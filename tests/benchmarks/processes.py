"""Processes that a benchmark starts, observes from outside, and ends."""

import contextlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil

from tests.support.node import outer_environment
from tests.support.processes import ProcessNode

STOP_SECONDS = 15.0


class WorkerProgram(ProcessNode):
    """One worker program of a contender."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str], tree: Path) -> None:
        super().__init__("bench-worker", folder, environment)
        self._command, self.cwd = command, tree

    def arguments(self) -> Sequence[str]:
        """The command line."""
        return self._command


class Workers:
    """The worker programs of one contender, with all their child processes."""

    def __init__(
        self, commands: Sequence[Sequence[str]], folder: Path, environment: Mapping[str, str], tree: Path
    ) -> None:
        self._programs = [WorkerProgram(command, folder, environment, tree) for command in commands]

    def processes(self) -> list[psutil.Process]:
        """All processes that live now."""
        found = []
        for program in self._programs:
            if program.status == "running":
                parent = psutil.Process(program.pid)
                found += [parent, *parent.children(recursive=True)]
        return found

    def check(self) -> None:
        """Raise RuntimeError, with the end of the log, when a program has ended by itself."""
        for program in self._programs:
            if program.exit_code is not None:
                raise RuntimeError(f"a worker ended with {program.exit_code}:\n{program.tail()}")

    def suspend(self) -> None:
        """Stop them where they are."""
        for process in self.processes():
            process.suspend()

    def resume(self) -> None:
        """Let suspended processes go on."""
        for process in self.processes():
            process.resume()

    def connected_to(self, port: int) -> int:
        """How many processes have a connection to this port."""
        count = 0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):  # some libraries start short programs
                count += any(each.raddr and each.raddr.port == port for each in process.net_connections("tcp"))
        return count

    def cpu_seconds(self) -> dict[int, float]:
        """User and system CPU time so far, by process id."""
        return {process.pid: sum(process.cpu_times()[:2]) for process in self.processes()}

    def cpu_seconds_since(self, before: Mapping[int, float]) -> list[float]:
        """What each process that lived then and lives now has spent."""
        return [spent - before[pid] for pid, spent in self.cpu_seconds().items() if pid in before]

    def memory_mb(self) -> tuple[float, float]:
        """PSS and RSS of all processes together, in MB; RSS counts a shared page once for each process."""
        memory = [process.memory_full_info() for process in self.processes()]
        return sum(each.pss for each in memory) / 1e6, sum(each.rss for each in memory) / 1e6

    def __enter__(self) -> Self:
        for program in self._programs:
            program.start()
        return self

    def __exit__(self, *_: object) -> None:
        """SIGTERM to each program; SIGKILL for every process that still lives after a while."""
        processes = self.processes()
        with contextlib.suppress(psutil.NoSuchProcess):
            self.resume()
        for program in self._programs:
            program.kill("SIGTERM")
        _, alive = psutil.wait_procs(processes, timeout=STOP_SECONDS)
        for process in alive:
            process.kill()
        for program in self._programs:
            program.teardown()


class Sender:
    """The process of :mod:`tests.benchmarks.sender`, which answers each JSON line with a JSON line."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path, tree: Path) -> None:
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=tree,
                env={**outer_environment(), **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._read()  # it has imported what it needs

    def ask(self, **order: object) -> dict[str, Any]:
        """Give an order and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended:\n{self._log.read_text(errors='replace')[-3000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
