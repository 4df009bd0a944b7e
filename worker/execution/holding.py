"""Holds commands that persons must approve, and lets those go that they have approved."""

import json

from producers.commands import Command
from producers.report import Reason
from worker.clock import Clock
from worker.execution.context import CommandRefused, Envelope
from worker.execution.policy.approvals import HeldCommand, standing
from worker.execution.policy.rulings import Ruling
from worker.ledger.holds import Held, Hold

MAX_KEPT_CHARACTERS = 128 * 1024
"""The longest message that is kept while its command is held. One that arrives has at most 64 KiB."""


class HeldForApproval(Exception):
    """Raised when a command is held: it has no report yet, and its message need not be kept by the broker."""

    def __init__(self, until: int) -> None:
        super().__init__(f"held for approval until {until}")
        self.until = until


def hold_of(envelope: Envelope, command: Command, ruling: Ruling, clock: Clock) -> Hold | None:
    """How the ledger is to hold the command; None when nobody needs to approve it.

    Raises:
        CommandRefused: there is no time left to hold it, or its message is too long to be kept.
    """
    if not ruling.approvals:
        return None
    if command.deadline is not None and command.deadline <= clock.now_ms():
        raise CommandRefused(Reason.EXPIRED, "the deadline passed before anybody could approve it")
    message = envelope.kept_message()
    if len(message) > MAX_KEPT_CHARACTERS:
        raise CommandRefused(Reason.INVALID, "its message is too long to be held for approval")
    needed = [
        {"rule": each.rule, "needed": each.needed, "approvers": sorted(each.approvers)} for each in ruling.approvals
    ]
    hold_ms = min(each.hold_ms for each in ruling.approvals)
    return Hold(hold_ms, message, json.dumps(needed), envelope.sealed_by, command.deadline)


def require_approval(envelope: Envelope, command: Command, ruling: Ruling, held: Held, now_ms: int) -> None:
    """Return if the persons that the ruling asks for have approved the command.

    Raises:
        HeldForApproval: they have not yet.
        CommandRefused: one of them has denied it.
    """
    subject = HeldCommand(envelope.command_id, command.fingerprint, envelope.sealed_by)
    found = standing(ruling.approvals, held.decisions, subject, now_ms)
    if found.denied:
        raise CommandRefused(Reason.DENIED, found.denied)
    if not found.approved:
        raise HeldForApproval(held.until)
