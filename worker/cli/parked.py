"""`orders parked`: what waits at the servers and why, and running cool-downs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import Annotated, Any

import redis
import typer

from producers.cli.output import emit, exit_if_stdout_fails, failure, note, when
from producers.cli.plugins import JsonOption, command_app
from producers.cli.tables import print_table
from producers.redaction import redacted_url
from producers.redis.client import open_client
from producers.redis.url import is_redis
from worker.assembly import build_accounts, build_ledger
from worker.cli.options import (
    AccountOption,
    WhoOption,
    acting_operator,
    operator_command,
    scope_of,
)
from worker.ledger.cool_downs import CoolDowns
from worker.ledger.halts import ANY
from worker.operations.approvals import ApprovalService
from worker.operations.outages import outage_text
from worker.operations.parked import AccountCoolDown, NoCoolDown, Overview, ParkedService
from worker.operations.times import age
from worker.settings import WorkerSettings

parked = command_app()
WHERE = "orders parked"


@parked.command()
def _parked(
    account: AccountOption = None,
    command: Annotated[
        str | None,
        typer.Option(
            "--command", metavar="COMMAND", help="Only close, submit, cancel, withdraw or positions; default: all."
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=0, help="How many commands are listed.")] = 50,
    end: Annotated[
        str | None,
        typer.Option("--end-cool-down", metavar="ALIAS", help="End what stops this account, and its host."),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why a cool-down is ended; the journal keeps it.")
    ] = "",
    who: WhoOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what waits at the servers, and why: commands that are parked until they are due, commands that are held for
    approval, messages that wait by account, lanes, and running cool-downs.

    Arguments are not shown. With --end-cool-down the account's commands are sent again, without a probe: if the venue
    still wants no requests, that makes it worse.

    Example: `orders parked --account main --limit 20`
    """
    scope = scope_of(account, command, WHERE, as_json=as_json)
    if end is not None:
        _end_cool_down(end, reason.strip(), who, as_json=as_json)
        return
    named = "" if scope.account == ANY else scope.account
    with operator_command(WHERE, as_json=as_json) as settings, _service(settings, as_json=as_json) as service:
        found = service.overview(named, command or "", limit)
    if as_json:
        emit(_as_json(found))
    else:
        _show(found)


def _end_cool_down(account: str, reason: str, who: str | None, *, as_json: bool) -> None:
    if not reason:
        raise failure("--reason is required", "Usage", where=WHERE, as_json=as_json)
    with (
        acting_operator(WHERE, who, as_json=as_json) as (settings, _, name),
        _service(settings, as_json=as_json) as service,
    ):
        try:
            ended = service.end_cool_down(account, who=name, why=reason)
        except NoCoolDown as error:
            raise failure(str(error), "NoSuchCoolDown", where=WHERE, as_json=as_json) from None
    with exit_if_stdout_fails(WHERE, f"The cool-down of {account} is ended: orders journal"):
        if as_json:
            emit({"ended": [_cool_down_json(each) for each in ended], "who": name})
        for each in () if as_json else ended:
            print(f"Ended: the cool-down of {each.named}. What waits begins again within the workers' retry budget.")


@contextmanager
def _service(settings: WorkerSettings, *, as_json: bool) -> Iterator[ParkedService]:
    url = settings.broker_url
    if not is_redis(url):
        note(f"{WHERE}: {redacted_url(url)} is not Redis: nothing is parked there, and commands wait in their workers")
    try:
        # An id in a message may be no text.
        with (
            open_client(settings.ledger_url) as client,
            open_client(url, decode_responses=False) if is_redis(url) else nullcontext() as broker,
        ):
            approvals = ApprovalService(client, build_ledger(settings, client))
            yield ParkedService(broker, CoolDowns(client), approvals, build_accounts(settings))
    except (redis.RedisError, OSError, ValueError) as error:
        message = f"{redacted_url(url)}: {outage_text(error, 'ORDERS_BROKER_URL')}"
        raise failure(message, "BrokerUnavailable", where=WHERE, as_json=as_json) from None


def _show(found: Overview) -> None:
    shown = [(columns, rows) for columns, rows in _tables(found) if rows]
    for number, (columns, rows) in enumerate(shown):
        if number:
            print()
        print_table(columns, rows)
    if not shown:
        print("Nothing waits.")
    more = sum(each.count for each in found.groups) + found.unread - len(found.commands)
    if found.commands and more:
        note(f"{WHERE}: {more} more; --limit N lists more, and --account and --command others")


def _tables(found: Overview) -> Iterator[tuple[Sequence[str], list[Sequence[object]]]]:
    """The columns and rows of each table: what stops commands first, and the list that may be long last."""
    now = found.now
    yield ("cool-down of", "until", "left", "why"), [_cool_down_row(each) for each in found.cool_downs]
    yield (
        ("command", "account", "waits for", "count", "oldest", "next due"),
        [(e.command, e.account, e.waits_for, e.count, age(e.oldest, now), _due(e.next_due, now)) for e in found.groups],
    )
    yield (
        ("queue", "account", "waiting", "the next was enqueued"),
        [(f"orders.{e.command}", e.account, e.count, _enqueued(e.next_enqueued_at, now)) for e in found.queued],
    )
    yield (
        ("lane", "account", "held by", "queue", "since", "behind it"),
        [
            (e.name, e.account, e.holder or "the next one", e.queue, age(e.since_ms, now), e.waiting)
            for e in found.lanes
        ],
    )
    yield (
        ("id", "command", "account", "waits for", "since", "due"),
        [
            (e.command_id or "?", e.command, e.account, e.waits_for, age(e.since, now), _due(e.due, now))
            for e in found.commands
        ],
    )


def _cool_down_row(each: AccountCoolDown) -> tuple[object, ...]:
    stored = each.stored
    if stored.left_ms:
        left = f"{stored.left_ms / 1000:.1f} s"
    else:
        left = "over: a probe is under way" if stored.probe else "over: the next command is the probe"
    return each.named, when(stored.until_ms), left, stored.why


def _due(due: int, now: int) -> str:
    """When something is due, as a duration from now."""
    return f"in {age(now, due)}" if due > now else f"overdue by {age(due, now)}"


def _enqueued(at: int | None, now: int) -> str:
    return "?" if at is None else f"{age(at, now)} ago"


def _cool_down_json(each: AccountCoolDown) -> dict[str, Any]:
    stored = each.stored
    return {
        "accounts": list(each.accounts),
        "key": stored.key,
        "since": stored.since_ms,
        "until": stored.until_ms,
        "left_ms": stored.left_ms,
        "probe": stored.probe,
        "why": stored.why,
    }


def _as_json(found: Overview) -> dict[str, Any]:
    return {
        "now": found.now,
        "cool_downs": [_cool_down_json(each) for each in found.cool_downs],
        "summary": [asdict(each) for each in found.groups],
        "unread": found.unread,
        "queued": [asdict(each) for each in found.queued],
        "lanes": [asdict(each) for each in found.lanes],
        "commands": [asdict(each) for each in found.commands],
    }
