"""How messages reach the broker together with their intents.

Where broker and ledger are one Redis-compatible server and one login, both go there in one transaction, intents first:
one round trip and one visit to the server's disk. Elsewhere Celery publishes the messages while the intents are on
their way to the ledger.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from typing import Any

from celery import Celery

from producers.commands import COMMANDS
from producers.intents import Intent, intent_commands, recorded
from producers.message_text import MessageTexts, is_listened_to
from producers.publishing import BROKER_SECONDS
from producers.redaction import shown_arguments
from producers.redis.direct import DirectClient
from producers.redis.url import one_server
from producers.settings import QueueSettings

MAX_TOGETHER = 1000
"""Commands in one transaction, which keeps the server from everything else while it is executed."""


class Sender:
    """Sends messages and their intents; safe to share among threads."""

    def __init__(self, settings: QueueSettings, app: Celery, ledger: DirectClient | None) -> None:
        self._app, self._ledger, self._replicas = app, ledger, settings.intent_replicas
        # WAIT does not work in a transaction.
        together = ledger is not None and not settings.intent_replicas
        self._databases = one_server(settings.broker_url, settings.ledger_url) if together else None
        self._texts = MessageTexts(app)

    def send(self, messages: Sequence[Intent], headers: Sequence[Mapping[str, str]]) -> None:
        """Send messages, and record the intents of those that change something. ``headers`` are further ones of each.

        Raises:
            redis.RedisError, OSError, KombuError: some of them may be sent, and some intents recorded.
        """
        if self._ledger is None or not self.in_transactions:
            self.send_by_celery(messages, headers)
            return
        for commands in self.transactions(messages, headers):
            self._ledger.transaction(commands)

    @property
    def in_transactions(self) -> bool:
        """Whether messages and intents go to the server together, by :meth:`transactions`; else by Celery."""
        return self._databases is not None and not is_listened_to()

    def transactions(
        self, messages: Sequence[Intent], headers: Sequence[Mapping[str, str]]
    ) -> Iterator[list[tuple[Any, ...]]]:
        """The commands of each transaction, on a connection to the ledger's database."""
        assert self._databases is not None  # noqa: S101 - the caller has looked
        for first in range(0, len(messages), MAX_TOGETHER):
            part = slice(first, first + MAX_TOGETHER)
            yield self._commands(messages[part], headers[part], *self._databases)
        # Celery keeps with a task's result what the task has sent.
        if parent := self._app.current_worker_task:
            for each in messages:
                parent.add_trail(self._app.AsyncResult(each.command_id))

    def _commands(
        self, messages: Sequence[Intent], headers: Sequence[Mapping[str, str]], broker: int, ledger: int
    ) -> list[tuple[Any, ...]]:
        """The commands of a transaction that begins and ends in the ledger's database."""
        write, parent = self._texts.write, self._app.current_worker_task
        texts = [(each.task, write(each, more, parent)) for each, more in zip(messages, headers, strict=True)]
        by_queue = groupby(texts, key=lambda text: text[0])
        pushes = [("LPUSH", queue, *(text for _, text in group)) for queue, group in by_queue]
        if broker != ledger:
            pushes = [("SELECT", broker), *pushes, ("SELECT", ledger)]
        return [*intent_commands(_mutating(messages)), *pushes]

    def send_by_celery(self, messages: Sequence[Intent], headers: Sequence[Mapping[str, str]]) -> None:
        """Send messages over Celery's connection to the broker while their intents are on their way; see
        :meth:`send`."""
        with (
            self._recording_intents(_mutating(messages)),
            self._app.producer_pool.acquire(block=True, timeout=BROKER_SECONDS) as producer,
            producer.batch(),
        ):
            for each, more in zip(messages, headers, strict=True):
                self._app.send_task(
                    each.task,
                    kwargs=each.kwargs,
                    task_id=each.command_id,
                    headers={**each.headers(), **more},
                    producer=producer,
                    retry=False,
                    **message_options(each),
                )

    def _recording_intents(self, intents: Sequence[Intent]) -> AbstractContextManager[None]:
        """Record the intents of mutating commands. A query needs none, and costs the ledger nothing."""
        if not intents or self._ledger is None:
            return nullcontext()
        return recorded(self._ledger, intents, replicas=self._replicas)


def message_options(message: Intent) -> dict[str, Any]:
    """The queue, and the form of the arguments that monitors may show."""
    return {
        "queue": message.task,
        "argsrepr": "()",
        "kwargsrepr": shown_arguments(message.task, message.kwargs),
    }


def _mutating(messages: Sequence[Intent]) -> list[Intent]:
    return [each for each in messages if COMMANDS[each.task].mutating]
