"""What waits at the servers, and why: parked commands, messages by account, approvals, lanes; and running cool-downs.

Nothing of a message's body is read. Times are UNIX ms on the clock of the server that keeps them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import redis

from producers.commands import COMMANDS
from producers.printable import printable
from worker.broker import parked
from worker.broker.lanes import LaneState, read_lanes
from worker.ledger.cool_downs import CoolDowns, StoredCoolDown
from worker.operations.approvals import ApprovalService
from worker.operations.operator import MAX_WHO_LENGTH, MAX_WHY_LENGTH
from worker.venues.accounts import Account

APPROVAL = "approval"
"""What a held command waits for; :class:`~worker.execution.parking.WaitsFor` has what parked ones do."""
MOST_READ = 20_000
"""How many parked commands are read of each queue."""


@dataclass(frozen=True, slots=True)
class WaitingCommand:
    """One command that waits."""

    command_id: str
    """Empty where the message does not tell it."""
    command: str
    account: str
    """Of a parked command as workers know it: ``?`` for one that none of them has configured."""
    waits_for: str
    since: int
    due: int
    """When it is taken again; of a command that waits for approval, when it ends without one."""


@dataclass(frozen=True, slots=True)
class WaitingGroup:
    """The commands of one name and account that wait for the same."""

    command: str
    account: str
    waits_for: str
    count: int
    oldest: int
    """Since when the one waits that has waited longest."""
    next_due: int


@dataclass(frozen=True, slots=True)
class QueuedGroup:
    """Messages of one queue that were sorted out by account, and wait for their turn or for their account."""

    command: str
    account: str
    count: int
    next_enqueued_at: int | None


@dataclass(frozen=True, slots=True)
class AccountCoolDown:
    """A cool-down, and whom it stops."""

    accounts: tuple[str, ...]
    """Aliases that are configured here; none of them if their keys and hosts are others."""
    stored: StoredCoolDown

    @property
    def named(self) -> str:
        """The accounts; or the host, or the digest of the key, that it holds for, if it is none of theirs."""
        return ", ".join(self.accounts) or printable(self.stored.key, MAX_WHO_LENGTH)


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything that waits."""

    now: int
    groups: Sequence[WaitingGroup]
    unread: int
    """How many parked commands were not read, because there are too many."""
    commands: Sequence[WaitingCommand]
    """As many as were asked for, the one that is due next first."""
    queued: Sequence[QueuedGroup]
    lanes: Sequence[LaneState]
    """Those that are held, a hundred at most; the one that has been held longest first."""
    cool_downs: Sequence[AccountCoolDown]


class NoCoolDown(Exception):
    """There is no cool-down to end."""


class ParkedService:
    """Looks at what waits, and ends a cool-down by hand. Methods may raise
    :class:`~worker.ledger.base.LedgerUnavailable`, and of the broker :class:`redis.RedisError` and :class:`OSError`."""

    def __init__(
        self,
        broker: redis.Redis | None,
        cool_downs: CoolDowns,
        approvals: ApprovalService,
        accounts: Mapping[str, Account],
    ) -> None:
        """``broker`` is None where it is no Redis: nothing is parked there. Its client must not decode replies."""
        self._broker = broker
        self._cool_downs = cool_downs
        self._approvals = approvals
        self._accounts = accounts

    def overview(self, account: str = "", command: str = "", limit: int = 50) -> Overview:
        """What waits: everything, or only what is of an account (in lower case), or of a command; ``limit`` commands by
        their ids."""
        names = [command] if command else [task.removeprefix("orders.") for task in COMMANDS]
        looks = {name: _look(self._broker, name, account, limit) for name in names} if self._broker else {}
        held = [each for each in self._held(names) if account in ("", each.account)]
        commands = [
            WaitingCommand(each.command_id, name, each.group, each.waits_for, each.parked_at, each.due)
            for name, look in looks.items()
            for each in look.messages
        ]
        groups = [
            WaitingGroup(name, each.group, each.waits_for, each.count, each.oldest, each.next_due)
            for name, look in looks.items()
            for each in look.groups
        ]
        queued = [
            QueuedGroup(name, each.group, each.count, each.next_enqueued_at)
            for name, look in looks.items()
            for each in look.waiting
            if each.count and account in ("", each.group)
        ]
        return Overview(
            now=max((look.now for look in looks.values()), default=self._approvals.now_ms()),
            groups=sorted([*groups, *_grouped(held)], key=lambda each: -each.count),
            unread=sum(max(0, look.parked - MOST_READ) for look in looks.values()),
            commands=sorted([*commands, *held], key=lambda each: each.due)[:limit],
            queued=queued,
            lanes=self._lanes(names, account),
            cool_downs=[each for each in self.cool_downs() if not account or account in each.accounts],
        )

    def _held(self, names: Iterable[str]) -> list[WaitingCommand]:
        return [
            WaitingCommand(
                each.record.command_id,
                each.record.command,
                each.record.account,
                APPROVAL,
                each.hold.since,
                each.hold.until,
            )
            for each in self._approvals.held()
            if each.record.command in names
        ]

    def _lanes(self, names: Iterable[str], account: str) -> list[LaneState]:
        queues = {f"orders.{name}" for name in names}
        found = read_lanes(self._broker) if self._broker else []
        wanted = (each for each in found if each.queue in queues and account in ("", each.account))
        return sorted(wanted, key=lambda each: each.since_ms)

    def cool_downs(self) -> list[AccountCoolDown]:
        """The cool-downs that run, or that are over and await the attempt that shows if the venue answers again."""
        return [AccountCoolDown(stopped_by(each.key, self._accounts), each) for each in self._cool_downs.all()]

    def end_cool_down(self, name: str, *, who: str, why: str) -> list[AccountCoolDown]:
        """End what stops an account: the cool-down of its key and that of its host, which is every account's there. It
        is named by its alias, or as :attr:`AccountCoolDown.named` where it is not configured here. Returns what was
        ended.

        Raises:
            NoCoolDown: there is none.
        """
        who, why = printable(who, MAX_WHO_LENGTH), printable(why, MAX_WHY_LENGTH)
        found = [each for each in self.cool_downs() if name.lower() in each.accounts or name == each.stored.key]
        ended = [each for each in found if self._cool_downs.lift(each.stored.key, who=who, why=why)]
        if not ended:
            here = ", ".join(sorted(self._accounts)) or "none"
            shown = printable(name, MAX_WHO_LENGTH)
            raise NoCoolDown(f"{shown} is in no cool-down; the accounts that are configured here are {here}")
        return ended


def stopped_by(key: str, accounts: Mapping[str, Account]) -> tuple[str, ...]:
    """The aliases that a cool-down of this bucket or host stops."""
    return tuple(sorted(alias for alias, each in accounts.items() if key in (each.bucket, each.host)))


def _look(broker: redis.Redis, name: str, account: str, limit: int) -> parked.WaitingState:
    return parked.look(broker, f"orders.{name}", most=MOST_READ, lines=limit, group=account)


def _grouped(commands: Iterable[WaitingCommand]) -> list[WaitingGroup]:
    groups: dict[tuple[str, str], list[WaitingCommand]] = {}
    for each in commands:
        groups.setdefault((each.command, each.account), []).append(each)
    return [
        WaitingGroup(*name, APPROVAL, len(found), min(e.since for e in found), min(e.due for e in found))
        for name, found in groups.items()
    ]
