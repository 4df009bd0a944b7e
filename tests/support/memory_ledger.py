"""A ledger in this process's memory, for tests and simulations: its moves and answers are those of the real one."""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from producers.report import Outcome, Report
from tests.support.memory_counters import Counters, Entry
from tests.support.memory_pacing import Pacing
from worker.ledger.base import (
    MAX_DOUBT_CHARACTERS,
    NOT_SIGNED,
    Admitted,
    BeginAnswer,
    Begun,
    Busy,
    Claim,
    Doubtful,
    Ended,
    Following,
    Halted,
    Known,
    LookAnswer,
    LookFirst,
    Orphaned,
    Progress,
    QueryAnswer,
    Record,
    Reused,
    State,
    TooLate,
)
from worker.ledger.holds import Held, Hold, HoldOver, HoldRecord
from worker.ledger.limits import counted
from worker.ledger.pacing import CoolDown, Throttled


@dataclass(slots=True)
class _Entry:
    record: Record
    token: str
    begun_at: int
    attempt: int
    counted: tuple[Entry, tuple[str, ...]] | None = None
    """What was counted of a withdrawal, and under which keys."""
    message: str = ""
    """What is kept of the message of a command that is held."""
    decisions: dict[str, str] = field(default_factory=dict)
    """By person."""
    decided: int = 0
    budget_from: int = 0
    """UNIX ms."""
    doubt: str = ""


def _orphan(entry: _Entry) -> Orphaned:
    sending = entry.record.state is State.SENDING
    progress = entry.record.progress
    if sending:
        progress = replace(progress, sent=progress.sent + 1)
    return Orphaned(entry.token, entry.begun_at, sending, progress, entry.doubt)


def _owns(claim: Claim, entry: _Entry) -> bool:
    """Whether the claim's run owns the record; nobody owns what is parked."""
    return entry.token == claim.token and entry.record.state is not State.PARKED


def _died_sending(claim: Claim, entry: _Entry) -> bool:
    """Whether another owner died with a send begun, as far as its lease is over."""
    return entry.record.state is State.SENDING and not _owns(claim, entry)


def _can_be_looked_for(claim: Claim, entry: _Entry) -> bool:
    """Whether it is in doubt, and the venue of the claim's account can be asked about all of its attempts."""
    record = entry.record
    in_doubt = bool(record.progress.tainted) or _died_sending(claim, entry)
    return in_doubt and bool(record.lookup) and record.account_digest == claim.account_digest


def _must_look_first(claim: Claim, entry: _Entry) -> bool:
    can_look = claim.lookup and not claim.repeatable and not _owns(claim, entry)
    return bool(can_look) and _can_be_looked_for(claim, entry)


def _with_death(progress: Progress) -> Progress:
    """The progress after an owner that died with a send begun."""
    return replace(progress, sent=progress.sent + 1, tainted=progress.tainted or "crashed")


_UNTIL = re.compile(r"([0-9]+)(\]?)$")


def _lookup(claim: Claim, known: _Entry | None, progress: Progress) -> str:
    """What is stored of the lookup of an attempt that begins: one that finds all of the attempts in doubt, with the
    latest of their times, or none."""
    if known is None or not progress.tainted:
        return claim.lookup
    found = [_UNTIL.search(text) for text in (claim.lookup, known.record.lookup)]
    times = [int(each[1]) for each in found if each]
    if len(times) < len(found):
        return ""
    return _UNTIL.sub(rf"{max(times) if all(times) else 0}\2", claim.lookup)


def _budget_from(claim: Claim, known: _Entry | None, now: int) -> int:
    """When the retry budget begins of an attempt that begins now, or began before."""
    keeps = known is not None and (_owns(claim, known) or known.record.state is State.PARKED)
    return known.budget_from if known and keeps else now


def _repeated(claim: Claim, entry: _Entry, attempt: int) -> bool:
    """Whether this begin was done before and only its reply was lost: then it has begun, whatever was halted since."""
    return entry.token == claim.token and entry.record.state is State.SENDING and entry.attempt == attempt


def _account_digest(claim: Claim, known: _Entry | None) -> str:
    """Which account it is sent to, by this owner and those before; see :class:`worker.ledger.base.Record`."""
    if known is None or known.record.account_digest == claim.account_digest:
        return claim.account_digest
    return "*" if known.record.account_digest else ""


def _end_state(report: Report) -> State:
    # The real ledger stores the report as JSON: what JSON can't hold must fail here as well.
    Report.model_validate_json(report.model_dump_json())
    return State.UNKNOWN if report.outcome is Outcome.UNKNOWN else State.SETTLED


