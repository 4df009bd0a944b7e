"""The examples of docs/examples: with real servers and workers over HTTP, and by their own tests."""

import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from producers.async_client import AsyncOrderClient
from tests.integration.conftest import Ids
from tests.support.servers import free_port
from tests.support.stack import Stack
from tests.support.waiting import until

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
CLOSE = {"account": "main", "pair": "USD_BTC_PERP", "qty": "0.001"}


@pytest.fixture
def service(stack: Stack) -> Iterator[httpx.Client]:
    """The service as uvicorn serves it."""
    spec = importlib.util.spec_from_file_location("closing_service", EXAMPLES / "closing_service.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules["closing_service"] = module  # FastAPI resolves annotations by it
    spec.loader.exec_module(module)
    app, port = module.create_app(lambda: AsyncOrderClient(stack.queue_settings)), free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    try:
        until(lambda: server.started, "the service")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def test_the_service_of_fastapi(stack: Stack, service: httpx.Client, ids: Ids) -> None:
    """A request that is repeated is executed once, and what nobody knows is told as that."""
    key, lost = ids("key"), ids("lost")
    for _ in range(2):
        accepted = service.post("/closes", json=CLOSE, headers={"Idempotency-Key": key})
        assert (accepted.status_code, accepted.json()["id"]) == (202, f"web-{key}")
    told = service.get(accepted.json()["report"], params={"wait": 30})
    assert (told.status_code, told.json()["outcome"], told.json()["executed"]) == (200, "accepted", True)
    other = service.post("/closes", json={**CLOSE, "qty": "0.002"}, headers={"Idempotency-Key": key})
    assert other.status_code == 409
    stack.drained()
    assert len(stack.venue.executions(path="/auth/close")) == 1
    stack.venue.fault("cut_after", path="close")
    service.post("/closes", json=CLOSE, headers={"Idempotency-Key": lost})
    told = service.get(f"/closes/{lost}", params={"wait": 30})
    assert (told.json()["outcome"], told.json()["reason"], told.json()["executed"]) == ("unknown", "lost_reply", None)
    assert service.get(f"/closes/{ids('none')}").status_code == 202


def test_the_examples_own_tests() -> None:
    """As the service's author runs them: the fixture comes from the plugin."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "producers.testing.plugin"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    options = ["-c", os.devnull, "--rootdir", str(EXAMPLES), str(EXAMPLES)]
    done = subprocess.run(
        [*command, *options], cwd=EXAMPLES, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
