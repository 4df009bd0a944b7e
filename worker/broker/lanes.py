"""Lanes: commands that are executed one after the other because their sender asked for it.

A message with the header ``orders_lane`` (:mod:`producers.lanes`) belongs to a lane of its account. Of a lane one
command is out at a time; the next begins when it has its end. Everything about it happens in the scripts that move
messages anyway (``lanes.lua``): the take lets a message into its lane or has it wait, and the script that removes a
message whose command has ended lets the lane go on. In the broker's database, with the prefix of its keys:

``orders.lane:<lane>``          hash: who has the lane (``id``, ``tag``, ``queue``), since when (``since``, UNIX ms, on
                                the server's clock), and what becomes of it if the outcome is unknown (``unknown``).
                                Without an id while the next command is called
``orders.lane:<lane>.waiting``  list: the queues of the messages that wait, in order, the next one at the right end
``<queue>.lane:<lane>``         list: the messages themselves, beside their queue because of the logins' rights
``orders.lanes.ready:<queue>``  list: the lanes whose next message is of this queue and may be taken
``orders.lanes``                sorted set: the lanes that are held, by when somebody last looked at them

``<lane>`` is ``<account>/<name>``. The account is the one in the message's body, by a pattern and without regard to
which accounts there are; a worker refuses a command whose arguments name another.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

import redis
from celery import Celery
from kombu.exceptions import KombuError

from producers.intents import Intent
from producers.lanes import LANE_HEADER, UNKNOWN_HEADER, is_lane_name
from producers.redis.direct import DirectClient
from worker.broker.messages import message_enqueued_at_ms
from worker.broker.scripts import LANES_LOOK, LANES_RELEASE

LANES_KEY = "orders.lanes"
LANE_KEY = "orders.lane:{}"
_TAG = re.compile(r"lane:([^/ ]+)/(\S+) ")
UNACKED = "unacked"


class Fate(StrEnum):
    """What became of a message that is removed, as its lane needs to know it."""

    ENDED = "ended"
    """Its command has its end."""
    KEPT = "kept"
    """Its command keeps its lane: it has not ended, or its outcome is unknown."""
    DEAD = "dead"
    """It was no command."""


def lane_of_tag(delivery_tag: str) -> tuple[str, str] | None:
    """Account and name of the lane that a message has entered; None for a message without one."""
    found = delivery_tag.startswith("lane:") and _TAG.match(delivery_tag)
    return (found[1], found[2]) if found else None


def lane_refusal(headers: Mapping[str, Any], lane: tuple[str, str] | None, account: object) -> str | None:
    """Why a command can't be executed in the lane that its headers ask for; None when it can, or asks for none.

    ``lane`` is what its message has entered, and ``account`` what its arguments name.
    """
    name = headers.get(LANE_HEADER)
    if name is None:
        return None
    if not is_lane_name(name):
        return f"its {LANE_HEADER} is no text of 1 to 64 visible ASCII characters"
    if headers.get(UNKNOWN_HEADER) not in (None, "hold", "pass"):
        return f"its {UNKNOWN_HEADER} is neither hold nor pass"
    if lane is None:
        return "it asks for a lane, and lanes are kept on a Redis broker with this project's transport alone"
    if lane != (str(account).lower(), name):
        return "its account can't be read from the beginning of its message, so that it is in the lane of no account"
    return None


@dataclass(frozen=True, slots=True)
class LaneState:
    """A lane that is held, for people."""

    account: str
    name: str
    holder: str
    """Id of the command that has it; empty while the next one is called."""
    queue: str
    since_ms: int
    """Since when, UNIX ms on the broker's clock."""
    waiting: int
    """How many commands wait behind it."""


def count_lanes(broker: redis.Redis, prefix: str = "") -> int:
    """How many lanes are held.

    Raises:
        redis.RedisError, OSError: the broker can't be asked.
    """
    return broker.zcard(prefix + LANES_KEY)


