"""What is to be sent to the webhooks, kept beside the journal from which it is derived (``webhooks.lua``).

Every end of a command is an entry of the journal, written in the step that ends it. How far a webhook has read the
journal and what it still has to send move in one step too: whichever worker asks is lent the report that is due, and
one that dies has lost nothing. What waits for its next attempt waits here, with no thread.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

from producers.redis.direct import DirectClient
from worker.ledger.connection import guarded
from worker.ledger.journal_writer import journal_script
from worker.ledger.keys import JOURNAL_HEAD_KEY, JOURNAL_KEY, RECORD_KEY, WEBHOOK_KEY, WEBHOOKS_KEY

PAGE = 500
"""How many entries of the journal one call reads: the server serves nobody else meanwhile."""
MAX_SAID = 200
"""How many characters are kept of why an attempt failed."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A report that is to be sent to one webhook."""

    key: str
    """The position of its end in the journal; of one that was sent again, when that was asked for and its id."""
    command_id: str
    outcome: str
    """That of the report at that time: an ``unknown`` may have been settled since."""
    since: int
    """When the command ended, or was sent again by hand, UNIX ms on the ledger's clock."""
    attempt: int
    """Which attempt it is, from 1 on; 0 before the first."""
    said: str = ""
    """Why the last attempt failed."""
    said_at: int = 0
    """When it did, UNIX ms; 0 for never."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to a worker that asks for something to send."""

    delivery: Delivery | None
    more: bool
    """Whether the journal may have more to read at once."""
    now: int
    """UNIX ms on the ledger's clock."""


@dataclass(frozen=True, slots=True)
class WebhookState:
    """What one webhook has to send."""

    waiting: int
    oldest: int
    """When the oldest command ended whose report waits, UNIX ms; 0 for none."""
    dead: int
    """Reports that were given up."""
    missed: int
    """Entries of the journal that were trimmed before they were read: what ended in them is sent by nobody."""


