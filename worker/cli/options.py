"""What the operator's commands share: options, the settings, the desk, and errors told as exit codes."""

import getpass
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

import redis
import typer

from producers.cli.output import exit_on_error, failure
from producers.cli.settings import check_urls
from producers.redaction import redacted_url, server_error_text
from producers.redis.client import open_client
from worker import settings as worker_settings
from worker.clock import SystemClock
from worker.ledger.base import LedgerUnavailable, NoSuchCommand, StillOpen
from worker.ledger.halts import HaltScope, scope
from worker.ledger.redis import RedisLedger
from worker.operations.operator import NotUnknown, OperatorService
from worker.settings import WorkerSettings

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The command's id.")]
WhoOption = Annotated[
    str | None, typer.Option("--who", metavar="NAME", help="Who decides; this user and machine unless given.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where there is no terminal.")]
AccountOption = Annotated[
    str | None, typer.Option("--account", "-a", metavar="ALIAS", help="This account's; every account's unless given.")
]
CommandOption = Annotated[
    str | None,
    typer.Option(
        "--command", metavar="COMMAND", help="close, cancel, withdraw or positions; unless given, all but what passes."
    ),
]


def actor_name(given: str | None) -> str:
    """Who acts: as given, or this user and machine."""
    if given:
        return given
    user = "unknown"
    with suppress(OSError, KeyError):
        user = getpass.getuser()
    return f"{user}@{socket.gethostname()}"


LOOKING = frozenset({"orders unknown", "orders journal", "orders dead"})
"""Programs that change nothing, so that nothing is to be found out after Ctrl-C."""


@contextmanager
def operator_command(where: str, *, as_json: bool) -> Iterator[WorkerSettings]:
    """The settings; every expected error inside the block becomes its message and exit code."""
    with exit_on_error(where, as_json=as_json):
        settings = worker_settings.load()
        check_urls(settings)
        try:
            yield settings
        except (NoSuchCommand, NotUnknown, StillOpen, LedgerUnavailable) as error:
            message = str(error)
            if isinstance(error, LedgerUnavailable):
                message = f"{redacted_url(settings.ledger_url)}: {_why(error)}"
            raise failure(message, type(error).__name__, where=where, as_json=as_json) from None
        except KeyboardInterrupt:
            hint = "" if where in LOOKING else ". orders journal tells whether it was done before"
            message = f"interrupted{hint}"
            raise failure(message, "Interrupted", where=where, as_json=as_json) from None


def _why(outage: LedgerUnavailable) -> str:
    """A refusal in the server's words; of a server that is away, what the connection says, and what to do."""
    cause = outage.__cause__
    if cause is None or isinstance(cause, redis.ResponseError):
        return str(outage)
    return f"{server_error_text(cause)}. Start it, or correct ORDERS_LEDGER_URL (or ORDERS_REDIS_URL)"


@contextmanager
def open_operator(settings: WorkerSettings) -> Iterator[OperatorService]:
    """The desk, over a client that tries once: a person waits."""
    with open_client(settings.ledger_url) as client:
        ledger = RedisLedger(client, keep_ms=int(settings.ledger.keep_days * 86_400_000))
        yield OperatorService(client, ledger, SystemClock())


def scope_of(account: str | None, command: str | None, where: str, *, as_json: bool) -> HaltScope:
    """The scope that the options name, or the exit that says why there is none."""
    try:
        return scope(account, command)
    except ValueError as error:
        raise failure(str(error), "Usage", where=where, as_json=as_json) from None
