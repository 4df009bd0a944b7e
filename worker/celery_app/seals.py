"""The checks of seals in a worker: of messages that it takes, and of intents that it publishes again; and the key that
signs reports."""

import logging
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import redis
from celery import Celery, signals, states

from producers.commands import COMMANDS
from producers.intents import Intent
from producers.report_signature import sign_report
from producers.results import RECORD_KEY
from producers.signing import PrivateKey, SigningError
from worker.celery_app.lifecycle import refuse_to_start_if
from worker.clock import SystemClock
from worker.execution.policy.producer_auth import ProducerAuth
from worker.execution.policy.refusal_journal import RefusalJournal
from worker.ledger.journal_writer import JournalWriter
from worker.public_keys import KeysFile
from worker.settings import WorkerSettings

logger = logging.getLogger("orders.seals")


class Seals:
    """What checks seals in one worker, where the settings ask for it. The file of public keys is read by workers, and
    not by a client that only imports the app."""

    def __init__(self, settings: WorkerSettings, ledger: redis.Redis, count: Callable[[str, str, str], None]) -> None:
        """``count`` as in :class:`ProducerAuth`."""
        self._settings = settings
        self._ledger = ledger
        self._count = count

    @cached_property
    def _keys(self) -> KeysFile:
        return KeysFile(Path(self._settings.auth.keys_file))

    @cached_property
    def _auth(self) -> ProducerAuth:
        return ProducerAuth(
            self._settings.auth.modes,
            self._keys,
            clock=SystemClock(),
            keep_ms=int(self._settings.ledger.keep_days * 86_400_000),
            count=self._count,
            journal=RefusalJournal(JournalWriter(self._ledger).write).add,
        )

    def check_commands_of(self, app: Celery) -> None:
        """Have a worker of this app check the seals of the commands that it takes."""

        def start(**_: object) -> None:
            for name in COMMANDS:
                app.tasks[name].producer_auth = self._auth

        if self._settings.auth.checked:
            signals.worker_init.connect(start, weak=False)

    def check_intent(self, intent: Intent) -> None:
        """Check a command that is about to be published again.

        Raises:
            NotTrusted: it must not be published.
        """
        if self._settings.auth.checked:
            self._auth.check_intent(intent, lambda command_id: bool(self._ledger.exists(RECORD_KEY.format(command_id))))

    def problem_at_start(self) -> str:
        """Why a worker must not start with these settings; empty when it may. Where seals are required and the keys
        can't be read, it would make a dead letter of every command."""
        auth = self._settings.auth
        problem = auth.problem_with(self._settings.ledger.keep_days)
        if problem or "require" not in auth.modes.values() or not self._keys.problem:
            return problem
        return f"seals are required, and {auth.keys_file} (ORDERS_AUTH__KEYS_FILE) can't be used: {self._keys.problem}"

    def keys_usable(self) -> bool | None:
        """Whether the file of public keys can be used now; None where seals are not checked."""
        if not self._settings.auth.checked:
            return None
        self._keys.current()  # it is looked at when a command comes, and none may come
        return not self._keys.problem


Sign = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Signs a report: returns it with its signature."""


def signed_result(sign: Sign, result: Any, state: str) -> Any:
    """The result of a command, which is a report, or an error with a report, as Celery encodes it; signed."""
    try:
        return {**result, "exc_message": [sign(result["exc_message"][0])]} if state == states.FAILURE else sign(result)
    except SigningError as error:
        # A report that is not stored would be worse than one that its reader does not believe.
        logger.error("a report can't be signed, and is stored unsigned: %s", error)  # noqa: TRY400
        return result


def report_signer(key_file: str) -> Sign | None:
    """A function that signs reports with the key of a file, which it reads at its first call; None without a file.

    A worker does not start with a file that can't be used. The function raises:
        SigningError: the file can't be used, or the report can't be signed.
    """
    if not key_file:
        return None
    key = cache(lambda: PrivateKey.from_file(Path(key_file)))

    def problem() -> str:
        try:
            key()
        except SigningError as error:
            return f"ORDERS_REPORT_KEY_FILE: {error}"
        return ""

    refuse_to_start_if(problem)
    return lambda report: sign_report(report, key())