@dataclass(slots=True)
class WebhookQueue:
    """The queue of one webhook. Every method may raise :class:`~worker.ledger.base.LedgerUnavailable`."""

    client: redis.Redis
    name: str
    _direct: DirectClient = field(init=False)
    _script: Any = field(init=False)

    def __post_init__(self) -> None:
        self._direct = DirectClient(self.client)
        self._script = self.client.register_script(journal_script("webhooks.lua"))

    def take(self, outcomes: Collection[str], lease_ms: int) -> Taken:
        """Read on in the journal, and borrow the report that is due for longest: no other worker is given it for
        ``lease_ms``. Only ends with one of these outcomes are queued."""
        reply = self._run("take", PAGE, lease_ms, f",{','.join(outcomes)},")
        delivery = delivery_of(reply[2], reply[3]) if len(reply) > 2 else None
        return Taken(delivery, reply[0] == "1", int(reply[1]))

    def done(self, delivery: Delivery) -> None:
        """The receiver has it, or it is not to be sent."""
        self._run("finish", delivery.key, delivery.attempt, "done")

    def again(self, delivery: Delivery, wait_ms: int, said: str) -> bool:
        """The attempt failed: another follows when ``wait_ms`` have passed. False when it is no longer the last one."""
        return bool(self._run("finish", delivery.key, delivery.attempt, "again", wait_ms, said[:MAX_SAID]))

    def give_up(self, delivery: Delivery, said: str) -> bool:
        """The attempt failed, and none follows: it becomes a dead letter, and an entry of the journal. False when it is
        no longer the last attempt."""
        return bool(self._run("finish", delivery.key, delivery.attempt, "dead", 0, said[:MAX_SAID]))

    def resend(self, delivery: Delivery, *, who: str, why: str) -> None:
        """Queue a report again, for its first attempt; who and why are an entry of the journal."""
        self._run("resend", delivery.key, delivery.command_id, delivery.outcome, who, why)

    def report(self, command_id: str) -> str | None:
        """The command's report as the ledger stores it, a JSON text; None where there is none (any more)."""
        found: str | None = guarded(self._direct.call, "HGET", RECORD_KEY.format(command_id), "report")
        return found or None

    def state(self) -> WebhookState:
        """How much waits."""
        found: WebhookState = guarded(states, self.client, [self.name])[self.name]
        return found

    def waiting(self, count: int) -> list[Delivery]:
        """The reports that wait, the oldest first."""
        return self._listed("open", count)

    def dead(self, count: int) -> list[Delivery]:
        """The reports that were given up, the latest first."""
        return self._listed("dead", count)

    def all_dead(self) -> Iterator[Delivery]:
        """Every report that was given up; those that are sent again meanwhile may be left out."""
        cursor = 0
        while True:
            cursor, found = guarded(self.client.hscan, WEBHOOK_KEY.format(self.name, "items"), cursor, count=PAGE)
            scores = self._scores(list(found))
            yield from (delivery_of(key, text) for key, text in found.items() if scores[key] is not None)
            if not cursor:
                return

    def _scores(self, keys: list[str]) -> dict[str, float | None]:
        dead = WEBHOOK_KEY.format(self.name, "dead")
        return dict(zip(keys, guarded(self.client.zmscore, dead, keys) if keys else [], strict=True))

    def _listed(self, which: str, count: int) -> list[Delivery]:
        key, items = (WEBHOOK_KEY.format(self.name, part) for part in (which, "items"))
        keys = guarded(self.client.zrange, key, 0, count - 1, desc=which == "dead")
        texts = guarded(self.client.hmget, items, keys) if keys else []
        return [delivery_of(each, text) for each, text in zip(keys, texts, strict=True) if text]

    def _run(self, move: str, *arguments: object) -> Any:
        own = [WEBHOOK_KEY.format(self.name, part) for part in ("due", "open", "items", "dead")]
        keys = [JOURNAL_KEY, JOURNAL_HEAD_KEY, WEBHOOKS_KEY, *own]
        return guarded(
            self._direct.script, self._script.script, self._script.sha, keys, [move, self.name, *map(str, arguments)]
        )


def delivery_of(key: str, text: str) -> Delivery:
    """A delivery as it is stored."""
    item = json.loads(text)
    since, attempt = int(item["since"]), int(item["attempt"])
    return Delivery(key, item["id"], item["outcome"], since, attempt, item.get("said", ""), int(item.get("at", 0)))


def every_webhook(client: redis.Redis) -> Mapping[str, WebhookState]:
    """What each webhook has to send that any worker has ever served.

    Raises:
        LedgerUnavailable: the server does not answer.
    """
    found: Mapping[str, WebhookState] = guarded(lambda: states(client, names(client)))
    return found


def names(client: redis.Redis) -> list[str]:
    """The webhooks that any worker has ever served.

    Raises:
        redis.RedisError, OSError: the server does not answer.
    """
    return sorted(map(str, client.hkeys(WEBHOOKS_KEY)))


def states(client: redis.Redis, of: Collection[str]) -> Mapping[str, WebhookState]:
    """What these webhooks have to send.

    Raises:
        redis.RedisError, OSError: the server does not answer.
    """
    if not of:
        return {}
    with client.pipeline(transaction=False) as pipe:
        pipe.hmget(WEBHOOKS_KEY, list(of))
        for name in of:
            pipe.zcard(WEBHOOK_KEY.format(name, "open"))
            pipe.zrange(WEBHOOK_KEY.format(name, "open"), 0, 0, withscores=True)
            pipe.zcard(WEBHOOK_KEY.format(name, "dead"))
        read, *found = pipe.execute()
    missed = [int((text or "0").rpartition(" ")[2]) for text in read]
    looks = zip(of, found[::3], found[1::3], found[2::3], missed, strict=True)
    return {
        name: WebhookState(waiting, int(oldest[0][1]) if oldest else 0, dead, gap)
        for name, waiting, oldest, dead, gap in looks
    }
