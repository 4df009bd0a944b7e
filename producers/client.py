"""Enqueue commands and read their reports.

>>> client = OrderClient()  # doctest: +SKIP
>>> sent = client.enqueue(Close(account="main", pair="USD_BTC_PERP"))  # doctest: +SKIP
>>> report = client.wait(sent, timeout=30).raise_for_outcome()  # doctest: +SKIP

The command id is made before the first attempt to enqueue. When the broker fails, it is not known whether the message
got through; enqueueing the same command again with the same id is then safe, because an id is executed once.
"""

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

import redis

from producers.base_client import SENDING_ERRORS, BaseClient
from producers.commands import Command
from producers.enqueued import EnqueuedCommand
from producers.lanes import OnUnknown
from producers.publishing import BROKER_SECONDS, publisher_app, publisher_options
from producers.redis.client import connect
from producers.redis.direct import DirectClient
from producers.report import Report
from producers.report_checks import ReportChecker
from producers.report_reader import RedisResults, ReportReader
from producers.results import forget_never_sent
from producers.sending import Sender
from producers.settings import QueueSettings
from producers.signing import PrivateKey
from producers.tracing import enqueue_spans

__all__ = ["EnqueuedCommand", "OrderClient", "Sent", "publisher_app", "publisher_options"]

Sent = EnqueuedCommand
"""The former name, kept for services that import it."""


class OrderClient(BaseClient):
    """A synchronous client; safe to share among threads. Close it, or use it as a context manager.

    It survives a fork only if the broker is Redis. With RabbitMQ each process needs a client of its own.
    """

    def __init__(self, settings: QueueSettings | None = None, *, signer: PrivateKey | None = None) -> None:
        """See :class:`BaseClient`."""
        super().__init__(settings, signer=signer)
        self._open()

    def _open(self) -> None:
        self._results = _connect(self._settings.result_backend)
        self._direct_results = DirectClient(self._results)
        self._ledger = DirectClient(_connect(self._settings.ledger_url)) if self._settings.intents else None
        self._sender = Sender(self._settings, self._app, self._ledger)
        self._reader = ReportReader(RedisResults(self._results), ReportChecker(self._settings, self._ledger))

    # -- sending -------------------------------------------------------------------------------------------------

    def enqueue(
        self,
        command: Command,
        command_id: str | None = None,
        *,
        lane: str | None = None,
        lane_on_unknown: OnUnknown = "hold",
    ) -> EnqueuedCommand:
        """Enqueue one command, under a new id unless one is given.

        In a ``lane`` of its account it begins when the command before it in that lane has ended. Should the outcome of
        a command be unknown, the lane waits until that is settled; or goes on, with ``lane_on_unknown="pass"``.

        Raises:
            ValueError: as :meth:`command_id`; or the lane can't be one.
            BrokerUnavailable: within 5 s, when it is not known to be enqueued. Try again with the id in the error.
        """
        return self.enqueue_many([(command, command_id)], lane=lane, lane_on_unknown=lane_on_unknown)[0]

    def enqueue_many(
        self,
        commands: Iterable[Command | tuple[Command, str | None]],
        *,
        lane: str | None = None,
        lane_on_unknown: OnUnknown = "hold",
    ) -> list[EnqueuedCommand]:
        """Enqueue many commands, each alone or with its id, a thousand in one round trip; in one lane, or in none.

        Their intents are recorded in the ledger's database, so commands that this method has returned are not lost with
        the broker.

        Raises:
            BrokerUnavailable: within 5 s; some of them may be enqueued. Try all again with the ids in the error.
        """
        batch = self._batch(commands, lane, lane_on_unknown)
        with enqueue_spans(batch.named, traced=self._settings.traces) as headers:
            try:
                self._sender.send(batch.messages, headers)
            except SENDING_ERRORS as error:
                raise batch.unavailable(error) from error
        forget_never_sent(self._direct_results, batch.to_forget)
        return list(batch.sent)

    # -- reading -------------------------------------------------------------------------------------------------

    def report(self, command: EnqueuedCommand | str) -> Report | None:
        """The command's report, or None while there is none.

        Raises:
            IdReused: the report is another command's; only when called with what :meth:`enqueue` returned.
            ChainBroken: the command was never sent, because the task before it in its chain or chord was not accepted.
            ReportUnverified: what is stored is not signed by any of the ``ORDERS_REPORT_KEYS``, where they are set.
            ReportPending: the result backend cannot be reached.
        """
        return self._reader.report(command)

    def wait(self, command: EnqueuedCommand | str, timeout: float = 60.0) -> Report:
        """Wait for the command's report, for ``timeout`` seconds at most, also through an outage of the result backend.

        Raises:
            ReportPending: there is no report in time. The command is not lost: wait again.
            ReportUnverified: in all that time there was only a report that is not believed.
            IdReused, ChainBroken: see :meth:`report`.
        """
        return self.wait_many([command], timeout)[0]

    def wait_many(self, commands: Sequence[EnqueuedCommand | str], timeout: float = 60.0) -> list[Report]:
        """Wait for all reports, in the order of the commands; see :meth:`wait`."""
        return self._reader.wait_many(commands, timeout)

    def as_completed(self, commands: Sequence[EnqueuedCommand | str], timeout: float = 60.0) -> Iterator[Report]:
        """The reports as they come, each id's once; see :meth:`wait`.

        An error is about one command and ends the iteration: begin another one with those that are still without a
        report.
        """
        return self._reader.as_completed(commands, timeout)

    def close(self) -> None:
        """Close every connection."""
        self._results.close()
        if self._ledger is not None:
            self._ledger.client.close()
        self._close_apps()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _connect(url: str) -> redis.Redis:
    return connect(url, timeout=BROKER_SECONDS)
