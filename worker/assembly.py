"""The parts that most programs need, from the settings: the ledger and the accounts. What needs no more than these does
not wait for Celery to be imported, as :mod:`worker.bootstrap` does.
"""

import redis

from worker.ledger.beside import StoredResults
from worker.ledger.connection import connect
from worker.ledger.redis import RedisLedger
from worker.settings import WorkerSettings
from worker.venues.accounts import Account
from worker.venues.registry import accounts_of


def build_ledger(
    settings: WorkerSettings, client: redis.Redis | None = None, results: StoredResults | None = None
) -> RedisLedger:
    """The ledger on its server, for every program; over ``client``, where the program has its own."""
    limits = settings.ledger
    # Four fifths of the socket's timeout, so that the server answers before the connection is given up.
    wait_ms = int(limits.timeout_seconds * 800)
    return RedisLedger(
        client or connect_ledger(settings),
        keep_ms=int(limits.keep_days * 86_400_000),
        journal_lines=limits.journal_lines,
        disk_ms=0 if limits.withdraw_disk == "off" else wait_ms,
        need_disk=limits.withdraw_disk == "require",
        replicas=limits.replicas,
        replicas_ms=wait_ms,
        results=results,
    )


def connect_ledger(settings: WorkerSettings) -> redis.Redis:
    """A client of the ledger's server."""
    return connect(settings.ledger_url, settings.ledger.timeout_seconds)


def build_accounts(settings: WorkerSettings) -> dict[str, Account]:
    """The configured accounts by alias."""
    return accounts_of(settings.accounts)
