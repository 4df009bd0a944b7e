"""Settles commands of unknown outcome by what their venue shows.

Nothing else settles a command here, and each rule errs on the side of ``unknown``:

* found (one record, and no other command that could have made it) is ``accepted``, at once;
* not found counts only once the last request can't be on its way any more and the venue has had time to list it. Found
  absent twice, with a pause between, the command is ``not_sent``. A withdrawal is never settled by absence;
* everything else leaves the command ``unknown``, and says why.

A command that has an id of its own at its venue is looked for by that; any other, in the venue's lists.

A look is one reading of the venue's lists. The time of the first look that found nothing is stored in the ledger, so
that two runs count as two looks. If the command's own worker settles it meanwhile, that report is published.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from producers.commands import Cancel, Command
from producers.report import Outcome, Report
from worker.clock import Clock
from worker.execution.reports import settled
from worker.ledger.base import Ledger, NoSuchCommand, Record, State, StillOpen
from worker.ledger.journal import Journal
from worker.reconciliation.by_id import evidence_of, is_past, lookup_of
from worker.reconciliation.competing import CompetingCommands, command_of
from worker.reconciliation.matching import Evidence, Finding, match
from worker.reconciliation.store import ReconcileStore
from worker.reconciliation.visits import Visits
from worker.reconciliation.window import ClockOffset, ReconcileLimits
from worker.venues.accounts import Account
from worker.venues.base import Reads
from worker.venues.lookups import NO_CLIENT_ORDER_IDS, Lookup, Sighting

logger = logging.getLogger("orders.reconcile")

WHO = "reconcile"

Look = Callable[[Command, Lookup, Account], Sighting]
"""Looks for one command at its venue (:meth:`worker.venues.base.Venue.look`)."""

MAX_FAILED_LOOKS = 3
"""After so many looks in a row that prove nothing, an account is left to the next run. Each may last until a
timeout."""
NO_OFFSET = ClockOffset(0, 0)
"""Of a venue whose clock is not read; the margin in the limits covers what is usual."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The result of a look at the venue for one command."""

    command_id: str
    command: str
    account: str
    finding: str
    """A :class:`Finding`, or ``settled`` for a command that is not unknown."""
    words: str
    """What was found, as a phrase for people."""
    reference: str
    """The venue's id of what was found; empty when nothing was."""
    outcome: str
    """The outcome that the command has now."""

    def to_json(self) -> dict[str, Any]:
        """This as a part of the task's result."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Run:
    """Looks that share what they read. Each counts as made at ``started_at``, because nothing was read before."""

    started_at: int
    """UNIX ms."""
    records: Sequence[Record]
    visits: Visits
    competing: CompetingCommands
    failed_looks: Counter[str] = field(default_factory=Counter)
    """By account: how many looks in a row proved nothing."""


class Reconciler:
    """Settles unknowns by evidence."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        store: ReconcileStore,
        journal: Journal,
        accounts: Mapping[str, Account],
        reads: Mapping[str, Reads],
        clock: Clock,
        limits: ReconcileLimits,
        publish: Callable[[Report], None],
        look: Look = lambda *_: NO_CLIENT_ORDER_IDS,
    ) -> None:
        """``reads`` and ``accounts`` are by venue and by alias; ``publish`` stores a settled report as the command's
        result, and may raise any exception. ``look`` is for what has an id of its own at its venue."""
        self._ledger = ledger
        self._store = store
        self._journal = journal
        self._accounts = accounts
        self._reads = reads
        self._look = look
        self._clock = clock
        self._limits = limits
        self._publish = publish

    def all(self) -> Iterator[Reconciled]:
        """Look for every open unknown, oldest first. Of each account the venue's lists are read once for all of them.

        Raises:
            LedgerUnavailable: the remaining commands were not looked for.
        """
        found = [self._ledger.read(command_id) for command_id, _ in self._store.unknowns()]
        run = self._run([record for record in found if record is not None and record.state is State.UNKNOWN])
        for listed in run.records:
            record = self._ledger.read(listed.command_id)
            if record is not None and record.state is State.UNKNOWN:
                yield self._reconcile(record, run)

    def _run(self, records: Sequence[Record]) -> _Run:
        visits = Visits(self._reads, self._clock, self._limits, records)
        competing = CompetingCommands(self._ledger, self._journal.begun_sends(), self._limits, self._accounts)
        return _Run(self._clock.now_ms(), records, visits, competing)

    def one(self, command_id: str) -> Reconciled:
        """Look for one command. One that is settled is only published again, should its result have been lost.

        Raises:
            NoSuchCommand: the ledger does not know the id.
            StillOpen: the command is being executed.
            LedgerUnavailable: nothing was settled.
        """
        record = self._ledger.read(command_id)
        if record is None:
            raise NoSuchCommand(f"the ledger has no command {command_id}")
        if record.report is None:
            raise StillOpen(f"{command_id} is being executed ({record.state.value}); nothing is unknown yet")
        if record.state is not State.UNKNOWN:
            self._publish_report(record.report)
            return _reconciled(record, "settled", f"it is settled: {record.report.message}", "", record.report.outcome)
        return self._reconcile(record, self._run([record]))

    def _reconcile(self, record: Record, run: _Run) -> Reconciled:
        evidence = self._evidence(record, run)
        outcome = Outcome.UNKNOWN
        if evidence.finding is Finding.FOUND:
            outcome = self._settle(record, Outcome.ACCEPTED, f"found at the venue: {evidence.words}", evidence)
        elif evidence.finding is Finding.REFUTED:
            outcome = self._settle(record, Outcome.NOT_SENT, f"not executed: {evidence.words}", evidence)
        elif evidence.finding is Finding.ABSENT:
            outcome, evidence = self._absent(record, evidence, run)
        elif evidence.finding is Finding.AMBIGUOUS:
            self._store.forget_absence(record.command_id)
        logger.info(
            "reconcile id=%s command=%s account=%s finding=%s outcome=%s: %s",
            record.command_id,
            record.command,
            record.account,
            evidence.finding.value,
            outcome.value,
            evidence.words,
        )
        return _reconciled(record, evidence.finding.value, evidence.words, evidence.reference, outcome)

    def _evidence(self, record: Record, run: _Run) -> Evidence:
        account, command = self._accounts.get(record.account), command_of(record)
        if account is None:
            return _unreadable(f"account {record.account!r} is not configured here")
        if record.account_digest not in ("", account.digest):
            return _unreadable(
                f"it was sent to another address or with another key than account {record.account!r} has here; "
                "reconcile it where it has those still, or look at the venue by hand"
            )
        if command is None:
            return _unreadable("the ledger does not have its arguments")
        lookup = lookup_of(record, command, lists=account.venue in self._reads)
        if lookup is not None:
            return self._evidence_by_id(record, command, lookup, account, run)
        visited = run.visits.of(account)
        if isinstance(visited, str):
            return _unreadable(visited)
        if record.command_id not in visited.searched:
            return _unreadable("the ledger does not say when it was sent")
        command, window = visited.searched[record.command_id]
        snapshot = visited.visit.snapshot(command, window)
        # The journal is read after the venue, so that it has the command of every record that the venue showed.
        competing = run.competing.of(record, command, window, visited.offset)
        if competing is None:
            return _unreadable("the journal reaches back to it no more: what else may have made a record is not known")
        return match(command, window, snapshot, competing)

    def _evidence_by_id(
        self, record: Record, command: Command, lookup: Lookup, account: Account, run: _Run
    ) -> Evidence:
        if run.failed_looks[account.alias] >= MAX_FAILED_LOOKS:
            return _unreadable(f"not looked for, after {MAX_FAILED_LOOKS} looks in a row that proved nothing")
        seen = self._look(command, lookup, account)
        evidence = evidence_of(command, lookup, seen)
        # One request's record says nothing about another that is on its way, or that is not listed yet.
        several = record.progress.sent > 1 and not isinstance(command, Cancel)
        all_listed = is_past(lookup, seen) and run.started_at >= self._counts_from(record, run)
        if evidence.finding is Finding.REFUTED and several and not all_listed:
            words = f"{evidence.words}, but another of its requests may still arrive"
            evidence = Evidence(Finding.AMBIGUOUS, words, evidence.reference, evidence.record)
        unreadable = evidence.finding is Finding.UNREADABLE
        run.failed_looks[account.alias] = run.failed_looks[account.alias] + 1 if unreadable else 0
        if evidence.finding is not Finding.FOUND or not isinstance(command, Cancel):
            return evidence
        window = self._limits.window(record, NO_OFFSET)
        competing = run.competing.of(record, command, window, NO_OFFSET) if window else None
        if competing is None:
            return _unreadable("nothing says which other commands may have cancelled the order")
        cancels = [(each.command_id, each.command) for each in competing]
        others = [each for each, other in cancels if isinstance(other, Cancel) and other.order_id == command.order_id]
        if others:
            words = f"{evidence.words}, and may have been by {', '.join(others[:4])}"
            return Evidence(Finding.AMBIGUOUS, words, evidence.reference, evidence.record)
        return evidence

    # -- settling ----------------------------------------------------------------------------------------------------

    def _absent(self, record: Record, evidence: Evidence, run: _Run) -> tuple[Outcome, Evidence]:
        started_at, counts_from = run.started_at, self._counts_from(record, run)
        if started_at < counts_from:
            return Outcome.UNKNOWN, _more(evidence, f"that counts only from {_at(counts_from)} on")
        first = self._store.first_absence_at(record.command_id)
        if first is None:
            first = self._clock.now_ms()
            self._store.record_absence(record.command_id, first)
            again = _at(first + int(self._limits.apart_seconds * 1000))
            return Outcome.UNKNOWN, _more(evidence, f"the first of two looks; look again from {again} on")
        if started_at < first + int(self._limits.apart_seconds * 1000):
            again = _at(first + int(self._limits.apart_seconds * 1000))
            return Outcome.UNKNOWN, _more(evidence, f"too soon after the first look; look again from {again} on")
        words = f"not executed: {evidence.words}, looked at {_at(first)} and {_at(started_at)}"
        return self._settle(record, Outcome.NOT_SENT, words, evidence), evidence

    def _counts_from(self, record: Record, run: _Run) -> int:
        """From when on the venue lists every request of the command that it has taken, UNIX ms by this machine's
        clock."""
        return self._last_arrival(record, run) + int(self._limits.settle_seconds * 1000)

    def _last_arrival(self, record: Record, run: _Run) -> int:
        """Until when a request of the command can have arrived, UNIX ms by this machine's clock."""
        refused_from = self._limits.refused_from(record)
        if refused_from is not None:
            return refused_from
        # By the venue's clock as well: when that is behind, the lists may come from a cache and show an older state.
        return self._limits.last_arrival(record) + run.visits.clock_behind_ms(record.account)

    def _settle(self, record: Record, outcome: Outcome, words: str, evidence: Evidence) -> Outcome:
        assert record.report is not None  # noqa: S101 - an UNKNOWN record has its report
        report = settled(record.report, outcome, words, evidence.record, self._clock.now_ms())
        stored = self._ledger.resolve(report, who=WHO, why=words) or report
        self._store.forget_absence(record.command_id)
        self._publish_report(stored)
        return stored.outcome

    def _publish_report(self, report: Report) -> None:
        """Publish a report. A failure is logged alone: the ledger has the report, and another run publishes it
        again."""
        try:
            self._publish(report)
        except Exception as error:  # noqa: BLE001 - whatever the backend raises, the ledger has the report
            logger.warning(
                "the report of %s could not be published (%s): reconcile it again",
                report.command_id,
                type(error).__name__,
            )


def _unreadable(words: str) -> Evidence:
    return Evidence(Finding.UNREADABLE, words)


def _more(evidence: Evidence, words: str) -> Evidence:
    return Evidence(evidence.finding, f"{evidence.words}; {words}", evidence.reference, evidence.record)


def _at(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _reconciled(record: Record, finding: str, words: str, reference: str, outcome: Outcome) -> Reconciled:
    return Reconciled(record.command_id, record.command, record.account, finding, words, reference, outcome.value)


def as_json(found: Sequence[Reconciled]) -> list[dict[str, Any]]:
    """The task's result."""
    return [each.to_json() for each in found]
