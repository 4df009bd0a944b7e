"""Verifying the journal at the server by itself: the chain of its entries, and the end of it."""

from collections.abc import Iterator

from worker.ledger.chain import Break, Chain, link_of
from worker.ledger.raw_journal import ChainEnd, Entry, RawJournal, StreamInfo
from worker.operations.archive.findings import Findings

WORDS = {
    Break.ALTERED: "entry {seq} was changed, or the one before it",
    Break.MISSING: "entries {after} to {before} are missing in front of entry {seq}",
    Break.BACK: "entry {seq} comes after entry {last}: it was put there, moved, or the journal was put back to an "
    "earlier state",
}


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

    def follow(self, entry: Entry, file: str = "", *, told: bool = False) -> None:
        """Verify an entry; ``told`` when it is known already that it does not follow the one before."""
        position, fields = entry
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
