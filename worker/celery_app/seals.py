"""Puts the check of seals into a worker: into the tasks of its commands, and in the way of a worker without keys."""

from collections.abc import Callable

from celery import Celery, signals

from producers.commands import COMMANDS
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
