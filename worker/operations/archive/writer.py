"""Adding lines to the archive's files, so that neither a kill at any byte nor a full disk leaves a broken line."""

import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from producers.printable import printable
from worker.ledger.chain import Link, link_of
from worker.ledger.raw_journal import Entry
from worker.operations.archive.lines import entry_of, file_name, files, lines, parse
from worker.operations.archive.merkle import MerkleTree


class ArchiveBroken(Exception):
    """Raised when the folder can't be gone on with; the text says why."""


class ArchiveWriter:
    """The newest file of a folder, and where it ends. One process at a time.

    Raises:
        ArchiveBroken: another process writes there, or the last file has a line that is no entry.
        OSError: the folder or a file can't be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(folder)
        self.tree = MerkleTree()
        """Over the lines of the newest file."""
        self.name = ""
        """The name of the newest file; empty while there is none."""
        self.position = b"0-0"
        """Of the last entry when it was opened; ``0-0`` for none."""
        self.link: Link | None = None
        """Of the last entry of the chain when it was opened."""
        self.server: dict[str, Any] = {}
        """The last note of which server it was."""
        self._file: Any = None
        self._size = 0
        self._resume()

    def _resume(self) -> None:
        """Read the newest file, and find the last entry, which may be in an earlier one."""
        found = files(self._folder)
        if found:
            self._open(found[-1].name)
        for path in reversed(found):
            self._read(path, count=path == found[-1])
            if self.position != b"0-0":
                return

    def _read(self, path: Path, *, count: bool) -> None:
        for line in lines(path):
            if count:
                self.tree.add(line)
            read = self._parsed(path, line)
            if isinstance(read, tuple):
                self.position, self.link = read[0], link_of(read[1]) or self.link
            elif read["note"] == "server" and count:
                self.server = {"at": read["at"], "server": read["server"], "deleted": read["deleted"]}
            elif "back_to" in read:
                position, fields = entry_of(read["back_to"])
                self.position, self.link = position, link_of(fields) or self.link

    @staticmethod
    def _parsed(path: Path, line: bytes) -> Entry | Mapping[str, Any]:
        try:
            return parse(line)
        except ValueError as error:
            message = f"{path} was changed: in {printable(line[:60].decode('ascii', 'replace'))}, {error}"
            raise ArchiveBroken(f"{message}. Move the file away and keep it") from None

    def _open(self, name: str) -> None:
        """Open a file to add to it; what is behind its last line feed is the rest of a write that was cut off."""
        if self._file is not None:
            self._file.close()
        path = self._folder / name
        is_new = not path.exists()
        self._file = path.open("ab", buffering=0)
        if is_new:
            _sync_folder(self._folder)
        self._size = _whole_lines(path)
        if self._size != self._file.tell():
            os.ftruncate(self._file.fileno(), self._size)
            os.fsync(self._file.fileno())
        self.name = name

    def add(self, name: str, added: Sequence[bytes]) -> None:
        """Add lines to a file, and return once they are on disk. A file that is not the newest is begun. After an
        OSError nothing has been added, and the call may be repeated."""
        if name != self.name:
            self._open(name)
            self.tree = MerkleTree()
        try:
            data = memoryview(b"".join(line + b"\n" for line in added))
            while data:
                data = data[self._file.write(data) :]
            os.fsync(self._file.fileno())
        except OSError:
            os.ftruncate(self._file.fileno(), self._size)
            raise
        self._size = self._file.tell()
        for line in added:
            self.tree.add(line)

    def name_for(self, position: bytes) -> str:
        """The file for an entry of this position: never an older one than the newest, whatever the clock says."""
        return max(file_name(position), self.name)

    def tail(self, start_ms: int) -> list[tuple[bytes, bytes]]:
        """Position and line of the entries from a time on, and of the last one before."""
        found: list[tuple[bytes, bytes]] = []
        for path in reversed(files(self._folder)):
            earlier: tuple[bytes, bytes] | None = None
            here = []
            for line in lines(path):
                read = self._parsed(path, line)
                if isinstance(read, tuple) and int(read[0].partition(b"-")[0]) >= start_ms:
                    here.append((read[0], line))
                elif isinstance(read, tuple):
                    earlier = read[0], line
            found = here + found
            if earlier:
                return [earlier, *found]
        return found

    def close(self) -> None:
        """Close the file, and let another process write."""
        if self._file is not None:
            self._file.close()
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lock(folder: Path) -> int:
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise ArchiveBroken(f"another process writes to {folder}") from None
    return lock


def _whole_lines(path: Path) -> int:
    """How many bytes there are up to the last line feed, and with it."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 65_536)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def _sync_folder(folder: Path) -> None:
    """Make the folder's new entry durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
