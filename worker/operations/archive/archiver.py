"""Following the journal into the archive, and telling at once when it was tampered with. It never writes to the server.

What it sees goes into the archive as notes, in front of the entry at which it was seen: so the verification can tell a
gap that was seen when it happened from one that somebody made in the archive later.
"""

import json
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from worker.clock import Clock
from worker.ledger.base import LedgerUnavailable
from worker.ledger.chain import Break, Chain, Link, link_of
from worker.ledger.raw_journal import Entry, RawJournal
from worker.operations.archive.checkpoints import CheckpointWriter
from worker.operations.archive.lines import entry_line, note_line, parse
from worker.operations.archive.writer import ArchiveWriter

CHECKPOINT_SECONDS = 10.0
"""How often a checkpoint is written, and the stream itself is looked at."""
WAIT_MS = 1000
"""How long one call waits for new entries."""
RETRY_SECONDS = 1.0
"""How long to wait after an outage of the server or the disk."""
MOST_LOST_MS = 60_000
"""A server that goes back by more than this was not only restarted without its last writes: with ``appendfsync
everysec`` these are a second or two, after a failover what the replica lagged behind."""

logger = logging.getLogger("orders.archive")


@dataclass(frozen=True, slots=True)
class Note:
    """What the archive saw."""

    kind: str
    """``tampered``, or ``gap``: what a restart, or a trim while the archive was away, explains."""
    text: str
    lost: int = 0
    """How many of the entries that were archived last the server no longer had."""
    back_to: bytes = b""
    """The line of the entry behind which the server went on after it lost these."""

    def line(self, now_ms: int) -> bytes:
        """The note as a line of the archive."""
        back_to = {"lost": self.lost, "back_to": json.loads(self.back_to)} if self.lost else {}
        return note_line(self.kind, at=now_ms, text=self.text, **back_to)


@dataclass(slots=True)
class ArchiveState:
    """What the archive has seen, for its metrics and its exit code."""

    follows: bool = False
    """Whether the last call of the server and the last write to the disk succeeded."""
    last_seq: int = 0
    tampered: int = 0
    """Signs of tampering that this process saw."""
    gaps: int = 0
    """Restarts of the server that lost entries, seen by this process."""
    last_checkpoint: float | None = None
    """When the last checkpoint was on disk, UNIX seconds; 0 for never, None for an archive that signs none."""


