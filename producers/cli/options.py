"""Values as a person types them, and the options that several commands share."""

import re
import sys
import time
from typing import Annotated

import typer

from producers.cli.output import failure, when
from producers.printable import printable

_DURATION = re.compile(r"\+?(\d+(?:\.\d+)?)(ms|s|m|h)", re.ASCII)
_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}

_LONGEST = 32
"""Characters of a deadline; what is longer is none, and may be more than Python reads as a number."""

_LATEST = 10**13
"""UNIX milliseconds, in 2286: whoever writes more digits means microseconds."""

_SENDING = "Sending"


def now_ms() -> int:
    """UNIX milliseconds."""
    return time.time_ns() // 1_000_000


def deadline_ms(text: str) -> int:
    """A deadline as UNIX milliseconds, from those or from a duration from now on: ``30s``, ``1.5m``, ``500ms``, ``1h``.

    Raises:
        typer.BadParameter: when it is neither.
    """
    short = len(text) <= _LONGEST
    if short and text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    duration = _DURATION.fullmatch(text.strip()) if short else None
    if duration is None:
        shown = text if short else f"{text[:_LONGEST]}…"
        raise typer.BadParameter(
            f"{shown!r} is neither UNIX milliseconds nor a duration such as 30s, 5m, 500ms",
            param_hint="--deadline",
        )
    return now_ms() + int(float(duration[1]) * _MILLISECONDS[duration[2]])


def given_deadline(text: str | None) -> int | None:
    """See :func:`deadline_ms`; one that is over is a slip, of a forgotten unit or of seconds for milliseconds.

    Raises:
        typer.BadParameter: nothing would be sent, or no clock reaches it.
    """
    if text is None:
        return None
    now = now_ms()
    deadline = deadline_ms(text)
    if now < deadline < _LATEST:
        return deadline
    wrong = f"{text} has passed ({when(deadline)}): nothing would be sent"
    if deadline >= _LATEST:
        wrong = f"{text} is after the year 2286"
    raise typer.BadParameter(
        f"{wrong}. A number is UNIX milliseconds, as in {now + 30_000}; a duration from now has a unit, as in 30s",
        param_hint="--deadline",
    )


def one_of(yes: bool, no: bool, option: str) -> bool | None:
    """What a flag and its opposite say; None when neither was given.

    Raises:
        typer.BadParameter: both were.
    """
    if yes and no:
        raise typer.BadParameter(f"{option} and its opposite were given", param_hint=option)
    return yes if yes or no else None


def confirm(question: str, otherwise: str, *, where: str, yes: bool, as_json: bool) -> None:
    """Ask the person at the terminal, unless ``yes`` was said; the exit where they decline, or can't be asked.

    ``otherwise`` says what is so then. Standard output stays out of it, which Typer's own ``confirm`` doesn't manage.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        message = f"{otherwise}: there is no terminal at which to ask. Give --yes to do it without being asked"
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
    str, typer.Option("--account", "-a", metavar="ALIAS", help="Account to act for: an alias that the workers know.")
]
PairOption = Annotated[str, typer.Option("--pair", metavar="PAIR", help="Everstrike market, such as USD_BTC_PERP.")]
DeadlineOption = Annotated[
    str | None,
    typer.Option(
        "--deadline",
        metavar="WHEN",
        help="After this nothing is sent: UNIX milliseconds, or a duration from now such as 30s, 5m, 500ms.",
        rich_help_panel=_SENDING,
    ),
]
IdOption = Annotated[
    str | None,
    typer.Option(
        "--id",
        metavar="ID",
        help="Command id, 1 to 255 characters; a new one unless given. One id is never executed twice, so a send that "
        "failed is repeated with the same id and the same arguments.",
        rich_help_panel=_SENDING,
    ),
]
WaitOption = Annotated[
    bool,
    typer.Option(
        "--wait", "-w", help="Wait for the report; the exit code tells the outcome.", rich_help_panel=_SENDING
    ),
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout", metavar="SECONDS", min=0, help="How long --wait waits for the report.", rich_help_panel=_SENDING
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON document on standard output, for errors too.", rich_help_panel=_SENDING)
]
