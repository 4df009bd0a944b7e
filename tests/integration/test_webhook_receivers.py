"""The documents' receivers verify what the product sends, drop repetitions, and refuse everything else."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from producers.report import Report
from tests.integration.conftest import ROOT
from tests.model.conformance import report
from tests.support.fakes import TurnedClock
from tests.support.receiver import SECRET
from tests.support.servers import free_port
from tests.support.waiting import until
from worker.clock import Clock, SystemClock
from worker.ledger.webhooks import Delivery
from worker.webhook_settings import WebhookSettings
from worker.webhooks.sending import Attempted, Result, Sending

REFUSED = (Result.FAILED, "HTTP 401")


class Running:
    """A receiver that runs, and what it printed."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.process, self.url = process, f"http://127.0.0.1:{port}/reports"

    def sent(self, told: Report, secret: str = SECRET, clock: Clock | None = None) -> Attempted:
        settings = WebhookSettings(url=self.url, secret=secret)  # type: ignore[arg-type]
        delivery = Delivery("1-0", told.command_id, told.outcome.value, 1, 1)
        return Sending(settings, clock or SystemClock()).attempt(delivery, told.model_dump_json(), 2)

    def printed(self) -> list[str]:
        """Everything that it printed; it ends."""
        self.process.terminate()
        return self.process.communicate(timeout=60)[0].splitlines()


@pytest.fixture(params=["python", "js"])
def receiver(
    request: pytest.FixtureRequest, tmp_path: Path, require_service: Callable[[str, object], None]
) -> Iterator[Running]:
    document = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
    (program,) = re.findall(rf"^```{request.param}\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    port = free_port()
    if request.param == "js":
        require_service("node", shutil.which("node"))
        command = ["node", "receiver.mjs"]
    else:
        server = ["uvicorn", "receiver:app", "--port", str(port), "--log-level", "warning", "--no-access-log"]
        command = [sys.executable, "-m", *server]
    (tmp_path / ("receiver.mjs" if request.param == "js" else "receiver.py")).write_text(program, encoding="utf-8")
    environment = {**os.environ, "WEBHOOK_SECRET": SECRET, "PORT": str(port)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)

    def listens() -> bool:
        assert process.poll() is None
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    try:
        until(listens, "the receiver", 60)
        yield Running(process, port)
    finally:
        process.kill()
        process.communicate()


def test_a_report_is_recorded_once_however_often_it_comes(receiver: Running) -> None:
    first, settled = report("unknown", command_id="a"), report("accepted", command_id="a")
    for each in (first, first, settled, first, settled):
        assert receiver.sent(each).result is Result.DELIVERED
    assert receiver.printed() == ["a unknown", "a accepted"]


def test_what_is_signed_by_nobody_or_was_recorded_long_ago_is_refused(receiver: Running) -> None:
    other = SECRET.replace("A", "B")
    refused = [
        receiver.sent(report("accepted", command_id="a"), other),
        receiver.sent(report("accepted", command_id="a"), clock=TurnedClock(ms=1_000_000_000_000)),
    ]
    assert [(each.result, each.said) for each in refused] == [REFUSED] * 2
    assert receiver.sent(report("accepted", command_id="a"), f"{other} {SECRET}").result is Result.DELIVERED
    assert receiver.printed() == ["a accepted"]
