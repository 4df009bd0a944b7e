"""Which libraries are heard, and from which level on."""

import logging

import pytest

from worker.library_logs import NO_DEBUG, SILENT, limit_library_logs

LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


def heard(name: str, caplog: pytest.LogCaptureFixture) -> list[int]:
    """The levels at which a logger says something."""
    caplog.clear()
    for level in LEVELS:
        logging.getLogger(name).log(level, "said")
    return [record.levelno for record in caplog.records]


@pytest.mark.parametrize(
    "name", [*SILENT, "urllib3.connectionpool", "urllib3.a.module.of.tomorrow", "requests.adapters"]
)
def test_what_quotes_requests_and_answers_is_not_heard(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nor a module below it, also one that is imported later."""
    limit_library_logs()
    with caplog.at_level(logging.DEBUG):
        assert heard(name, caplog) == []


@pytest.mark.parametrize("name", [*NO_DEBUG, "kombu.connection", "redis.connection"])
def test_what_quotes_messages_in_its_details_is_heard_without_them(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A lost connection is worth a line; what was in a message is not."""
    limit_library_logs()
    with caplog.at_level(logging.DEBUG):
        assert heard(name, caplog) == list(LEVELS[1:])


@pytest.mark.parametrize("name", ["orders.executor", "celery.worker.consumer", "a.library.of.somebody"])
def test_others_are_heard_as_ever(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """The table names those that are bound, and no more."""
    limit_library_logs()
    with caplog.at_level(logging.DEBUG):
        assert heard(name, caplog) == list(LEVELS)
