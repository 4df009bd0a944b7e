"""Collecting the evidence of a run from its rig."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.faults.fleet import until
from tests.faults.rig import Rig
from tests.faults.traffic import Mix, Sender, stage
from tests.support.checker.checks import JournalEntry
from tests.support.checker.commands import EXCHANGE_KEYS, KRAKEN, SECRETS, VENUES, Sent
from tests.support.checker.processes import Evidence, Findings, check

PAGE = 5000


class Trial:
    """Commands sent on a rig, and what became of them; several may follow one another."""

    def __init__(self, rig: Rig, seed: int, **mix: Any) -> None:
        self.rig = rig
        self.mix = Mix(seed, **mix)
        self.sender = Sender(rig.server.url(0))
        self.sent: dict[str, Sent] = {}
        self.reported_at: dict[str, float] = {}
        """When the result of a command was first seen, UNIX seconds."""
        self.undone: frozenset[str] = frozenset()
        """Withdrawals that the venue executed and was made to reject later."""
        last = rig.venue.arrivals(limit=1) + rig.venue.executions(limit=1)
        self._since = max((each.seq for each in last), default=0)
        self._made_before: Counter[str] = Counter()
        self._made_before = self._orders_made()

    def take(self, count: int) -> list[Sent]:
        """The next commands, staged at the venue and not sent."""
        commands = self.mix.take(count)
        stage(self.rig.venue, commands)
        return commands

    def send(self, commands: int | Iterable[Sent]) -> list[str]:
        """Send these commands, or so many new ones; their ids."""
        chosen = self.take(commands) if isinstance(commands, int) else [*commands]
        for command in chosen:
            self.sent[command.command_id] = command
            self.sender.send(command)
        return [command.command_id for command in chosen]

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """In the block, commands are at the venue and others queued behind them."""
        with self.rig.slow_venue(600):
            self.send(30)
            self.wait_arrivals(8)
            yield

    def wait_arrivals(self, count: int) -> None:
        """Wait until so many of its requests have reached the venue."""
        self.rig.venue.wait(arrivals=count, since=self._since, timeout=20)

    def executions(self) -> list[Any]:
        """What took effect since it began."""
        return [*self.rig.venue.executions(since=self._since)]

    def check(self) -> Findings:
        """What the checker finds."""
        requests: Counter[str] = Counter()
        for _, _, step, command_id in self.rig.control.traces():
            requests[command_id] += step == "left"
        journal = [entry for entry in _journal(self.rig) if entry[1]["id"] in self.sent]
        unfinished: dict[str, set[str]] = defaultdict(set)
        for _, fields in journal:
            if fields["event"] == "begin":
                unfinished[fields["id"]].add(fields["token"])
            elif fields["event"] in ("park", "settle"):
                unfinished[fields["id"]].discard(fields["token"])
        return check(
            Evidence(
                sent=self.sent,
                results=self.rig.results([*self.sent]),
                journal=journal,
                executions=self.executions(),
                arrivals=self.rig.venue.arrivals(since=self._since),
                exchange_url=self.rig.exchange_url,
                orders_made=self._orders_made(),
                requests=requests,
                undone=self.undone,
                leaks=[*_leaks(self.rig)],
                ended_workers=self.rig.fork_server.ended_workers,
                disturbed=frozenset(each for each in self.sent if unfinished[each]),
            )
        )

    def _orders_made(self) -> Counter[str]:
        """How many orders the exchanges' books have under each client order id, since it began."""
        books = [
            self.rig.venue.exchange("krakenfutures" if VENUES[alias] == KRAKEN else "okx", key).tally().by_client_id
            for alias, key in EXCHANGE_KEYS.items()
        ]
        made = Counter({handle: len(row["orders"]) for book in books for handle, row in book.items()})
        return made - self._made_before

    def missing(self) -> list[str]:
        """Commands without a result."""
        unseen = [each for each in [*self.sent] if each not in self.reported_at]
        found = self.rig.results(unseen)
        self.reported_at |= dict.fromkeys(found, time.time())
        return [each for each in unseen if each not in found]

    def wait_reports(self, seconds: float = 40.0) -> None:
        """Wait until every command has a result."""
        until(lambda: not self.missing(), lambda: f"without a report: {self.missing()[:5]}", seconds)

    def finish(self, seconds: float = 40.0) -> Findings:
        """Wait until each command has its result and nothing is queued or unacknowledged; nothing may be wrong then."""
        self.wait_reports(seconds)
        until(self.rig.is_drained, lambda: "nothing is queued or unacknowledged", seconds)
        return self.check_clean()

    def check_clean(self) -> Findings:
        """What the checker finds, which must be nothing wrong."""
        findings = self.check()
        assert findings.clean, findings.first()
        return findings


def _journal(rig: Rig) -> Iterator[JournalEntry]:
    """The ledger's journal, a page at a time."""
    start = "-"
    while page := rig.ledger.xrange("orders:journal", start, "+", count=PAGE):
        yield from ((int(entry.partition("-")[0]), fields) for entry, fields in page)
        start = f"({page[-1][0]}"


def _leaks(rig: Rig) -> Iterator[str]:
    """Logs of workers with a key in them."""
    for log in rig.folder.glob("*.log"):
        written = log.read_bytes()
        if any(secret.encode() in written for secret in SECRETS):
            yield f"a key is in the log {log.name}"
