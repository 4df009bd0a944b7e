"""Celery's configuration as it follows from the settings."""

import pytest

from producers.commands import COMMANDS
from worker.celery_app.config import celery_config, chosen_pool, visibility_timeout
from worker.celery_app.queues import QUEUES, SERVED
from worker.settings import WorkerSettings


@pytest.mark.parametrize(
    ("words", "pool"),
    [
        *((words, "prefork") for words in ("-P prefork", "--pool prefork", "-Pprefork", "--pool=prefork")),
        *((words, "threads") for words in ("", "-P threads", "-P solo", "-Q prefork", "-n prefork@%h")),
    ],
)
def test_prefork_is_heeded_and_everything_else_is_celerys(words: str, pool: str) -> None:
    """Celery takes this word for its own default, and would start threads without a word. The rest it reads itself."""
    assert chosen_pool(["celery", "-A", "worker", "worker", *words.split(), "-c", "4"]) == pool


def test_redelivery_comes_after_the_longest_run_and_within_a_minute() -> None:
    """With the defaults 50 s and a sweep; with a larger budget, later."""
    settings = WorkerSettings()
    sweep = celery_config(settings)["broker_transport_options"]["unacked_restore_interval"]
    assert settings.longest_run_seconds < visibility_timeout(settings)
    assert visibility_timeout(settings) + sweep < 60
    patient = WorkerSettings.model_validate({"retry": {"budget_seconds": 300}})
    assert visibility_timeout(patient) > patient.longest_run_seconds


@pytest.mark.parametrize(("broker", "expected"), [("amqp://rabbit", False), ("redis://server", True)])
def test_only_one_thread_speaks_with_rabbitmq(broker: str, expected: bool) -> None:
    """After a lost connection Celery would change the prefetch count from threads of the pool, and the worker hang."""
    settings = WorkerSettings(broker_url=broker, redis_url="redis://server")
    assert celery_config(settings)["worker_enable_prefetch_count_reduction"] is expected


def test_queues_reduce_risk_first() -> None:
    """Cancels and closes are served before new orders, and these before queries and withdrawals."""
    served = [f"orders.{name}" for name in ("cancel", "close", "submit", "positions", "withdraw")]
    assert [*QUEUES[:-1]] == served
    assert {*served} == {*COMMANDS}
    assert [queue.name for queue in celery_config(WorkerSettings())["task_queues"]] == list(SERVED)
