"""Options, settings and error handling that the operator's commands share."""

import getpass
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from producers.cli import completion
from producers.cli.output import exit_on_error, failure, note
from producers.cli.settings import check_urls
from producers.printable import printable
from producers.redaction import redacted_url
from producers.redis.client import open_client
from producers.signing import PrivateKey, SigningError
from worker import settings as worker_settings
from worker.clock import SystemClock
from worker.ledger.base import LedgerUnavailable, NoSuchCommand, StillOpen
from worker.ledger.halts import HaltScope, parse_halt_scope
from worker.operations.operator import NotUnknown, OperatorService
from worker.operations.outages import ledger_outage
from worker.public_keys import PublicKeys, parse
from worker.settings import WorkerSettings
from worker.watched_file import FileUnusable, read_file

IdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="The command's id.", autocompletion=completion.command_ids)
]
WhoOption = Annotated[
    str | None, typer.Option("--who", metavar="NAME", help="Who decides; default: this user and machine.")
]
YesOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask for confirmation; required without a terminal.")
]
AccountOption = Annotated[
    str | None,
    typer.Option(
        "--account",
        "-a",
        metavar="ALIAS",
        help="Only this account; default: every account.",
        autocompletion=completion.accounts,
    ),
]
CommandOption = Annotated[
    str | None,
    typer.Option(
        "--command",
        metavar="COMMAND",
        help="close, submit, cancel, withdraw or positions; default: all that a halt stops without --all.",
        autocompletion=completion.commands,
    ),
]


def operator_key(settings: WorkerSettings, who: str | None, where: str, *, as_json: bool) -> PrivateKey | None:
    """The key that signs what the operator of this machine does; None where ``ORDERS_OPERATOR_KEY_FILE`` is not set.
    Exit with a message if it can't be used, or ``who`` names somebody else than its owner."""
    if not settings.operator_key_file:
        return None
    try:
        key = PrivateKey.from_file(Path(settings.operator_key_file))
    except SigningError as error:
        message = f"ORDERS_OPERATOR_KEY_FILE: {error}"
        raise failure(message, "SettingsError", where=where, as_json=as_json) from None
    if who not in (None, key.by):
        message = f"the key of ORDERS_OPERATOR_KEY_FILE is that of {key.by}, who can't sign as {printable(str(who))}"
        raise failure(message, "Usage", where=where, as_json=as_json)
    return key


def known_keys(settings: WorkerSettings) -> PublicKeys | None:
    """The public keys of operators that this machine knows, or None."""
    path = settings.auth.keys_file
    if not path:
        return None
    try:
        return parse(read_file(Path(path)))
    except FileUnusable as error:
        note(f"ORDERS_AUTH__KEYS_FILE: {path}: {error}. No signature is checked")
        return None


def actor_name(given: str | None, key: PrivateKey | None = None) -> str:
    """The name that is recorded for an act: the owner of the key that signs it, else the given one, or this user and
    machine."""
    if key:
        return key.by
    if given:
        return given
    user = "unknown"
    with suppress(OSError, KeyError):
        user = getpass.getuser()
    return f"{user}@{socket.gethostname()}"


READ_ONLY = frozenset(
    {
        *("orders unknown", "orders held", "orders journal", "orders list", "orders dead", "orders dead show"),
        *("orders policy show", "orders policy check", "orders venue-check"),
    }
)
"""Commands that change nothing, so that an interrupt leaves nothing to check."""


@contextmanager
def operator_command(where: str, *, as_json: bool) -> Iterator[WorkerSettings]:
    """Load the settings, and turn every expected error in the block into a message and an exit code."""
    with exit_on_error(where, as_json=as_json):
        settings = worker_settings.load()
        check_urls(settings)
        try:
            yield settings
        except (NoSuchCommand, NotUnknown, StillOpen, LedgerUnavailable) as error:
            message = str(error)
            if isinstance(error, LedgerUnavailable):
                message = f"{redacted_url(settings.ledger_url)}: {ledger_outage(error)}"
            raise failure(message, type(error).__name__, where=where, as_json=as_json) from None
        except KeyboardInterrupt:
            hint = "" if where in READ_ONLY else ". orders journal shows whether it had been done before"
            message = f"interrupted{hint}"
            raise failure(message, "Interrupted", where=where, as_json=as_json) from None


@contextmanager
def open_operator(settings: WorkerSettings, key: PrivateKey | None = None) -> Iterator[OperatorService]:
    """An :class:`OperatorService` whose client tries once, because a person waits; ``key`` signs."""
    from worker.assembly import build_ledger

    with open_client(settings.ledger_url) as client:
        yield OperatorService(client, build_ledger(settings, client), SystemClock(), key)


@contextmanager
def acting_operator(
    where: str, who: str | None, *, as_json: bool
) -> Iterator[tuple[WorkerSettings, OperatorService, str]]:
    """Settings, service and recorded name for a command that changes something; see :func:`operator_command`."""
    with operator_command(where, as_json=as_json) as settings:
        key = operator_key(settings, who, where, as_json=as_json)
        with open_operator(settings, key) as operator:
            yield settings, operator, actor_name(who, key)


def scope_of(account: str | None, command: str | None, where: str, *, as_json: bool) -> HaltScope:
    """The scope that the options name; exit with a message if it is invalid."""
    try:
        return parse_halt_scope(account, command)
    except ValueError as error:
        raise failure(str(error), "Usage", where=where, as_json=as_json) from None
