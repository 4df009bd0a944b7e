"""Rules withdrawals by the policy file and by the policies that operators have applied."""

import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import redis

from producers.commands import Command, Withdraw
from worker.clock import Clock
from worker.execution.policy.applied import AppliedPolicy, InForce, PolicyRecords, Records, in_force, seen_at
from worker.execution.policy.document import parse_toml
from worker.execution.policy.rules import Policy
from worker.execution.policy.rulings import PERMITTED, Ruling, unite
from worker.ledger.base import LedgerUnavailable
from worker.watched_file import WatchedFile

logger = logging.getLogger("orders.policy")

MAX_AGE_SECONDS = 60.0
"""Records that were read longer ago are read again before a withdrawal is ruled: in a process of a pool, where no
periodic work does it."""
LOCK_SECONDS = 10.0
NO_FILE = "there is no policy file that can be read (ORDERS_POLICY_FILE)"


def policy_of_file(content: bytes) -> Policy:
    """The policy in a file.

    Raises:
        FileUnusable: something in it is wrong.
    """
    return Policy(parse_toml(content))


@dataclass(frozen=True, slots=True)
class PolicyState:
    """The policy as a worker has it now, for metrics."""

    file_problem: str
    """Why the file can't be used; empty when it can."""
    applied: bool
    """Whether the file has the policy that was applied last."""


class WithdrawalPolicy:
    """Rules withdrawals. Threads may share it."""

    def __init__(
        self,
        mode: Literal["off", "warn", "require"],
        path: str,
        records: PolicyRecords,
        clock: Clock,
    ) -> None:
        """``path`` is the policy file's; empty for none."""
        self.mode = mode
        self._file = (
            WatchedFile[Policy | None](Path(path), policy_of_file, None, "the withdrawal policy")
            if path and mode != "off"
            else None
        )
        self._records = records
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[int, str], AppliedPolicy] = {}
        self._in_force: tuple[InForce, ...] = ()
        self._read_at: int | None = None
        """When the records were last read, UNIX ms."""
        self._looked_at = float("-inf")
        """When it was last tried to read them, on the monotonic clock."""
        self._trouble = ""

    def problem_at_start(self) -> str:
        """Why a worker must not start with this policy; empty when it may."""
        if self.mode != "require" or self._policy_of_file() is not None:
            return ""
        if self._file is None:
            return "ORDERS_POLICY__MODE is require, and no file is named: set ORDERS_POLICY_FILE"
        return (
            f"ORDERS_POLICY__MODE is require, and the file that ORDERS_POLICY_FILE names can't be used: "
            f"{self._file.problem}. `orders policy check` tests a file"
        )

    def state(self) -> PolicyState | None:
        """The present state; None with mode ``off``."""
        if self.mode == "off":
            return None
        policy = self._policy_of_file()
        problem = self._file.problem if self._file else NO_FILE
        return PolicyState(problem, policy is not None and policy.sha256 == self._last_applied())

    def ruling(self, command: Command) -> Ruling:
        """How a command is ruled; everything but a withdrawal is permitted. No round trip, but for the first.

        With mode ``warn`` a withdrawal is permitted without limits, and the ruling has the warning.

        Raises:
            LedgerUnavailable: the ledger has not yet been asked which policies were applied, and does not answer.
        """
        if self.mode == "off" or not isinstance(command, Withdraw):
            return PERMITTED
        self._refresh(MAX_AGE_SECONDS)
        ruling = unite(self._rulings(command))
        if self.mode == "require":
            return ruling
        if ruling.denied:
            return Ruling(warning=f"it would be denied: {ruling.denied}")
        if ruling.approvals:
            rules = ", ".join(dict.fromkeys(each.rule for each in ruling.approvals))
            return Ruling(warning=f"it would be held for approval by the rule {rules}")
        return PERMITTED

    def _rulings(self, command: Withdraw) -> Iterator[Ruling]:
        policy = self._policy_of_file()
        if policy is None:
            yield Ruling(denied=f"the withdrawal policy permits nothing: {NO_FILE}")
        else:
            yield _named(policy.ruling(command), "the withdrawal policy does not permit this")
        now_ms = self._clock.now_ms()
        for each in self._in_force:
            if each.until is None or each.until > now_ms:
                yield _named(each.applied.policy.ruling(command), _name(each))

    def _policy_of_file(self) -> Policy | None:
        return self._file.current() if self._file else None

    def _last_applied(self) -> str | None:
        return self._in_force[-1].applied.policy.sha256 if self._in_force else None

    # -- the records --------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Read which policies were applied; a ledger that does not answer is asked again next time. Those that are
        known stay known: deleting the records changes nothing for a worker that runs."""
        with suppress(LedgerUnavailable):
            self._refresh(0.0)

    def _refresh(self, max_age_seconds: float) -> None:
        """Read the records unless they were read lately.

        Raises:
            LedgerUnavailable: the ledger does not answer, and was never asked before.
        """
        if self.mode == "off" or self._clock.monotonic() - self._looked_at < max_age_seconds:
            return
        # Not for ever: a process that was forked while another thread had the lock would wait in vain.
        locked = self._lock.acquire(timeout=LOCK_SECONDS)
        try:
            if self._clock.monotonic() - self._looked_at < max_age_seconds:
                return
            self._looked_at = self._clock.monotonic()
            self._take(self._records.read())
        except LedgerUnavailable as outage:
            if isinstance(outage.__cause__, redis.ResponseError):
                self._take(Records((), unreadable=1))
            elif self._read_at is None:
                self._looked_at = float("-inf")
                raise
        finally:
            if locked:
                self._lock.release()

    def _take(self, found: Records) -> None:
        now_ms = self._clock.now_ms()
        on_record = {(each.number, each.policy.sha256): each for each in found.policies}
        for key, each in on_record.items():
            if key not in self._known:
                self._known[key] = each if self._read_at is None else seen_at(each, self._read_at)
        self._in_force = tuple(in_force(list(self._known.values()), now_ms))
        counting = [each.applied for each in self._in_force]
        self._known = {key: each for key, each in self._known.items() if key in on_record or each in counting}
        self._read_at = now_ms
        self._tell(found, lost=bool(self._known.keys() - on_record.keys()))

    def _tell(self, found: Records, *, lost: bool) -> None:
        """Log what is wrong, once for each change of it."""
        policy = self._policy_of_file()
        trouble = ""
        if found.unreadable:
            trouble = "withdrawal policies on record can't be read: the file counts, and what was read before"
        elif lost:
            trouble = "withdrawal policies are not on record any more: those that are known count until a restart"
        elif not self._in_force:
            trouble = "no withdrawal policy was ever applied: the file counts alone. Run orders policy apply"
        elif policy is not None and policy.sha256 != self._last_applied():
            trouble = "the withdrawal policy file is not the applied policy: both count. Run orders policy apply"
        if trouble != self._trouble:
            self._trouble = trouble
            log = logger.error if found.unreadable or lost else logger.warning
            if trouble:
                log("%s", trouble)
            else:
                logger.info("the withdrawal policy file is the applied policy")


def _name(each: InForce) -> str:
    day = datetime.fromtimestamp(each.applied.at / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    if each.until is None:
        return f"the withdrawal policy that was applied on {day} UTC does not permit this"
    until = datetime.fromtimestamp(each.until / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    return f"the withdrawal policy of {day} UTC, which counts until {until} UTC, does not permit this"


def _named(ruling: Ruling, name: str) -> Ruling:
    return Ruling(denied=f"{name}: {ruling.denied}") if ruling.denied else ruling
