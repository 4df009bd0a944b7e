"""Checks whether a login may do more at its server than it needs.

A login need not be permitted to ask for its own rights (``ACL``), so each right is tried in a transaction that is never
executed: a server that queues a command would permit it, and one that does not permit it says so at once. Nothing runs
even where something in front of the server ignores ``MULTI``: each command that could do harm has arguments that make
it fail. The server notes each refusal in its ``ACL LOG``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from producers.intents import OUTBOX_KEYS
from producers.redis.client import open_client, own_connection
from producers.redis.url import split_url
from producers.results import RESULT_KEY
from worker.ledger.keys import DUE_KEYS, HALTS_KEY, JOURNAL_KEY, RECORD_KEY
from worker.operations.doctor.findings import Examiner, Finding
from worker.operations.doctor.servers import Server

EXAMINER = Examiner("servers")
NOBODY = "orders-doctor"
"""An id that no command has."""
_RECORD, _RESULT, _QUEUE = RECORD_KEY.format(NOBODY), RESULT_KEY.format(NOBODY), "orders.withdraw"
_OUTBOX = OUTBOX_KEYS[_QUEUE]
_ALL = ("broker", "results", "ledger")


@dataclass(frozen=True, slots=True)
class Right:
    """Something that a login should not be able to do."""

    words: str
    command: tuple[str, ...]
    roles: Sequence[str] = _ALL
    """The roles of a server at which it matters."""

    @property
    def name(self) -> str:
        """The command's name, with a blank before a subcommand."""
        return " ".join(self.command[: 2 if self.command[0] in ("CONFIG", "ACL", "FUNCTION") else 1])


NOBODYS = (
    Right("empty databases", ("FLUSHALL", NOBODY)),
    Right("change the server's configuration", ("CONFIG", "SET", NOBODY, "")),
    Right("change logins", ("ACL", "SETUSER", NOBODY, NOBODY)),
    Right("debug the server", ("DEBUG", NOBODY)),
    Right("make the server a replica", ("REPLICAOF", NOBODY, NOBODY)),
    Right("swap databases", ("SWAPDB", NOBODY, NOBODY)),
    Right("load functions", ("FUNCTION", "LOAD", NOBODY)),
    Right("delete records of commands", ("DEL", _RECORD), ("ledger",)),
    Right("delete records of commands", ("UNLINK", _RECORD), ("ledger",)),
    Right("replace records of commands", ("SET", _RECORD, "", "XX"), ("ledger",)),
    Right("rename records of commands", ("RENAME", _RECORD, f"{_RECORD}-2"), ("ledger",)),
    Right("copy records of commands", ("COPY", _RECORD, f"{_RECORD}-2"), ("ledger",)),
    Right("restore records of commands", ("RESTORE", _RECORD, "0", ""), ("ledger",)),
    Right("delete entries of the journal", ("XDEL", JOURNAL_KEY, "0-1"), ("ledger",)),
    Right("cut the journal", ("XTRIM", JOURNAL_KEY, "MAXLEN", NOBODY), ("ledger",)),
    Right("change messages in queues", ("LSET", _QUEUE, NOBODY, ""), ("broker",)),
)
"""Nobody needs these but an administrator."""

NO_PRODUCERS = (
    Right("list keys", ("SCAN", NOBODY)),
    Right("run scripts", ("EVAL", "return 0", "0")),
    Right("read queues", ("LRANGE", _QUEUE, "0", "0"), ("broker",)),
    Right("take from queues", ("RPOP", _QUEUE, NOBODY), ("broker",)),
    Right("delete queues", ("DEL", f"{_QUEUE}.{NOBODY}"), ("broker",)),
    Right("read what workers have taken", ("HGET", "unacked", NOBODY), ("broker",)),
    Right("read what is parked", ("HGET", f"{_QUEUE}.parked.messages", NOBODY), ("broker",)),
    Right("bring back what is parked", ("ZADD", f"{_QUEUE}.parked", "XX", NOBODY, NOBODY), ("broker",)),
    Right("put commands before others", ("LPUSHX", f"{_QUEUE}.waiting:{NOBODY}", ""), ("broker",)),
    Right("change lanes", ("HDEL", f"orders.lane:{NOBODY}", NOBODY), ("broker",)),
    Right("control workers", ("PUBLISH", "/0.celery.pidbox", ""), ("broker",)),
    Right("forge reports", ("SET", _RESULT, "", "XX"), ("results",)),
    Right("announce reports", ("PUBLISH", _RESULT, ""), ("results",)),
    Right("delete reports", ("DEL", _RESULT), ("results",)),
    Right("read records of commands", ("HGETALL", _RECORD), ("ledger",)),
    Right("write records of commands", ("HSET", _RECORD, "", "", NOBODY), ("ledger",)),
    Right("write the journal", ("XADD", JOURNAL_KEY, "NOMKSTREAM", NOBODY, "", ""), ("ledger",)),
    Right("halt and resume", ("HDEL", HALTS_KEY, NOBODY), ("ledger",)),
    Right("end cool-downs", ("HDEL", "orders:venue_cool_downs", NOBODY), ("ledger",)),
    Right("change how many requests were counted", ("LSET", f"orders:begins:{NOBODY}", NOBODY, ""), ("ledger",)),
    Right("read intents", ("HGET", _OUTBOX, NOBODY), ("ledger",)),
    Right("delete intents", ("HDEL", _OUTBOX, NOBODY), ("ledger",)),
    Right("change intents", ("HSET", _OUTBOX, NOBODY, "", NOBODY), ("ledger",)),
    Right("postpone intents", ("ZADD", DUE_KEYS[_OUTBOX], "XX", NOBODY, NOBODY), ("ledger",)),
)
"""Workers need these, or most of them; a service that sends commands needs none."""

