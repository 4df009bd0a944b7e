"""Parsing of typed values, confirmation, and the options that several commands share."""

import os
import re
import sys
import time
from dataclasses import dataclass
from typing import Annotated

import typer

from producers.cli import completion
from producers.cli.forms import wants_document
from producers.cli.output import failure, when
from producers.printable import printable
from producers.setting_sources import PROFILE, SettingsError, check_profile

_DURATION = re.compile(r"\+?(\d+(?:\.\d+)?)(ms|s|m|h)", re.ASCII)
_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}

_MAX_DEADLINE_LENGTH = 32
"""Characters of a deadline. A longer text is not one, and may have more digits than Python converts."""

_LATEST_MS = 10**13
"""UNIX milliseconds, in the year 2286: more digits must be microseconds."""


_EARLIEST_MS = 10**12
"""UNIX milliseconds, in the year 2001: fewer digits must be seconds."""


def _use_profile(name: str | None) -> None:
    if name is None:
        return
    try:
        check_profile(name, os.environ)
    except SettingsError as error:
        raise failure(str(error), "SettingsError", where="orders", as_json=wants_document()) from None
    # For the rest of this process, and for the worker that `orders worker` becomes.
    os.environ[PROFILE] = name


ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="Settings of [profiles.NAME] in the file of ORDERS_CONFIG_FILE, as ORDERS_PROFILE does.",
        callback=_use_profile,
        autocompletion=completion.profiles,
        expose_value=False,
        is_eager=True,
    ),
]


def is_plausible(deadline: int) -> bool:
    """Whether a deadline can be UNIX milliseconds, and not seconds or microseconds. It may have passed."""
    return _EARLIEST_MS <= deadline < _LATEST_MS


def now_ms() -> int:
    """UNIX milliseconds."""
    return time.time_ns() // 1_000_000


def deadline_ms(text: str, now: int) -> int:
    """A deadline in UNIX milliseconds, from UNIX milliseconds or a duration from ``now``: ``30s``, ``1.5m``,
    ``500ms``, ``1h``.

    Raises:
        typer.BadParameter: the text is neither.
    """
    short = len(text) <= _MAX_DEADLINE_LENGTH
    if short and text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    duration = _DURATION.fullmatch(text.strip()) if short else None
    if duration is None:
        shown = text if short else f"{text[:_MAX_DEADLINE_LENGTH]}…"
        raise typer.BadParameter(
            f"{shown!r} is neither UNIX milliseconds nor a duration such as 30s, 5m, 500ms",
            param_hint="--deadline",
        )
    return now + int(float(duration[1]) * _MILLISECONDS[duration[2]])


def given_deadline(text: str | None) -> int | None:
    """Like :func:`deadline_ms`, for a deadline in the future. One in the past is a mistake, such as a missing unit or
    seconds in place of milliseconds.

    Raises:
        typer.BadParameter: the deadline has passed, or is implausibly late.
    """
    if text is None:
        return None
    now = now_ms()
    deadline = deadline_ms(text, now)
    if now < deadline < _LATEST_MS:
        return deadline
    problem = f"{text} has passed ({when(deadline)}): nothing would be sent"
    if deadline >= _LATEST_MS:
        problem = f"{text} is after the year 2286"
    raise typer.BadParameter(
        f"{problem}. A number is UNIX milliseconds, as in {now + 30_000}; a duration from now has a unit, as in 30s",
        param_hint="--deadline",
    )


def one_of(yes: bool, no: bool, option: str) -> bool | None:
    """The value of a flag and its opposite; None when neither is given.

    Raises:
        typer.BadParameter: both are given.
    """
    if yes and no:
        raise typer.BadParameter(f"{option} and its opposite exclude each other", param_hint=option)
    return yes if yes or no else None


def confirm(question: str, otherwise: str, *, where: str, yes: bool, as_json: bool) -> None:
    """Ask for confirmation at the terminal unless ``yes``; exit when it is declined, or when there is no terminal.

    ``otherwise`` describes the state after that. Unlike Typer's ``confirm``, it does not use standard output.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        message = f"{otherwise}: without a terminal to ask for confirmation, --yes is required"
        raise failure(message, "NotConfirmed", where=where, as_json=as_json)
    print(f"{printable(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        answer = sys.stdin.readline().strip().lower()
    except KeyboardInterrupt:
        message = f"interrupted: {otherwise}"
        raise failure(message, "Interrupted", where=where, as_json=as_json) from None
    if answer not in ("y", "yes"):
        raise failure(otherwise, "Declined", where=where, as_json=as_json)


AccountOption = Annotated[
    str,
    typer.Option(
        "--account",
        "-a",
        metavar="ALIAS",
        help="Alias of the account, as configured for the workers.",
        autocompletion=completion.accounts,
    ),
]
PairOption = Annotated[str, typer.Option("--pair", metavar="PAIR", help="The venue's market, such as USD_BTC_PERP.")]
DeadlineOption = Annotated[
    str | None,
    typer.Option(
        "--deadline",
        metavar="WHEN",
        help="Nothing is sent after this: UNIX milliseconds, or a duration from now such as 30s, 5m, 500ms.",
    ),
]
IdOption = Annotated[
    str | None,
    typer.Option(
        "--id",
        metavar="ID",
        help="Command id, 1 to 255 characters; default: a new one. An id is never executed twice, so repeat a failed "
        "send with the same id and the same arguments.",
    ),
]
LaneOption = Annotated[
    str | None,
    typer.Option(
        "--lane",
        metavar="NAME",
        help="Begin it only when the command before it in this lane of the account has ended: 1 to 64 visible ASCII "
        "characters.",
    ),
]
WaitOption = Annotated[
    bool,
    typer.Option("--wait", "-w", help="Wait for the report; the exit code is that of its outcome."),
]
TimeoutOption = Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0, help="How long --wait waits.")]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Validate it and show what would be sent. Nothing is signed, sent or connected to."),
]


@dataclass(frozen=True, slots=True)
class SendOptions:
    """How a command is sent and its report read."""

    command_id: str | None = None
    wait: bool = False
    timeout: float = 60.0
    """Seconds."""
    as_json: bool = False
    lane: str | None = None
    dry_run: bool = False
