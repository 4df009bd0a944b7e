"""Refuses commands that must not be executed twice while the ledger's server may lose their records."""

import logging
import threading
from collections.abc import Mapping

import redis

from producers.commands import Command, Withdraw
from producers.redis.server_info import read_server_info
from worker.ledger.connection import never_waits

logger = logging.getLogger("orders.policy")

KINDS = {"withdraw": "withdrawals", "close": "partial and priced closes", "submit": "new orders"}
"""The commands that may have to wait for replicas, as log lines and reports name them."""


class ServerPolicy:
    """Watches the ledger's server: one that evicts or does not persist can forget that a withdrawal was sent."""

    def __init__(
        self, client: redis.Redis, *, need_disk: bool = False, replicas: Mapping[str, int] | None = None
    ) -> None:
        """``need_disk`` refuses withdrawals on a server that does not append to a file, or can't confirm that it has;
        otherwise that is only logged. ``replicas``, by command, refuses those that can't be repeated while fewer
        replicas are connected: each would occupy a slot of the pool until they are."""
        self._client = client
        self._need_disk = need_disk
        self._need_replicas = {name: count for name, count in (replicas or {}).items() if count}
        self._replicas = max(self._need_replicas.values(), default=0)
        self._lock = threading.Lock()
        self._was_read = False
        self._evicts = ""
        self._forgets = False
        self._confirms = True

    def refresh(self) -> None:
        """Read the server's settings, from ``INFO``, which is permitted also where ``CONFIG`` is not.

        Raises:
            redis.RedisError, OSError: the server can't be asked now.
        """
        info = read_server_info(self._client)
        policy = info.eviction_policy or "noeviction"
        evicts = policy if policy != "noeviction" and info.maxmemory else ""
        forgets = not info.appends_to_file
        confirms = not self._need_disk or self._can_confirm()
        replicas = info.online_replicas
        with self._lock:
            before, self._replicas = self._replicas, replicas
            changed = not self._was_read or (evicts, forgets) != (self._evicts, self._forgets)
            self._was_read, self._evicts, self._forgets, self._confirms = True, evicts, forgets, confirms
        if changed and evicts:
            logger.error(
                "the ledger's server evicts (maxmemory-policy %s): withdrawals are refused. Set noeviction.", evicts
            )
        if changed and forgets:
            logger.warning(
                "the ledger's server does not persist (appendonly no): a restart forgets what was sent, and commands "
                "that are sent again may be executed twice. Set appendonly yes."
            )
        for command, needed in self._need_replicas.items():
            short = replicas < needed
            if short != (before < needed):
                logger.log(
                    logging.ERROR if short else logging.INFO,
                    "the ledger has %d of %d replicas: %s are %s",
                    replicas,
                    needed,
                    KINDS[command],
                    "refused until they are back" if short else "sent again",
                )

    def _can_confirm(self) -> bool:
        try:
            self._client.execute_command("WAITAOF", 0, 0, 0)  # type: ignore[no-untyped-call] # redis-py's gap
        except redis.ResponseError as refused:
            if never_waits(refused):
                return False
            raise
        return True

    def refusal(self, command: Command) -> str | None:
        """Why this command is not permitted, as a sentence; None when it is."""
        needed = 0 if command.repeatable else self._need_replicas.get(command.name, 0)
        if not (isinstance(command, Withdraw) or needed):
            return None
        if not self._was_read:
            try:
                self.refresh()
            except (redis.RedisError, OSError):
                return None  # the ledger is away: it will be waited for before anything is sent
        words = self._no_withdrawal() if isinstance(command, Withdraw) else None
        if words is None and self._replicas < needed:
            words = (
                f"{KINDS[command.name]} are refused: the ledger has {self._replicas} of the {needed} replicas that "
                f"must know of one before it is sent ({replicas_setting(command.name)})"
            )
        return words

    def _no_withdrawal(self) -> str | None:
        if self._evicts:
            return (
                f"withdrawals are refused: the ledger's server evicts (maxmemory-policy {self._evicts}) and may forget "
                "what was sent; set maxmemory-policy noeviction"
            )
        if self._forgets and self._need_disk:
            return "withdrawals are refused: the ledger's server does not persist; set appendonly yes"
        if not self._confirms:
            return (
                "withdrawals are refused: the ledger's server can't confirm its disk (WAITAOF: Redis 7.2 or later, or "
                "Valkey, and a user who may)"
            )
        return None


def replicas_setting(command: str) -> str:
    """The setting that says how many replicas its begin waits for. New orders share that of closes: both place an order
    that must not be placed twice, and are in the same hurry."""
    return f"ORDERS_LEDGER__{'CLOSE' if command == 'submit' else command.upper()}_REPLICAS"
