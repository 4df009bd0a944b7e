"""Halts: an operator's orders not to send some commands until further notice.

``transitions.lua`` reads the halts in the same step in which it begins a send, so that every worker heeds a halt from
its next send on.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import redis

from producers.arguments import ALIAS
from producers.commands import COMMANDS as TASKS
from producers.exact_json import check_bounds
from producers.printable import printable
from worker.ledger.base import NOT_SIGNED, Halted
from worker.ledger.connection import guarded
from worker.ledger.journal_writer import JournalWriter, entry_fields
from worker.ledger.keys import HALTS_KEY

MAX_HALT_CHARACTERS = 64 * 1024
UNREADABLE_HALT = Halted("unknown", "the record of this halt can't be read; end it with `orders resume`", 0)


def halt_of(text: str) -> Halted:
    """A halt as it is stored: a JSON object of ``who``, ``why`` and ``at`` (UNIX ms), where it is signed ``kid`` and
    ``sig`` too. One that can't be read is a halt all the same."""
    try:
        check_bounds(text, MAX_HALT_CHARACTERS)
        stored = json.loads(text)
        who, why, at = stored["who"], stored["why"], stored["at"]
        signed = str(stored.get("kid", "")), str(stored.get("sig", ""))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return UNREADABLE_HALT
    readable = isinstance(who, str) and isinstance(why, str) and isinstance(at, int) and 0 <= at < 10**14
    return Halted(who, why, at, *signed) if readable else UNREADABLE_HALT


COMMANDS = tuple(sorted(task.removeprefix("orders.") for task in TASKS))
"""The commands that can be halted by name."""
ANY = "*"
"""Every account, or every command but those that reduce risk or change nothing."""


@dataclass(frozen=True, slots=True)
class HaltScope:
    """The account and the command that a halt applies to."""

    account: str = ANY
    command: str = ANY

    @property
    def field(self) -> str:
        """The field of this scope in the hash of halts."""
        return f"{self.account}/{self.command}"

    def in_words(self) -> str:
        """This scope as a phrase for people."""
        what = {ANY: "everything but cancels, closes and positions"}.get(self.command, self.command)
        return printable(f"{what} of {'every account' if self.account == ANY else self.account}")


def parse_halt_scope(account: str | None, command: str | None) -> HaltScope:
    """The scope of an account and a command; None is any.

    Raises:
        ValueError: for what can't be an alias, or is no command that can be halted.
    """
    if account is not None and not re.fullmatch(ALIAS, account):
        raise ValueError("--account must be an alias: letters, digits, - and _")
    if command is not None and command not in COMMANDS:
        raise ValueError(f"--command must be one of {', '.join(COMMANDS)}")
    # Aliases know no case, see producers.commands.Account.
    return HaltScope(account.lower() if account else ANY, command or ANY)


class Halts:
    """The halts at the ledger's server. Every method may raise :class:`~worker.ledger.base.LedgerUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._journal = JournalWriter(client)

    def add(self, halts: Mapping[HaltScope, Halted]) -> None:
        """Halt all these scopes at once; a halt of the same scope is replaced."""
        stored, entries = list[str](), list[Mapping[str, str]]()
        for scope, halt in halts.items():
            signed = {"kid": halt.kid, "sig": halt.sig} if halt.sig else {}
            halted = {"who": halt.who, "why": halt.why, "at": halt.at, **signed}
            stored += [scope.field, json.dumps(halted, ensure_ascii=False)]
            proof = {"signed_at": str(halt.at), **signed} if signed else {}
            entries.append(entry_fields("halt", scope=scope.field, who=halt.who, why=halt.why, **proof))
        self._journal.write_all(entries, HALTS_KEY, "HSET", *stored)

    def remove(
        self,
        scope: HaltScope,
        *,
        who: str,
        why: str,
        seen: Halted | None = None,
        signed: Mapping[str, str] = NOT_SIGNED,
    ) -> bool:
        """End the halt of exactly this scope, if it is the one that was ``seen``; else False."""
        entry = entry_fields("resume", scope=scope.field, who=who, why=why, **signed)
        change = ["HDEL", scope.field]
        if seen is not None:
            text = cast("str | None", guarded(self._client.hget, HALTS_KEY, scope.field))
            if text is None or halt_of(text) != seen:
                return False
            change = ["REMOVE", scope.field, text]
        return self._journal.write_all([entry], HALTS_KEY, *change) == 1

    def all(self) -> list[tuple[HaltScope, Halted]]:
        """Every halt that holds."""
        stored = cast("dict[str, str]", guarded(self._client.hgetall, HALTS_KEY))
        return [(HaltScope(*field.split("/", 1)), halt_of(text)) for field, text in sorted(stored.items())]
