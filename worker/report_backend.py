"""Result backends in which a command's result is its report, and nothing else is ever stored.

Celery and Flower can store ``REVOKED`` and ``ABORTED`` as the result of any id, over a report that stands there.
"""

# Celery publishes no types.
# mypy: disallow-subclassing-any=False

from typing import Any

from celery import Celery, states
from celery.backends.redis import RedisBackend, SentinelBackend
from celery.contrib.abortable import ABORTED

from worker.remote_control import Refused

NO_REPORT = frozenset({states.REVOKED, ABORTED})


class _ReportsAlone:
    def _store_result(self, task_id: str, result: Any, state: str, *args: Any, **kwargs: Any) -> Any:
        if state in NO_REPORT:
            raise Refused(
                f"refused: {state} is not stored for {task_id}: its result is its report. A command can't be taken "
                "back; `orders halt` keeps what has not begun from being sent"
            )
        return super()._store_result(task_id, result, state, *args, **kwargs)  # type: ignore[misc] # a mixin


class ReportBackend(_ReportsAlone, RedisBackend):
    """Celery's Redis backend."""


class SentinelReportBackend(_ReportsAlone, SentinelBackend):
    """Celery's Redis backend behind Sentinels."""


def use_report_backends(app: Celery) -> None:
    """Let ``redis://``, ``rediss://`` and ``sentinel://`` mean the ones above in this app."""
    app.loader.override_backends = {
        **app.loader.override_backends,
        "redis": f"{__name__}:ReportBackend",
        "rediss": f"{__name__}:ReportBackend",
        "sentinel": f"{__name__}:SentinelReportBackend",
    }
