"""The file that tells a health check that the worker consumes."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import signals

from worker.celery_app.heartbeat_file import touch_on_heartbeat


@pytest.fixture(autouse=True)
def receivers() -> Iterator[None]:
    """The signal's receivers as they were before."""
    before = list(signals.heartbeat_sent.receivers or ())
    yield
    signals.heartbeat_sent.receivers = before


def test_a_heartbeat_makes_the_file_young(tmp_path: Path) -> None:
    """A worker that works, and whose container is called unhealthy."""
    file = tmp_path / "alive"
    touch_on_heartbeat(file)
    assert not file.exists()
    signals.heartbeat_sent.send(sender=None)
    os.utime(file, (0, 0))
    signals.heartbeat_sent.send(sender=None)
    assert file.stat().st_mtime > 0


def test_a_disk_that_refuses_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A heartbeat that fails, or a line in the log every two seconds, for the sake of a health check."""
    file = tmp_path / "no-such-folder" / "alive"
    touch_on_heartbeat(file)
    with caplog.at_level(logging.WARNING):
        signals.heartbeat_sent.send(sender=None)
        signals.heartbeat_sent.send(sender=None)
    (told,) = [record.message for record in caplog.records if "can't be touched" in record.message]
    assert str(file) in told
    assert "No such file or directory" in told
