"""The journal as the server sends it: pages of positions and flat lists of fields and values, all bytes.

Reads only. For the archive and the verification, which see each of a million entries and every byte of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import redis

from worker.ledger.chain import Link, is_number
from worker.ledger.connection import guarded
from worker.ledger.keys import JOURNAL_HEAD_KEY, JOURNAL_KEY

Entry = tuple[bytes, list[bytes]]
"""Position and fields."""
PAGE = 1000


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What the server says of the stream itself."""

    length: int
    last: bytes
    """The position of the last entry that was ever added."""
    added: int | None
    """How many entries were ever added; None before Redis 7."""
    deleted: bytes
    """Position of the latest entry that was deleted other than by trimming; ``0-0`` for none, and before Redis 7."""


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """What the server keeps of the last entry of the chain, beside the stream."""

    link: Link
    position: bytes


class RawJournal:
    """Reads over one connection of its own, so that a server that was restarted is noticed: the call fails, and
    :attr:`connected` is false. Every method may raise :class:`~worker.ledger.base.LedgerUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        """``client`` decodes no replies."""
        self._client = client
        self._connection: Any = None

    @property
    def connected(self) -> bool:
        """Whether the connection of the last call is still open."""
        return self._connection is not None

    def after(self, position: bytes, wait_ms: int = 0) -> list[Entry]:
        """Up to :data:`PAGE` entries behind a position, waiting for the first if there is none."""
        block = ("BLOCK", wait_ms) if wait_ms else ()
        reply = self._call("XREAD", "COUNT", PAGE, *block, "STREAMS", JOURNAL_KEY, position)
        streams = list(reply.items()) if isinstance(reply, dict) else reply  # RESP 3 and 2
        return streams[0][1] if streams else []

    def between(self, start: bytes, end: bytes = b"+") -> Iterator[list[Entry]]:
        """Pages of the entries from a position on; both ends are included."""
        while page := self._call("XRANGE", JOURNAL_KEY, start, end, "COUNT", PAGE):
            yield page
            start = b"(" + page[-1][0]

    def first(self) -> Entry | None:
        """The first entry that is left."""
        page = self._call("XRANGE", JOURNAL_KEY, "-", "+", "COUNT", 1)
        return page[0] if page else None

    def last(self) -> Entry | None:
        """The last entry that is there."""
        page = self._call("XREVRANGE", JOURNAL_KEY, "+", "-", "COUNT", 1)
        return page[0] if page else None

    def info(self) -> StreamInfo | None:
        """The stream itself; None when there is none."""
        try:
            reply = self._call("XINFO", "STREAM", JOURNAL_KEY)
        except NoSuchKey:
            return None
        about = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=False))  # RESP 3 and 2
        added, deleted = about.get(b"entries-added"), about.get(b"max-deleted-entry-id", b"0-0")
        return StreamInfo(int(about[b"length"]), about[b"last-generated-id"], added, deleted)

    def end(self) -> ChainEnd | None:
        """The end of the chain; None where the server has none, or something else in its place."""
        parts = (self._call("GET", JOURNAL_HEAD_KEY) or b"").split()
        if len(parts) != 3 or not is_number(parts[0]):
            return None
        return ChainEnd(Link(int(parts[0]), parts[1]), parts[2])

    def server(self) -> str:
        """Which run of which server this is; empty where this login may not ask."""
        try:
            info = self._call("INFO", "server")
        except NotPermitted:
            return ""
        lines = info.decode("ascii", "replace").splitlines()
        return next((line.partition(":")[2] for line in lines if line.startswith("run_id:")), "")

    def _call(self, *command: Any) -> Any:
        return guarded(self._send, command)

    def _send(self, command: tuple[Any, ...]) -> Any:
        if self._connection is None:
            self._connection = self._client.connection_pool.get_connection()
        try:
            self._connection.send_packed_command(self._connection.pack_command(*command))
            return self._connection.read_response()
        except redis.exceptions.NoPermissionError as error:
            if command[0] == "INFO":
                raise NotPermitted from error
            raise
        except redis.ResponseError as error:
            if "no such key" in str(error):
                raise NoSuchKey from error
            raise
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
            self._client.connection_pool.release(connection)


class NoSuchKey(Exception):
    """Raised for a stream that is not there."""


class NotPermitted(Exception):
    """Raised where this login may not ask what the server is."""
