"""Who may open the desk: a file of names and hashed passwords, and how often a password may be tried.

A line of the file is ``name:scrypt$<n>$<r>$<p>$<salt>$<hash>`` (both in URL-safe base64 without padding), as
``orders desk --add-login NAME`` writes it. Lines that begin with ``#`` are comments.
"""

import base64
import hashlib
import hmac
import os
import re
import secrets
import stat
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from producers.printable import printable
from producers.signing import NAME
from worker.watched_file import FileUnusable, WatchedFile

N, R, P = 1 << 15, 8, 1
"""scrypt's costs: 32 MiB and about a tenth of a second."""
MIN_PASSWORD, MAX_PASSWORD = 12, 200
"""Characters of a password."""
MAX_LOGINS = 200
_LINE = re.compile(r"scrypt\$(\d{1,7})\$(\d{1,2})\$(\d{1,2})\$([A-Za-z0-9_-]{22,88})\$([A-Za-z0-9_-]{43})")
_MAX_COST = N * R * P * 4
"""A hash that would take more than four times ours to check is refused, not computed."""


def password_problem(password: str) -> str:
    """What is wrong with a new password; empty if nothing is."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        return f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters"
    return ""


def hashed(password: str) -> str:
    """The hash of a password, with a new salt, as a line of the file has it."""
    salt = secrets.token_bytes(16)
    return f"scrypt${N}${R}${P}${_text(salt)}${_text(_scrypt(password, salt, N, R, P))}"


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    secret = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, dklen=32, maxmem=256 * n * r + (1 << 20))


def _matches(password: str, stored: str) -> bool:
    found = _LINE.fullmatch(stored)
    if found is None:
        return False
    n, r, p = (int(found[number]) for number in (1, 2, 3))
    return hmac.compare_digest(_text(_scrypt(password, _bytes(found[4]), n, r, p)), found[5])


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def parse(content: bytes) -> Mapping[str, str]:
    """The hashes by name.

    Raises:
        FileUnusable: a line is wrong; the text names it by its number and quotes no hash.
    """
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise FileUnusable("it is not UTF-8") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, stored = line.strip().partition(":")
        if not re.fullmatch(NAME, name):
            raise FileUnusable(f"line {number}: a name is 1 to 64 lower-case letters, digits, - and _")
        if name in found:
            raise FileUnusable(f"line {number}: {name} has a line already")
        if not _is_affordable(stored):
            raise FileUnusable(f"line {number}: no hash of `orders desk --add-login {name}`")
        found[name] = stored
    if len(found) > MAX_LOGINS:
        raise FileUnusable(f"it has {len(found)} logins; {MAX_LOGINS} can be used")
    # None is valid: whoever removes the last line wants nobody to go on.
    return found


def _is_affordable(stored: str) -> bool:
    matched = _LINE.fullmatch(stored)
    if matched is None:
        return False
    n, r, p = (int(matched[number]) for number in (1, 2, 3))
    return n > 1 and n & (n - 1) == 0 and r >= 1 and p >= 1 and n * r * p <= _MAX_COST


def access_problem(path: Path) -> str:
    """Why a file of logins is not safe from others of this machine; empty if it is, or can't be looked at.

    In the folder of secrets, which guards passwords as well, its mode is what a container is given.
    """
    folder = os.environ.get("ORDERS_SECRETS_DIR", "")
    if folder and path.absolute().is_relative_to(Path(folder).absolute()):
        return ""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""
    return "others may read it: chmod o-rwx" if stat.S_IMODE(mode) & stat.S_IRWXO else ""


def add_login(path: Path, name: str, password: str) -> None:
    """Write a login to the file, in place of an earlier one of this name. The file is replaced as a whole.

    Raises:
        FileUnusable: the file has something wrong; ValueError: the name can't be one; OSError: it can't be written.
    """
    if not re.fullmatch(NAME, name):
        raise ValueError(f"{printable(name, 64)} is not 1 to 64 lower-case letters, digits, - and _")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    if lines:
        parse("\n".join(lines).encode())
    kept = [line for line in lines if line.partition(":")[0] != name]
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write("\n".join([*kept, f"{name}:{hashed(password)}"]) + "\n")
    beside.replace(path)


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Attempts:
    """How often a password may be tried: a few times at once, then once in a while, for each name and for all
    together. Nobody is locked out for longer than a wait takes. Names that have no login share one count."""

    NAMES, NAMES_SECONDS = 5, 20.0
    """Attempts for one name at once, and after how many seconds there is one more."""
    ALL, ALL_SECONDS = 30, 2.0

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._buckets: dict[str, _Bucket] = {}

    def wait_seconds(self, name: str) -> float:
        """Take an attempt: 0 if it may be made, else how long to wait for the next one. ``name`` is empty for a name
        without a login."""
        with self._lock:
            own = self._bucket(f"name {name}", self.NAMES, self.NAMES_SECONDS)
            every = self._bucket("all", self.ALL, self.ALL_SECONDS)
            if own.left >= 1 and every.left >= 1:
                own.left -= 1
                every.left -= 1
                return 0.0
            return max((1 - own.left) * self.NAMES_SECONDS, (1 - every.left) * self.ALL_SECONDS)

    def succeeded(self, name: str) -> None:
        """Give the attempt back: the right password counts as none."""
        with self._lock:
            for key, most in ((f"name {name}", self.NAMES), ("all", self.ALL)):
                if key in self._buckets:
                    self._buckets[key].left = min(most, self._buckets[key].left + 1)

    def _bucket(self, key: str, most: float, seconds: float) -> _Bucket:
        now = self._now()
        found = self._buckets.setdefault(key, _Bucket(most, now))
        found.left, found.at = min(most, found.left + (now - found.at) / seconds), now
        return found


class Logins:
    """The logins of a file, which is read again when it changes."""

    def __init__(self, path: Path, now: Callable[[], float] = monotonic) -> None:
        """Raises:
        FileUnusable: the file can't be used, has no login, or others may read it.
        """
        self._path = path
        self._file: WatchedFile[Mapping[str, str]] = WatchedFile(path, parse, {}, "the file of logins", now)
        if problem := self._file.problem or access_problem(path):
            raise FileUnusable(problem)
        if not self._file.current():
            raise FileUnusable("it has no login: `orders desk --add-login NAME` adds one")
        self._attempts = Attempts(now)
        self._one_at_a_time = threading.Lock()
        self._nobody = hashed(secrets.token_hex(16))

    def proof_of(self, name: str) -> str | None:
        """What changes when a login changes: a session goes on only with the one that it began with."""
        stored = self._file.current().get(name)
        return None if stored is None else hashlib.sha256(stored.encode()).hexdigest()

    def knows(self, name: str) -> bool:
        """Whether there is a login of this name."""
        return name in self._file.current()

    def check(self, name: str, password: str) -> str | float | None:
        """The proof of a login whose password this is; None for a wrong one; else the seconds to wait before the next
        attempt. A name that does not exist takes as long as one that does."""
        stored = self._file.current().get(name)
        if wait := self._attempts.wait_seconds(name if stored else ""):
            return wait
        # One at a time, so that the memory of the hashes is bounded.
        with self._one_at_a_time:
            right = _matches(password[:MAX_PASSWORD], stored or self._nobody) and len(password) <= MAX_PASSWORD
        if not (right and stored):
            return None
        self._attempts.succeeded(name)
        return self.proof_of(name)
