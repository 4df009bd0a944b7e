"""Collecting the evidence of a run from its rig."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from tests.faults.fleet import until
from tests.faults.rig import Rig
from tests.faults.traffic import Mix, Sender, Sent, stage
from tests.support.checker.processes import SECRETS, Evidence, Findings, check

PAGE = 5000


def evidence(rig: Rig, sent: Mapping[str, Sent], since: int = 0) -> Evidence:
    """Everything about these commands, which are all that arrived at the venue after its record ``since``."""
    left: Counter[str] = Counter()
    owners: dict[str, set[object]] = defaultdict(set)
    for _, pid, step, command_id in rig.control.traces():
        left[command_id] += step == "left"
        owners[command_id].add(pid)
    entries = [entry for entry in journal(rig) if entry[1]["id"] in sent]
    tokens: dict[str, set[object]] = defaultdict(set)
    for _, fields in entries:
        tokens[fields["id"]].add(fields["token"])
    return Evidence(
        sent=sent,
        results=rig.results(list(sent)),
        journal=entries,
        executions=rig.venue.executions(since=since),
        arrivals=rig.venue.arrivals(since=since),
        requests=left,
        undone=rig.undone,
        leaks=_leaks(rig),
        disturbed=frozenset(each for each in sent if len(owners[each]) > 1 or len(tokens[each]) > 1),
    )


def _leaks(rig: Rig) -> list[str]:
    """Logs of workers with a key in what was written since they were last looked at."""
    found = []
    for log in sorted(rig.folder.glob("*.log")):
        with log.open("rb") as lines:
            lines.seek(rig.read_up_to.get(log, 0))
            written = lines.read()
            rig.read_up_to[log] = lines.tell()
        if any(secret.encode() in written for secret in SECRETS):
            found.append(f"a key is in the log {log.name}")
    return found


def journal(rig: Rig) -> list[tuple[int, Mapping[str, str]]]:
    """The ledger's journal: time and fields of each entry."""
    found: list[tuple[int, Mapping[str, str]]] = []
    start = "-"
    while True:
        page: list[Any] = rig.client(2).xrange("orders:journal", start, "+", count=PAGE)
        found += [(int(entry.partition("-")[0]), fields) for entry, fields in page]
        if len(page) < PAGE:
            return found
        start = f"({page[-1][0]}"


class Trial:
    """Commands sent on a rig, and what became of them; several may follow one another."""

    def __init__(self, rig: Rig, seed: int, **mix: Any) -> None:
        self.rig = rig
        self.mix = Mix(seed, **mix)
        self.sender = Sender(rig.server.url(0))
        last = rig.venue.arrivals(limit=1) + rig.venue.executions(limit=1)
        self._since = max((each.seq for each in last), default=0)

    def take(self, count: int) -> list[Sent]:
        """The next commands, staged at the venue and not sent."""
        commands = self.mix.take(count)
        stage(self.rig.venue, commands)
        return commands

    def send(self, count: int) -> list[str]:
        """Send the next commands; their ids."""
        return self.sender.send_all(self.take(count))

    def arrived(self, count: int, seconds: float = 20.0) -> None:
        """Wait until so many of its requests have reached the venue."""
        self.rig.venue.wait(arrivals=count, since=self._since, timeout=seconds)

    def executions(self) -> list[Any]:
        """What took effect since it began."""
        return list(self.rig.venue.executions(since=self._since))

    def check(self) -> Findings:
        """What the checker finds."""
        return check(evidence(self.rig, self.sender.sent, self._since))

    def finish(self, seconds: float = 40.0) -> Findings:
        """Wait until each command has its report and nothing is under way, and judge."""
        self.rig.wait_reports(list(self.sender.sent), seconds)
        until(self.rig.is_drained, "nothing is queued or unacknowledged", seconds)
        return self.check()

    def close(self) -> None:
        """Close its connections."""
        self.sender.close()
