"""What the held commands do and whose approval they still need, in words for a terminal or a browser."""

from collections.abc import Mapping

from producers.printable import printable
from worker.operations.approvals import HeldCommand, Needed

MAX_SHOWN = 200
"""How many characters of an argument a phrase has; an address is shorter."""


def what_it_does(held: HeldCommand) -> str:
    """What the command does, as a phrase."""
    given = {name: printable(str(value), MAX_SHOWN) for name, value in held.arguments.items()}
    if held.record.command == "withdraw":
        more = "".join(f", {name} {given[name]}" for name in ("network", "tag") if name in given)
        return f"{given.get('qty')} {given.get('asset')} to {given.get('address')}{more}"
    return ", ".join(f"{name} {value}" for name, value in given.items() if name != "account")


def shown_arguments(held: HeldCommand) -> Mapping[str, str]:
    """Every argument but the account, by its name: what a person decides by."""
    return {name: printable(str(value), MAX_SHOWN) for name, value in held.arguments.items() if name != "account"}


def approved_by(held: HeldCommand) -> str:
    """The names of those whose approvals are stored; nothing has verified them."""
    return printable(", ".join(sorted({each.who for each in held.decisions if each.approves})), MAX_SHOWN)


def who_may(held: HeldCommand) -> str:
    """Who must approve, by each rule."""
    return printable("; ".join(_rule(each) for each in held.needed), MAX_SHOWN)


def _rule(needed: Needed) -> str:
    return f"{needed.needed} of {', '.join(needed.approvers)} ({needed.rule})"


def still_needed(held: HeldCommand, who: str) -> str:
    """Who must still approve after this person, by each rule; empty if nobody."""
    have = {who} | {each.who for each in held.decisions if each.approves}
    texts = []
    for each in held.needed:
        missing, others = each.needed - len(have.intersection(each.approvers)), sorted({*each.approvers} - have)
        if missing > 0:
            texts.append(f"{missing} of {', '.join(others) or 'nobody'} ({each.rule})")
    return printable("; ".join(texts), MAX_SHOWN)
