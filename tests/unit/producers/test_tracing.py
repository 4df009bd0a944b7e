"""Traces without the real thing: what is missing is told."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Missing())
"""


def run(program: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a program where OpenTelemetry is not installed."""
    command = [sys.executable, "-c", WITHOUT + program]
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)


def test_a_worker_says_what_is_missing() -> None:
    """A worker that was told to trace and silently does not."""
    done = run("import worker; worker.celery", ORDERS_TRACES="true")
    assert done.returncode == 1
    assert "install ./producers '.[otel]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_client_says_what_is_missing() -> None:
    """The same for a sender."""
    done = run(
        "from producers.client import OrderClient\nfrom producers.settings import SettingsError\n"
        "try:\n    OrderClient()\nexcept SettingsError as error:\n    print(error)",
        ORDERS_TRACES="true",
    )
    assert "install ./producers '.[otel]'" in done.stdout, done.stderr


def test_nothing_is_needed_where_nothing_is_traced() -> None:
    """It is an extra."""
    done = run("import worker; worker.celery; from producers.client import OrderClient; OrderClient()")
    assert done.returncode == 0, done.stderr
