"""A fork server for workers: it imports everything once and forks a worker for each connection.

A Celery worker spends most of a second on imports before it takes its first command; killing one every second on two
cores would measure little else. What is forked is the ordinary ``celery`` program in a process of its own: no
connection, thread or app exists before the fork.

``python -P fork_server.py MODULE ...`` imports the modules and serves the listening UNIX socket that is its standard
input. A connection brings one line of JSON, ``{"argv", "env", "log"}``, and gets the worker's pid on one line and its
exit code on another once it has ended. The standard library is enough, so that any interpreter can run it.
"""

import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1
"""From ``linux/prctl.h``."""


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent ends, however that ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Import and serve. A checkout that is older or newer than this file may lack a module."""
    die_with_parent()
    for name in sys.argv[1:]:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that the kernel reaps those that waited for a worker
    with socket.socket(fileno=0) as listening:
        while True:
            connection, _ = listening.accept()
            if not os.fork():
                serve(connection)
                return
            connection.close()


def serve(connection: socket.socket) -> None:
    """Fork one worker, in a process group of its own, and wait for its end."""
    die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    lines = connection.makefile("rw")
    order = json.loads(lines.readline())
    pid = os.fork()
    if not pid:
        die_with_parent()
        run_celery(order["argv"], order["env"], Path(order["log"]))
    os.setpgid(pid, pid)
    with suppress(BrokenPipeError):
        print(pid, file=lines, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=lines, flush=True)


def run_celery(argv: list[str], environment: dict[str, str], log: Path) -> NoReturn:
    """Run the ``celery`` program in this process."""
    with Path(os.devnull).open() as nothing, log.open("ab") as written:
        os.dup2(nothing.fileno(), 0)
        os.dup2(written.fileno(), 1)
        os.dup2(written.fileno(), 2)
    os.environ.update(environment)
    sys.argv = ["celery", *argv]
    from celery.__main__ import main as celery

    sys.exit(celery())


if __name__ == "__main__":
    main()
