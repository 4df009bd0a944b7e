"""A fork server for workers: imports everything once, then forks a worker at each request.

A Celery worker spends most of a second on imports before it does anything. Whoever kills one every second on two cores
would measure little else. What is forked here is the ordinary ``celery`` program in a process of its own; no
connection, thread or app exists before the fork.

``python -m tests.faults.fork_server --preload a,b`` reads one JSON object a line from its standard input, ``{"name",
"argv", "env", "log", "cwd"}``, and writes one a line: ``{"name", "pid"}`` for each start and ``{"pid", "ended":
code}`` for each end. When its standard input ends, it kills its children and ends. Uses the standard library alone, so
that it runs under any interpreter.
"""

import argparse
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import sys
import traceback
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1


class Nursery:
    """Forks workers and tells of their ends."""

    def __init__(self) -> None:
        self._children: set[int] = set()
        self._wakeup, self._bell = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._wakeup, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._bell)
        self._unread = b""

    def run(self) -> None:
        """Serve until standard input ends."""
        with selectors.DefaultSelector() as selector:
            selector.register(0, selectors.EVENT_READ)
            selector.register(self._wakeup, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fd == self._wakeup:
                        os.read(self._wakeup, 4096)
                        self._reap()
                    elif not self._read():
                        self._end()
                        return

    def _read(self) -> bool:
        chunk = os.read(0, 65_536)
        *lines, self._unread = (self._unread + chunk).split(b"\n")
        for line in lines:
            wanted = json.loads(line)
            _say(name=wanted["name"], pid=self._fork(wanted))
        return bool(chunk)

    def _reap(self) -> None:
        for pid in list(self._children):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                self._children.discard(pid)
                _say(pid=pid, ended=os.waitstatus_to_exitcode(status))

    def _end(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
        for pid in self._children:
            os.waitpid(pid, 0)

    def _fork(self, wanted: dict[str, Any]) -> int:
        pid = os.fork()
        if not pid:
            be_worker(wanted, self._wakeup, self._bell)
        self._children.add(pid)
        return pid


def be_worker(wanted: dict[str, Any], *fds: int) -> NoReturn:
    """In the child: become the ``celery`` program."""
    code = 1
    try:
        # A child must not outlive a nursery that is killed.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in fds:
            os.close(fd)
        log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        os.setsid()
        os.chdir(wanted["cwd"])
        for key in [key for key in os.environ if key.upper().startswith("ORDERS_")]:
            del os.environ[key]
        os.environ.update(wanted["env"])
        sys.argv = ["celery", *wanted["argv"]]
        from celery.__main__ import main as celery

        celery()
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:  # noqa: BLE001 - the last stop of a process; its log is where it is told
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _say(**words: object) -> None:
    os.write(1, json.dumps(words).encode() + b"\n")


def main() -> None:
    """Preload and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--preload", default="")
    for name in filter(None, parser.parse_args().preload.split(",")):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    nursery = Nursery()
    _say(ready=os.getpid())
    nursery.run()


if __name__ == "__main__":
    main()
