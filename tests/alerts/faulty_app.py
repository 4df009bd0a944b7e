"""A worker with a bug: ``celery -A tests.alerts.faulty_app worker`` fails while it judges a cancel of ``the-bug``."""

from typing import Any

from producers.commands import Cancel, Command
from worker.bootstrap import build_app
from worker.venues.base import Verdict
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.http.base import Response

_judge = Everstrike.judge


def _judge_with_a_bug(self: Everstrike, command: Command, answer: Response) -> Verdict:
    if isinstance(command, Cancel) and command.order_id == "the-bug":
        raise ZeroDivisionError("a bug")
    return _judge(self, command, answer)


Everstrike.judge = _judge_with_a_bug  # type: ignore[method-assign]
celery: Any = build_app()
