"""What a verification found, in plain words."""

from dataclasses import dataclass, field

MAX_FINDINGS = 100
"""How many of a kind are told one by one; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or that can't be vouched for."""

    layer: str
    """What tells it: ``chain`` (the journal at the server by itself), ``archive`` (the archive, and the server beside
    it) or ``checkpoint`` (the signed checkpoints, and the archive beside them)."""
    tampered: bool
    """False for what has an honest explanation, such as a restart that lost the last second."""
    text: str
    position: str = ""
    """Of the entry in the stream."""
    file: str = ""
    """Of the archive, with the line."""


@dataclass(slots=True)
class Findings:
    """Collects findings, and counts what was verified."""

    entries: int = 0
    """In the stream."""
    before_chain: int = 0
    """Entries in the stream that an earlier version wrote, before the chain began."""
    first: str = ""
    last: str = ""
    """Positions of the first and the last entry of the chain in the stream."""
    archived: int = 0
    """Entries in the archive."""
    compared: int = 0
    """Entries that archive and stream both have, and have alike."""
    checkpoints: int = 0
    found: list[Finding] = field(default_factory=list)
    tampered: int = 0
    """How many findings are signs of tampering, those that are only counted included."""
    _untold: dict[str, int] = field(default_factory=dict)

    def add(self, layer: str, text: str, *, position: bytes = b"", file: str = "", tampered: bool = True) -> None:
        """Add a finding."""
        self.tampered += tampered
        if sum(each.layer == layer for each in self.found[-2 * MAX_FINDINGS :]) >= MAX_FINDINGS:
            self._untold[layer] = self._untold.get(layer, 0) + 1
        else:
            self.found.append(Finding(layer, tampered, text, position.decode("ascii", "replace"), file))

    @property
    def untold(self) -> dict[str, int]:
        """By layer: how many findings are only counted."""
        return dict(self._untold)
