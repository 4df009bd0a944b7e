"""Comparing the journal at the server with the archive, entry by entry."""

from collections.abc import Iterable, Iterator

from worker.ledger.raw_journal import Entry
from worker.operations.archive.findings import Findings
from worker.operations.archive.lines import entry_line
from worker.operations.archive.verify import ArchiveVerifier, order

LATE_MS = 60_000
"""An entry that is not archived so long after it was written is told: is the archive running?"""


class _Missing:
    """Neighbours that are missing in the stream, told as one."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._count, self._first, self._last, self._where = 0, b"", b"", ""

    def add(self, position: bytes, where: str) -> None:
        if not self._count:
            self._first, self._where = position, where
        self._count, self._last = self._count + 1, position

    def tell(self) -> None:
        if self._count:
            span = self._first.decode() if self._count == 1 else f"{self._first.decode()} to {self._last.decode()}"
            text = (
                f"{self._count} archived entries are not at the server any more ({span}): deleted, or it was put back"
            )
            self._findings.add("archive", text, position=self._first, file=self._where)
        self._count = 0


def compare(
    stream: Iterable[Entry], archive: ArchiveVerifier, findings: Findings, *, now_ms: int, start: bytes = b""
) -> None:
    """Compare the entries of the stream with those that the archive had before; what was trimmed at the server is
    fine. ``archive`` must have been verified before ``stream`` was begun."""
    missing, late = _Missing(findings), b""
    archived: Iterator[tuple[bytes, bytes, str]] | None = None
    kept: tuple[bytes, bytes, str] | None = None
    for position, fields in stream:
        if archived is None:
            archived = archive.entries(position)
            kept = next(archived, None)
        while kept and kept[0] != position and order(kept[0]) < order(position):
            missing.add(kept[0], kept[2])
            kept = next(archived, None)
        missing.tell()
        if kept and kept[0] == position:
            if kept[1] == entry_line(position, fields):
                findings.compared += 1
            else:
                text = "the entry at the server is not the one that was archived: one of them was changed"
                findings.add("archive", text, position=position, file=kept[2])
            kept = next(archived, None)
        elif order(position) < order(archive.first):
            continue  # the files of that time were removed, or it began later
        elif order(position) < order(archive.last):
            text = "the entry is at the server and not in the archive: it was put there later, or removed here"
            findings.add("archive", text, position=position)
        else:
            late = late or position
    rest = archived if archived is not None else archive.entries(start)
    while kept := kept or next(rest, None):
        missing.add(kept[0], kept[2])
        kept = None
    missing.tell()
    if late and now_ms - order(late)[0] > LATE_MS:
        text = f"entries from {late.decode()} on are not archived: orders archive does not run, or falls behind"
        findings.add("archive", text, position=late, tampered=False)
