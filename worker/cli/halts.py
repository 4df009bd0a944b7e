"""Commands of `orders` for operators: halt, resume, journal."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from producers.cli.forms import emit_line
from producers.cli.output import emit, failure, note
from producers.cli.plugins import JsonOption, command_app
from worker.cli.journal_verify import usage_problem
from worker.cli.journal_verify import verify as verify_journal
from worker.cli.options import (
    AccountOption,
    CommandOption,
    WhoOption,
    acting_operator,
    known_keys,
    open_operator,
    operator_command,
    scope_of,
)
from worker.cli.output import entry_json, entry_line, halt_json, print_halts
from worker.ledger.base import Halted
from worker.ledger.halts import HaltScope
from worker.operations.operator import all_scopes, commands_still_sent, still_sent_in_words
from worker.public_keys import PublicKeys
from worker.settings import WorkerSettings

halt, resume, journal = (command_app() for _ in range(3))


@halt.command()
def _halt(
    account: AccountOption = None,
    command: CommandOption = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="The reason, which senders see.")] = "",
    every: Annotated[
        bool, typer.Option("--all", help="Halt everything, closes, cancels and positions included.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the halts and change nothing.")] = False,
    who: WhoOption = None,
    as_json: JsonOption = False,
) -> None:
    """Halt sending: every worker obeys it from its next send on. A halt lasts until `orders resume`, through restarts.

    Cancels, closes and positions are still sent, because they reduce risk or change nothing; --all halts them too, and
    --command one of them. Halted commands end as not_sent/halted. The output lists what is still sent.

    Example: `orders halt --command withdraw --reason "venue announced a wallet incident"`
    """
    where = "orders halt"
    halted = scope_of(account, command, where, as_json=as_json)
    problem = "" if listed or reason.strip() else "--reason is required"
    if every and command:
        problem = "--all means every command: omit --command"
    if problem:
        raise failure(problem, "Usage", where=where, as_json=as_json)
    with acting_operator(where, who, as_json=as_json) as (settings, operator, name):
        if not listed:
            scopes = all_scopes(halted.account) if every else [halted]
            operator.halt(*scopes, who=name, why=reason.strip())
        halts, keys = operator.halts(), known_keys(settings)
    _show(halts, keys, as_json=as_json)
    if account and not listed and settings.accounts and account.lower() not in settings.accounts:
        here = ", ".join(sorted(settings.accounts))
        undo = f"orders resume --all -a {account}"
        note(f"{where}: account {account} is not configured here; the accounts are {here}. To undo it: {undo}")


def _show(halts: list[tuple[HaltScope, Halted]], keys: PublicKeys | None, *, as_json: bool, **more: Any) -> None:
    """Print what is halted, and what is still sent."""
    scopes = [each for each, _ in halts]
    if as_json:
        passes = commands_still_sent(scopes)
        still = [{"command": command, "except_accounts": accounts} for command, accounts in passes.items()]
        emit({**more, "halts": [halt_json(each, what, keys) for each, what in halts], "passes": still})
    elif halts:
        print_halts(halts, keys)
        print(f"\nStill sent: {still_sent_in_words(scopes)}.")
    else:
        print("Nothing is halted.")


@resume.command()
def _resume(
    account: AccountOption = None,
    command: CommandOption = None,
    every: Annotated[bool, typer.Option("--all", help="End every halt, or every halt of --account.")] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="The reason, which is recorded.")] = "",
    who: WhoOption = None,
    as_json: JsonOption = False,
) -> None:
    """End the halt with exactly this scope, or --all halts. The output lists what is still halted. Exit code 2 if there
    is no such halt.

    Example: `orders resume --command withdraw`
    """
    where = "orders resume"
    named = scope_of(account, command, where, as_json=as_json)
    if every and command:
        message = "--all ends every halt, or every halt of --account: omit --command; see orders halt --list"
        raise failure(message, "Usage", where=where, as_json=as_json)
    with acting_operator(where, who, as_json=as_json) as (settings, operator, name):
        scopes = (
            [each for each, _ in operator.halts() if not account or each.account == named.account] if every else [named]
        )
        ended = [each for each in scopes if operator.resume(each, who=name, why=reason.strip())]
        halts, keys = operator.halts(), known_keys(settings)
    if not (ended or every):
        message = f"there is no halt of {named.in_words()}; see orders halt --list"
        raise failure(message, "NoSuchHalt", where=where, as_json=as_json)
    for each in () if as_json else ended:
        print(f"Resumed: {each.in_words()}.")
    _show(halts, keys, as_json=as_json, resumed=[each.field for each in ended])


@journal.command()
def _journal(
    command_id: Annotated[str | None, typer.Argument(metavar="ID", help="Show only this command's entries.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new entries until Ctrl-C.")] = False,
    last: Annotated[int, typer.Option("--last", metavar="N", min=1, help="How many entries, the latest ones.")] = 100,
    verify: Annotated[bool, typer.Option("--verify", help="Say whether it was tampered with.")] = False,
    archive: Annotated[
        Path | None, typer.Option("--archive", metavar="DIR", help="Verify this archive of it, too.")
    ] = None,
    checkpoints: Annotated[
        Path | None, typer.Option("--checkpoints", metavar="FILE", help="Verify the archive by these checkpoints.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--checkpoint-key", metavar="ed25519:…", help="The public key of the checkpoints.")
    ] = None,
    start: Annotated[str | None, typer.Option("--from", metavar="POSITION", help="Verify from this entry on.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the ledger's journal: every state change of every command and every act of an operator, oldest first.

    With --follow and --json, each entry is a JSON document on a line of its own. --verify verifies the chain of the
    entries, the archive that `orders archive` keeps, and its checkpoints. Exit code 1 if there is a sign of tampering.
    """
    problem = usage_problem(archive, checkpoints, key, start, verify=verify, shows=bool(command_id) or follow)
    if problem:
        raise failure(problem, "Usage", where="orders journal", as_json=as_json)
    with operator_command("orders journal", as_json=as_json) as settings:
        if verify:
            raise verify_journal(settings, archive, checkpoints, key, start, as_json=as_json)
        _show_journal(settings, command_id, last, follow=follow, as_json=as_json)


def _show_journal(settings: WorkerSettings, command_id: str | None, last: int, *, follow: bool, as_json: bool) -> None:
    keys = known_keys(settings)
    with open_operator(settings) as operator:
        entries = operator.journal(command_id, last)
        if as_json and not follow:
            emit({"entries": [entry_json(entry, keys) for entry in entries]})
            return

        def show(entry: Any) -> None:
            if as_json:
                emit_line(entry_json(entry, keys))
            else:
                print(entry_line(entry, keys), flush=True)

        for entry in entries:
            show(entry)
        if not (entries or follow):
            note(f"orders journal: there are no entries{f' for {command_id}' if command_id else ''}")
        with suppress(KeyboardInterrupt):
            for new in operator.follow(entries[-1].position if entries else "0-0", command_id) if follow else ():
                if new is not None:
                    show(new)
