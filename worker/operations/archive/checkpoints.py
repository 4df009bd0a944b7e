"""Signed checkpoints of the archive: how many lines a file had at a time, and the root of the Merkle tree over them.

Kept in a third place, they tell when a file of the archive was changed or shortened after it was checkpointed. One JSON
object a line; what is signed is the object without ``sig``, in the context ``orders-checkpoint-v1``::

    {"v":1,"file":"journal-2026-11-26.jsonl","size":17,"last_seq":17,"last_sha":"…","root":"…","at":…,"by":"archive",
     "kid":"2026-11","sig":"…"}
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from producers.signing import PrivateKey, PublicKey
from worker.ledger.chain import Link
from worker.operations.archive.merkle import MerkleTree

CONTEXT = "orders-checkpoint-v1"
_MAX_LINE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One line of the file whose signature holds."""

    file: str
    size: int
    """How many lines the file had."""
    root: str
    last_seq: int
    """Of the last entry that was archived, 0 for none."""
    at: int
    """UNIX ms on the archive's clock."""


class CheckpointWriter:
    """Adds checkpoints to a file."""

    def __init__(self, path: Path, key: PrivateKey) -> None:
        self._path, self._key = path, key

    def add(self, file: str, tree: MerkleTree, link: Link | None, at: int) -> None:
        """Add the checkpoint of a file, and return once it is on disk.

        Raises:
            OSError: it can't be written; nothing but a part of a line without its line feed may have been.
        """
        fields = {
            "v": 1,
            "file": file,
            "size": tree.size,
            "last_seq": link.seq if link else 0,
            "last_sha": link.sha.decode("utf-8", "replace") if link else "",
            "root": tree.root(),
            "at": at,
            "by": self._key.by,
            "kid": self._key.kid,
        }
        line = json.dumps({**fields, "sig": self._key.sign(CONTEXT, fields)}, separators=(",", ":"))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab+", buffering=0) as written:
            # The rest of a line that was cut off stays, and counts as a line that is no checkpoint.
            size = written.seek(0, os.SEEK_END)
            cut_off = size > 0 and os.pread(written.fileno(), 1, size - 1) != b"\n"
            written.write((b"\n" if cut_off else b"") + line.encode("ascii") + b"\n")
            os.fsync(written.fileno())


def read(path: Path, key: PublicKey) -> Iterator[tuple[int, Checkpoint | None]]:
    """Each line's number and checkpoint; None for a line that is no checkpoint or that this key did not sign.

    Raises:
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE_BYTES):
            number += 1
            if line.endswith(b"\n"):
                yield number, _checkpoint(line, key)


def _checkpoint(line: bytes, key: PublicKey) -> Checkpoint | None:
    try:
        fields = json.loads(line)
        signature = fields.pop("sig")
        if fields["v"] != 1 or not key.verifies(signature, CONTEXT, fields):
            return None
        return Checkpoint(fields["file"], fields["size"], fields["root"], fields["last_seq"], fields["at"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
