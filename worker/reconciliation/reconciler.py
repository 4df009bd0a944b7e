"""A way out of ``unknown``: looking at the venue.

Nothing but what the venue shows settles a command here, and each rule leans to one side:

* found (one record, and no other command that could have made it) is ``accepted``, at once;
* not found counts only when the last request can't be on its way any more and the venue had time to show it, twice,
  with a pause between; then it is ``not_sent``. A withdrawal is never settled by absence;
* everything else leaves the command ``unknown``, and says why.

The first look without a find is kept in the ledger, so that looks of separate runs count. A sender that is still alive
may settle its command meanwhile: the report that stands is the one that is told and published.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from producers.report import Outcome, Report
from worker.clock import Clock
from worker.execution.reports import settled
from worker.ledger.base import Ledger, NoSuchCommand, Record, State, StillOpen
from worker.reconciliation.competing import CompetingCommands, command_of
from worker.reconciliation.matching import Evidence, Finding, match
from worker.reconciliation.store import ReconcileStore
from worker.reconciliation.visits import Visits
from worker.reconciliation.window import ReconcileLimits
from worker.venues.accounts import Account
from worker.venues.base import Reads

logger = logging.getLogger("orders.reconcile")

WHO = "reconcile"


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What came of looking for one command."""

    command_id: str
    command: str
    account: str
    finding: str
    """A :class:`Finding`, or ``settled`` for a command that is not unknown."""
    words: str
    reference: str
    outcome: str
    """As it stands now."""

    def to_json(self) -> dict[str, Any]:
        """As the task's result tells it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Run:
    """Looks that share what they read. None of it is older than ``started``, and so late does each of them count."""

    started: int
    records: Sequence[Record]
    visits: Visits
    rivals: CompetingCommands


class Reconciler:
    """Settles unknowns by evidence."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        casebook: ReconcileStore,
        accounts: Mapping[str, Account],
        reads: Mapping[str, Reads],
        clock: Clock,
        limits: ReconcileLimits,
        publish: Callable[[Report], None],
    ) -> None:
        """``reads`` by venue; ``publish`` hands a settled report to those who wait for it, and may raise."""
        self._ledger = ledger
        self._casebook = casebook
        self._rivals = CompetingCommands(ledger, casebook, limits, accounts)
        self._accounts = accounts
        self._reads = reads
        self._clock = clock
        self._limits = limits
        self._publish = publish

    def all(self) -> Iterator[Reconciled]:
        """Look for every open unknown, oldest first. Of each account the venue's lists are read once for all of them.

        Raises:
            LedgerUnavailable: what was settled before stays so.
        """
        found = [self._ledger.read(command_id) for command_id, _ in self._casebook.unknowns()]
        run = self._run([record for record in found if record is not None and record.state is State.UNKNOWN])
        for known in run.records:
            record = self._ledger.read(known.command_id)
            if record is not None and record.state is State.UNKNOWN:
                yield self._reconcile(record, run)

    def _run(self, records: Sequence[Record]) -> _Run:
        visits = Visits(self._reads, self._clock, self._limits, records)
        return _Run(self._clock.now_ms(), records, visits, self._rivals.for_a_run())

    def one(self, command_id: str) -> Reconciled:
        """Look for one command. One that is settled is only published again, should its result have been lost.

        Raises:
            NoSuchCommand, StillOpen: there is nothing to reconcile.
            LedgerUnavailable: nothing was settled.
        """
        record = self._ledger.read(command_id)
        if record is None:
            raise NoSuchCommand(f"the ledger has no command {command_id}")
        if record.report is None:
            raise StillOpen(f"{command_id} is being executed ({record.state.value}); nothing is unknown yet")
        if record.state is not State.UNKNOWN:
            self._tell(record.report)
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
            outcome, evidence = self._absent(record, evidence, run.started, run.visits.behind(record.account))
        elif evidence.finding is Finding.AMBIGUOUS:
            self._casebook.forget_look(record.command_id)
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
        if record.place not in ("", account.place):
            return _unreadable(
                f"it was sent to another address or with another key than account {record.account!r} has here; "
                "reconcile it where it has those still, or look at the venue by hand"
            )
        if command is None:
            return _unreadable("the ledger does not have its arguments")
        seen = run.visits.of(account)
        if isinstance(seen, str):
            return _unreadable(seen)
        if record.command_id not in seen.wanted:
            return _unreadable("the ledger does not say when it was sent")
        command, window = seen.wanted[record.command_id]
        look = seen.visit.snapshot(command, window)
        # After the look, so that whatever made a record that was seen is in the journal by now.
        rivals = run.rivals.of(record, command, window, seen.offset)
        if rivals is None:
            return _unreadable("the journal reaches back to it no more: what else may have made a record is not known")
        return match(command, window, look, rivals)

    # -- settling ----------------------------------------------------------------------------------------------------

    def _absent(self, record: Record, evidence: Evidence, started: int, behind: int) -> tuple[Outcome, Evidence]:
        # By the venue's clock as well: what tells an old time, all of it may be from a cache, shows what was then.
        counts_from = self._limits.last_arrival(record) + int(self._limits.settle * 1000) + behind
        if started < counts_from:
            return Outcome.UNKNOWN, _more(evidence, f"that counts only from {_at(counts_from)} on")
        first = self._casebook.first_absence_at(record.command_id)
        if first is None:
            first = self._clock.now_ms()
            self._casebook.record_absence(record.command_id, first)
            again = _at(first + int(self._limits.apart * 1000))
            return Outcome.UNKNOWN, _more(evidence, f"the first of two looks; look again from {again} on")
        if started < first + int(self._limits.apart * 1000):
            again = _at(first + int(self._limits.apart * 1000))
            return Outcome.UNKNOWN, _more(evidence, f"too soon after the first look; look again from {again} on")
        words = f"not executed: {evidence.words}, looked at {_at(first)} and {_at(started)}"
        return self._settle(record, Outcome.NOT_SENT, words, evidence), evidence

    def _settle(self, record: Record, outcome: Outcome, words: str, evidence: Evidence) -> Outcome:
        assert record.report is not None  # noqa: S101 - an UNKNOWN record has its report
        report = settled(record.report, outcome, words, evidence.record, self._clock.now_ms())
        stands = self._ledger.resolve(report, who=WHO, why=words) or report
        self._casebook.forget_look(record.command_id)
        self._tell(stands)
        return stands.outcome

    def _tell(self, report: Report) -> None:
        """Publish; the ledger has the truth already, and another run publishes again."""
        try:
            self._publish(report)
        except Exception as error:  # noqa: BLE001 - whatever the backend raises, what is settled is settled
            logger.warning("the report of %s could not be published: %s", report.command_id, type(error).__name__)


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
