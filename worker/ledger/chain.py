"""The chain of the journal's entries, which ``journal.lua`` writes: each entry's ``sha`` covers the entry before it.

Works on what the server sends, an entry's position and its flat list of fields and values, because a journal has a
million of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha1


class Break(StrEnum):
    """How an entry fails to follow the one before."""

    ALTERED = "altered"
    """Its ``sha`` is not that of its content after the entry before: it or the entry before was changed."""
    MISSING = "missing"
    """Its ``seq`` is too high: entries before it are gone."""
    BACK = "back"
    """Its ``seq`` is too low: it was put there, or the journal went back to an earlier state."""
    UNCHAINED = "unchained"
    """It has no ``seq``, though the chain had begun: a worker of an earlier version wrote it, or somebody else."""


@dataclass(slots=True)
class Link:
    """The ``seq`` and ``sha`` of an entry."""

    seq: int
    sha: bytes


def is_number(text: bytes) -> bool:
    """Whether it is a whole number of at most twenty digits: whoever can write to the journal can write any."""
    return len(text) <= 20 and text.isdigit()


def link_of(fields: Sequence[bytes]) -> Link | None:
    """The link of an entry; None for one that is not of the chain."""
    if len(fields) < 4 or fields[-4] != b"seq" or fields[-2] != b"sha" or not is_number(fields[-3]):
        return None
    return Link(int(fields[-3]), fields[-1])


def entry_sha(before: bytes, position: bytes, fields: Sequence[bytes]) -> bytes:
    """What the ``sha`` of an entry must be after an entry whose ``sha`` is ``before``; empty before the first."""
    covered = [before, fields[-3], position, *fields[:-4]]
    joined = b"".join([b"%d:%b" % (len(each), each) for each in covered])
    return sha1(joined, usedforsecurity=False).hexdigest().encode("ascii")


class Chain:
    """Follows the chain from the first entry that it is given: what was before may have been trimmed."""

    def __init__(self, link: Link | None = None) -> None:
        """``link`` is that of the entry before the first; None where it is not known."""
        self.link = link
        """Of the last entry of the chain."""
        self.unchained = 0
        """Entries before the chain began: an earlier version wrote them."""

    def follow(self, position: bytes, fields: Sequence[bytes]) -> Break | None:
        """How this entry fails to follow the one before; None when it does. The next entry is expected to follow this
        one in either case."""
        link, before = link_of(fields), self.link
        if link is None:
            self.unchained += before is None
            return None if before is None else Break.UNCHAINED
        self.link = link
        if before is None:
            # An earlier entry's sha is needed to check this one's, unless it is the chain's first.
            before = Link(0, b"") if link.seq == 1 else None
        if before is None:
            return None
        if link.seq != before.seq + 1:
            return Break.MISSING if link.seq > before.seq else Break.BACK
        return None if link.sha == entry_sha(before.sha, position, fields) else Break.ALTERED