@dataclass(slots=True)
class Archiver:
    """Follows the journal of one server into one folder."""

    journal: RawJournal
    writer: ArchiveWriter
    clock: Clock
    checkpoints: CheckpointWriter | None = None
    state: ArchiveState = field(default_factory=ArchiveState)
    _after: bytes = b"0-0"
    _chain: Chain = field(default_factory=Chain)
    _met: bool = False
    """Whether the server behind this connection is known."""
    _told_of_stream: str = ""
    """What was last told of the stream itself, which is looked at again and again."""
    _told_unchained: bool = False

    def __post_init__(self) -> None:
        self._after, self._chain = self.writer.position, Chain(self.writer.link)
        self.state.last_seq = self.writer.link.seq if self.writer.link else 0
        self.state.last_checkpoint = 0.0 if self.checkpoints else None

    def run(self, stop: threading.Event, checkpoint_seconds: float = CHECKPOINT_SECONDS) -> None:
        """Follow until ``stop`` is set. Outages of the server and of the disk are logged and waited out."""
        looked_at, outage = 0.0, ""
        while not stop.is_set():
            try:
                self.step(WAIT_MS)
                if time.monotonic() - looked_at >= checkpoint_seconds:
                    self.look_at_stream()
                    self.checkpoint()
                    looked_at = time.monotonic()
            except (LedgerUnavailable, OSError) as error:
                said = str(error) if isinstance(error, LedgerUnavailable) else disk_error(error)
                if said != outage:
                    logger.error("nothing is archived: %s. Trying again until it works", said)  # noqa: TRY400
                outage, self.state.follows = said, False
                stop.wait(RETRY_SECONDS)
            else:
                if outage:
                    logger.info("archiving again")
                outage, self.state.follows = "", True
        self.checkpoint()

    def step(self, wait_ms: int) -> int:
        """Read one page and archive it; returns how many entries it had. May be repeated after any error."""
        self._met = self._met and self.journal.connected
        if not self._met:
            self._meet_server()
            self._met = True
        page = self.journal.after(self._after, wait_ms)
        for name, entries in groupby(page, lambda entry: self.writer.name_for(entry[0])):
            self._archive(name, list(entries))
        return len(page)

    def _archive(self, name: str, entries: Sequence[Entry]) -> None:
        """Write entries of one file, with a note in front of each that does not follow the one before."""
        chain, added, notes = Chain(self._chain.link), list[bytes](), list[Note]()
        for position, fields in entries:
            before, how = chain.link, chain.follow(position, fields)
            if how is Break.UNCHAINED:
                self._tell_unchained(position)
            elif how:
                notes.append(self._break(how, before, (position, fields)))
                added.append(notes[-1].line(self.clock.now_ms()))
            added.append(entry_line(position, fields))
        self._write(name, added, notes)
        self._chain, self._after = chain, entries[-1][0]
        self.state.last_seq = chain.link.seq if chain.link else 0

    def _write(self, name: str, lines: Sequence[bytes], notes: Sequence[Note] = ()) -> None:
        """Add lines to a file, a new file's behind the note of which server this is; and tell what they note."""
        if name != self.writer.name:
            self.checkpoint()  # the last one of the file that ends
            lines = [note_line("server", **self.writer.server), *lines] if self.writer.server else lines
        self.writer.add(name, lines)
        for note in notes:
            tampered = note.kind == "tampered"
            self.state.tampered += tampered
            self.state.gaps += not tampered
            logger.log(logging.ERROR if tampered else logging.WARNING, "%s: %s", note.kind, note.text)

    def _note(self, note: Note) -> None:
        self._write(self.writer.name, [note.line(self.clock.now_ms())], [note])

    def _tell_unchained(self, position: bytes) -> None:
        if not self._told_unchained:
            self._told_unchained = True
            logger.warning(
                "the entry at %s is not of the chain: a worker of an earlier version wrote it, or somebody else. "
                "Further ones are archived and not told; orders journal --verify counts them",
                position.decode(),
            )

    def _break(self, how: Break, before: Link | None, entry: Entry) -> Note:
        position, link = entry[0].decode(), link_of(entry[1])
        last, seq = before.seq if before else 0, link.seq if link else 0
        if how is Break.MISSING:
            gone = f"entries {last + 1} to {seq - 1}, in front of {position},"
            first = self.journal.first()
            if first is not None and first[0] == entry[0]:
                return Note("gap", f"{gone} were trimmed before they were archived: the archive was not running")
            return Note("tampered", f"{gone} are missing in the stream")
        if how is Break.BACK:
            return Note("tampered", f"entry {seq} at {position} comes after entry {last}: it was put there, or the "
                                    f"journal was put back to an earlier state")  # fmt: skip
        return Note("tampered", f"entry {seq} at {position} does not follow entry {last}: one of them was changed")

    # -- the server ----------------------------------------------------------------------------------------------------

    def _meet_server(self) -> None:
        """After each connection: which server it is, and whether it still has what was archived last."""
        server, known = self.journal.server(), self.writer.server.get("server", "")
        entry = next(self.journal.between(self._after, self._after), [])
        first = self.journal.first()
        if self._after != b"0-0" and not entry and first is not None and _parts(first[0]) < _parts(self._after):
            self._went_back(restarted=not (server and server == known))
        info = self.journal.info()
        self._remember_server(server, info.deleted.decode() if info else "0-0")

    def _went_back(self, *, restarted: bool) -> None:
        """The last entry that was archived is not at the server, though nothing so new is trimmed."""
        tail = self.writer.tail(_parts(self._after)[0] - MOST_LOST_MS)
        stream = {
            position: entry_line(position, fields)
            for page in self.journal.between(tail[0][0], self._after)
            for position, fields in page
        }
        kept = next((n for n in range(len(tail), 0, -1) if stream.get(tail[n - 1][0]) == tail[n - 1][1]), 0)
        if not (restarted and kept):
            why = "it was put back to an earlier state, or its last entries were deleted"
            text = f"the journal no longer has the entry at {self._after.decode()}, which was archived: {why}"
            self._note(Note("tampered", text))
            return
        lost, (position, line) = tail[kept:], tail[kept - 1]
        span = f"{lost[0][0].decode()} to {lost[-1][0].decode()}"
        text = f"a gap after a restart of the server: it lost its last {len(lost)} entries, {span}, which are only here"
        self._note(Note("gap", text, len(lost), line))
        read = parse(line)
        self._after, self._chain = position, Chain(link_of(read[1]) if isinstance(read, tuple) else None)

    def _remember_server(self, server: str, deleted: str) -> None:
        known = self.writer.server
        if (known.get("server"), known.get("deleted")) == (server, deleted):
            return
        noted = {"at": self.clock.now_ms(), "server": server, "deleted": deleted}
        if self.writer.name:  # else the first file begins with it
            self.writer.add(self.writer.name, [note_line("server", **noted)])
        self.writer.server = noted

    def look_at_stream(self) -> None:
        """Look at the stream itself: a deletion does not show in what comes behind it."""
        info, wrong = self.journal.info(), ""
        if self._after == b"0-0":
            return
        known = self.writer.server.get("deleted", "0-0")
        if info is None:
            wrong = "the stream is gone: the journal was deleted"
        elif _parts(info.last) < _parts(self._after):
            wrong = f"the stream ends at {info.last.decode()}, and {self._after.decode()} was archived: it was put back"
        elif _parts(info.deleted) > _parts(known.encode()):
            wrong = f"an entry was deleted in the stream: that at {info.deleted.decode()}, perhaps others before it"
        if wrong and wrong != self._told_of_stream:
            self._note(Note("tampered", wrong))
        if info is not None:
            self._remember_server(self.writer.server.get("server", ""), info.deleted.decode())
        self._told_of_stream = wrong

    def checkpoint(self) -> None:
        """Sign how far the newest file goes. An outage of the third place is logged, and does not stop the archive."""
        if self.checkpoints is None or not self.writer.name:
            return
        try:
            self.checkpoints.add(self.writer.name, self.writer.tree, self._chain.link, self.clock.now_ms())
        except OSError as error:
            logger.error("no checkpoint was written: %s", disk_error(error))  # noqa: TRY400
        else:
            self.state.last_checkpoint = time.time()


def disk_error(error: OSError) -> str:
    """An error of the file system in words."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or type(error).__name__}"


def _parts(position: bytes) -> tuple[int, int]:
    ms, _, number = position.partition(b"-")
    return int(ms), int(number or 0)
