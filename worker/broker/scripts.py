"""Lua scripts, each of which the Redis server runs as one step: read from the ``.lua`` files of a package."""

from __future__ import annotations

from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple

from producers.commands import COMMANDS

__all__ = [
    *(
        "ACK",
        "DEAD_LETTERS",
        "DEAD_REMOVE",
        "LANES_LOOK",
        "LANES_RELEASE",
        "MOVE",
        "OLDEST",
        "PARK",
        "PARKED_LOOK",
        "STAMP",
        "TAKE",
    ),
    *("Script", "read_script"),
]


class Script(NamedTuple):
    """The source of a script, and the SHA-1 digest by which the server knows it (``EVALSHA``)."""

    source: str
    sha: str


def read_script(package: str, *names: str, before: str = "") -> Script:
    """Read a script from the files of the installed package of which it is made, with ``before`` in front of them."""
    source = before + "".join(files(package).joinpath(name).read_text(encoding="utf-8") for name in names)
    return Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest())


_QUEUES = f"local QUEUES = {{{', '.join(map(repr, COMMANDS))}}}\n"
"""Where a lane's messages can be."""

TAKE = read_script("worker.broker", "groups.lua", "lanes.lua", "waiting.lua", "take.lua", before=_QUEUES)
PARK = read_script("worker.broker", "waiting.lua", "park.lua")
MOVE = read_script("worker.broker", "waiting.lua", "move.lua")
ACK, LANES_LOOK, LANES_RELEASE = (
    read_script("worker.broker", "lanes.lua", f"{name}.lua", before=_QUEUES)
    for name in ("ack", "lanes_look", "lanes_release")
)
OLDEST, PARKED_LOOK, STAMP = (
    read_script("worker.broker", f"{name}.lua") for name in ("oldest", "parked_look", "stamp")
)
DEAD_LETTERS, DEAD_REMOVE = (
    read_script("worker.broker", "dead_digest.lua", f"{name}.lua") for name in ("dead_letters", "dead_remove")
)
