"""A Celery app that listens to its own settings alone."""

from typing import Any

from celery import Celery


class OwnSettingsCelery(Celery):  # type: ignore[misc] # Celery publishes no types
    """Celery whose broker and result backend are the ones it was given.

    Celery itself lets ``CELERY_BROKER_URL``, ``CELERY_RESULT_BACKEND`` and their like in the environment win over
    everything (``celery/app/utils.py``, ``Settings``); with them in some other program's environment, commands would
    silently go to some other broker.
    """

    def __init__(self, name: str, *, broker_url: str, result_backend: str) -> None:
        """``result_backend`` may be ``disabled://``."""
        super().__init__(name, broker=broker_url, backend=result_backend, set_as_current=False)
        self._own_broker_url = broker_url
        # Looked at before the configuration, in which the environment wins (celery/app/base.py, `_get_backend`).
        self.backend_cls = result_backend

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:
        """A connection to consume from."""
        return super().connection_for_read(url or self._own_broker_url, **options)

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        """A connection to publish to."""
        return super().connection_for_write(url or self._own_broker_url, **options)
