"""What the pages look at and act by: the same services as those of the program `orders`."""

from pathlib import Path

from producers.redis.client import open_client
from producers.redis.url import is_redis
from producers.signing import PrivateKey
from worker.assembly import build_accounts, build_ledger
from worker.clock import SystemClock
from worker.ledger.cool_downs import CoolDowns
from worker.operations.approvals import ApprovalService
from worker.operations.dead_letters import DeadLetterService
from worker.operations.operator import OperatorService
from worker.operations.parked import ParkedService
from worker.public_keys import KeysFile, PublicKeys
from worker.settings import WorkerSettings


class DeskServices:
    """The services. Threads share them; a call of a server fails within seconds, and is made once."""

    def __init__(self, settings: WorkerSettings, key: PrivateKey | None = None) -> None:
        """``key`` signs what is said at this desk, which then belongs to its owner."""
        self.settings = settings
        self.key = key
        self.client = open_client(settings.ledger_url)
        # An id in a message may be no text.
        url = settings.broker_url
        self.broker = open_client(url, decode_responses=False) if is_redis(url) else None
        self.clock = SystemClock()
        self.ledger = build_ledger(settings, self.client)
        self.accounts = build_accounts(settings)
        self.operator = OperatorService(self.client, self.ledger, self.clock, key)
        self.approvals = ApprovalService(self.client, self.ledger)
        self.parked = ParkedService(self.broker, CoolDowns(self.client), self.approvals, self.accounts)
        self._keys = KeysFile(Path(settings.auth.keys_file)) if settings.auth.keys_file else None

    @property
    def dead_letters(self) -> DeadLetterService | None:
        """What is done with dead letters; None where the broker is no Redis."""
        if self.broker is None:
            return None
        keep_days = self.settings.ledger.keep_days
        return DeadLetterService(self.broker, self.client, self.clock, keep_days=keep_days, key=self.key)

    @property
    def keys(self) -> PublicKeys | None:
        """The public keys of operators; None where signatures are not checked."""
        return self._keys.current() if self._keys else None

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
        if self.broker is not None:
            self.broker.close()
