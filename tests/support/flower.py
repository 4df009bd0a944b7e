"""Flower, started as an operator starts it: `celery -A worker flower`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.support.processes import ProcessNode
from tests.support.servers import free_port
from tests.support.waiting import until

USER, PASSWORD = "night", "watch-0451"


@dataclass(frozen=True)
class Page:
    """What Flower answered."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        """The text, read as JSON."""
        return json.loads(self.text)


class FlowerNode(ProcessNode):
    """Flower with a login; `get` and `post` are its HTTP API."""

    def __init__(self, folder: Path, environment: Mapping[str, str], options: Sequence[str] = ()) -> None:
        super().__init__("flower", folder, environment)
        self.port = free_port()
        self.options = tuple(options)

    def arguments(self) -> Sequence[str]:
        """The command line of the documentation, with this test's port."""
        given = [f"--port={self.port}", "--address=127.0.0.1", f"--basic_auth={USER}:{PASSWORD}", *self.options]
        # Flower always waits as long as this, and workers here answer in milliseconds.
        return [*self.celery, "-A", "worker", "flower", *given, "--inspect_timeout=300"]

    def is_up(self) -> bool:
        """Whether the pages answer."""
        try:
            return self.get("/healthcheck").status == 200
        except requests.RequestException:
            return False

    @property
    def url(self) -> str:
        """The URL of the pages."""
        return f"http://127.0.0.1:{self.port}"

    def sees(self, worker: str) -> None:
        """Wait until Flower knows a worker; it asks all workers what they are."""
        until(
            lambda: "registered" in self.get("/api/workers", refresh="1").json.get(worker, {}),
            lambda: f"Flower seeing {worker}\n{self.tail()}",
        )

    def get(self, path: str, *, login: bool = True, **query: str) -> Page:
        """Get a page."""
        return self._page("GET", path, login=login, params=query)

    def post(self, path: str, body: Mapping[str, Any] | None = None, **form: str) -> Page:
        """Press a button: send what the page's script sends, or the API's JSON body."""
        return self._page("POST", path, data=form or None, json=body)

    def _page(self, method: str, path: str, *, login: bool = True, **options: Any) -> Page:
        auth = (USER, PASSWORD) if login else None
        answer = requests.request(method, self.url + path, auth=auth, timeout=20, **options)
        return Page(answer.status_code, answer.text)
