"""What workers look for every few seconds: commands that were lost on their way, and lanes that stand still."""

from collections.abc import Callable
from functools import partial

import redis
from celery import Celery

from producers.intents import Intent, has_intent
from worker.broker.lanes import StandingLanes
from worker.broker.stats import oldest_queued
from worker.clock import SystemClock
from worker.execution.lanes import LaneSweep
from worker.execution.lost_commands import LostCommandPublisher
from worker.ledger.base import Ledger


def sweeps(
    app: Celery, client: redis.Redis, ledger: Ledger, publish: Callable[[Intent], None], patience_seconds: float
) -> list[Callable[[], object]]:
    """The jobs, in their order: what is published again may be the head of a lane. ``client`` is one of the ledger's
    database."""
    oldest, lanes = oldest_queued(app), StandingLanes(app, int(min(10.0, patience_seconds / 2) * 1000))
    lost_commands = LostCommandPublisher(
        ledger=client,
        clock=SystemClock(),
        serves=lambda task: task in app.amqp.queues.consume_from,
        oldest_queued=oldest,
        oldest_in_lane=lanes.oldest_waiting,
        publish=publish,
        patience_seconds=patience_seconds,
    )
    sweep = LaneSweep(
        lanes=lanes,
        read=ledger.read,
        has_intent=partial(has_intent, client),
        oldest_queued=oldest,
        clock=SystemClock(),
    )
    return [lost_commands.publish_lost, sweep.sweep]
