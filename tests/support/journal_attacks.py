"""A journal at a server, its archive and checkpoints, and what somebody with a worker's login can do to them."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from producers.signing import PrivateKey
from worker.clock import SystemClock
from worker.ledger.chain import entry_sha
from worker.ledger.journal_writer import JournalWriter
from worker.ledger.keys import JOURNAL_HEAD_KEY, JOURNAL_KEY
from worker.ledger.raw_journal import Entry, RawJournal
from worker.operations.archive.archiver import Archiver
from worker.operations.archive.checkpoints import CheckpointWriter
from worker.operations.archive.compare import compare
from worker.operations.archive.findings import Findings
from worker.operations.archive.lines import entry_line, files, parse
from worker.operations.archive.verify import ArchiveVerifier, read_checkpoints
from worker.operations.archive.verify_stream import verify_stream
from worker.operations.archive.writer import ArchiveWriter


@dataclass
class JournalRig:
    """One journal, over a client that does not decode, and a folder for its archive."""

    client: redis.Redis
    folder: Path
    key: PrivateKey = field(default_factory=lambda: PrivateKey.generate("archive", "2026-11"))
    journal_lines: int = 1000

    def __post_init__(self) -> None:
        self.journal = RawJournal(self.client)
        self.archive_folder, self.checkpoints = self.folder / "archive", self.folder / "checkpoints.jsonl"
        self.saved: list[bytes | None] = []

    def write(self, count: int = 1, **more: str) -> None:
        """Add entries."""
        writer = JournalWriter(self.client)
        for number in range(count):
            writer.write("begin", f"id-{number}", account="main", **more)

    def archiver(self) -> Archiver:
        """A fresh archiver, as another process would have; close its writer."""
        signer = CheckpointWriter(self.checkpoints, self.key)
        return Archiver(RawJournal(self.client), ArchiveWriter(self.archive_folder), SystemClock(), signer)

    def archive(self) -> Archiver:
        """Archive what there is, look at the stream, and sign a checkpoint."""
        archiver = self.archiver()
        with archiver.writer:
            while archiver.step(0):
                pass
            archiver.look_at_stream()
            archiver.checkpoint()
        archiver.journal.close()
        return archiver

    def verify(self, *, archive: bool = True, checkpoints: bool = True, start: bytes = b"") -> Findings:
        """What a verification with these layers finds."""
        found = Findings()
        archived = None
        if archive:
            points = read_checkpoints(self.checkpoints, self.key.public(), found) if checkpoints else None
            archived = ArchiveVerifier(self.archive_folder, found, points, start=start)
            archived.verify()
        stream = verify_stream(self.journal, found, start=start, journal_lines=self.journal_lines)
        if archived is None:
            deque(stream, maxlen=0)
        else:
            compare(stream, archived, found, now_ms=SystemClock().now_ms(), start=start)
        return found

    # -- what an attacker with a worker's login does -------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """Every entry of the stream."""
        return [entry for page in self.journal.between(b"-") for entry in page]

    def rewrite(self, change: Callable[[list[Entry]], Sequence[Entry]], *, recompute: bool = False) -> None:
        """Put other entries in the place of the stream's, with the chain made anew or not."""
        entries = list(change(self.entries()))
        if recompute:
            entries = rechained(entries)
        self.client.delete(JOURNAL_KEY)
        for position, fields in entries:
            self.client.execute_command("XADD", JOURNAL_KEY, position, *fields)
        if recompute:
            position, fields = entries[-1]
            self.client.set(JOURNAL_HEAD_KEY, b" ".join((fields[-3], fields[-1], position)))

    def save(self) -> None:
        """Make a backup of the journal."""
        self.saved = [self.client.dump(key) for key in (JOURNAL_KEY, JOURNAL_HEAD_KEY)]

    def restore(self) -> None:
        """Put the backup back."""
        for key, saved in zip((JOURNAL_KEY, JOURNAL_HEAD_KEY), self.saved, strict=True):
            self.client.delete(key)
            if saved is not None:
                self.client.restore(key, 0, saved)

    def rewrite_archive(self, change: Callable[[list[Entry]], Sequence[Entry]], *, recompute: bool = True) -> None:
        """The same to the archive's newest file, which another login guards."""
        path = files(self.archive_folder)[-1]
        notes, entries = [], []
        for line in path.read_bytes().splitlines():
            read = parse(line)
            notes, entries = (notes, [*entries, read]) if isinstance(read, tuple) else ([*notes, line], entries)
        changed = list(change(entries))
        lines = [entry_line(*entry) for entry in (rechained(changed) if recompute else changed)]
        path.write_bytes(b"".join(line + b"\n" for line in [*notes, *lines]))


def rechained(entries: Sequence[Entry]) -> list[Entry]:
    """The entries with the chain made anew, from the first entry's seq on."""
    made: list[Entry] = []
    first, sha = int(entries[0][1][-3]), b""
    for number, (position, fields) in enumerate(entries, first):
        fields = [*fields[:-4], b"seq", b"%d" % number, b"sha", b""]
        sha = entry_sha(sha, position, fields)
        made.append((position, [*fields[:-1], sha]))
    return made


def edit(entries: list[Entry]) -> list[Entry]:
    """Another account in the fifth entry."""
    position, fields = entries[4]
    changed = [b"mine" if each == b"main" else each for each in fields]
    return [*entries[:4], (position, changed), *entries[5:]]


def without_fifth(entries: list[Entry]) -> list[Entry]:
    return [*entries[:4], *entries[5:]]


def swap(entries: list[Entry]) -> list[Entry]:
    """The fifth and the sixth entry with each other's content."""
    (fifth, a), (sixth, b) = entries[4:6]
    return [*entries[:4], (fifth, b), (sixth, a), *entries[6:]]


def insert(entries: list[Entry]) -> list[Entry]:
    """A copy of an entry behind it, where there is room before the next."""
    ms = [position.partition(b"-")[0] for position, _ in entries]
    at = next(number for number in range(1, len(entries)) if ms[number] != ms[number - 1])
    return [*entries[:at], (ms[at - 1] + b"-999", entries[at - 1][1]), *entries[at:]]


def shift(entries: list[Entry]) -> list[Entry]:
    """All entries an hour earlier than they were."""
    split = [(position.partition(b"-"), fields) for position, fields in entries]
    return [(b"%d-%b" % (int(ms) - 3_600_000, number), fields) for (ms, _, number), fields in split]


def cut(entries: list[Entry]) -> list[Entry]:
    """Without the last two."""
    return entries[:-2]


Attack = Callable[[JournalRig], Any]
