"""How a person enters the desk: by a login of the file, or on this machine alone by a link that works once."""

import hmac
import secrets
import threading
from collections.abc import Callable

from worker.desk.gate import Address
from worker.desk.logins import Logins
from worker.desk.sessions import Sessions

LINK_PROOF = "link"


class Entrance:
    """Opens and closes sessions."""

    def __init__(
        self,
        sessions: Sessions,
        address: Address,
        logins: Logins | None,
        announce: Callable[[str], object] = str,
    ) -> None:
        """``announce`` is given the token of each new link, where there are no logins."""
        self.sessions = sessions
        self.address = address
        self.logins = logins
        self._announce = announce
        self._lock = threading.Lock()
        self._token = ""

    def new_link(self) -> None:
        """Announce a link that works once."""
        with self._lock:
            self._token = token = secrets.token_urlsafe(32)
        self._announce(token)

    def proof_of(self, name: str) -> str | None:
        """With what a session of this name goes on."""
        if self.logins is None:
            return LINK_PROOF if name == "" else None
        return self.logins.proof_of(name)

    def by_link(self, token: str, old_cookie: str) -> str | None:
        """The cookie of a new session; None for a link that was used, or never was one."""
        if self.logins is not None:
            return None
        with self._lock:
            if not (self._token and hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode())):
                return None
            self._token = ""
        self.new_link()
        return self._open("", LINK_PROOF, old_cookie)

    def by_password(self, name: str, password: str, old_cookie: str) -> str | float | None:
        """The cookie of a new session; None for a wrong name or password; else the seconds until the next attempt."""
        found = self.logins.check(name, password) if self.logins else None
        return self._open(name, found, old_cookie) if isinstance(found, str) else found

    def _open(self, name: str, proof: str, old_cookie: str) -> str:
        # A new cookie for each login: whoever knew the one before must not come in with this person.
        if old_cookie:
            self.sessions.close(old_cookie)
        return self.sessions.open(name, proof)[0]
