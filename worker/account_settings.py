"""``ORDERS_ACCOUNTS__<ALIAS>__…``: an account at a venue, how fast it may be used, and how much it may hold."""

import ipaddress
from typing import Literal
from urllib.parse import urlsplit

import requests
from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from producers.settings import QuotedTextModel
from worker.rate_limits import RateLimit, parse_rate_limits


class AccountSettings(QuotedTextModel):
    """The settings of one account."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    venue: Literal["everstrike", "bitz"]
    api_key: SecretStr
    secret_key: SecretStr
    base_url: str = ""
    """The address of the venue's API; empty for the venue's own."""
    allow_http: bool = False
    """Allows plain http in ``base_url`` also to other than loopback addresses."""
    rate_limits: str = "venue"
    """``venue`` for the venue's known limits at its own address, ``off`` for none, or a list such as
    ``50/20s 500/200s`` (:mod:`worker.rate_limits`)."""
    thread_share: float | None = Field(None, gt=0, le=1)
    """The most of a worker's threads that the account's commands may hold, as a fraction; None for the default."""

    @property
    def stated_limits(self) -> tuple[RateLimit, ...] | None:
        """The limits that ``rate_limits`` lists, none of them when it is ``off``; None when it leaves them to the
        venue."""
        if self.rate_limits == "venue":
            return None
        return () if self.rate_limits == "off" else parse_rate_limits(self.rate_limits)

    @field_validator("rate_limits", mode="before")
    @classmethod
    def _readable_limits(cls, value: object) -> str:
        # A list of a TOML file arrives as its text, or, with earlier versions of pydantic-settings, as a list.
        listed = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        text = " ".join(listed.translate(str.maketrans('[]",', "    ")).split())
        if text.lower() in ("venue", "off"):
            return text.lower()
        if not parse_rate_limits(text):
            raise ValueError("must be venue, off, or a list such as 50/20s 500/200s (50 requests in any 20 seconds)")
        return text

    @field_validator("api_key", "secret_key")
    @classmethod
    def _printable(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("must be printable ASCII without blanks (a stray newline at the end of a file?)")
        return value

    @model_validator(mode="after")
    def _safe_url(self) -> "AccountSettings":
        if self.base_url:
            parts = urlsplit(self.base_url)
            if parts.scheme not in ("http", "https") or not parts.hostname or not _is_requestable(self.base_url):
                raise ValueError("base_url must be an http(s) URL")
            if parts.username or parts.query or parts.fragment:
                raise ValueError("base_url must hold no user, query or fragment")
            if parts.scheme == "http" and not self.allow_http and not _is_loopback(parts.hostname):
                raise ValueError("base_url is plain http to a host that is not this machine; set allow_http to mean it")
        return self


def _is_requestable(url: str) -> bool:
    """Whether a request can be built for the URL: an invalid host or port is found only there."""
    try:
        requests.Request("GET", url).prepare()
    except (requests.RequestException, ValueError):
        return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
