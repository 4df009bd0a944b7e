"""Settings for the command line: unusable URLs are reported by the setting's name before anything is attempted."""

from typing import cast

from producers.redis.client import is_usable_url
from producers.redis.url import BROKER_SCHEMES
from producers.settings import QueueSettings, SettingsError


def queue_settings() -> QueueSettings:
    """The queue settings, with their URLs checked.

    Raises:
        SettingsError: it names each invalid setting.
    """
    settings = cast("QueueSettings", QueueSettings.load())
    check_urls(settings)
    return settings


def check_urls(settings: QueueSettings) -> None:
    """Raise :class:`SettingsError` if a URL is unusable."""
    for name in settings.DATABASES:
        url: str = getattr(settings, name)
        if not (is_usable_url(url) or (name == "broker_url" and url.startswith(BROKER_SCHEMES))):
            raise SettingsError(
                f"ORDERS_{name.upper()} (or ORDERS_REDIS_URL, from which it is derived) can't be used: it must look "
                "like redis://user:password@host:6379/0 (or rediss://, sentinel://, sentinels://, unix://), special "
                "characters percent-encoded"
            )
