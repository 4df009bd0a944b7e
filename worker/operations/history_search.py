"""A search through the journal, backwards, for commands.

A command is listed where it entered the journal: at the entry by which it was held, begun for the first time, or
refused. So a page can be continued from a position, whatever happens to its commands meanwhile.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import redis

from producers.printable import printable
from worker.ledger.journal_search import ENDS, JournalSearch, Turn, TurnPage
from worker.ledger.records import Record
from worker.ledger.records_read import read_records

MOST_READ = 20_000
"""How many entries of the journal are looked at for one page."""
BATCH = 100
"""How many records are read at once."""
OPEN = "open"
"""In a filter, the outcome of a command that has not ended."""
NO_END = "its record is gone, and the journal does not say how it ended"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which commands are searched for; what is empty is not asked for."""

    account: str = ""
    command: str = ""
    outcome: str = ""
    """An outcome, or :data:`OPEN`."""
    since_ms: int = 0
    """UNIX ms on the ledger's clock: those that entered the journal then or later."""
    id_prefix: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One command of a page. Times are UNIX ms."""

    command_id: str
    command: str
    """Empty where neither journal nor record tells; and so is the account."""
    account: str
    outcome: str
    """Empty while it is open, and where nothing tells it any more."""
    reason: str
    """The report's; of an open command its state in the ledger; :data:`NO_END` where nothing tells."""
    began_at: int
    """When it entered the journal."""
    ended_at: int
    """0 while it is open, and where nothing tells it."""
    position: str
    """Of the entry by which it entered the journal."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of what was found."""

    lines: tuple[Line, ...]
    """The last one first."""
    more: str
    """The position to continue before; empty when the whole journal was searched."""


class Search:
    """One search for one page. Its method may raise :class:`~worker.ledger.base.LedgerUnavailable`."""

    def __init__(self, client: redis.Redis, wanted: Filter) -> None:
        self._client = client
        self._journal = JournalSearch(client)
        self._wanted = wanted
        self._ends: dict[str, Turn] = {}
        """By id, the last entry that ended it, of those that were read."""
        self._begins: dict[str, int] = {}
        """By id, how many of its begins were looked at."""
        self._from_the_last = True
        """Whether no entry behind those that were read is left out."""

    def page(self, limit: int, before: str) -> Page:
        """Up to ``limit`` commands that entered the journal before the position ``before``."""
        self._from_the_last = not before
        lines, read, position = dict[str, Line](), 0, ""
        wanted = self._wanted
        names = {"command": wanted.command, "account": wanted.account, "id_prefix": wanted.id_prefix}
        for page in self._journal.backwards(before, wanted.since_ms, **names):
            for turn, record in self._candidates(page):
                if len(lines) >= limit:
                    return Page(tuple(lines.values()), position)
                position = turn.position
                line = self._line(turn, record)
                if line is not None and (line.command_id not in lines or record is None):
                    lines[line.command_id] = line
            read, position = read + page.looked_at, page.last
            if read >= MOST_READ:
                return Page(tuple(lines.values()), position)
        return Page(tuple(lines.values()), "")

    def _candidates(self, page: TurnPage) -> Iterator[tuple[Turn, Record | None]]:
        """The entries by which a wanted command may have entered the journal, each with its record."""
        for turn in page.turns:
            if turn.event in ENDS:
                self._ends.setdefault(turn.command_id, turn)
        turns = [each for each in page.turns if self._may_match(each)]
        for start in range(0, len(turns), BATCH):
            batch = turns[start : start + BATCH]
            records = read_records(self._client, [each.command_id for each in batch])
            yield from ((each, records[each.command_id]) for each in batch)

    def _may_match(self, turn: Turn) -> bool:
        end = self._ends.get(turn.command_id) if self._from_the_last else None
        return turn.opens and (not self._wanted.outcome or end is None or end.outcome == self._wanted.outcome)

    def _line(self, turn: Turn, record: Record | None) -> Line | None:
        """The line of a command that entered the journal by this entry; None if it did not, or is not wanted."""
        if not self._entered_by(turn, record):
            return None
        end, report = self._end_of(turn, record), record.report if record else None
        outcome, reason = "", NO_END
        if record:
            outcome = report.outcome.value if report else ""
            reason = str(report.reason) if report else record.state.value
        elif end:
            outcome, reason = end.outcome, ""
        line = Line(
            command_id=turn.command_id,
            command=record.command if record else turn.command,
            account=record.account if record else turn.account,
            outcome=printable(outcome, 100),
            reason=printable(reason, 100),
            began_at=turn.at,
            ended_at=end.at if end else (report.finished_at or 0) if report else 0,
            position=turn.position,
        )
        return line if self._is_wanted(line) else None

    def _is_wanted(self, line: Line) -> bool:
        wanted = self._wanted
        outcome = line.outcome or ("" if line.reason == NO_END else OPEN)
        return (
            wanted.command in ("", line.command)
            and wanted.account.lower() in ("", line.account.lower())
            and wanted.outcome in ("", outcome)
        )

    def _entered_by(self, turn: Turn, record: Record | None) -> bool:
        begins = self._begins[turn.command_id] = self._begins.get(turn.command_id, 0) + (turn.event == "begin")
        entered_at = entered_at_ms(record)
        if record is None or entered_at == 0 or turn.at <= entered_at:
            return True
        if turn.event == "begin" and record.progress.tries <= begins:
            return True
        # There is an earlier one, unless the server's clock was put back: entries are later than the record says then.
        earlier = self._journal.of_command(turn.command_id, entered_at, page_size=BATCH)
        return next((each.position for each in earlier), turn.position) == turn.position

    def _end_of(self, turn: Turn, record: Record | None) -> Turn | None:
        """The entry that ended a command. It is looked for where it may be behind the page, and no record tells."""
        if record is None and not self._from_the_last:
            return self._last_end(turn)
        end = self._ends.get(turn.command_id)
        is_its = end and (record is None or (record.report and record.report.outcome.value == end.outcome))
        return end if is_its else None

    def _last_end(self, turn: Turn) -> Turn | None:
        entries = self._journal.of_command(turn.command_id, turn.at)
        ends = [each for each in entries if each.fields.get("event") in ENDS]
        if not ends:
            return None
        last, fields = ends[-1], ends[-1].fields
        named = fields["event"], turn.command_id, fields.get("outcome", ""), turn.command, turn.account
        return Turn(last.position, last.at, *named, opens=False)


def entered_at_ms(record: Record | None) -> int:
    """When a command was held or first begun, UNIX ms on the ledger's clock; 0 for one that was neither."""
    times = (record.first_begun_at, record.hold.since if record.hold else 0) if record else ()
    return min(filter(None, times), default=0)
