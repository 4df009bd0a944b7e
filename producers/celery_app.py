"""A Celery app that uses its own settings and ignores Celery's environment variables."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlunsplit

from celery import Celery

from producers.redis.url import TLS, is_redis, is_sentinel, parse_sentinel_url, split_url, tls_options


class OwnSettingsCelery(Celery):  # type: ignore[misc] # Celery publishes no types
    """A Celery app whose broker and result backend are the ones passed to it.

    In Celery itself, ``CELERY_BROKER_URL``, ``CELERY_RESULT_BACKEND`` and similar environment variables take precedence
    over everything (``celery/app/utils.py``, ``Settings``). A variable meant for another program would silently send
    commands to another broker.
    """

    def __init__(self, name: str, *, broker_url: str, result_backend: str) -> None:
        """URLs as :mod:`producers.redis.url` reads them; ``result_backend`` may be ``disabled://``."""
        self._own_broker, results = to_celery_url(broker_url), to_celery_url(result_backend)
        super().__init__(name, broker=self._own_broker.url, backend=results.url, set_as_current=False)
        # Celery reads it before the configuration, where the environment wins (celery/app/base.py, `_get_backend`).
        self.backend_cls = results.url
        self.conf.update(
            # Flower reads it too, for a client of its own.
            broker_use_ssl=self._own_broker.tls,
            redis_backend_use_ssl=results.tls,
            result_backend_transport_options=dict(results.options),
        )

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:
        """A connection to consume from."""
        return super().connection_for_read(url or self._own_broker.url, **self._with_options(options))

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        """A connection to publish to."""
        return super().connection_for_write(url or self._own_broker.url, **self._with_options(options))

    def _with_options(self, options: dict[str, Any]) -> dict[str, Any]:
        callers = options.get("transport_options") or {}
        return {**options, "transport_options": {**self._own_broker.options, **callers}}


@dataclass(frozen=True, slots=True)
class CeleryUrl:
    """A server's URL and options in Celery's notation."""

    url: str
    options: Mapping[str, Any]
    """For ``broker_transport_options`` and ``result_backend_transport_options``."""
    tls: Mapping[str, Any] | None
    """For ``broker_use_ssl`` and ``redis_backend_use_ssl``; None without TLS."""


def to_celery_url(url: str, timeout: float = 5.0) -> CeleryUrl:
    """A URL as :mod:`producers.redis.url` describes it, in the notation of Celery and kombu. ``timeout`` is in seconds
    and limits each step with a Sentinel.

    Raises:
        ValueError: as :func:`parse_sentinel_url`.
    """
    tls = {**tls_options(url), "ssl_cert_reqs": ssl.CERT_REQUIRED} if split_url(url).scheme in TLS else None
    if not is_redis(url):
        return CeleryUrl(urlunsplit(split_url(url)._replace(query="")), {}, _for_amqp(url, tls))
    if not is_sentinel(url):
        return CeleryUrl(url, {}, _without_ssl(tls))
    sentinels = parse_sentinel_url(url)
    name, password = sentinels.server.get("username", ""), sentinels.server.get("password", "")
    user = f"{quote(name, safe='')}:{quote(password, safe='')}@" if name or password else ""
    addresses = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in sentinels.hosts]
    urls = [f"sentinel://{user}{address}/{sentinels.database}" for address in addresses]
    sentinel_kwargs = {"socket_timeout": timeout, "socket_connect_timeout": timeout, **sentinels.sentinel}
    options = {"master_name": sentinels.master, "sentinel_kwargs": sentinel_kwargs}
    return CeleryUrl(
        ";".join(urls), options, _without_ssl({**tls, "ssl_cert_reqs": ssl.CERT_REQUIRED} if tls else None)
    )


def _without_ssl(tls: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Options without ``ssl``: Celery and kombu choose the connection class themselves."""
    return {key: value for key, value in tls.items() if key != "ssl"} if tls else None


def _for_amqp(url: str, tls: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """TLS options by py-amqp's names. It checks the host name only where ``server_hostname`` is given."""
    if tls is None:
        return None
    options = {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": split_url(url).hostname}
    if tls.get("ssl_check_hostname") is False:
        del options["server_hostname"]
    names = {"ssl_ca_certs": "ca_certs", "ssl_certfile": "certfile", "ssl_keyfile": "keyfile"}
    return {**options, **{theirs: tls[ours] for ours, theirs in names.items() if ours in tls}}
