"""``python -m worker.demo.stdin_watchdog MODULE …``: ``python -m MODULE …``, ended when the standard input ends.

The demo holds the other end of that pipe, and the kernel closes it however the demo ends: by ``kill -9`` too. Works
wherever there are pipes, unlike Linux' PR_SET_PDEATHSIG, and needs no process in between.
"""

import os
import runpy
import sys
import threading


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    # Nobody is left to read a report or a log: no clean-up that could hang.
    os._exit(1)


def main() -> None:
    """Watch the standard input from a thread and become the module."""
    threading.Thread(target=_end_with_stdin, name="leash", daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
