"""Which libraries are heard, and from which level on."""

import logging

import pytest

from worker.library_logs import NO_DEBUG, SILENT, limit_library_logs

LEVELS = [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL]


@pytest.mark.parametrize(
    ("name", "heard"),
    [
        # What quotes requests and answers, and each module below it, also one that is imported later.
        *((name, []) for name in (*SILENT, "urllib3.connectionpool", "urllib3.of.tomorrow", "requests.adapters")),
        # A lost connection is worth a line; what was in a message is not.
        *((name, LEVELS[1:]) for name in (*NO_DEBUG, "kombu.connection", "redis.connection")),
        # The table names those that are bound, and no more.
        *((name, LEVELS) for name in ("orders.executor", "celery.worker.consumer", "a.library.of.somebody")),
    ],
)
def test_what_quotes_a_message_is_not_heard(name: str, heard: list[int], caplog: pytest.LogCaptureFixture) -> None:
    """Whatever level the worker runs at."""
    limit_library_logs()
    with caplog.at_level(logging.DEBUG):
        for level in LEVELS:
            logging.getLogger(name).log(level, "said")
    assert [record.levelno for record in caplog.records] == heard


def test_a_level_of_its_own_does_not_make_a_silent_logger_heard(caplog: pytest.LogCaptureFixture) -> None:
    """A library may set one, for a module of its own."""
    logger = logging.getLogger("urllib3.connectionpool")
    logger.setLevel(logging.DEBUG)
    limit_library_logs()
    logger.error("said")
    logger.setLevel(logging.NOTSET)
    assert not caplog.records
