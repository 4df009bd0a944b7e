"""Processes that a benchmark starts: told from outside when to rest, what they cost, and always ended.

Each is a session of its own, so that Ctrl-C reaches the benchmark alone, which then ends them with all their children.
"""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import psutil

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 15.0


class Family:
    """The processes of one contender's workers, with all their children."""

    def __init__(self, commands: Sequence[Sequence[str]], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        self._leaders: list[subprocess.Popen[bytes]] = []
        with log.open("ab") as out:
            try:
                for command in commands:
                    self._leaders.append(
                        subprocess.Popen(
                            command,
                            cwd=ROOT,
                            env=dict(environment),
                            stdin=subprocess.DEVNULL,
                            stdout=out,
                            stderr=out,
                            start_new_session=True,
                        )
                    )
            except BaseException:
                self.stop()
                raise

    def members(self) -> list[psutil.Process]:
        """All that live now."""
        found: dict[int, psutil.Process] = {}
        for leader in self._leaders:
            with contextlib.suppress(psutil.Error):
                first = psutil.Process(leader.pid)
                for process in (first, *first.children(recursive=True)):
                    if process.status() != psutil.STATUS_ZOMBIE:
                        found[process.pid] = process
        return list(found.values())

    def check(self) -> None:
        """Raise, with the end of the log, when one has ended by itself."""
        for leader in self._leaders:
            if leader.poll() is not None:
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])
                raise RuntimeError(f"a worker ended with {leader.returncode}:\n{tail}")

    def pause(self) -> None:
        """Stop them where they are."""
        for process in self.members():
            process.suspend()

    def resume(self) -> None:
        """Let them go on."""
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                process.resume()

    def talking_to(self, port: int) -> int:
        """How many of them have a connection to this port."""
        return sum(any(c.raddr and c.raddr.port == port for c in self._connections(p)) for p in self.members())

    @staticmethod
    def _connections(process: psutil.Process) -> list[Any]:
        try:
            return list(process.net_connections("tcp"))
        except psutil.Error:
            return []

    def cpu_seconds(self) -> list[float]:
        """CPU so far, user and system, of each member."""
        spent = []
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                spent.append(times.user + times.system)
        return spent

    def memory_mb(self) -> tuple[float, float]:
        """PSS and RSS of all together, in MB; the second counts shared pages once for each process."""
        pss = rss = 0.0
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                told = process.memory_full_info()
                pss, rss = pss + told.pss / 1e6, rss + told.rss / 1e6
        return pss, rss

    def stop(self) -> None:
        """SIGTERM; after a while SIGKILL for what is left of each session."""
        members = self.members()
        try:
            for process in members:
                with contextlib.suppress(psutil.Error):
                    process.resume()
            for leader in self._leaders:
                if leader.poll() is None:
                    leader.terminate()
            psutil.wait_procs(members, timeout=STOP_SECONDS)
        finally:  # Ctrl-C may come in between
            for process in members:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            for leader in self._leaders:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(leader.pid, signal.SIGKILL)
                leader.wait()


class Helper:
    """A process that answers lines with lines, and ends with its standard input."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], errors: Path) -> None:
        with errors.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                text=True,
                start_new_session=True,
            )
        self._errors = errors

    def line(self) -> str:
        """The next line that it says."""
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said:
            tail = "\n".join(self._errors.read_text(errors="replace").splitlines()[-30:])
            raise RuntimeError(f"{self._process.args} ended:\n{tail}")
        return said

    def begin(self, **order: object) -> None:
        """Give an order; :meth:`line` has its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def ask(self, **order: object) -> dict[str, Any]:
        """Give an order and wait for its answer."""
        self.begin(**order)
        told: dict[str, Any] = json.loads(self.line())
        return told

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                if self._process.stdin is not None:
                    self._process.stdin.close()
                self._process.wait(STOP_SECONDS / 3)
        finally:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextmanager
def stopped(family: Family) -> Iterator[Family]:
    """The family, and its end."""
    try:
        yield family
    finally:
        family.stop()
