"""Sessions of the desk: kept here, known by a random cookie, and ended by time.

Threads share them. A cookie's value is looked up by its hash, so that the time of a look-up tells nothing of others.
"""

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

MAX_SESSIONS = 100
"""Sessions at a time; a further one ends the one that was idle for longest."""
MAX_ACTS = 100
"""Confirmations that a session remembers, to do each once."""


@dataclass(slots=True)
class Act:
    """A change that was confirmed."""

    back: str
    """The path of the page to go on with."""
    notice: str = ""
    """What it has done; empty while it is being done, and if it failed."""
    over: threading.Event = field(default_factory=threading.Event)

    def end(self, notice: str = "") -> None:
        """Note what it has done, for those who wait for it."""
        self.notice = notice
        self.over.set()


class Session:
    """A person's visit, from the login to the log out."""

    def __init__(self, name: str, proof: str, now: float) -> None:
        """``name`` is the login's, empty without logins; ``proof`` changes when the login may not go on."""
        self.name = name
        self.proof = proof
        self.csrf = secrets.token_urlsafe(32)
        self.secret = secrets.token_bytes(32)
        """Signs what this session was shown, see :mod:`worker.desk.changes`."""
        self.began_at = self.seen_at = now
        self.last_who = ""
        """The name that was given with the last change, where there are no logins."""
        self._lock = threading.Lock()
        self._notice = ""
        self._acts: OrderedDict[str, Act] = OrderedDict()

    def tell(self, notice: str) -> None:
        """Leave a sentence for the next page."""
        with self._lock:
            self._notice = notice

    def take_notice(self) -> str:
        """The sentence that was left for this page, once."""
        with self._lock:
            notice, self._notice = self._notice, ""
            return notice

    def begin(self, nonce: str, back: str) -> Act | None:
        """The act of this confirmation, if it is new; from now on it is not."""
        with self._lock:
            if nonce in self._acts:
                return None
            self._acts[nonce] = act = Act(back)
            if len(self._acts) > MAX_ACTS:
                self._acts.popitem(last=False)
            return act

    def act(self, nonce: str) -> Act | None:
        """What was begun by this confirmation."""
        with self._lock:
            return self._acts.get(nonce)


class Sessions:
    """The open sessions."""

    def __init__(self, idle_seconds: float, most_seconds: float, now: Callable[[], float] = monotonic) -> None:
        self._idle_seconds = idle_seconds
        self._most_seconds = most_seconds
        self._now = now
        self._lock = threading.Lock()
        self._open: OrderedDict[bytes, Session] = OrderedDict()
        """By the hash of the cookie; the one that was idle for longest first."""

    def open(self, name: str = "", proof: str = "") -> tuple[str, Session]:
        """A new session, with a value for its cookie that nobody has seen."""
        cookie, session = secrets.token_urlsafe(32), Session(name, proof, self._now())
        with self._lock:
            self._open[_hash(cookie)] = session
            while len(self._open) > MAX_SESSIONS:
                self._open.popitem(last=False)
        return cookie, session

    def find(self, cookie: str, proof_of: Callable[[str], str | None]) -> Session | None:
        """The session of this cookie, if it has not ended. ``proof_of`` tells a login's current proof, None without
        one."""
        key, now = _hash(cookie), self._now()
        with self._lock:
            session = self._open.get(key)
            if session is None:
                return None
            over = now - session.seen_at > self._idle_seconds or now - session.began_at > self._most_seconds
            if over or proof_of(session.name) != session.proof:
                del self._open[key]
                return None
            session.seen_at = now
            self._open.move_to_end(key)
            return session

    def close(self, cookie: str) -> None:
        """End the session of this cookie."""
        with self._lock:
            self._open.pop(_hash(cookie), None)

    def __len__(self) -> int:
        return len(self._open)


def _hash(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).digest()
