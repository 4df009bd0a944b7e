"""Verifying the journal at the server by itself: the chain of its entries, and the end of it."""

from collections.abc import Iterator

from producers.printable import printable
from worker.ledger.chain import Break, Chain, is_number, link_of
from worker.ledger.raw_journal import ChainEnd, Entry, RawJournal, StreamInfo
from worker.operations.archive.findings import Findings

WORDS = {
    Break.ALTERED: "entry {seq} was changed, or the one before it",
    Break.MISSING: "entries {after} to {before} are missing in front of entry {seq}",
    Break.BACK: "entry {seq} comes after entry {last}: it was put there, moved, or the journal was put back to an "
    "earlier state",
}
ENDS = frozenset({b"settle", b"refuse", b"abandon", b"resolve"})
"""Events that end a command."""
SHORTEST_KEEP_MS = 2 * 60 * 60 * 1000
"""A record is kept for longer than this after its end, whatever ``ORDERS_LEDGER__KEEP_DAYS`` says; that of a withdrawal
that was sent for ever."""
MAX_ENDED = 1_000_000
"""How many of the latest ends are remembered; older ones are forgotten."""


class EndedIds:
    """Notices a command that begins after its end: its record, which forbids that, was removed in between."""

    def __init__(self) -> None:
        self._ended: dict[bytes, tuple[int, bool]] = {}
        """By id: when it ended (UNIX ms), and whether it may have been sent."""

    def is_begun_again(self, position: bytes, fields: list[bytes]) -> bool:
        """Whether this entry begins a command again; the entries come in their order."""
        entry = dict(zip(fields[::2], fields[1::2], strict=False))
        at, command_id, event = position.partition(b"-")[0], entry.get(b"id", b""), entry.get(b"event")
        if not is_number(at):
            return False
        if event in ENDS:
            self._ended.pop(command_id, None)
            self._ended[command_id] = (int(at), entry.get(b"outcome") != b"not_sent")
            if len(self._ended) > MAX_ENDED:
                del self._ended[next(iter(self._ended))]
        elif event == b"begin" and command_id in self._ended:
            ended_at, was_sent = self._ended.pop(command_id)
            return int(at) - ended_at < SHORTEST_KEEP_MS or (was_sent and entry.get(b"command") == b"withdraw")
        return False


class StreamVerifier:
    """Follows the chain through pages of the stream."""

    def __init__(self, findings: Findings, *, layer: str = "chain") -> None:
        self.chain = Chain()
        self.first_seq: int | None = None
        self.last = b""
        """Position of the last entry of the chain."""
        self._findings, self._layer = findings, layer
        self._unchained: list[bytes] = []
        self._count = 0
        self._ids = EndedIds()

    def follow(self, entry: Entry, file: str = "", *, told: bool = False) -> None:
        """Verify an entry; ``told`` when it is known already that it does not follow the one before."""
        position, fields = entry
        if self._ids.is_begun_again(position, fields):
            text = "a command was begun again after its end: somebody removed its record in between. Its entries: {}"
            shown = printable(dict(zip(fields[::2], fields[1::2], strict=False))[b"id"].decode("utf-8", "replace"), 255)
            self._findings.add(self._layer, text.format(f"orders journal {shown}"), position=position, file=file)
        before = self.chain.link
        how = self.chain.follow(position, fields)
        link = link_of(fields)
        if link is not None:
            self.last = position
            if self.first_seq is None:
                self.first_seq = link.seq
                self._findings.first = self._findings.first or position.decode()
        if how is Break.UNCHAINED:
            self._count += 1
            self._unchained = [*self._unchained[:1], position]
        elif how and link and before and not told:
            seqs = {"seq": link.seq, "last": before.seq, "after": before.seq + 1, "before": link.seq - 1}
            self._findings.add(self._layer, WORDS[how].format(**seqs), position=position, file=file)

    def end(self) -> None:
        """Tell what is told once for all entries."""
        if self._count:
            span = " to ".join(dict.fromkeys(each.decode() for each in self._unchained))
            text = (
                f"{self._count} entries are not of the chain ({span}): put there, or written by a worker of an earlier "
                "version; if such a worker ran then, verify what came later with --from"
            )
            self._findings.add(self._layer, text, position=self._unchained[0])


def verify_stream(
    journal: RawJournal, findings: Findings, *, start: bytes = b"", journal_lines: int = 0
) -> Iterator[Entry]:
    """Verify the stream as it is now, and yield each entry for whoever compares it.

    What was trimmed is no finding: the chain begins with the first entry that is left, whose own content it can't
    prove. ``start`` is the position from which on it is verified.

    Raises:
        LedgerUnavailable: the server can't be read.
    """
    # Before the entries: what is written meanwhile is not looked at.
    end, info = journal.end(), journal.info()
    verifier = StreamVerifier(findings)
    for page in journal.between(start or b"-", info.last) if info else ():
        for entry in page:
            verifier.follow(entry)
            findings.entries += 1
            yield entry
    verifier.end()
    findings.before_chain, findings.last = verifier.chain.unchained, verifier.last.decode()
    _compare_end(verifier, end, info, findings)
    if info is not None and not start:
        _check_beginning(verifier, info, findings, journal_lines)


def _compare_end(verifier: StreamVerifier, end: ChainEnd | None, info: StreamInfo | None, findings: Findings) -> None:
    link = verifier.chain.link
    if end is None:
        if link is not None:
            findings.add("chain", f"the server does not know the chain's end any more, which is entry {link.seq}")
    elif link is None:
        gone = "the stream is gone" if info is None else "the stream has no entry of the chain"
        findings.add("chain", f"{gone}, and the server says that the chain ends with entry {end.link.seq}")
    elif end.link.seq > link.seq:
        text = f"entries {link.seq + 1} to {end.link.seq}, the last ones, are missing at the end"
        findings.add("chain", text, position=end.position)
    elif (end.link, end.position) != (link, verifier.last):
        text = f"the last entry, {link.seq}, is not the one that the server knows as the chain's end, {end.link.seq}"
        findings.add("chain", text, position=verifier.last)


def _check_beginning(verifier: StreamVerifier, info: StreamInfo, findings: Findings, journal_lines: int) -> None:
    """A trim leaves about as many entries as the settings say; fewer are left when somebody else removed the rest."""
    first, link = verifier.first_seq, verifier.chain.link
    if first is None or link is None or first == 1 or info.length >= journal_lines:
        return
    if info.added is not None and info.added < link.seq:
        text = (
            f"the stream was deleted and begun again with entry {first}: it has seen {info.added} of {link.seq} entries"
        )
        findings.add("chain", text)
    else:
        text = (
            f"the stream begins with entry {first} and holds {info.length} entries, fewer than "
            f"ORDERS_LEDGER__JOURNAL_LINES={journal_lines}: the setting was smaller, or somebody trimmed it"
        )
        findings.add("chain", text, tampered=False)
