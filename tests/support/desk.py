"""A desk in the process of the test, and somebody who looks at it without a browser."""

import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import httpx
from starlette.testclient import TestClient

from producers.signing import PrivateKey
from worker.desk.app import build_app
from worker.desk.entrance import Entrance
from worker.desk.server import address_of
from worker.desk.services import DeskServices
from worker.desk.sessions import Sessions
from worker.settings import WorkerSettings

PORT = 8088
ORIGIN = f"http://127.0.0.1:{PORT}"
_INPUT = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)"')


@dataclass
class Desk:
    """A desk with an open session."""

    settings: WorkerSettings
    key: PrivateKey | None = None
    links: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.services = DeskServices(self.settings, self.key)
        entrance = Entrance(Sessions(1800, 28_800), address_of("127.0.0.1", PORT, ""), None, self.links.append)
        app = build_app(self.services, entrance)
        self.client = TestClient(app, base_url=ORIGIN, follow_redirects=True, raise_server_exceptions=True)
        entrance.new_link()
        self.client.get(f"/enter?token={self.links[-1]}")
        self.page: httpx.Response | None = None

    def get(self, path: str, **query: Any) -> str:
        """The text of a page, which must be there."""
        answer = self.client.get(path, params=query or None)
        assert answer.status_code == 200, answer.text
        return answer.text

    def post(self, path: str, page: str = "", **fields: str) -> httpx.Response:
        """Send a form of a page: its hidden fields, and these."""
        hidden = dict(_INPUT.findall(page or self.get("/")))
        data = {name: unescape(value) for name, value in hidden.items()} | fields
        headers = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
        return self.client.post(path, data=data, headers=headers)

    def confirm(self, path: str, **fields: str) -> str:
        """Send a form, and confirm what is shown: the page after that. ``who`` and ``why`` are typed there."""
        words = {name: fields.pop(name) for name in ("who", "why") if name in fields}
        shown = self.post(path, **fields)
        assert shown.status_code == 200, shown.text
        done = self.post(path, shown.text, **words)
        assert done.status_code == 200, done.text
        return done.text

    def close(self) -> None:
        """Close the desk's connections."""
        self.services.close()


def seen(page: str) -> str:
    """What a person reads on a page: without tags, each run of blanks as one."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())
