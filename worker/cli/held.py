"""Commands of `orders` for commands that persons must approve: held, approve, deny.

They show amounts and addresses on the terminal, because a person decides by them; no log line does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from producers.cli.options import confirm
from producers.cli.output import emit, exit_if_stdout_fails, failure, note, when
from producers.cli.plugins import JsonOption, command_app
from producers.cli.tables import console as make_console
from producers.cli.tables import print_record, print_table
from producers.printable import printable
from producers.redis.client import open_client
from producers.signing import SigningError
from worker.assembly import build_ledger
from worker.cli.options import IdArgument, YesOption, operator_command, operator_key
from worker.operations.approvals import ApprovalService, HeldCommand, NotHeld, NotYours
from worker.operations.held_words import (
    MAX_SHOWN,
    approved_by,
    shown_arguments,
    still_needed,
    what_it_does,
    who_may,
)
from worker.operations.times import age
from worker.settings import WorkerSettings

held, approve, deny = (command_app() for _ in range(3))


@held.command()
def _held(as_json: JsonOption = False) -> None:
    """List the commands that wait for approval, the oldest first.

    Approvals are shown as they are stored; workers verify their signatures before they send anything.
    """
    with operator_command("orders held", as_json=as_json) as settings, _service(settings) as service:
        found, unreadable = service.held_and_unreadable()
    if as_json:
        emit({"held": [_as_json(each) for each in found], "unreadable": unreadable})
        return
    if found:
        columns = ("id", "account", "what", "held for", "until", "sent by", "approved by", "who may")
        print_table(columns, [_row(each) for each in found])
    else:
        print("No command waits for approval.")
    if unreadable:
        ids = printable(", ".join(unreadable), MAX_SHOWN)
        note(f"orders held: {len(unreadable)} can't be read, so nobody can decide about them: {ids}")


@approve.command()
def _approve(command_id: IdArgument, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Approve a command that waits for it, after you have seen what it does.

    The approval is signed with the key of ORDERS_OPERATOR_KEY_FILE and counts for this command with exactly these
    arguments, until the command is not held any more. Workers verify it against the policy's approvers. Once enough
    persons have approved, the command is sent within seconds. Asks for confirmation unless --yes is given; without a
    terminal --yes is required.

    Example: `orders approve 7d2f…`
    """
    _decide("orders approve", command_id, None, yes=yes, as_json=as_json)


@deny.command()
def _deny(
    command_id: IdArgument,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; the sender sees it.")],
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Deny a command that waits for approval: it ends as `not_sent/denied` within seconds.

    The denial is signed with the key of ORDERS_OPERATOR_KEY_FILE. One is enough, by anyone who may approve. Asks for
    confirmation unless --yes is given; without a terminal --yes is required.

    Example: `orders deny 7d2f… --reason "nobody at treasury knows of it"`
    """
    where = "orders deny"
    if not reason.strip():
        raise failure("--reason must say why", "Usage", where=where, as_json=as_json)
    _decide(where, command_id, reason.strip(), yes=yes, as_json=as_json)


def _decide(where: str, command_id: str, reason: str | None, *, yes: bool, as_json: bool) -> None:
    """Show the command, ask, sign and store: a denial where there is a reason, else an approval."""
    word = "approve" if reason is None else "deny"
    with operator_command(where, as_json=as_json) as settings, _service(settings) as service:
        key = operator_key(settings, None, where, as_json=as_json)
        if key is None:
            message = "set ORDERS_OPERATOR_KEY_FILE to the path of your private key; `orders keygen` makes one"
            raise failure(message, "SettingsError", where=where, as_json=as_json)
        try:
            found = service.find(command_id)
            service.check_may_decide(found, key.by)
            if not as_json:
                with exit_if_stdout_fails(where, "Nothing was decided: it stays held"):
                    _show(found)
            account = printable(found.record.account, MAX_SHOWN)
            question = (
                f"{word.capitalize()} this {found.record.command} for {account} as {key.by}: {what_it_does(found)}?"
            )
            confirm(question, "it stays held", where=where, yes=yes, as_json=as_json)
            service.decide(found, key, approve=reason is None, reason=printable(reason or "", MAX_SHOWN))
        except (NotHeld, NotYours, SigningError) as error:
            raise failure(str(error), type(error).__name__, where=where, as_json=as_json) from None
    with exit_if_stdout_fails(where, f"The decision of {key.by} is stored: orders show {command_id}"):
        if as_json:
            emit({"command_id": command_id, "decision": word, "who": key.by, "held": _as_json(found)})
        else:
            _say_decided(found, key.by, approve=reason is None)


@contextmanager
def _service(settings: WorkerSettings) -> Iterator[ApprovalService]:
    with open_client(settings.ledger_url) as client:
        yield ApprovalService(client, build_ledger(settings, client))


def _say_decided(held: HeldCommand, who: str, *, approve: bool) -> None:
    missing = still_needed(held, who) if approve else ""
    if missing:
        print(f"approved by {who}. It stays held until others approve it too: {missing}.")
    else:
        show = f"`orders show {held.record.command_id}` tells what becomes of it."
        print(f"{'approved' if approve else 'denied'} by {who}. {show}")


def _row(held: HeldCommand) -> list[object]:
    hold, record = held.hold, held.record
    named = [record.command_id, record.account, what_it_does(held), age(hold.since), when(hold.until)]
    return [*named, hold.sealed_by or "-", approved_by(held) or "-", who_may(held)]


def _show(held: HeldCommand) -> None:
    hold, record = held.hold, held.record
    rows = [
        ("command", f"{record.command}, id {record.command_id}"),
        ("account", printable(record.account, MAX_SHOWN)),
        *shown_arguments(held).items(),
        ("sent by", hold.sealed_by or "unknown: it is not sealed"),
        ("held since", when(hold.since)),
        ("held until", when(hold.until)),
        ("who may", who_may(held)),
        ("approved by", approved_by(held) or "nobody yet"),
    ]
    print_record(make_console(), rows)


def _as_json(held: HeldCommand) -> dict[str, Any]:
    hold, record = held.hold, held.record
    return {
        "command_id": record.command_id,
        "command": record.command,
        "account": record.account,
        "arguments": dict(held.arguments),
        "fingerprint": record.fingerprint,
        "since": hold.since,
        "until": hold.until,
        "sealed_by": hold.sealed_by,
        "needed": [
            {"rule": each.rule, "needed": each.needed, "approvers": list(each.approvers)} for each in held.needed
        ],
        "decisions": [
            {"who": each.who, "decision": each.decision, "until": each.until, "reason": each.reason}
            for each in held.decisions
        ],
    }
