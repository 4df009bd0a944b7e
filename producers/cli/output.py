"""Hints of the `orders` program, and its errors as messages with exit codes.

Standard output has the result only: for programs one document, also for errors (:mod:`producers.cli.forms`), and for
people tables (:mod:`producers.cli.tables`). Hints, progress and errors for people go to standard error.
"""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import typer

from producers.cli.exit_codes import ERRORS, ExitCode, error_code, error_type, expected_errors
from producers.cli.forms import emit as emit
from producers.errors import BrokerUnavailable, ChainBroken, IdReused, InvalidCommand
from producers.printable import printable

_NOT_WRITTEN = {errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EFBIG, errno.EDQUOT}
"""Errors of a write to standard output that end the program with a message."""
AGAIN_SECONDS = 5.0
"""After this time an interrupt comes again that has not ended what it interrupted, and then the program ends."""


def note(message: str) -> None:
    """Write a hint to standard error."""
    print(printable(message), file=sys.stderr)


@contextmanager
def exit_if_stdout_fails(where: str, otherwise: str) -> Iterator[None]:
    """Exit with code 1 and a message on standard error when standard output cannot be written: a full disk, or a reader
    that has gone. ``otherwise`` describes what has happened all the same."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in _NOT_WRITTEN:
            raise
        # Python would try to write the rest of the buffer again when it ends.
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - no path of ours
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        note(f"{where}: standard output can't be written ({error.strerror}). {otherwise}")
        raise SystemExit(ExitCode.FAILED) from None


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM (``timeout``) and SIGHUP (a terminal that is gone) interrupt the block as Ctrl-C does. The program would
    end without a word otherwise, and nobody would have the ids of what it has sent.

    An interrupt that a library swallows, as Python does in a destructor, comes again: it would be waited for in vain.
    Nor does the program wait for ever for a lock that the interrupt has left held; it ends without its last steps.
    """
    is_interrupted = False
    again = signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    usual = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    replaced = {each for each, now in usual.items() if now in (signal.SIG_DFL, signal.default_int_handler)}

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal is_interrupted
        is_interrupted = True
        if again:
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        signal.default_int_handler(number, frame)

    try:
        for each in replaced | ({signal.SIGALRM} if again else set()):
            signal.signal(each, interrupt)
        yield
    finally:
        if again:
            signal.signal(signal.SIGALRM, _leave if is_interrupted else signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS if is_interrupted else 0)
        for each in replaced:
            signal.signal(each, usual[each])


def _leave(*_: object) -> None:
    with suppress(Exception):
        sys.stdout.flush()
    os._exit(ExitCode.INTERRUPTED)


def failure(
    message: str, error_type: str, *, where: str, as_json: bool, code: ExitCode | None = None, **more: Any
) -> typer.Exit:
    """Print an error and return the exit to raise, with the code that :data:`ERRORS` has for its type.

    ``where`` is the command as it was typed (``orders close``); ``more`` are further fields of the JSON error.
    """
    if as_json:
        emit({"error": {"type": error_type, "message": message, **more}})
    else:
        note(f"{where}: {message}")
    return typer.Exit(ERRORS[error_type] if code is None else code)


@contextmanager
def exit_on_error(where: str, *, as_json: bool, command_id: str | None = None, again: str = "") -> Iterator[None]:
    """Turn every expected error in the block into a message and an exit code.

    ``again`` says how to repeat a command of which it is not known whether it was enqueued.
    """
    try:
        yield
    except expected_errors() as error:
        more: dict[str, Any] = {} if command_id is None else {"command_id": command_id}
        if isinstance(error, InvalidCommand):
            more["problems"] = list(error.problems)
        if isinstance(error, IdReused | ChainBroken):
            more["report"] = error.report
        message = _as_typed(error) if isinstance(error, InvalidCommand) else str(error)
        if isinstance(error, BrokerUnavailable) and again:
            known = ", ".join(error.command_ids)
            message = f"{error.trouble}; not known to be enqueued: {known}. {again}"
        code = error_code(error)
        raise failure(message, error_type(error), where=where, as_json=as_json, code=code, **more) from None


def _as_typed(error: InvalidCommand) -> str:
    """The problems with each argument named as its option: ``order_id`` becomes ``--order-id``."""
    split = (problem.partition(" ") for problem in error.problems)
    return "; ".join(f"--{name.replace('_', '-')} {rest}" for name, _, rest in split)


def when(milliseconds: int | None) -> str:
    """UNIX milliseconds as a UTC time for people; empty for None."""
    if milliseconds is None:
        return ""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"
