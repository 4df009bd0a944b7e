"""Lua scripts, each of which the Redis server runs as one step: read from the ``.lua`` files of a package."""

from __future__ import annotations

from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple

__all__ = ["ACK", "DEAD_LETTERS", "MOVE", "OLDEST", "PARK", "TAKE", "Script", "read_script"]


class Script(NamedTuple):
    """The source of a script, and the SHA-1 digest by which the server knows it (``EVALSHA``)."""

    source: str
    sha: str


def read_script(package: str, *names: str) -> Script:
    """Read a script from the files of the installed package of which it is made."""
    source = "".join(files(package).joinpath(name).read_text(encoding="utf-8") for name in names)
    return Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest())


TAKE = read_script("worker.broker", "lanes.lua", "groups.lua", "waiting.lua", "take.lua")
PARK = read_script("worker.broker", "waiting.lua", "park.lua")
MOVE = read_script("worker.broker", "waiting.lua", "move.lua")
ACK, OLDEST, DEAD_LETTERS = (read_script("worker.broker", f"{name}.lua") for name in ("ack", "oldest", "dead_letters"))
