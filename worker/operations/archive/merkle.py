"""A Merkle tree over the lines of a file: RFC 6962, section 2.1, with SHA-256.

Leaves and nodes are hashed with different prefixes, so that no node can be passed off as a line. The tree grows line by
line and keeps only the roots of its complete subtrees, one for each bit of its size.
"""

from hashlib import sha256


class MerkleTree:
    """The tree over the lines that were added."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []
        """Roots of the complete subtrees, the largest first."""

    def add(self, line: bytes) -> None:
        """Add a line, without its line feed."""
        node = sha256(b"\x00" + line).digest()
        complete = self.size
        while complete & 1:
            node = sha256(b"\x01" + self._peaks.pop() + node).digest()
            complete >>= 1
        self._peaks.append(node)
        self.size += 1

    def root(self) -> str:
        """The root in hex; of no lines, the hash of nothing."""
        if not self._peaks:
            return sha256(b"").hexdigest()
        *left, root = self._peaks
        for peak in reversed(left):
            root = sha256(b"\x01" + peak + root).digest()
        return root.hex()
