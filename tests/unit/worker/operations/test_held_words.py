"""What a held command does and who is still needed, in words."""

import json

from worker.ledger.base import Progress, Record, State
from worker.ledger.decisions import APPROVE, Decision
from worker.ledger.holds import HoldRecord
from worker.operations.approvals import HeldCommand, Needed
from worker.operations.held_words import approved_by, shown_arguments, still_needed, what_it_does, who_may

ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"
NEEDED = (Needed("large", 2, ("anna", "bert", "carl")), Needed("new address", 1, ("dora",)))


def held(*approved: str, **arguments: str) -> HeldCommand:
    given = {"account": "main", "asset": "ETH", "qty": "5", "address": ADDRESS, **arguments}
    decisions = tuple(Decision("w-1", "f" * 64, who, 2**50, APPROVE) for who in approved)
    hold = HoldRecord(1, 2**50, "", "payroll", ())
    record = Record("w-1", State.HELD, "f" * 64, "withdraw", "main", 0, Progress(), None, json.dumps(given), hold=hold)
    return HeldCommand(record, hold, given, NEEDED, decisions)


def test_what_a_withdrawal_does_is_one_phrase() -> None:
    assert what_it_does(held()) == f"5 ETH to {ADDRESS}"
    assert what_it_does(held(network="ETH", tag="7")) == f"5 ETH to {ADDRESS}, network ETH, tag 7"
    assert shown_arguments(held(tag="a\x1b[2J"))["tag"] == "a\\x1b[2J"


def test_who_is_still_needed_leaves_out_who_has_approved() -> None:
    assert still_needed(held(), "anna") == "1 of bert, carl (large); 1 of dora (new address)"
    assert still_needed(held("anna"), "bert") == "1 of dora (new address)"
    assert still_needed(held("anna", "bert"), "dora") == ""
    assert approved_by(held("bert", "anna")) == "anna, bert"
    assert who_may(held()) == "2 of anna, bert, carl (large); 1 of dora (new address)"
