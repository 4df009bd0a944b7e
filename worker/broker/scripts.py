"""Lua scripts, each of which the Redis server runs as one step: read from the ``.lua`` files of a package."""

from __future__ import annotations

from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple

__all__ = ["ACK", "DEAD_LETTERS", "MOVE", "OLDEST", "PARKED_LOOK", "POSTPONE", "TAKE", "Script", "read_script"]


class Script(NamedTuple):
    """The source of a script, and the SHA-1 digest by which the server knows it (``EVALSHA``)."""

    source: str
    sha: str


def read_script(package: str, name: str) -> Script:
    """Read a script from the installed package."""
    source = files(package).joinpath(name).read_text(encoding="utf-8")
    return Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest())


TAKE, ACK, MOVE, OLDEST, POSTPONE, DEAD_LETTERS, PARKED_LOOK = (
    read_script("worker.broker", f"{name}.lua")
    for name in ("take", "ack", "move", "oldest", "postpone", "dead_letters", "parked_look")
)
