"""A TCP port in front of the simulator, shut in one of the ways in which a venue can't be reached, until it is opened.

An open door passes bytes on in both directions, and can note what it passed.
"""

import contextlib
import enum
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

CHUNK = 65_536


class Shut(enum.Enum):
    """In which way a door is shut."""

    REFUSES = "nobody listens: the kernel refuses each connection"
    IGNORES = "the queue of connections is full: the kernel drops each SYN, and connecting takes for ever"
    NO_TLS = "what answers speaks no TLS"
    NOT_AT_ALL = "open from the start"


def make_certificate(folder: Path) -> Path:
    """A fresh self-signed certificate for 127.0.0.1, with its key in the same file."""
    openssl = shutil.which("openssl")
    assert openssl, "openssl makes the certificate for the TLS tests and is not installed"
    key, certificate, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=venue.test"
    subprocess.run(
        [openssl, *words.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both


class Door:
    """One port. `url` is where a client knocks; `open` lets through those who knock from then on."""

    def __init__(self, target: str, shut: Shut, certificate: Path | None = None) -> None:
        """`target` is the simulator's URL; with a certificate the door speaks TLS once it is open."""
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._shut = shut
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
        if self._tls and certificate:
            self._tls.load_cert_chain(certificate)
        self._open = threading.Event()
        self._closed = False
        self._fillers: list[socket.socket] = []
        self._passing: set[socket.socket] = set()
        self.sent = bytearray()
        """Everything clients sent through this door."""
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        if shut is Shut.IGNORES:
            self._listener.listen(0)
            self._fill()
        elif shut is Shut.NO_TLS:
            self._listen()
        elif shut is Shut.NOT_AT_ALL:
            self.open()

    @property
    def url(self) -> str:
        """Where it is, `https` when it speaks TLS."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"

    def open(self) -> None:
        """Let everyone through from now on."""
        self._open.set()
        if self._shut is not Shut.NO_TLS:
            self._listen()
        for filler in self._fillers:
            filler.close()

    def close(self) -> None:
        """End it and every connection through it."""
        self._closed = True
        for end in (self._listener, *self._fillers, *list(self._passing)):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _fill(self) -> None:
        """Connect until the kernel takes no more."""
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
        threading.Thread(target=self._accept, daemon=True, name="door").start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True, name="door-connection").start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            if not self._open.is_set():
                client.recv(CHUNK)
                client.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                return
            inner = self._tls.wrap_socket(client, server_side=True) if self._tls else client
            with inner, socket.create_connection(self._target) as venue:
                self._passing |= {inner, venue}
                back = threading.Thread(target=self._pump, args=(venue, inner, False), daemon=True)
                back.start()
                self._pump(inner, venue, True)
                back.join()
                self._passing -= {inner, venue}

    def _pump(self, source: socket.socket, sink: socket.socket, note: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                if note:
                    self.sent += data
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
