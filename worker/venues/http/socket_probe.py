"""Asks the kernel whether something can be read from a socket, without letting go of the interpreter.

Every way of Python's own to ask (``recv``, ``select``, ``poll``, ``ioctl``) lets go of it. Under load some milliseconds
pass before a thread has it back, and this is asked between a signature and the first byte sent.
"""

import ctypes
import errno
import socket

# `PyDLL`, unlike `CDLL`, holds the interpreter during the call (Python's documentation of ctypes).
_recv = ctypes.PyDLL(None, use_errno=True).recv
_recv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_recv.restype = ctypes.c_ssize_t
_PEEKED = ctypes.create_string_buffer(1)
"""Nobody reads it: what counts is whether there is something."""


def is_silent(sock: socket.socket) -> bool:
    """Whether nothing can be read just now, not even an end or an error; of TLS, from the connection underneath."""
    taken = _recv(sock.fileno(), _PEEKED, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    return taken < 0 and ctypes.get_errno() in (errno.EAGAIN, errno.EWOULDBLOCK)
