"""`orders desk`: what an operator sees and does, in a browser."""

import getpass
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producers.cli.output import emit, failure, note
from producers.cli.plugins import JsonOption, command_app
from worker.cli.options import operator_command, operator_key
from worker.settings import WorkerSettings

if TYPE_CHECKING:
    from worker.desk.server import Listening

desk = command_app()
WHERE = "orders desk"


@desk.command()
def _desk(
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0 selects a free port.")] = 8088,
    add_login: Annotated[
        str | None,
        typer.Option("--add-login", metavar="NAME", help="Add a login, or change its password, and start nothing."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the desk until Ctrl-C: what an operator sees and does, in a browser, without scripts.

    Without logins it listens on this machine alone and prints a link that works once; another one is printed when it
    was used. `--add-login NAME` writes ORDERS_DESK__LOGINS_FILE. The ledger's login must be an operator's.

    Example: `orders desk --port 8088`
    """
    with operator_command(WHERE, as_json=as_json) as settings:
        if add_login is not None:
            _add_login(settings, add_login, as_json=as_json)
        else:
            _serve(settings, host, port, as_json=as_json)


def _serve(settings: WorkerSettings, host: str, port: int, *, as_json: bool) -> None:
    from worker.desk.server import DeskRefused, Listening, run_desk

    key = operator_key(settings, None, WHERE, as_json=as_json)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)

    def ready(listening: Listening) -> None:
        _show(listening, as_json=as_json)

    try:
        run_desk(settings, key, host, port, ready, lambda text: note(f"{WHERE}: {text}"))
    except KeyboardInterrupt:
        note(f"{WHERE}: stopped")
    except DeskRefused as refusal:
        raise failure(str(refusal), "DeskRefused", where=WHERE, as_json=as_json) from None


def _show(listening: "Listening", *, as_json: bool) -> None:
    if as_json:
        emit({"url": listening.url, "link": listening.link or None})
    elif listening.link:
        print(f"The desk is at {listening.url}. This link opens it once; when it was used, the next one follows here:")
        print(f"\n  {listening.link}\n")
    else:
        print(f"The desk is at {listening.url}. Ctrl-C stops it.")
    sys.stdout.flush()


def _add_login(settings: WorkerSettings, name: str, *, as_json: bool) -> None:
    from worker.desk.logins import add_login, password_problem
    from worker.watched_file import FileUnusable

    path = settings.desk.logins_file
    if not path:
        raise failure("set ORDERS_DESK__LOGINS_FILE to the file to write", "Usage", where=WHERE, as_json=as_json)
    password = _password(as_json=as_json)
    if problem := password_problem(password):
        raise failure(problem, "Usage", where=WHERE, as_json=as_json)
    try:
        add_login(Path(path), name, password)
    except ValueError as error:
        raise failure(f"--add-login: {error}", "Usage", where=WHERE, as_json=as_json) from None
    except (FileUnusable, OSError) as error:
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise failure(f"{path}: {text}", "SettingsError", where=WHERE, as_json=as_json) from None
    if as_json:
        emit({"login": name, "file": path})
    else:
        print(f"{name} may log in at the desk by {path}. A desk that runs reads it by itself.")


def _password(*, as_json: bool) -> str:
    """The password, typed twice at a terminal, or one line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline(1000).rstrip("\r\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise failure("the two are not the same", "Usage", where=WHERE, as_json=as_json)
    return first
