"""`orders list`: the commands of the journal, the last one first."""

import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from producers.cli.forms import emit_line, json_option
from producers.cli.options import now_ms
from producers.cli.output import failure, note, when
from producers.cli.plugins import command_app
from producers.cli.tables import print_table
from producers.redis.client import open_client
from producers.report import Outcome
from worker.assembly import build_ledger
from worker.cli.options import AccountOption, operator_command, scope_of
from worker.operations.history import Filter, History, Line
from worker.operations.history_search import NO_END, OPEN

list = command_app()  # noqa: A001 - the program finds a command by its name
WHERE = "orders list"
OUTCOMES = (OPEN, *(each.value for each in Outcome))
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)", re.ASCII)
_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MAX_TIME_LENGTH = 40


@list.command()
def _list(
    account: AccountOption = None,
    command: Annotated[
        str | None, typer.Option("--command", metavar="COMMAND", help="Only close, submit, cancel or withdraw.")
    ] = None,
    outcome: Annotated[
        str | None,
        typer.Option(
            "--outcome",
            metavar="OUTCOME",
            help="Only accepted, rejected, not_sent, unknown, or open: not ended.",
            autocompletion=lambda incomplete: [each for each in OUTCOMES if each.startswith(incomplete)],
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Not before: 2h, 7d, 2026-03-01T12:00Z, or UNIX ms."),
    ] = None,
    id_prefix: Annotated[str, typer.Option("--id-prefix", metavar="TEXT", help="Only those whose ids begin so.")] = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="How many commands.")] = 50,
    as_json: Annotated[bool, json_option("Print a JSON document for each command, one a line: -o json.")] = False,
) -> None:
    """List commands that have begun, were held, or ended without, the last one first, as far back as the ledger's
    journal reaches.

    Queries are not in it, nor is what waits in a queue: see orders parked. For all of one command: orders show ID.

    Example: `orders list --outcome unknown --since 24h`
    """
    scope_of(account, command, WHERE, as_json=as_json)
    if outcome is not None and outcome not in OUTCOMES:
        raise failure(f"--outcome must be one of {', '.join(OUTCOMES)}", "Usage", where=WHERE, as_json=as_json)
    since_ms = 0 if since is None else _since_ms(since)
    wanted = Filter(account or "", command or "", outcome or "", since_ms, id_prefix)
    lines, more = _search(wanted, limit, as_json=as_json)
    if as_json:
        for each in lines:
            emit_line(asdict(each))
    elif lines:
        print_table(("began", "id", "command", "account", "outcome"), [_row(each) for each in lines])
    else:
        print("No such commands.")
    if more:
        note(f"{WHERE}: there may be more; --limit N lists more")


def _search(wanted: Filter, limit: int, *, as_json: bool) -> "tuple[tuple[Line, ...], bool]":
    """Up to ``limit`` commands, and whether there may be more."""
    lines: tuple[Line, ...] = ()
    with operator_command(WHERE, as_json=as_json) as settings, open_client(settings.ledger_url) as client:
        history, before = History(client, build_ledger(settings, client)), ""
        while len(lines) < limit:
            page = history.search(wanted, limit - len(lines), before)
            lines, before = lines + page.lines, page.more
            if not before:
                break
    return lines, bool(before)


def _row(line: Line) -> "tuple[object, ...]":
    outcome = "?" if line.reason == NO_END else line.outcome or OPEN
    how = f"{outcome} / {line.reason}".removesuffix(" / ")
    return when(line.began_at), line.command_id, line.command or "?", line.account or "?", how


def _since_ms(text: str) -> int:
    """A time in UNIX ms: from a duration before now, from a date and time (UTC, unless it says otherwise), or from UNIX
    ms."""
    given = text.strip()
    try:
        if duration := _DURATION.fullmatch(given):
            return max(0, now_ms() - int(duration[1]) * _MS[duration[2]])
        if given.isascii() and given.isdecimal() and len(given) == 13:
            return int(given)
        if len(given) > _MAX_TIME_LENGTH or given.isdecimal():
            raise ValueError
        at = datetime.fromisoformat(given)
        return max(0, int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000))
    except (ValueError, OverflowError):
        shown = given if len(given) <= _MAX_TIME_LENGTH else f"{given[:_MAX_TIME_LENGTH]}…"
        message = f"{shown!r} is no duration such as 2h or 7d, no date such as 2026-03-01T12:00Z, and no UNIX ms"
        raise typer.BadParameter(message, param_hint="--since") from None
