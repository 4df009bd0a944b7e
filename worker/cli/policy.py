"""`orders policy show`, `check` and `apply`: the withdrawal policy."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from producers.cli.exit_codes import ExitCode
from producers.cli.options import confirm
from producers.cli.output import emit, exit_if_stdout_fails, failure, note
from producers.cli.plugins import JsonOption, command_app
from producers.redis.client import open_client
from worker.cli.options import WhoOption, YesOption, actor_name, known_keys, operator_command, operator_key
from worker.cli.policy_output import (
    applied_json,
    change_json,
    emit_checked,
    emit_view,
    print_applied,
    print_changes,
    print_checked,
    print_view,
)
from worker.clock import SystemClock
from worker.execution.policy.applied import PolicyChanged, PolicyRecords
from worker.operations.policy.advice import advice, unchecked
from worker.operations.policy.service import (
    PolicyInvalid,
    Proposal,
    apply,
    propose,
    read_policy,
    rule_example,
    view,
)
from worker.settings import WorkerSettings

policy = command_app()
_VERDICT_CODES = {"permitted": ExitCode.ACCEPTED, "denied": ExitCode.NOT_SENT, "held": ExitCode.NO_REPORT}

FileArgument = Annotated[
    str | None, typer.Argument(metavar="FILE", help="The policy (TOML); default: ORDERS_POLICY_FILE.")
]


@contextmanager
def _policy_command(where: str, *, as_json: bool) -> Iterator[WorkerSettings]:
    """As :func:`operator_command`, with the errors of policies."""
    with operator_command(where, as_json=as_json) as settings:
        try:
            yield settings
        except PolicyInvalid as error:
            raise failure(str(error), "PolicyInvalid", where=where, as_json=as_json) from None
        except PolicyChanged:
            message = (
                "another policy was applied meanwhile, and nothing was changed: run it again to see the new changes"
            )
            raise failure(message, "PolicyChanged", where=where, as_json=as_json) from None


@policy.callback()
def _policy() -> None:
    """The withdrawal policy: where accounts may withdraw to, how much, and who must approve it.

    Each command has --json.
    """


@policy.command("show")
def _show(as_json: JsonOption = False) -> None:
    """Show which policies are in force: this machine's file and those that were applied, and what will change when.

    A worker rules by its file and by every policy that was in force within the last 24 hours.
    """
    with _policy_command("orders policy show", as_json=as_json) as settings:
        with open_client(settings.ledger_url) as client:
            records = PolicyRecords(client).read()
        keys, now_ms = known_keys(settings), SystemClock().now_ms()
        shown = view(settings.policy.mode, settings.policy_file, records, keys, now_ms)
    show = emit_view if as_json else print_view
    show(shown)


@policy.command("check")
def _check(
    file: FileArgument = None,
    account: Annotated[str, typer.Option("--account", "-a", metavar="ALIAS", help="Rule a withdrawal of it.")] = "",
    asset: Annotated[str, typer.Option("--asset", metavar="ASSET", help="What it withdraws.")] = "",
    qty: Annotated[str, typer.Option("--qty", metavar="AMOUNT", help="How much.")] = "",
    address: Annotated[str, typer.Option("--address", metavar="ADDRESS", help="Where to.")] = "",
    network: Annotated[str, typer.Option("--network", metavar="NETWORK", help="The chain, if it names one.")] = "",
    tag: Annotated[str, typer.Option("--tag", metavar="TAG", help="The memo or tag, if it names one.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Check a policy file, and with --account, --asset, --qty and --address how it rules such a withdrawal.

    No server is asked: what was withdrawn before, and policies that were applied, are not considered. Exit code 2 for a
    file that can't be used; for a withdrawal 0 if it would be sent, 4 if denied, 6 if held for approval.

    Example: `orders policy check policy.toml -a main --asset ETH --qty 1 --address 0x…`
    """
    where = "orders policy check"
    withdrawal = {"account": account, "asset": asset, "qty": qty, "address": address}
    more = {name: given for name, given in (("network", network), ("tag", tag)) if given}
    if any((withdrawal | more).values()) and not all(withdrawal.values()):
        message = "a withdrawal needs --account, --asset, --qty and --address"
        raise failure(message, "Usage", where=where, as_json=as_json)
    with _policy_command(where, as_json=as_json) as settings:
        found = read_policy(file or settings.policy_file)
        example = rule_example(found, withdrawal | more) if all(withdrawal.values()) else None
    show: Any = emit_checked if as_json else print_checked
    show(found, advice(found, settings.accounts), unchecked(found, settings.accounts), example)
    raise typer.Exit(_VERDICT_CODES[example.verdict] if example else ExitCode.ACCEPTED)


def _show_proposal(proposal: Proposal, warnings: Iterable[str], where: str) -> None:
    with exit_if_stdout_fails(where, "Nothing was changed"):
        print_changes(proposal)
    for each in warnings:
        note(f"warning: {each}")


@policy.command("apply")
def _apply(
    file: FileArgument = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="The reason, which is recorded.")] = "",
    who: WhoOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put a policy on record: what it tightens counts at once, what it loosens in 24 hours. The first counts at once.

    The changes are shown before a confirmation, and go to the journal. Give the workers the same file: they rule by
    both. Exit code 1 if another policy is applied at the same time.

    Example: `orders policy apply policy.toml --reason "new cold wallet"`
    """
    where = "orders policy apply"
    if not reason.strip():
        raise failure("--reason is required", "Usage", where=where, as_json=as_json)
    with _policy_command(where, as_json=as_json) as settings:
        new = read_policy(file or settings.policy_file)
        key = operator_key(settings, who, where, as_json=as_json)
        with open_client(settings.ledger_url) as client:
            records = PolicyRecords(client)
            proposal = propose(records, new)
            changed = [change_json(each) for each in proposal.changes]
            if proposal.is_applied:
                done: dict[str, Any] = {"applied": applied_json(proposal.before.policies[-1]), "changes": []}
                emit(done) if as_json else note(f"{where}: this policy is the applied one already: nothing to do")
                return
            if not as_json:
                _show_proposal(proposal, advice(new, settings.accounts), where)
            confirm("Apply this policy?", "nothing was changed", where=where, yes=yes, as_json=as_json)
            now_ms = SystemClock().now_ms()
            applied = apply(records, proposal, who=actor_name(who, key), why=reason.strip(), now_ms=now_ms, key=key)
    with exit_if_stdout_fails(where, "The policy is applied: orders policy show"):
        if as_json:
            emit({"applied": applied_json(applied), "changes": changed, "first": proposal.is_first})
        else:
            print_applied(applied, proposal)
