"""Gives a worker the check of seals and the key that signs reports; one whose keys are broken does not start."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from celery import Celery, signals

from producers.commands import COMMANDS
from producers.report_signature import sign_report
from producers.signing import PrivateKey, SigningError
from worker.auth_settings import AuthSettings
from worker.execution.policy.producer_auth import ProducerAuth
from worker.public_keys import KeysFile


def check_seals(
    app: Celery, settings: AuthSettings, keys: Callable[[], KeysFile], build: Callable[[], ProducerAuth]
) -> None:
    """Have a worker of this app check the seals of commands, where the settings ask for it.

    With ``require`` a worker does not start with a file of public keys that can't be used: it would make a dead letter
    of every command.
    """

    def start(**_: object) -> None:
        problem = keys().problem
        if problem and "require" in settings.modes.values():
            # A signal's receiver may raise any Exception without effect.
            raise SystemExit(f"the settings can't be used: ORDERS_AUTH__KEYS_FILE: {settings.keys_file}: {problem}")
        for name in COMMANDS:
            app.tasks[name].producer_auth = build()

    if settings.checked:
        signals.worker_init.connect(start, weak=False)


def report_signer(key_file: str) -> Callable[[Mapping[str, Any]], Mapping[str, Any]] | None:
    """A function that signs reports with the key of a file, which it reads at its first call; None without a file.

    A worker does not start with a file that can't be used. The function raises:
        SigningError: the file can't be used, or the report can't be signed.
    """
    if not key_file:
        return None
    key = cache(lambda: PrivateKey.from_file(Path(key_file)))

    def start(**_: object) -> None:
        try:
            key()
        except SigningError as error:
            raise SystemExit(f"the settings can't be used: ORDERS_REPORT_KEY_FILE: {error}") from None

    signals.worker_init.connect(start, weak=False)
    return lambda report: sign_report(report, key())
