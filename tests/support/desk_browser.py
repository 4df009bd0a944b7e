"""A desk in this process over a real server, and a browser for it that sends what browsers send."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path

import httpx
from starlette.testclient import TestClient

from producers.signing import PrivateKey
from worker.desk.app import build_app
from worker.desk.entrance import Entrance
from worker.desk.logins import Logins
from worker.desk.server import address_of
from worker.desk.services import DeskServices
from worker.desk.sessions import Sessions
from worker.settings import WorkerSettings

HOST = "127.0.0.1:8088"
FIELD = re.compile(r'<input [^>]*name="([^"]+)"[^>]*?value="([^"]*)"')


class Browser(TestClient):
    """Sends Host and Origin as a browser does for a page of the desk; keeps cookies, follows no redirect."""

    def __init__(self, app: object) -> None:
        super().__init__(app, base_url=f"http://{HOST}", follow_redirects=False)  # type: ignore[arg-type]
        self.headers["origin"] = f"http://{HOST}"

    def form(self, path: str, action: str) -> dict[str, str]:
        """The hidden and filled fields of the first form with this action, on the page of this path."""
        page = self.get(path).text
        found = page[page.index(f'action="{action}"') :]
        return fields_of(found[: found.index("</form>")])

    def csrf(self) -> str:
        """The token of this session."""
        return self.form("/halts", "/logout")["csrf"]

    def confirm(self, action: str, fields: dict[str, str], **given: str) -> httpx.Response:
        """Send a form, and confirm what its page shows."""
        page = self.post(action, data=fields)
        assert page.status_code == 200, page.text
        start = page.text.index(f'<form method="post" action="{action}"')
        kept = fields_of(page.text[start:])
        return self.post(action, data={**kept, **given})


def fields_of(html: str) -> dict[str, str]:
    """Names and values of the inputs."""
    return {unescape(name): unescape(value) for name, value in FIELD.findall(html)}


class Desk:
    """A desk, and what it has printed."""

    def __init__(self, settings: WorkerSettings, key: PrivateKey | None = None) -> None:
        self.tokens: list[str] = []
        desk = settings.desk
        self.address = address_of("127.0.0.1", 8088, desk.public_url)
        self.now = 0.0
        self.sessions = Sessions(desk.idle_minutes * 60, desk.session_hours * 3600, lambda: self.now)
        logins = Logins(Path(desk.logins_file), lambda: self.now) if desk.logins_file else None
        self.entrance = Entrance(self.sessions, self.address, logins, self.tokens.append)
        self.services = DeskServices(settings, key)
        self.app = build_app(self.services, self.entrance)
        if logins is None:
            self.entrance.new_link()

    def stranger(self) -> Browser:
        """A browser that has not entered."""
        return Browser(self.app)

    def browser(self) -> Browser:
        """A browser that has entered by the link."""
        found = self.stranger()
        assert found.get(f"/enter?token={self.tokens[-1]}").status_code == 303
        return found


@contextmanager
def desk_over(settings: WorkerSettings, key: PrivateKey | None = None) -> Iterator[Desk]:
    """A desk that is closed at the end."""
    desk = Desk(settings, key)
    try:
        yield desk
    finally:
        desk.services.close()
