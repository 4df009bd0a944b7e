"""A ledger as it is after a bad night: thousands of commands in the journal, and a thousand of them unknown."""

import json
from collections.abc import Sequence

import redis

from producers.commands import parse_command
from producers.report import Outcome, Reason, Report
from worker.execution.intake import stored_arguments
from worker.ledger.base import Claim, Hold
from worker.ledger.redis import RedisLedger

ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"


def fill(client: redis.Redis, *, unknown: int, settled: int, held: int = 0, now_ms: int) -> Sequence[str]:
    """Commands in this many states, by the ledger's own moves; the ids of the unknown ones. Each has two entries in the
    journal, or one if it is held."""
    ledger = RedisLedger(client, disk_ms=0)
    for number in range(settled):
        end(ledger, claim(f"done-{number:05}", "close"), Outcome.ACCEPTED, now_ms)
    ids = [f"lost-{number:05}" for number in range(unknown)]
    for number, command_id in enumerate(ids):
        end(ledger, claim(command_id, "withdraw" if number % 3 == 0 else "close"), Outcome.UNKNOWN, now_ms)
    for number in range(held):
        ledger.begin(claim(f"held-{number:05}", "withdraw", hold=hold()), 1)
    return ids


def claim(command_id: str, name: str, **more: object) -> Claim:
    """A claim of a close or a withdrawal."""
    arguments = {"account": "main", "pair": "USD_BTC_PERP", "qty": "0.5"}
    if name == "withdraw":
        arguments = {"account": "main", "asset": "ETH", "qty": "1", "address": ADDRESS}
    command = parse_command(f"orders.{name}", arguments)
    stored = stored_arguments(command)
    return Claim(command_id, command.fingerprint, name, "main", False, "token", 60_000, stored, **more)  # type: ignore[arg-type]


def end(ledger: RedisLedger, claim: Claim, outcome: Outcome, now_ms: int, **changes: object) -> Report:
    """Begin a command, and end it."""
    ledger.begin(claim, 1)
    unknown = outcome is Outcome.UNKNOWN
    report = Report(
        command_id=claim.command_id,
        command=claim.command,
        account=claim.account,
        venue="everstrike",
        outcome=outcome,
        reason=Reason.LOST_REPLY if unknown else Reason.OK,
        message="the reply was lost: no answer in time; it may have been executed" if unknown else "the venue took it",
        fingerprint=claim.fingerprint,
        attempts=1,
        first_sent_at=now_ms,
        last_signed_at=now_ms,
        finished_at=now_ms,
    ).model_copy(update=changes)
    ledger.settle(claim, report)
    return report


def hold(*approvers: str, needed: int = 1, sealed_by: str = "") -> Hold:
    """A hold until one of these persons approves."""
    who = [{"rule": "withdrawals.main.unlisted", "needed": needed, "approvers": list(approvers or ("anna", "ben"))}]
    return Hold(7_200_000, "{}", json.dumps(who), sealed_by)
