"""The settings as the command line takes them: URLs that can't be used are told by name before anything is tried."""

from typing import cast

from producers.redis.client import is_usable_url
from producers.redis.url import BROKER_SCHEMES
from producers.settings import QueueSettings, SettingsError


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
        if not (is_usable_url(url) or (name == "broker_url" and url.startswith(BROKER_SCHEMES))):
            raise SettingsError(
                f"ORDERS_{name.upper()} (or ORDERS_REDIS_URL, of which it is made) can't be used: it must look like "
                "redis://user:password@host:6379/0 (or rediss://, sentinel://, sentinels://, unix://), special "
                "characters percent-encoded"
            )
