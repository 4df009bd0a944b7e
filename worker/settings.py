"""The worker's settings: everything from outside, read once, secrets masked.

Names and defaults are the public contract; ``docs/settings.md`` lists them for people.
"""

import ipaddress
import json
import re
from collections.abc import Collection, Mapping
from typing import Literal, cast
from urllib.parse import urlsplit

import requests
from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from producers.arguments import ALIAS
from producers.commands import COMMANDS
from producers.printable import printable
from producers.redaction import HIDDEN
from producers.settings import OutsideSettings, QueueSettings, SettingsError, TextsAreQuoted
from worker.execution.backoff import RetryLimits
from worker.reconciliation.window import ReconcileLimits
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Venue
from worker.venues.bitz import Bitz
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.http.base import HttpLimits
from worker.venues.listed_answers import refusals_from_settings

REMOTE_CONTROLS = ("add_consumer", "apply", "cancel_consumer", "pool_grow", "pool_shrink", "shutdown")
"""What remote control may be allowed to do, see ``worker/celery_app/remote_control.py``."""

VENUES: Mapping[str, Venue] = {venue.name: venue for venue in (Everstrike(), Bitz())}


class _Part(TextsAreQuoted):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class AccountSettings(_Part):
    """``ORDERS_ACCOUNTS__<ALIAS>__…``"""

    venue: Literal["everstrike", "bitz"]
    api_key: SecretStr
    secret_key: SecretStr
    base_url: str = ""
    """The venue's own when empty."""
    allow_http: bool = False
    """Lets ``base_url`` be plain http to more than a loopback address."""

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
            if parts.scheme not in ("http", "https") or not parts.hostname or not _can_be_asked(self.base_url):
                raise ValueError("base_url must be an http(s) URL")
            if parts.username or parts.query or parts.fragment:
                raise ValueError("base_url must hold no user, query or fragment")
            if parts.scheme == "http" and not self.allow_http and not _is_loopback(parts.hostname):
                raise ValueError("base_url is plain http to a host that is not this machine; set allow_http to mean it")
        return self


def _can_be_asked(url: str) -> bool:
    """Whether a request can be made of it: a host or a port that is none shows only there."""
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


class VenueSettings(_Part):
    """``ORDERS_VENUES__<VENUE>__…``"""

    refusals: str = "[]"
    """Further messages (at Bit-Z: codes) that refuse for good: a JSON list of regular expressions, see
    :func:`worker.venues.listed_answers.refusals_from_settings`."""

    @field_validator("refusals", mode="before")
    @classmethod
    def _patterns(cls, value: object) -> str:
        try:
            patterns = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            patterns = None
        if not isinstance(patterns, list) or not all(isinstance(each, str) for each in patterns):
            raise ValueError("""must be a JSON list of regular expressions, such as ["the position was not found"]""")
        refusals_from_settings("", patterns)
        return json.dumps(patterns, ensure_ascii=False)

    @property
    def patterns(self) -> tuple[str, ...]:
        """``refusals`` as they were given."""
        return tuple(json.loads(self.refusals))


class VenuesSettings(_Part):
    """One group a venue."""

    everstrike: VenueSettings = Field(default_factory=VenueSettings)
    bitz: VenueSettings = Field(default_factory=VenueSettings)

    def refusals_of(self, venue: str) -> tuple[str, ...]:
        """The patterns of one venue; none of one that is not known."""
        settings = getattr(self, venue, None)
        return settings.patterns if isinstance(settings, VenueSettings) else ()


class RetrySettings(_Part):
    """``ORDERS_RETRY__…``"""

    attempts: int = Field(5, ge=1, le=100)
    initial_seconds: float = Field(0.2, gt=0, le=60)
    max_seconds: float = Field(5, gt=0, le=300)
    budget_seconds: float = Field(30, gt=0, le=3600)


