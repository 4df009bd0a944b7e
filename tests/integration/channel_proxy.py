"""A door to a server that holds its answers to takes back, to let them out in one piece or never."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class Proxy:
    """Listens on a port of its own; what the server says goes through at once, or on request not yet."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._lock = threading.Lock()
        self._holding = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._held: dict[socket.socket, bytes] = {}
        self._takers: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    @property
    def held(self) -> bytes:
        """What the server has said meanwhile."""
        with self._lock:
            return b"".join(self._held.values())

    def hold(self) -> None:
        """Let no answer to a take through from now on, nor whatever else comes on its connection."""
        with self._lock:
            self._holding = True

    def release(self) -> None:
        """Let out what was held, to each client by one write, and hold nothing any more."""
        with self._lock:
            self._holding = False
            for client, said in self._held.items():
                client.sendall(said)
            self._held.clear()

    def cut(self) -> None:
        """Cut every connection; what was held is lost."""
        with self._lock:
            self._holding = False
            self._held.clear()
            pairs, self._pairs = self._pairs, []
        for each in (side for pair in pairs for side in pair):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._pairs.append((client, server))
                threading.Thread(target=self._up, args=(client, server), daemon=True).start()
                threading.Thread(target=self._down, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while said := client.recv(65536):
                if b"\x06\x16" in said and b"unacked_index" in said:  # what parts a name from a priority
                    with self._lock:
                        self._takers.add(client)
                server.sendall(said)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while said := server.recv(65536):
                with self._lock:
                    if self._holding and client in self._takers:
                        self._held[client] = self._held.get(client, b"") + said
                    else:
                        client.sendall(said)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
