"""The settings as the command line takes them: URLs that can't be used are told by name before anything is tried."""

from typing import cast
from urllib.parse import urlsplit, urlunsplit

from producers.redis.client import connect
from producers.settings import QueueSettings, SettingsError

_BROKERS = ("redis+socket://", "amqp://", "amqps://")
"""Schemes of kombu's own."""


def queue_settings() -> QueueSettings:
    """The queues' settings, URLs checked.

    Raises:
        SettingsError: naming each setting that can't be used.
    """
    settings = cast("QueueSettings", QueueSettings.load())
    check_urls(settings)
    return settings


def check_urls(settings: QueueSettings) -> None:
    """Raise :class:`SettingsError` for a URL that no client can be made of."""
    for name in settings.DATABASES:
        url: str = getattr(settings, name)
        if not (is_usable_url(url) or (name == "broker_url" and url.startswith(_BROKERS))):
            raise SettingsError(
                f"ORDERS_{name.upper()} (or ORDERS_REDIS_URL, of which it is made) can't be used: it must look like "
                "redis://user:password@host:6379/0 (or rediss://, sentinel://, sentinels://, unix://), special "
                "characters percent-encoded"
            )


def is_usable_url(url: str) -> bool:
    """Whether a client can be made of this URL."""
    try:
        connect(url, timeout=1.0).close()
    except ValueError:
        return False
    # A "#" in a password ends the address early, and what is left may even look like one.
    return not urlsplit(url).fragment


def redacted_url(url: str) -> str:
    """Scheme, host, port and path of a URL: fit for messages. Nothing of one that can't be used, which may be askew."""
    parts = urlsplit(url)
    if not (is_usable_url(url) or url.startswith(_BROKERS)):
        return "an unusable URL"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, f"***@{host}" if "@" in parts.netloc else host, parts.path, "", ""))