class HttpSettings(_Part):
    """``ORDERS_HTTP__…``"""

    connect_timeout_seconds: float = Field(3, gt=0, le=60)
    read_timeout_seconds: float = Field(10, gt=0, le=300)
    """For the whole answer."""
    max_idle_seconds: float = Field(4, gt=0, le=300)
    """A pooled connection idle for longer is not used again: shorter than the venue keeps it."""
    max_answer_bytes: int = Field(1024 * 1024, ge=1024)
    ca_file: str = ""
    """Certificates to trust instead of the bundled ones."""


class LedgerSettings(_Part):
    """``ORDERS_LEDGER__…``"""

    keep_days: float = Field(7, ge=0.1, le=36_500)
    """How long ended records are kept, and so how long an id is known; unknowns and withdrawals stay. Never shorter
    than the longest visibility timeout, and no more milliseconds than a server can count."""
    journal_lines: int = Field(1_000_000, ge=1000, le=10**12)
    """About how many entries of the journal are kept."""
    timeout_seconds: float = Field(5, gt=0, le=60)
    withdraw_disk: Literal["auto", "require", "off"] = "auto"
    """Whether a withdrawal waits until its record is on disk: where the server can; or not at all without; or never."""
    withdraw_replicas: int = Field(0, ge=0, le=100)
    """How many replicas must have a withdrawal's record before it is sent."""
    close_replicas: int = Field(0, ge=0, le=100)
    """The same for a close that is not repeatable; those of a whole position at market never wait."""
    intent_seconds: float = Field(30, ge=1, le=3600)
    """After how long an enqueued command that has not begun is looked for, and published again when it is lost."""

    @property
    def replicas(self) -> dict[str, int]:
        """By command: how many replicas must have the begin of one that can't be repeated."""
        return {"withdraw": self.withdraw_replicas, "close": self.close_replicas}


class ReconcileSettings(_Part):
    """``ORDERS_RECONCILE__…``"""

    settle_seconds: float = Field(60, ge=0, le=86_400)
    """How long after the last possible arrival of a request the venue has time to show it everywhere."""
    apart_seconds: float = Field(30, ge=0, le=86_400)
    """Between the two looks that find nothing."""
    arrival_seconds: float = Field(15, ge=0, le=3600)
    """How long after its signature the venue may still take a request."""
    clock_margin_seconds: float = Field(2, ge=0, le=60)
    """By how much clocks may differ beyond what the venue's own clock shows."""


class MetricsSettings(_Part):
    """``ORDERS_METRICS__…``"""

    port: int = Field(0, ge=0, le=65_535)
    """Where a worker serves its metrics; 0 serves none."""
    ports: int = Field(1, ge=1, le=1000)
    """How many ports from there on are tried: each worker of a machine takes the first that is free."""
    address: str = "127.0.0.1"
    targets_dir: str = ""
    """A folder in which each worker names its address, for Prometheus' ``file_sd_configs``."""


class LogSettings(_Part):
    """``ORDERS_LOG__…``"""

    format: Literal["auto", "json", "console"] = "auto"
    """``auto``: lines for people at a terminal, JSON everywhere else."""


