"""What a person sees and decides of the commands that are held for approval.

Every method may raise :class:`~worker.ledger.base.LedgerUnavailable`. What is shown is the server's word; what is
signed is the fingerprint of what was shown, so that nobody approves one command by looking at another.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from producers.commands import fingerprint
from producers.signing import PrivateKey
from worker.ledger.base import NoSuchCommand, Record, State
from worker.ledger.decisions import APPROVE, DENY, Decision, read_decision
from worker.ledger.held_queue import HeldQueue
from worker.ledger.holds import HoldRecord
from worker.ledger.records_read import read_records
from worker.ledger.redis import RedisLedger

MAX_DECISION_MS = 7 * 86_400_000
"""How long a decision counts at most, whatever the record says of the hold's end: no policy holds longer."""


class NotHeld(Exception):
    """The command is not held for approval, or not any more."""


class NotYours(Exception):
    """This person's decision would count for nothing."""


@dataclass(frozen=True, slots=True)
class Needed:
    """Who must approve, by one rule."""

    rule: str
    needed: int
    approvers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeldCommand:
    """A command that is held."""

    record: Record
    hold: HoldRecord
    arguments: Mapping[str, Any]
    needed: tuple[Needed, ...]
    decisions: tuple[Decision, ...]
    """As they are stored: only a worker verifies them."""

    @property
    def fingerprint(self) -> str:
        """Of the arguments as they are shown."""
        return fingerprint(f"orders.{self.record.command}", self.arguments)

    def approvers(self) -> list[str]:
        """Who may approve it, by any rule."""
        return sorted({name for each in self.needed for name in each.approvers})


class ApprovalService:
    """The held commands, and a person's decisions on them."""

    def __init__(self, client: redis.Redis, ledger: RedisLedger) -> None:
        self._client = client
        self._queue = HeldQueue(client)
        self._ledger = ledger

    def held(self) -> list[HeldCommand]:
        """The commands that are held, the oldest first."""
        return self.held_and_unreadable()[0]

    def held_and_unreadable(self) -> tuple[list[HeldCommand], list[str]]:
        """The commands that are held, the oldest first; and the ids of those whose records are missing, or can't be
        read, because somebody has spoilt them: nobody can approve such a command, and nobody should miss it."""
        records = read_records(self._client, self._queue.ids())
        found = (_held_command(record) for record in records.values() if record is not None)
        held = sorted((each for each in found if each is not None), key=lambda each: each.hold.since)
        return held, [command_id for command_id, record in records.items() if record is None]

    def now_ms(self) -> int:
        """UNIX ms on the ledger's clock."""
        return self._queue.now_ms()

    def find(self, command_id: str) -> HeldCommand:
        """A command that is held.

        Raises:
            NoSuchCommand, NotHeld: it is not.
        """
        record = read_records(self._client, [command_id])[command_id]
        if record is None:
            raise NoSuchCommand(f"the ledger has no command {command_id}, or its record can't be read")
        held = _held_command(record)
        if held is None:
            end = f": {record.report.outcome.value} ({record.report.message})" if record.report else ""
            raise NotHeld(f"{command_id} is not held for approval{end or f', its state is {record.state.value}'}")
        if held.fingerprint != record.fingerprint:
            raise NotHeld(
                f"the record of {command_id} contradicts itself: its arguments are not those of its fingerprint. "
                "Somebody has changed it at the server; approve nothing there"
            )
        return held

    def check_may_decide(self, held: HeldCommand, who: str) -> None:
        """Check what a worker will check, so that nobody takes a decision for counted that is not.

        Raises:
            NotYours: this person may not decide, or has sealed the command.
        """
        if who not in held.approvers():
            raise NotYours(f"{who} may not decide; {', '.join(held.approvers()) or 'nobody'} may")
        if who == held.hold.sealed_by:
            raise NotYours(f"{who} has sent this command, and another person must decide")

    def decide(self, held: HeldCommand, key: PrivateKey, *, approve: bool, reason: str = "") -> None:
        """Sign and store a decision. It counts until the hold is over.

        Raises:
            NotHeld: the command has been begun or ended meanwhile.
            SigningError: the reason is not Unicode text.
        """
        command_id = held.record.command_id
        word = APPROVE if approve else DENY
        until = min(held.hold.until, self._queue.now_ms() + MAX_DECISION_MS)
        decision = Decision(command_id, held.fingerprint, key.by, until, word, reason)
        event = "approved" if approve else "denied"
        signed = decision.signed(key)
        if not self._ledger.decide(command_id, held.fingerprint, who=key.by, kid=key.kid, event=event, signed=signed):
            raise NotHeld(f"{command_id} is not held any more: orders show {command_id} tells what became of it")


def _held_command(record: Record) -> HeldCommand | None:
    if record.state is not State.HELD or record.hold is None:
        return None
    decisions = tuple(each.decision for text in record.hold.decisions if (each := read_decision(text)))
    return HeldCommand(record, record.hold, record.given, _needed(record.hold.needed), decisions)


def _needed(text: str) -> tuple[Needed, ...]:
    try:
        return tuple(
            Needed(str(e["rule"]), int(e["needed"]), tuple(map(str, e["approvers"]))) for e in json.loads(text)
        )
    except (ValueError, TypeError, LookupError, RecursionError):
        return ()
