"""Verifying the archive by itself: the chain of its entries, its own notes, and the signed checkpoints."""

from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from producers.cli.output import when
from producers.signing import PublicKey
from worker.ledger.chain import is_number
from worker.operations.archive import checkpoints
from worker.operations.archive.checkpoints import Checkpoint
from worker.operations.archive.findings import Findings
from worker.operations.archive.lines import files, line_position, lines, parse
from worker.operations.archive.merkle import MerkleTree
from worker.operations.archive.verify_stream import StreamVerifier

Points = dict[str, dict[int, Checkpoint]]
"""Checkpoints by file and size."""
MAX_LOST = 200_000
"""How many entries a note can say that a restart has lost."""
UNSIGNED_MS = 60_000
"""What was archived so much later than the last checkpoint is told: nothing vouches for it."""


def read_checkpoints(path: Path, key: PublicKey, findings: Findings) -> Points:
    """The checkpoints in a file; a line that is none is a finding.

    Raises:
        OSError: the file can't be read.
    """
    points: Points = {}
    for number, point in checkpoints.read(path, key):
        findings.checkpoints += 1
        if point is None:
            text = "the line is no checkpoint that this key signed: it was changed, or a write was cut off"
            findings.add("checkpoint", text, file=f"{path.name}:{number}")
            continue
        # Of several of one size the first says the most: it was so already then.
        points.setdefault(point.file, {}).setdefault(point.size, point)
    if findings.checkpoints and not points:
        text = "it has signed none of these checkpoints: is it the public key of the archive that wrote them?"
        findings.add("checkpoint key", text, tampered=False, file=path.name)
    return points


class ArchiveVerifier:
    """Verifies the files of an archive, and knows which of its entries the server need not have."""

    def __init__(self, folder: Path, findings: Findings, points: Points | None = None, *, start: bytes = b"") -> None:
        """``start`` is the position from which on entries and notes are verified."""
        self.first, self.last = b"", b""
        """Positions of the first and the last entry."""
        self._folder, self._findings, self._points = folder, findings, points
        self._start = order(start)
        self._chain = StreamVerifier(findings, layer="archive")
        self._recent: deque[tuple[str, int]] = deque(maxlen=MAX_LOST)
        self._lost: set[tuple[str, int]] = set()
        """File and line of entries that the server lost in a restart, by the archive's own notes."""
        self._break_is_told = False

    def verify(self) -> None:
        """Verify each file.

        Raises:
            OSError: a file can't be read.
        """
        found = files(self._folder)
        for path in found:
            self._file(path, (self._points or {}).get(path.name, {}))
        self._chain.end()
        for name in sorted(set(self._points or ()) - {path.name for path in found}):
            old = bool(found) and name < found[0].name
            text = "the file is gone, and checkpoints of it were signed" + (
                ": an old one that was removed?" if old else ""
            )
            self._findings.add("checkpoint", text, file=name, tampered=not old)

    def _file(self, path: Path, points: Mapping[int, Checkpoint]) -> None:
        tree, held, broken, number = MerkleTree(), 0, False, 0
        for number, line in enumerate(lines(path), 1):
            if points:
                tree.add(line)
            self._line((path.name, number), line)
            if number in points and not broken:
                broken = points[number].root != tree.root()
                if broken:
                    said = f"at {when(points[number].at)} a checkpoint was signed of lines {held + 1} to {number}"
                    self._findings.add("checkpoint", f"{said}, and they have changed since", file=path.name)
                held = number
        if self._points is not None and not broken:
            self._check_end(path.name, number, points)

    def _check_end(self, name: str, size: int, points: Mapping[int, Checkpoint]) -> None:
        latest = points[max(points)] if points else None
        if latest is None:
            self._findings.add("checkpoint", "there is no checkpoint of this file", file=name, tampered=False)
        elif latest.size > size:
            text = (
                f"the file ends after line {size}; at {when(latest.at)} a checkpoint was signed of {latest.size} lines"
            )
            self._findings.add("checkpoint", text, file=name)
        elif latest.size < size and int(self.last.partition(b"-")[0] or 0) > latest.at + UNSIGNED_MS:
            text = f"the last checkpoint is of {when(latest.at)}: nothing vouches for lines {latest.size + 1} to {size}"
            self._findings.add("checkpoint", text, file=name, tampered=False)

    def _line(self, place: tuple[str, int], line: bytes) -> None:
        where = f"{place[0]}:{place[1]}"
        try:
            read = parse(line)
        except ValueError as error:
            self._findings.add("archive", f"the line was changed: {error}", file=where)
            return
        if not isinstance(read, tuple):
            self._note(read, where)
            return
        if self._start == (0, 0) or order(read[0]) >= self._start:
            self._chain.follow(read, where, told=self._break_is_told)
        self._break_is_told = False
        self._findings.archived += 1
        self.first, self.last = self.first or read[0], read[0]
        self._recent.append(place)

    def _note(self, note: Mapping[str, Any], where: str) -> None:
        if note["note"] == "server":
            return
        self._break_is_told = True
        text, tampered = f"noted when it was seen: {note.get('text')}", note["note"] != "gap"
        if note["at"] >= self._start[0]:
            self._findings.add("archive", text, file=where, tampered=tampered)
        for _ in range(min(note.get("lost", 0), len(self._recent))):
            self._lost.add(self._recent.pop())

    def entries(self, start: bytes) -> Iterator[tuple[bytes, bytes, str]]:
        """The entries from a position on that the server must have: position, line, and where it is."""
        begun = False
        for path in files(self._folder):
            for number, line in enumerate(lines(path), 1):
                position = line_position(line)
                begun = begun or order(position) >= order(start)
                if begun and position and (path.name, number) not in self._lost:
                    yield position, line, f"{path.name}:{number}"
                if position == self.last:
                    return  # what is behind it came while this ran


def order(position: bytes) -> tuple[int, int]:
    """What positions are sorted by; a position that is none comes first."""
    ms, _, number = position.partition(b"-")
    return (int(ms), int(number or 0)) if is_number(ms) and is_number(number or b"0") else (0, 0)
