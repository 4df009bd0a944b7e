"""Settings as pydantic models, read from environment variables, a secrets folder and a TOML file with its profiles
(:mod:`producers.setting_sources`)."""

import os
import re
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlunsplit

import pydantic_settings
from pydantic import BaseModel, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from producers.redis.url import (
    check_broker_options,
    check_url,
    is_sentinel,
    parse_sentinel_url,
    split_url,
    with_verified_tls,
)
from producers.setting_sources import PREFIX as PREFIX
from producers.setting_sources import SettingsError as SettingsError
from producers.setting_sources import UnquotedValue
from producers.setting_sources import external_settings as external_settings
from producers.setting_sources import file_problem as file_problem


class QuotedTextModel(BaseModel):
    """Base of every group of settings: refuses an :class:`UnquotedValue` for a text."""

    @field_validator("*", mode="before")
    @classmethod
    def _quoted(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields.get(info.field_name or "")
        if isinstance(value, UnquotedValue) and field is not None and field.annotation in (str, SecretStr):
            raise ValueError("must be a text: put it in quotes")
        return value


class _ExternalSource(EnvSettingsSource):
    """pydantic-settings' source of environment variables, extended to all three sources."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in external_settings(os.environ).items()}


class ExternalSettings(QuotedTextModel, BaseSettings):
    """Base of all settings: read once from :func:`external_settings`, and immutable."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - replaced
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - replaced
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The caller's arguments take precedence over external settings."""
        return init_settings, _ExternalSource(settings_cls)

    @classmethod
    def load(cls, **given: Any) -> "ExternalSettings":
        """Read the settings.

        Raises:
            SettingsError: it names each invalid setting by its environment variable.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            raise SettingsError(*map(_problem, error.errors())) from None
        except pydantic_settings.SettingsError as error:
            # A group set as one value, ORDERS_ACCOUNTS=…, which would have to be JSON. The message names the field.
            field = re.search(r'field "(\w+)"', str(error))
            name = PREFIX + (field[1].upper() if field else "GROUP")
            raise SettingsError(f"{name}: is a group; set its values one by one, as {name}__NAME") from None


def _problem(error: ErrorDetails) -> str:
    name = PREFIX + "__".join(str(part).upper() for part in error["loc"])
    problem = {"missing": "is missing", "extra_forbidden": "there is no such setting; a typo?"}.get(
        error["type"], error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    )
    return f"{name}: {problem}"


class QueueSettings(ExternalSettings):
    """Where commands are queued and reports are stored: everything that a producer needs."""

    DATABASES: ClassVar[dict[str, int]] = {"broker_url": 0, "result_backend": 1, "ledger_url": 2}

    redis_url: str = "redis://127.0.0.1:6379"
    """One server for broker, results and ledger, in databases 0, 1 and 2."""
    broker_url: str = Field(default="")
    """Where commands are queued; empty for database 0 of ``redis_url``."""
    result_backend: str = Field(default="")
    """Where reports are stored; empty for database 1 of ``redis_url``."""
    ledger_url: str = Field(default="")
    """The record of what was sent, and the producers' intents; empty for database 2 of ``redis_url``."""
    intents: bool = True
    """Whether producers record each command in the ledger's database as they publish it, so that nothing is lost
    even when the broker is emptied. False for producers that cannot reach the ledger."""
    intent_replicas: int = Field(default=0, ge=0, le=100)
    """How many replicas of the ledger's server must have an intent before its command counts as enqueued."""

    seal_key_file: str = ""
    """Path of the private key with which producers seal each command (:mod:`producers.seal`); empty: they do not."""
    report_keys: str = ""
    """Public keys of workers, ``worker/2026-11=ed25519:…``, separated by commas. Where they are set, a report is
    believed only if one of them has signed it (:mod:`producers.report_signature`)."""

    traces: bool = False
    """Whether commands are traced with OpenTelemetry, from here to the venue. Needs OpenTelemetry (extra ``otel``)."""

    @field_validator("redis_url", "broker_url", "result_backend", "ledger_url")
    @classmethod
    def _well_formed(cls, url: str) -> str:
        check_url(url)
        return url

    @field_validator("redis_url")
    @classmethod
    def _one_server(cls, url: str) -> str:
        parts = split_url(url)
        if parts.scheme not in ("redis", "rediss", "sentinel", "sentinels") or not parts.netloc.rpartition("@")[2]:
            # Unix sockets and other brokers need different URLs for broker, results and ledger.
            raise ValueError(
                "must be redis://, rediss://, sentinel:// or sentinels:// with a host; for anything else set "
                "ORDERS_BROKER_URL, ORDERS_RESULT_BACKEND and ORDERS_LEDGER_URL"
            )
        return url

    @field_validator("redis_url", "broker_url", "result_backend", "ledger_url")
    @classmethod
    def _verified_tls(cls, url: str) -> str:
        """Certificates are verified, and a Sentinel URL is one that ``producers.redis.url`` can parse."""
        if is_sentinel(url):
            parse_sentinel_url(url)
        return with_verified_tls(url)

    @field_validator("redis_url", "broker_url")
    @classmethod
    def _broker_options(cls, url: str) -> str:
        check_broker_options(url)
        return url

    def model_post_init(self, context: Any, /) -> None:  # noqa: ARG002 - pydantic's
        """Derive the URLs that are not set from ``redis_url``."""
        for name, database in self.DATABASES.items():
            url = getattr(self, name) or database_url(self.redis_url, database)
            # The model is frozen, but this is still its construction.
            object.__setattr__(self, name, url)


def database_url(url: str, database: int) -> str:
    """The same server with another database number: ``redis://host:6379`` and 2 give ``redis://host:6379/2``."""
    return urlunsplit(split_url(url)._replace(path=f"/{database}"))