def read_lanes(broker: redis.Redis, prefix: str = "", limit: int = 100) -> list[LaneState]:
    """The lanes that are held, ``limit`` of them at most.

    Raises:
        redis.RedisError, OSError: the broker can't be asked.
    """
    names = [_text(each) for each in cast("list[Any]", broker.zrange(prefix + LANES_KEY, 0, limit - 1))]
    with broker.pipeline(transaction=False) as pipe:
        for lane in names:
            pipe.hmget(prefix + LANE_KEY.format(lane), "id", "queue", "since")
            pipe.llen(f"{prefix}{LANE_KEY.format(lane)}.waiting")
        replies = pipe.execute()
    return [
        LaneState(*_parts(lane), _text(held[0]), _text(held[1]), int(held[2]), waiting)
        for lane, held, waiting in zip(names, replies[0::2], replies[1::2], strict=True)
        if held[2] is not None
    ]


@dataclass(frozen=True, slots=True)
class StandingLane:
    """A lane that has stood for some time, for the sweep."""

    lane: str
    holder: str
    """The command's id."""
    tag: str
    takes: str
    """How often its message was taken."""
    queue: str
    passes_unknown: bool
    """Whether the lane goes on when the outcome of its command is unknown."""
    enqueued_at_ms: int
    """By the sender; 0 where it did not say."""
    message_is_there: bool
    """Whether the command's message is out, or parked."""


class StandingLanes:
    """Finds lanes that have stood for some time, and lets them go on; on a broker without lanes there are none.

    Each method raises OSError when the broker is away.
    """

    def __init__(self, app: Celery, stood_ms: int = 10_000) -> None:
        self._app = app
        self._stood_ms = stood_ms

    def look(self, limit: int = 100) -> list[StandingLane]:
        """The lanes that have not moved, nor been looked at by any worker, for that long; those looked at longest ago
        at first."""
        with self._asking() as asked:
            rows = asked and asked[0].script(*LANES_LOOK, [], [asked[1], asked[1] + UNACKED, self._stood_ms, limit])
        fields = [_text(each) for each in rows or ()]
        return [
            StandingLane(lane, holder, tag, takes, queue, unknown == "pass", int(at), there == "1")
            for lane, holder, tag, takes, queue, unknown, at, there in zip(*[iter(fields)] * 8, strict=True)
        ]

    def release(self, standing: StandingLane, *, lost: bool = False) -> bool:
        """Let a lane go on, unless it has moved since it was looked at; or unless its message, taken for ``lost``, is
        out."""
        held = (standing.lane, standing.holder, standing.tag, standing.takes, "1" if lost else "0")
        with self._asking() as asked:
            return bool(asked and asked[0].script(*LANES_RELEASE, [], [asked[1], asked[1] + UNACKED, *held]))

    def oldest_waiting(self, intent: Intent) -> int | None:
        """When the message of a command's queue that has waited longest in the command's lane was enqueued (UNIX ms); 0
        when that can't be known; None when none waits, or when the command has the lane itself."""
        if intent.lane is None:
            return None
        lane = f"{str(intent.kwargs.get('account')).lower()}/{intent.lane.name}"
        with self._asking() as asked:
            if (
                asked is None
                or _text(asked[0].call("HGET", asked[1] + LANE_KEY.format(lane), "id")) == intent.command_id
            ):
                return None
            message = asked[0].call("LINDEX", f"{asked[1]}{intent.task}.lane:{lane}", -1)
        return None if message is None else message_enqueued_at_ms(message) or 0

    @contextmanager
    def _asking(self) -> Iterator[tuple[DirectClient, str] | None]:
        """A client of the broker with the prefix of its keys; None for one without lanes."""
        with self._app.connection_for_read() as connection:
            try:
                channel = connection.default_channel
                own = hasattr(channel, "direct_client")
                yield (channel.direct_client(channel.client), channel.global_keyprefix) if own else None
            except (KombuError, redis.RedisError, *connection.connection_errors, *connection.channel_errors) as error:
                raise OSError(f"the broker can't be asked ({type(error).__name__})") from error


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _parts(lane: str) -> tuple[str, str]:
    account, _, name = lane.partition("/")
    return account, name
