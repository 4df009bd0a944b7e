"""A worker with a bug: ``celery -A tests.alerts.faulty_app worker`` fails while it judges a cancel of ``the-bug``."""

from typing import Any

from producers.commands import Cancel
from worker.bootstrap import build_app
from worker.venues.base import Plan, Verdict
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.http.base import Response

_judge = Everstrike.judge


def _judge_with_a_bug(self: Everstrike, plan: Plan, answer: Response) -> Verdict:
    if isinstance(plan.command, Cancel) and plan.command.order_id == "the-bug":
        raise ZeroDivisionError("a bug")
    return _judge(self, plan, answer)


Everstrike.judge = _judge_with_a_bug  # type: ignore[method-assign]
celery: Any = build_app()
