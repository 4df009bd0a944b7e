"""``python -m worker.demo.stdin_watchdog MODULE …`` runs ``python -m MODULE …`` until the standard input ends.

The demo holds the other end of the pipe, and the kernel closes it however the demo ends, even by ``kill -9``. Unlike
PR_SET_PDEATHSIG of Linux, this works wherever there are pipes, and it needs no process in between.
"""

import os
import runpy
import sys
import threading


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    # The demo has gone, so there is no clean-up, which could hang.
    os._exit(1)


def main() -> None:
    """Watch the standard input in a thread, and run the module."""
    threading.Thread(target=_end_with_stdin, name="stdin-watchdog", daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
