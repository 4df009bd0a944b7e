"""Reads and awaits the reports of commands in the result backend."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Protocol

import redis

from producers.enqueued import EnqueuedCommand, id_of
from producers.errors import UNREACHABLE, ReportPending
from producers.redaction import client_error_text
from producers.redis.client import own_connection
from producers.report import Report
from producers.report_checks import AwaitedReports, ReportChecker, checked_seconds
from producers.results import RESULT_KEY, NeverSent, stored_results

POLL_SECONDS = 1.0
"""How often a waiting client polls. Normally the announcement of a result comes first, but it may be lost."""
RETRY_SECONDS = 0.2
"""How long a waiting client pauses before it connects to a result backend again that it could not reach."""


class Results(Protocol):
    """Where results are stored. Both methods raise redis.RedisError and OSError when it cannot be reached."""

    def read(self, command_ids: Sequence[str]) -> list[bytes | None]:
        """The stored results of these ids; None where there is none, or none that can be read."""

    def announced(self, command_ids: Sequence[str]) -> AbstractContextManager[Callable[[float], object]]:
        """Listen for results of these ids. The block gets a function that waits for the next one, for some seconds at
        most."""


class RedisResults:
    """The result backend."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def read(self, command_ids: Sequence[str]) -> list[bytes | None]:
        """See :class:`Results`."""
        return stored_results(self._client, command_ids)

    @contextmanager
    def announced(self, command_ids: Sequence[str]) -> Iterator[Callable[[float], object]]:
        """See :class:`Results`."""
        # Not redis-py's PubSub: Ctrl-C may leave a lock of it held, for which its destructor waits for ever.
        with own_connection(self._client) as connection:
            connection.send_command("SUBSCRIBE", *map(RESULT_KEY.format, command_ids))
            yield partial(_await_message, connection)


def _await_message(connection: Any, seconds: float) -> None:
    """Read what the server sends, until it has announced a result and nothing more has come, or the time is over."""
    ends_at, left, is_announced = time.monotonic() + seconds, max(0.0, seconds), False
    while left >= 0 and connection.can_read(timeout=0 if is_announced else left):
        # The first ones say to what the connection is subscribed. The argument is for a URL with ?protocol=3.
        is_announced |= connection.read_response(push_request=True)[0] in ("message", b"message")
        left = ends_at - time.monotonic()


class ReportReader:
    """The reading half of :class:`producers.client.OrderClient`; safe to share among threads."""

    def __init__(self, results: Results, checker: ReportChecker) -> None:
        self._results = results
        self._checker = checker

    def report(self, command: EnqueuedCommand | str) -> Report | None:
        """See :meth:`producers.client.OrderClient.report`."""
        awaited = AwaitedReports([command])
        try:
            for report in self._collect(awaited):
                return report
        except (redis.RedisError, OSError) as error:
            raise ReportPending(id_of(command), 0, f"{UNREACHABLE}: {client_error_text(error)}") from error
        awaited.raise_if_unverified()
        return None

    def wait_many(self, commands: Sequence[EnqueuedCommand | str], timeout: float) -> list[Report]:
        """See :meth:`producers.client.OrderClient.wait_many`."""
        reports = {report.command_id: report for report in self.as_completed(commands, timeout)}
        return [reports[id_of(command)] for command in commands]

    def as_completed(self, commands: Sequence[EnqueuedCommand | str], timeout: float) -> Iterator[Report]:
        """See :meth:`producers.client.OrderClient.as_completed`."""
        deadline = time.monotonic() + self._patience(checked_seconds(timeout))
        awaited = AwaitedReports(commands)
        cause = ""
        while awaited.open:
            try:
                # Subscribe before the first look, so that no report is missed in between.
                with self._results.announced(awaited.open) as pause:
                    while awaited.open:
                        remaining, found = deadline - time.monotonic(), False
                        for report in self._collect(awaited):
                            found = True
                            yield report
                        # While the caller worked on a report, others may have come.
                        if not found and remaining <= 0:
                            break
                        if awaited.open:
                            pause(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
                cause = ""
            except (redis.RedisError, OSError) as error:
                cause = f"{UNREACHABLE}: {client_error_text(error)}"
                time.sleep(min(RETRY_SECONDS, max(0.0, deadline - time.monotonic())))
            if awaited.open and time.monotonic() >= deadline:
                awaited.give_up(timeout, cause)

    def _patience(self, timeout: float) -> float:
        """How many seconds it really waits."""
        return timeout

    def _collect(self, awaited: AwaitedReports) -> Iterator[Report]:
        """Fetch the reports that are there, in one round trip."""
        command_ids = awaited.open
        for command_id, raw in zip(command_ids, self._results.read(command_ids), strict=True):
            report = None
            for command in awaited.of(command_id):
                result = self._checker.read(command, raw)
                if isinstance(result, NeverSent):
                    self._checker.check_never_sent(command, result)
                    result = None
                report = awaited.found(command_id, result) or report
            if report is not None:
                yield report