def _doubt_of(progress: Progress) -> dict[str, str]:
    return {"doubt": progress.tainted} if progress.tainted else {}


class MemoryLedger:
    """See :class:`worker.ledger.base.Ledger` for what each method promises."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self.journal: list[Mapping[str, str]] = []
        self.counters = Counters()
        self.pacing = Pacing(lambda event, claim: self._write(event, claim.command_id, claim.token))
        self.due: dict[str, int] = {}
        """By id of a command that is held: when its message is published again, UNIX ms."""
        self.halts: dict[str, Halted] = {}
        """By scope, ``<account or *>/<command or *>``."""
        self.results: dict[str, bytes] = {}
        """By id: what a result backend beside this ledger has stored."""
        self.unacked: set[str] = set()
        """The delivery tags of a broker beside this ledger."""
        self.refuses: set[str] = set()
        """``store`` where a result can't be stored, ``ack`` where no message can be acknowledged."""

    def forget(self, command_id: str) -> None:
        """Lose a record, as a server does that is restarted without its last writes."""
        with self._lock:
            self._entries.pop(command_id, None)

    def begin(self, claim: Claim, attempt: int) -> BeginAnswer:
        """See :meth:`Ledger.begin`."""
        with self._lock:
            entry = self._entries.get(claim.command_id)
            known = self._known(claim, entry) if attempt == 1 else None
            kept = known or self._keeps_from_begin(claim, entry, attempt)
            if kept is not None:
                return kept
            if entry is None or entry.record.state is State.HELD:
                return self._begin_first(claim, attempt, entry)
            progress = entry.record.progress
            if _repeated(claim, entry, attempt):
                progress = replace(progress, tries=progress.tries - 1)
                return self._take(claim, attempt, fence=entry.record.fence, progress=progress)
            mine = _owns(claim, entry)
            in_doubt = _died_sending(claim, entry)
            if ((in_doubt or progress.tainted) and not claim.repeatable) or (not mine and claim.hold):
                return _orphan(entry)
            over = self.counters.over_limit(claim, self._now_ms()) or self._throttled(claim, entry)
            if over is not None:
                return over
            if mine:
                return self._take(claim, attempt, fence=entry.record.fence, progress=progress)
            if in_doubt:
                progress = _with_death(progress)
            return self._take(claim, attempt, fence=entry.record.fence + 1, progress=progress)

    def _keeps_from_begin(self, claim: Claim, entry: _Entry | None, attempt: int) -> BeginAnswer | None:
        stands = self._stands(claim, entry) if entry else None
        if stands is not None:
            return stands
        if entry is None and self._is_over(claim):
            return TooLate(claim.begin_by)
        if entry and _must_look_first(claim, entry):
            return LookFirst()
        halt = self._halted(claim)
        return None if entry and _repeated(claim, entry, attempt) else halt

    def _known(self, claim: Claim, entry: _Entry | None = None) -> Known | None:
        """The result that answers a claim of which nothing was ever begun."""
        begun = entry is not None and not (entry.record.report and entry.record.progress.tries == 0)
        result = self.results.get(claim.command_id) if claim.heeds_result and not begun else None
        return Known(result) if result else None

    def stored_result(self, command_id: str) -> bytes | None:
        """See :meth:`Ledger.stored_result`."""
        return self.results.get(command_id)

    def take_to_look(self, claim: Claim) -> LookAnswer | None:
        """See :meth:`Ledger.take_to_look`."""
        with self._lock:
            entry = self._entries.get(claim.command_id)
            if entry is None or entry.record.state is State.HELD:
                return None
            stands = self._stands(claim, entry)
            if stands is not None:
                return stands
            if not _can_be_looked_for(claim, entry):
                return None
            record, now = entry.record, self._now_ms()
            progress, fence = record.progress, record.fence
            if not _owns(claim, entry):
                fence += 1
                if record.state is State.SENDING:
                    progress = _with_death(progress)
                if record.state is not State.PARKED:
                    entry.budget_from = now
            entry.record = replace(
                record, state=State.WAITING, fence=fence, progress=progress, lease_until=now + claim.lease_ms
            )
            entry.token = claim.token
            self._write("look", claim.command_id, claim.token)
            since_ms = max(0, now - entry.budget_from)
            return Doubtful(fence, progress, record.lookup, since_ms, entry.doubt, max(0, now - entry.begun_at))

    def _begin_first(self, claim: Claim, attempt: int, held: _Entry | None) -> BeginAnswer:
        """Begin a command that has no record, or was held until now."""
        hold = held.record.hold if held else None
        if hold is not None and hold.until <= self._now_ms():
            return HoldOver(hold.until)
        if claim.hold is not None and not (held and claim.hold.decided == str(held.decided)):
            return self._hold(claim, claim.hold, hold)
        kept = self.counters.over_limit(claim, self._now_ms()) or self._throttled(claim, None)
        if kept is not None:
            return kept
        self.due.pop(claim.command_id, None)
        return self._take(claim, attempt, fence=1, progress=Progress())

    def _hold(self, claim: Claim, asked: Hold, hold: HoldRecord | None) -> Held:
        if hold is None:
            now = self._now_ms()
            until = now + asked.hold_ms if asked.deadline is None else min(now + asked.hold_ms, asked.deadline)
            hold = HoldRecord(now, until, asked.needed, asked.sealed_by, ())
            record = Record(
                command_id=claim.command_id,
                state=State.HELD,
                fingerprint=claim.fingerprint,
                command=claim.command,
                account=claim.account,
                fence=0,
                progress=Progress(),
                report=None,
                arguments=claim.arguments,
                hold=hold,
                sealed_by=asked.sealed_by,
            )
            self._entries[claim.command_id] = _Entry(record, "", begun_at=0, attempt=0, message=asked.message)
            self._write("held", claim.command_id, "")
        self.due[claim.command_id] = hold.until
        decided = str(self._entries[claim.command_id].decided)
        return Held(hold.until, hold.sealed_by, decided, hold.decisions)

    def decide(self, command_id: str, fingerprint: str, *, who: str, kid: str, event: str, signed: str) -> bool:
        """See :meth:`worker.ledger.redis.RedisLedger.decide`."""
        with self._lock:
            entry = self._entries.get(command_id)
            hold = entry.record.hold if entry else None
            if entry is None or hold is None or entry.record.state is not State.HELD:
                return False
            if entry.record.fingerprint != fingerprint:
                return False
            entry.decisions[f"{who}/{kid}"] = signed
            entry.decided += 1
            decisions = tuple(text for _, text in sorted(entry.decisions.items()))
            entry.record = replace(entry.record, hold=replace(hold, decisions=decisions))
            self.due[command_id] = self._now_ms()
            self._write(event, command_id, "", who=who)
            return True

    def _throttled(self, claim: Claim, known: _Entry | None) -> Throttled | None:
        throttled, now = self.pacing.heed(claim, self._now_ms()), self._now_ms()
        since = max(0, now - _budget_from(claim, known, now)) if known else None
        return throttled and replace(throttled, since_ms=since)

    def admit_query(self, claim: Claim) -> QueryAnswer:
        """See :class:`~worker.ledger.base.Ledger`."""
        with self._lock:
            now = self._now_ms()
            named = self.halted(claim.account, claim.command)
            stopped = self._known(claim) or named or self.pacing.heed(claim, now)
            return stopped or Admitted(self.pacing.count(claim, now))

    def cool_down(self, claim: Claim, cool_down: CoolDown | None) -> None:
        """See :class:`~worker.ledger.base.Ledger`."""
        with self._lock:
            self.pacing.record_fate(claim, cool_down, self._now_ms())

    def halted(self, account: str, command: str) -> Halted | None:
        """The halt that names this command."""
        return self.halts.get(f"{account}/{command}") or self.halts.get(f"*/{command}")

    def _is_over(self, claim: Claim) -> bool:
        return bool(claim.begin_by) and self._now_ms() > claim.begin_by

    def _stands(self, claim: Claim, entry: _Entry) -> Busy | Ended | Reused | None:
        """What keeps this claim from the record; None when it may be taken."""
        record = entry.record
        if record.fingerprint != claim.fingerprint:
            self._write("id_reused", claim.command_id, claim.token)
            return Reused(record.report)
        if record.report is not None:
            return Ended(record.report)
        left = entry.record.lease_until - self._now_ms()
        return Busy(left) if not _owns(claim, entry) and left > 0 else None

    def _halted(self, claim: Claim) -> Halted | None:
        """The halt that applies; what reduces risk, cancels and closes, passes unless it is halted by name."""
        named = self.halted(claim.account, claim.command)
        if named or claim.command in ("cancel", "close"):
            return named
        return self.halts.get(f"{claim.account}/*") or self.halts.get("*/*")

    def _take(self, claim: Claim, attempt: int, *, fence: int, progress: Progress) -> Begun:
        progress = replace(progress, tries=progress.tries + 1)
        now = self._now_ms()
        before = self._entries.get(claim.command_id)
        known = None if before and before.record.state is State.HELD else before
        record = Record(
            command_id=claim.command_id,
            state=State.SENDING,
            fingerprint=claim.fingerprint,
            command=claim.command,
            account=claim.account,
            fence=fence,
            progress=progress,
            report=None,
            arguments=claim.arguments,
            first_begun_at=known.record.first_begun_at if known else now,
            lease_until=now + claim.lease_ms,
            account_digest=_account_digest(claim, known),
            sealed_by=(before.record.sealed_by if before else "") or claim.sealed_by,
            lookup=_lookup(claim, known, progress),
            hold=before.record.hold if before else None,
        )
        if known and _repeated(claim, known, attempt):
            counted_as, probe = known.counted, self.pacing.is_probe(claim)
        else:
            counted_as, probe = self._count(claim, known), self.pacing.count(claim, now)
        entry = _Entry(record, claim.token, now, attempt, counted_as)
        entry.budget_from = _budget_from(claim, known, now)
        entry.doubt = known.doubt if known else ""
        self._entries[claim.command_id] = entry
        self._write("begin", claim.command_id, claim.token)
        finds_all = record.lookup if record.account_digest == claim.account_digest else ""
        return Begun(fence, progress, max(0, now - entry.budget_from), entry.doubt, probe, finds_all)

    def _count(self, claim: Claim, before: _Entry | None = None) -> tuple[Entry, tuple[str, ...]] | None:
        was = before.counted if before else None
        if not claim.limits:
            return was
        keys = (*(was[1] if was else ()), *self.counters.count(claim, self._now_ms()))
        return (claim.command_id, counted(claim.amount)), tuple(dict.fromkeys(keys))

    def _end(self, entry: _Entry, report: Report) -> None:
        """Store a report, and give back what was counted if it proves that nothing was executed."""
        entry.record = replace(entry.record, state=_end_state(report), report=report)
        if entry.counted and report.outcome in (Outcome.NOT_SENT, Outcome.REJECTED):
            self.counters.give_back(*entry.counted)
            entry.counted = None

    def renew(self, claim: Claim) -> bool:
        """See :meth:`Ledger.renew`."""
        with self._lock:
            entry = self._owned(claim)
            if entry is None or entry.record.state is not State.SENDING:
                return False
            entry.record = replace(entry.record, lease_until=self._now_ms() + claim.lease_ms)
            self._write("renew", claim.command_id, claim.token)
            return True

    def pause(self, claim: Claim, progress: Progress, lease_ms: int, cool_down: CoolDown | None = None) -> bool:
        """See :meth:`Ledger.pause`."""
        with self._lock:
            self.pacing.record_fate(claim, cool_down, self._now_ms())
            entry = self._owned(claim)
            if entry is None:
                return False
            self._save_progress(entry, State.WAITING, progress, lease_ms)
            self._write("pause", claim.command_id, claim.token, **_doubt_of(progress))
            return True

    def park(
        self, claim: Claim, progress: Progress, wait_ms: int, doubt: str = "", cool_down: CoolDown | None = None
    ) -> bool:
        """See :meth:`Ledger.park`."""
        with self._lock:
            self.pacing.record_fate(claim, cool_down, self._now_ms())
            entry = self._entries.get(claim.command_id)
            if entry and entry.token == claim.token and entry.record.state is State.PARKED:
                return True
            entry = self._owned(claim)
            if entry is None:
                return False
            self._save_progress(entry, State.PARKED, progress, wait_ms)
            entry.doubt = doubt[:MAX_DOUBT_CHARACTERS]
            self._write("park", claim.command_id, claim.token, **_doubt_of(progress))
            return True

    def _save_progress(self, entry: _Entry, state: State, progress: Progress, lease_ms: int) -> None:
        until = self._now_ms() + lease_ms
        entry.record = replace(entry.record, state=state, progress=progress, lease_until=until)

    def _owned(self, claim: Claim) -> _Entry | None:
        """The open record of this claim's own, or None."""
        entry = self._entries.get(claim.command_id)
        return entry if entry is not None and _owns(claim, entry) and entry.record.report is None else None

    def settle(
        self,
        claim: Claim,
        report: Report,
        cool_down: CoolDown | None = None,
        following: Following | None = None,
    ) -> Report | None:
        """See :meth:`Ledger.settle`."""
        with self._lock:
            self.pacing.record_fate(claim, cool_down, self._now_ms())
            entry = self._entries.get(claim.command_id)
            if not self._settle(claim, report, entry):
                self._write("late", claim.command_id, claim.token, outcome=report.outcome.value)
                return entry.record.report if entry else None
            if following is not None:
                self._follow(following, report)
            return report

    def _settle(self, claim: Claim, report: Report, entry: _Entry | None) -> bool:
        """Whether the command has its end by this claim, now or before."""
        if entry is None:
            self._create_ended("settle", claim, report, self._count(claim), lookup=claim.lookup)
            return True
        stored, mine = entry.record.report, _owns(claim, entry)
        evidence = entry.record.state is State.UNKNOWN and report.outcome is not Outcome.UNKNOWN
        if mine and (stored is None or evidence):
            self._end(entry, report)
            self._write("settle", claim.command_id, claim.token, outcome=report.outcome.value)
            return True
        return mine and stored == report

    def _follow(self, following: Following, report: Report) -> None:
        _, value, *_ = following.store(report)
        if "store" in self.refuses:
            return
        self.results[report.command_id] = bytes(str(value), "utf-8")
        following.stored = True
        ack = following.ack(report)
        if ack and "ack" not in self.refuses:
            self.unacked.discard(str(ack[4]))
            following.acked = True

    def refuse(self, claim: Claim, report: Report) -> BeginAnswer | None:
        """See :meth:`Ledger.refuse`."""
        with self._lock:
            entry = self._entries.get(claim.command_id)
            if entry is not None:
                stands = self._stands(claim, entry)
                if stands or entry.record.state is not State.HELD:
                    return stands or _orphan(entry)
                hold = entry.record.hold
                if self._is_over(claim) and hold and hold.until > self._now_ms():
                    return TooLate(claim.begin_by)
                self.due.pop(claim.command_id, None)
            elif self._is_over(claim):
                return TooLate(claim.begin_by)
            self._create_ended("refuse", claim, report, self._count(claim), entry.record.hold if entry else None)
            return None

    def _create_ended(
        self,
        event: str,
        claim: Claim,
        report: Report,
        counted_as: tuple[Entry, tuple[str, ...]] | None,
        hold: HoldRecord | None = None,
        lookup: str = "",
    ) -> None:
        record = Record(
            command_id=claim.command_id,
            state=_end_state(report),
            fingerprint=claim.fingerprint,
            command=claim.command,
            account=claim.account,
            fence=1,
            progress=Progress(),
            report=report,
            arguments=claim.arguments,
            account_digest=claim.account_digest,
            hold=hold,
            lookup=lookup,
        )
        entry = _Entry(record, claim.token, begun_at=0, attempt=0, counted=counted_as)
        self._entries[claim.command_id] = entry
        self._end(entry, report)
        self._write(event, claim.command_id, claim.token, outcome=report.outcome.value)

    def abandon(self, claim: Claim, orphan: Orphaned, report: Report) -> bool:
        """See :meth:`Ledger.abandon`."""
        with self._lock:
            entry = self._entries.get(claim.command_id)
            orphaned = (
                entry is not None
                and entry.token == orphan.token
                and (entry.record.state is State.SENDING) == orphan.sending
                and entry.record.progress.tries == orphan.progress.tries
                and entry.record.report is None
                and entry.record.state is not State.HELD
                and entry.record.lease_until <= self._now_ms()
            )
            if not orphaned or entry is None:
                return False
            self._end(entry, report)
            self._write("abandon", claim.command_id, claim.token, outcome=report.outcome.value)
            return True

    def resolve(self, report: Report, *, who: str, why: str, signed: Mapping[str, str] = NOT_SIGNED) -> Report | None:
        """See :meth:`Ledger.resolve`."""
        with self._lock:
            entry = self._entries.get(report.command_id)
            if entry is None or entry.record.state is not State.UNKNOWN:
                return entry.record.report if entry else None
            self._end(entry, report)
            self._write("resolve", report.command_id, "", outcome=report.outcome.value, who=who, why=why, **signed)
            return report

    def read(self, command_id: str) -> Record | None:
        """See :meth:`Ledger.read`."""
        with self._lock:
            entry = self._entries.get(command_id)
            return entry.record if entry else None

    def _write(self, event: str, command_id: str, token: str, outcome: str = "", **more: str) -> None:
        self.journal.append({"event": event, "id": command_id, "token": token, "outcome": outcome, **more})
