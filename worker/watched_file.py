"""A file of settings that a worker reads again when it changes, and whose last valid content counts meanwhile."""

import logging
import os
import stat
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path
from time import monotonic, time
from typing import Any, Generic, TypeVar

from producers.settings import file_problem

logger = logging.getLogger("orders.settings")

T = TypeVar("T")

MAX_FILE_BYTES = 1024 * 1024
CHECK_SECONDS = 1.0
"""How often it is checked at most whether the file has changed."""
UNSETTLED_SECONDS = 2.0
"""A file changed so recently is read once more: a change within one tick of the file system's clock does not show."""
LOG_EVERY_SECONDS = 60.0
"""How often it is logged that the file is still broken."""


class FileUnusable(Exception):
    """What a file contains can't be used; the text says why, and quotes no secret."""


class WatchedFile(Generic[T]):
    """A file that is read again when it changes. Threads may share it."""

    def __init__(
        self, path: Path, parse: Callable[[bytes], T], empty: T, what: str, now: Callable[[], float] = monotonic
    ) -> None:
        """``parse`` raises :class:`FileUnusable`; ``empty`` counts as long as there was no valid file; ``what`` names
        the file in log lines."""
        self.path = path
        self._parse = parse
        self._what = what
        self._now = now
        self._lock = threading.Lock()
        self._content = empty
        self._read_file: tuple[int, ...] | None = None
        self._checked_at = self._logged_at = float("-inf")
        self._problem = ""
        self._was_valid = False
        self._check()

    @property
    def problem(self) -> str:
        """Why the file as it was last seen can't be used; empty when it can."""
        return self._problem

    def current(self) -> T:
        """The content of the last valid file.

        At most once a second one thread looks whether the file has changed; the others go on with what there is.
        """
        if self._now() - self._checked_at >= CHECK_SECONDS and self._lock.acquire(blocking=False):
            try:
                self._check()
            finally:
                self._lock.release()
        return self._content

    def _check(self) -> None:
        self._checked_at = self._now()
        try:
            # Links are followed: Kubernetes changes a mounted file by its link.
            if self._read_file is not None and _identity(self.path.stat()) == self._read_file:
                if self._problem:
                    self._report(self._problem)
                return
            content, self._read_file = _read(self.path)
            self._content = self._parse(content)
            self._was_valid = True
        except OSError as error:
            self._read_file = None
            self._report(f"it can't be read: {file_problem(error)}")
        except FileUnusable as error:
            self._report(str(error))
        else:
            if self._problem:
                logger.warning("%s is valid again, and in force", self.path)
            self._problem = ""

    def _report(self, problem: str) -> None:
        if problem != self._problem or self._now() - self._logged_at >= LOG_EVERY_SECONDS:
            self._logged_at = self._now()
            meanwhile = ", the last valid one counts" if self._was_valid else ""
            logger.error("%s %s can't be used%s: %s", self._what, self.path, meanwhile, problem)
        self._problem = problem


def toml_tables(content: bytes) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        FileUnusable: it is not TOML, or not UTF-8.
    """
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileUnusable(file_problem(error)) from None


def read_file(path: Path) -> bytes:
    """The content of a file of at most :data:`MAX_FILE_BYTES`.

    Raises:
        FileUnusable: it can't be read, is no file or is too large.
    """
    try:
        return _read(path)[0]
    except OSError as error:
        raise FileUnusable(f"it can't be read: {file_problem(error)}") from None


def _read(path: Path) -> tuple[bytes, tuple[int, ...] | None]:
    """The file's content, and by what it is known again; None where it may still be changing unnoticed."""
    # Without O_NONBLOCK, opening a pipe would wait for whoever writes into it.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise FileUnusable("it is not a file")
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise FileUnusable(f"it is larger than {MAX_FILE_BYTES:,} bytes")
    return content, None if time() - found.st_ctime < UNSETTLED_SECONDS else _identity(found)


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
