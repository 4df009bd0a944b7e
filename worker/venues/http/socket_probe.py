"""Asks the kernel whether a socket has something to read, without releasing the interpreter lock.

Python's own calls (``recv``, ``select``, ``poll``, ``ioctl``) all release the lock. Under load it takes a thread some
milliseconds to get it back, and this check runs between signing a request and sending its first byte.
"""

import ctypes
import errno
import socket

# Unlike `CDLL`, `PyDLL` keeps the interpreter lock during the call (Python's documentation of ctypes).
_recv = ctypes.PyDLL(None, use_errno=True).recv
_recv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_recv.restype = ctypes.c_ssize_t
_FLAGS = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)
_PEEKED = ctypes.create_string_buffer(1)
"""Receives the byte that is peeked at; its value is not used."""


def is_silent(sock: socket.socket) -> bool:
    """Whether nothing can be read now, not even an end or an error. With TLS, the TCP connection below is asked."""
    received = _recv(sock.fileno(), _PEEKED, 1, _FLAGS)
    return received < 0 and ctypes.get_errno() in (errno.EAGAIN, errno.EWOULDBLOCK)
