"""What lies beside the ledger: the stored results, and the messages. Where they are on the ledger's own server, and its
login may reach them there, the ledger's script does so itself."""

import time
from collections.abc import Callable
from importlib.resources import files

import redis

from producers.redis.direct import DirectClient
from producers.results import RESULT_KEY
from worker.ledger.connection import guarded

NO_LOOK: tuple[str, ...] = ()
"""What a move is given that heeds no result."""
STORED = ("", "*", "")
"""What a move is given that heeds the result that was found by another call."""
PROBE_RETRY_SECONDS = 30.0
"""After how long a server that has refused a probe is probed again: it may have been full, or the rights change."""

_PROBE = files("worker.ledger").joinpath("beside.lua").read_text(encoding="utf-8")


_FOLLOWING = """
local function store_result(KEYS, ARGV)
{store}
end
local function acknowledge(KEYS, ARGV)
  -- For a message without a lane the functions of lanes would be made to do nothing.
  if #ARGV == 3 and ARGV[2]:sub(1, 5) ~= 'lane:' then
    redis.call('ZREM', KEYS[1], ARGV[2])
    redis.call('HDEL', KEYS[2], ARGV[2])
    return
  end
{ack}
end
"""


class OneServer:
    """The databases of a server that is the ledger's and the results', and perhaps the broker's, too."""

    def __init__(
        self,
        client: redis.Redis,
        ledger: int,
        results: int,
        broker: int | None = None,
        *,
        store: str = "",
        ack: str = "",
    ) -> None:
        """``client`` is the ledger's; ``store`` and ``ack`` are the scripts that store a result and acknowledge a
        message."""
        self.ledger, self.results, self._broker = ledger, results, broker
        self.following_script = _FOLLOWING.format(store=store, ack=ack) if store and ack else ""
        self._direct = DirectClient(client)
        self._script = client.register_script(_PROBE)
        self._refused_until = 0.0
        self._permitted = False

    def looks(self) -> bool:
        """Whether the script may look whether a result is stored.

        Raises:
            LedgerUnavailable: the server can't be reached.
        """
        if not self._permitted and time.monotonic() >= self._refused_until:
            self._permitted = not self.refusal()
            self._refused_until = time.monotonic() + PROBE_RETRY_SECONDS
        return self._permitted

    def probe_again(self) -> None:
        """Forget what was permitted, because something was refused since."""
        self._permitted, self._refused_until = False, 0.0

    def follows(self) -> bool:
        """Whether the script may also store a result and acknowledge its message; raises as :meth:`looks` does."""
        return self.has_messages and self.looks()

    @property
    def has_messages(self) -> bool:
        """Whether the messages are there, too."""
        return self._broker is not None and bool(self.following_script)

    def refusal(self) -> str:
        """Why the script may not do what it is to do; empty where it may. Nothing is changed at the server."""
        arguments = self.ledger, self.results, "" if self._broker is None else self._broker
        return str(guarded(self._direct.script, self._script.script, self._script.sha, [], arguments))


class StoredResults:
    """The stored results, as the ledger heeds them."""

    def __init__(self, read: Callable[[str], bytes | None], one_server: OneServer | None = None) -> None:
        """``read`` returns what is stored under an id, and nothing that is longer than a report can be; ``one_server``
        is set where the ledger's script can look for it itself."""
        self._read = read
        self.one_server = one_server

    def read(self, command_id: str) -> bytes | None:
        """What is stored under this id; None where there is nothing, or the results are away: that stops nothing."""
        try:
            return self._read(command_id)
        except (redis.RedisError, OSError, ValueError):
            return None

    def look(self, command_id: str) -> tuple[tuple[object, ...], bytes | None]:
        """What a move is given that heeds the result of this id, and that result, as far as it is known before."""
        here = self.one_server
        if here is not None and here.looks():
            return (here.ledger, here.results, RESULT_KEY.format(command_id)), None
        stored = self.read(command_id)
        return STORED if stored else NO_LOOK, stored
