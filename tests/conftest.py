"""Policy for all tests: what may be skipped, what counts as an integration test, and that nothing is left running."""

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
from hypothesis import HealthCheck, settings

T = TypeVar("T")

INTEGRATION_FOLDERS = {"integration", "faults", "alerts", "browser", "ha", "security", "stress"}
"""Folders whose tests start servers and worker processes: all of them carry the mark ``integration``."""

HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""Processes that Python itself starts and ends with the interpreter."""

LINGER_SECONDS = 3.0
"""How long a process that was told to end may take to be gone."""

# On a busy machine any text takes long, to be made or to be tested.
settings.register_profile("any machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs that tests start: run in the background, a shell has it ignored, and that is
    inherited (POSIX, asynchronous lists)."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark by folder, so that ``-m "not integration"`` is the fast part whatever a file forgot."""
    here = Path(__file__).parent
    for item in items:
        if INTEGRATION_FOLDERS.intersection(item.path.relative_to(here).parts[:1]):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def require_service() -> Callable[[str, object], None]:
    """``require_service(name, available)``: a missing service skips the test on a laptop and fails it when ``CI=true``.

    A skipped test in CI is a test that nobody runs any more and nobody misses.
    """

    def require(name: str, available: object) -> None:
        if available:
            return
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is missing, and in CI nothing may be skipped for that", pytrace=False)
        pytest.skip(f"{name} is missing")

    return require


@pytest.fixture(scope="session", autouse=True)
def no_process_left_behind() -> Iterator[None]:
    """Fail the run when a process that a test started is still there at its end; then end it.

    Found are descendants, and, by a mark in the environment that they inherit, orphans of processes that were killed.
    """
    mark = uuid.uuid4().hex
    os.environ["TEST_SESSION_MARK"] = mark
    yield
    del os.environ["TEST_SESSION_MARK"]
    _, left = psutil.wait_procs(_started_here(mark), timeout=LINGER_SECONDS)
    names = [f"{process.pid} {' '.join(_of(process.cmdline) or ())}" for process in left]
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=LINGER_SECONDS)
    if names:
        pytest.fail("tests left processes behind:\n" + "\n".join(names), pytrace=False)


def _started_here(mark: str) -> list[psutil.Process]:
    marked = [p for p in psutil.process_iter() if (_of(p.environ) or {}).get("TEST_SESSION_MARK") == mark]
    found = {*psutil.Process().children(recursive=True), *marked} - {psutil.Process()}
    # A zombie has ended; only nobody has asked how.
    running = [p for p in found if _of(p.status) not in (None, psutil.STATUS_ZOMBIE)]
    return [p for p in running if not any(helper in " ".join(_of(p.cmdline) or ()) for helper in HELPERS)]


def _of(ask: Callable[[], T]) -> T | None:
    """What a process says of itself; None when it is gone or somebody else's."""
    try:
        return ask()
    except (psutil.Error, OSError):
        return None