DESK_RIGHTS = (
    Right("read records of commands", ("HGETALL", _RECORD)),
    Right("read the journal", ("XRANGE", JOURNAL_KEY, "+", "-")),
    Right("read halts", ("HGETALL", HALTS_KEY)),
    Right("halt and resume", ("HDEL", HALTS_KEY, NOBODY)),
    Right("write the journal", ("XADD", JOURNAL_KEY, "NOMKSTREAM", NOBODY, "", "")),
    Right("run scripts", ("EVAL", "return 0", "0")),
)
"""An operator's login needs these at the ledger to see and to act; a producer's has none of them."""


def check_rights(roles: Sequence[str], server: Server, *, producer: bool) -> list[Finding]:
    """Check what a login may do at a server with these roles: a worker's, or a producer's."""
    name, needs = f"{'+'.join(roles)} rights", "a producer" if producer else "a worker"
    rights = [each for each in NOBODYS + (NO_PRODUCERS if producer else ()) if not set(each.roles).isdisjoint(roles)]
    with open_client(server.url) as client:
        found = permitted(client, rights)
    login = split_url(server.url).username or "default"
    if found is None:
        return [EXAMINER.warning(name, "can't be checked: the server does not queue commands (MULTI)")]
    if not found:
        return [EXAMINER.ok(name, f"{login} has none that {needs} does not need")]
    if len(found) > len(rights) * 3 // 4:
        message = f"{login} may do everything: whoever has this login or reaches the server can rewrite what happened"
        advice = "give each worker and each sender a login with the rights it needs: docs/deploying.md#logins"
        return [EXAMINER.warning(name, message, advice)]
    return [_finding(name, login, needs, words, each) for words, each in _by_words(found)]


def permitted(client: redis.Redis, rights: Iterable[Right]) -> list[Right] | None:
    """Which of these rights the client's login has; None where that can't be told.

    Raises:
        redis.RedisError, OSError: the server cannot be reached.
    """
    # A connection by itself does not try again, so that nothing is sent outside of the transaction; its end
    # discards that.
    with own_connection(client) as connection:
        if [_reply(connection, each) for each in (("MULTI",), ("PING",))] != ["OK", "QUEUED"]:
            return None
        return [each for each in rights if _reply(connection, each.command) == "QUEUED"]


def _reply(connection: Any, command: tuple[str, ...]) -> str:
    if not connection.is_connected:
        raise redis.ConnectionError("the server closed the connection")
    connection.send_command(*command, check_health=False)
    try:
        reply = connection.read_response()
    except redis.ResponseError as refusal:
        return type(refusal).__name__
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def _by_words(found: Sequence[Right]) -> list[tuple[str, list[Right]]]:
    return [(words, [each for each in found if each.words == words]) for words in dict.fromkeys(r.words for r in found)]


def _finding(name: str, login: str, needs: str, words: str, found: Sequence[Right]) -> Finding:
    commands = [each.name for each in found]
    without = " ".join(f"-{each.lower().replace(' ', '|')}" for each in commands)
    message = f"{login} may {words} ({', '.join(commands)}), which {needs} does not need"
    advice = f"ACL SETUSER {login} {without}, or fewer keys; and in the list of users (docs/deploying.md#logins)"
    return EXAMINER.warning(name, message, advice)