class WorkerSettings(QueueSettings):
    """Everything a worker is told."""

    accounts: dict[str, AccountSettings] = Field(default_factory=dict)
    venues: VenuesSettings = Field(default_factory=VenuesSettings)
    retry: RetrySettings = Field(default_factory=RetrySettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    ledger: LedgerSettings = Field(default_factory=LedgerSettings)
    reconcile: ReconcileSettings = Field(default_factory=ReconcileSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    stock_transport: bool = False
    """Use kombu's own Redis channel, with its known losses, instead of ``worker/broker/transport.py``."""
    hide_arguments: str = ",".join(sorted(HIDDEN))
    """Arguments whose values are in no event, log line or answer to ``inspect``: names with commas."""
    remote_control: str = ""
    """What remote control may do beside looking: words of ``REMOTE_CONTROLS`` with commas."""

    @field_validator("hide_arguments", mode="after")
    @classmethod
    def _names(cls, value: str) -> str:
        return _words(value, {name for command in COMMANDS.values() for name in command.model_fields})

    @field_validator("remote_control", mode="after")
    @classmethod
    def _remote_controls(cls, value: str) -> str:
        return _words(value, REMOTE_CONTROLS)

    alive_file: str = ""
    """A file that is touched with every heartbeat sent to the broker; see ``worker/celery_app/heartbeat_file.py``."""

    @field_validator("accounts", mode="after")
    @classmethod
    def _lower_aliases(cls, accounts: dict[str, AccountSettings]) -> dict[str, AccountSettings]:
        strange = [printable(alias, 64) for alias in accounts if not re.fullmatch(ALIAS, alias)]
        if strange:
            raise ValueError(f"{', '.join(strange)} can't be an alias: 1 to 64 letters, digits, - and _")
        return {alias.lower(): account for alias, account in accounts.items()}

    @property
    def hidden_arguments(self) -> frozenset[str]:
        """``hide_arguments`` as a set."""
        return frozenset(self.hide_arguments.split(",")) - {""}

    @property
    def allowed_remote_controls(self) -> frozenset[str]:
        """``remote_control`` as a set."""
        return frozenset(self.remote_control.split(",")) - {""}

    @property
    def longest_run_seconds(self) -> float:
        """How long one execution can take: the budget, and the last attempt begun inside it."""
        return self.retry.budget_seconds + self.http.connect_timeout_seconds + self.http.read_timeout_seconds

    def account_map(self) -> dict[str, Account]:
        """The accounts as the executor knows them."""
        return {alias: _account(alias, account) for alias, account in self.accounts.items()}

    def venue_map(self) -> dict[str, Venue]:
        """The venues as the executor knows them, with what the operator lists of their answers."""
        of = self.venues.refusals_of
        return {
            Everstrike.name: Everstrike(refusals=of(Everstrike.name)),
            Bitz.name: Bitz(refusals=of(Bitz.name)),
        }

    def retry_limits(self) -> RetryLimits:
        """The retry settings as the executor knows them."""
        retry = self.retry
        return RetryLimits(retry.attempts, retry.initial_seconds, retry.max_seconds, retry.budget_seconds)

    def reconcile_limits(self) -> ReconcileLimits:
        """The reconcile settings as the reconciler knows them."""
        part = self.reconcile
        return ReconcileLimits(part.settle_seconds, part.apart_seconds, part.arrival_seconds, part.clock_margin_seconds)

    def http_limits(self, pool_size: int = 64) -> HttpLimits:
        """The HTTP settings as the transport knows them."""
        http = self.http
        return HttpLimits(
            http.connect_timeout_seconds,
            http.read_timeout_seconds,
            http.max_idle_seconds,
            http.max_answer_bytes,
            pool_size,
        )


def _words(value: str, known: Collection[str]) -> str:
    """A list with commas (or of TOML), blanks removed; refused when a word is not known."""
    value = value.translate(str.maketrans("", "", '[]"'))
    words = [word.strip() for word in value.split(",") if word.strip()]
    strange = [word for word in words if word not in known]
    if strange:
        raise ValueError(f"knows no {', '.join(word[:32] for word in strange)}; there are {', '.join(sorted(known))}")
    return ",".join(words)


def _account(alias: str, settings: AccountSettings) -> Account:
    url = settings.base_url or VENUES[settings.venue].base_url
    keys = Credentials(settings.api_key.get_secret_value(), settings.secret_key.get_secret_value())
    return Account(alias, settings.venue, url.rstrip("/"), keys)


def load() -> WorkerSettings:
    """Read the worker's settings.

    Raises:
        SettingsError: naming each setting that is wrong.
    """
    return cast("WorkerSettings", WorkerSettings.load())


__all__ = ["OutsideSettings", "SettingsError", "WorkerSettings", "load"]
