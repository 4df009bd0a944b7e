"""A TCP proxy in front of one server, with faults that a network can have; its words are toxiproxy's."""

import contextlib
import enum
import socket
import ssl
import threading
import time
from urllib.parse import urlsplit

from tests.support.certificates import Certificate

CHUNK_BYTES = 65_536


class ProxyFault(enum.Enum):
    """Why nobody gets through a proxy until `FaultyProxy.remove_fault`."""

    NONE = "connections are forwarded from the start"
    CONNECTION_REFUSED = "nobody listens: the kernel refuses each connection"
    SYN_DROPPED = "the queue of connections is full: the kernel drops each SYN, and connecting takes for ever"
    NO_TLS = "what answers speaks no TLS"


class FaultyProxy:
    """A port of 127.0.0.1 that forwards to a server, and keeps what clients sent through it."""

    def __init__(
        self, target: str, fault: ProxyFault = ProxyFault.NONE, certificate: Certificate | None = None
    ) -> None:
        """``target`` is the server's URL. With a certificate the proxy speaks TLS with its clients."""
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._fault = fault
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
        if self._tls and certificate:
            self._tls.load_cert_chain(*certificate)
        self._fillers: list[socket.socket] = []
        self._connections: set[socket.socket] = set()
        self.received = bytearray()
        """Everything that clients sent, decrypted."""
        self.reply_delay_seconds = 0.0
        """How long each piece of a reply is kept back."""
        self.replies_pass = threading.Event()
        """Cleared, replies are kept back until it is set again."""
        self.replies_pass.set()
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        if fault is ProxyFault.SYN_DROPPED:
            self._fill_backlog()
        elif fault is not ProxyFault.CONNECTION_REFUSED:
            self._listen()

    @property
    def url(self) -> str:
        """An `https` URL when the proxy speaks TLS, else an `http` one."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def remove_fault(self) -> None:
        """Forward connections that are made from now on."""
        removed, self._fault = self._fault, ProxyFault.NONE
        if removed in (ProxyFault.CONNECTION_REFUSED, ProxyFault.SYN_DROPPED):
            self._listen()
        for filler in self._fillers:
            filler.close()

    def close(self) -> None:
        """Close the port and every connection through it."""
        for end in (self._listener, *self._fillers, *list(self._connections)):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _fill_backlog(self) -> None:
        """Connect until the kernel takes no more."""
        self._listener.listen(0)
        for _ in range(16):
            filler = socket.socket()
            filler.settimeout(0.1)
            self._fillers.append(filler)
            try:
                filler.connect(self._listener.getsockname())
            except TimeoutError:
                return
        raise AssertionError("the kernel took every connection: its queue can't be filled")

    def _listen(self) -> None:
        self._listener.listen(128)
        threading.Thread(target=self._accept, daemon=True, name="proxy").start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True, name="proxy-connection").start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            if self._fault is ProxyFault.NO_TLS:
                client.recv(CHUNK_BYTES)
                client.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                return
            near = self._tls.wrap_socket(client, server_side=True) if self._tls else client
            with near, socket.create_connection(self._target) as far:
                self._connections |= {near, far}
                replies = threading.Thread(target=self._forward, args=(far, near, True), daemon=True)
                replies.start()
                self._forward(near, far, False)
                replies.join()
                self._connections -= {near, far}

    def _forward(self, source: socket.socket, sink: socket.socket, is_reply: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                if is_reply:
                    self.replies_pass.wait()
                    time.sleep(self.reply_delay_seconds)
                else:
                    self.received += data
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
