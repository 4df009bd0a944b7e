"""A Celery app that listens to its own settings alone."""

from typing import Any

from celery import Celery

from producers.redis.url import for_celery


class OwnSettingsCelery(Celery):  # type: ignore[misc] # Celery publishes no types
    """Celery whose broker and result backend are the ones it was given.

    Celery itself lets ``CELERY_BROKER_URL``, ``CELERY_RESULT_BACKEND`` and their like in the environment win over
    everything (``celery/app/utils.py``, ``Settings``); with them in some other program's environment, commands would
    silently go to some other broker.
    """

    def __init__(self, name: str, *, broker_url: str, result_backend: str) -> None:
        """URLs as :mod:`producers.redis.url` reads them; ``result_backend`` may be ``disabled://``."""
        self._own_broker, results = for_celery(broker_url), for_celery(result_backend)
        super().__init__(name, broker=self._own_broker.url, backend=results.url, set_as_current=False)
        # Looked at before the configuration, in which the environment wins (celery/app/base.py, `_get_backend`).
        self.backend_cls = results.url
        self.conf.update(
            # Also for Flower, which makes a client of its own.
            broker_use_ssl=self._own_broker.tls,
            redis_backend_use_ssl=results.tls,
            result_backend_transport_options=dict(results.options),
        )

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:
        """A connection to consume from."""
        return super().connection_for_read(url or self._own_broker.url, **self._with_server(options))

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        """A connection to publish to."""
        return super().connection_for_write(url or self._own_broker.url, **self._with_server(options))

    def _with_server(self, options: dict[str, Any]) -> dict[str, Any]:
        given = options.get("transport_options") or {}
        return {**options, "transport_options": {**self._own_broker.options, **given}}
