"""The worker's settings, read once from the environment, a TOML file and a secrets folder; secrets are masked.

Names and defaults are the public contract; ``docs/settings.md`` lists them for people.
"""

import json
import os
import re
from collections.abc import Collection
from typing import Any, Literal, TypeVar, cast

from pydantic import ConfigDict, Field, ValidationInfo, create_model, field_validator

from producers.arguments import ALIAS
from producers.commands import COMMANDS
from producers.printable import printable
from producers.redaction import HIDDEN
from producers.settings import ExternalSettings, QueueSettings, QuotedTextModel, SettingsError
from worker.account_settings import AccountSettings
from worker.auth_settings import AuthSettings, DeskSettings, PolicySettings
from worker.refusal_patterns import compile_refusals
from worker.venues.ccxt.exchanges import IDS
from worker.venues.listed_answers import group_of
from worker.webhook_settings import WebhookSettings

_G = TypeVar("_G", AccountSettings, WebhookSettings)

REMOTE_CONTROLS = ("add_consumer", "apply", "cancel_consumer", "pool_grow", "pool_shrink", "shutdown")
"""What ``ORDERS_REMOTE_CONTROL`` may allow, see ``worker/celery_app/remote_control.py``."""


class _SettingsGroup(QuotedTextModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class VenueSettings(_SettingsGroup):
    """``ORDERS_VENUES__<VENUE>__…``"""

    refusals: str = "[]"
    """Further messages (at Bit-Z: codes) that are final refusals: a JSON list of regular expressions, see
    :mod:`worker.refusal_patterns`."""

    @field_validator("refusals", mode="before")
    @classmethod
    def _patterns(cls, value: object) -> str:
        try:
            patterns = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            patterns = None
        if not isinstance(patterns, list) or not all(isinstance(each, str) for each in patterns):
            raise ValueError("""must be a JSON list of regular expressions, such as ["the position was not found"]""")
        compile_refusals(patterns)
        return json.dumps(patterns, ensure_ascii=False)

    @property
    def patterns(self) -> tuple[str, ...]:
        """The regular expressions of ``refusals``."""
        return tuple(json.loads(self.refusals))


_GROUPS: dict[str, Any] = {
    group_of(f"ccxt:{ccxt_id}"): (VenueSettings, Field(default_factory=VenueSettings)) for ccxt_id in IDS
}
_CcxtVenues = create_model("_CcxtVenues", __base__=_SettingsGroup, **_GROUPS)


class VenuesSettings(_CcxtVenues):
    """A group of settings for each venue: ``everstrike``, ``bitz``, ``ccxt_okx``…"""

    everstrike: VenueSettings = Field(default_factory=VenueSettings)
    bitz: VenueSettings = Field(default_factory=VenueSettings)

    def refusals_of(self, venue: str) -> tuple[str, ...]:
        """The patterns of a venue; none for a venue that is not known."""
        settings = getattr(self, group_of(venue), None)
        return settings.patterns if isinstance(settings, VenueSettings) else ()


class RetrySettings(_SettingsGroup):
    """``ORDERS_RETRY__…``"""

    attempts: int = Field(5, ge=1, le=100)
    """How many attempts a command may have, over all workers that take it."""
    initial_seconds: float = Field(0.2, gt=0, le=60)
    """The wait before the second attempt; each further wait is twice as long. Each is lengthened by up to this value,
    at random."""
    max_seconds: float = Field(5, gt=0, le=300)
    """The longest wait between two attempts, unless the venue asks for a longer one (``Retry-After``)."""
    budget_seconds: float = Field(30, gt=0, le=3600)
    """Counted from the first attempt; no wait begins that would end after it."""


class HttpSettings(_SettingsGroup):
    """``ORDERS_HTTP__…``"""

    connect_timeout_seconds: float = Field(3, gt=0, le=60)
    """For a connection to be established; until then no byte has been sent."""
    read_timeout_seconds: float = Field(10, gt=0, le=300)
    """For the whole response."""
    max_idle_seconds: float = Field(4, gt=0, le=300)
    """A pooled connection that was idle for longer is not used again. Shorter than venues keep theirs open."""
    max_answer_bytes: int = Field(1024 * 1024, ge=1024, le=2 * 1024 * 1024)
    """The largest body of a response that is read; a larger one counts as no response. The upper limit keeps a report
    of it shorter than senders read (``producers.results.MAX_RESULT_BYTES``)."""
    ca_file: str = ""
    """A file of certificates to trust in place of the bundled ones."""


class LedgerSettings(_SettingsGroup):
    """``ORDERS_LEDGER__…``"""

    keep_days: float = Field(7, ge=0.1, le=36_500)
    """How long ended records are kept, and so how long an id is known; unknowns and withdrawals are kept for ever. The
    bounds: not shorter than the longest visibility timeout, and not more milliseconds than Redis accepts as an
    expiry."""
    journal_lines: int = Field(1_000_000, ge=1000, le=10**12)
    """About how many entries of the journal are kept."""
    timeout_seconds: float = Field(5, gt=0, le=60)
    """For each step of a call of the ledger's server."""
    withdraw_disk: Literal["auto", "require", "off"] = "auto"
    """Whether a withdrawal waits until its record is on disk: ``auto`` where the server can confirm it, ``require`` to
    refuse withdrawals where it can't, ``off`` never."""
    withdraw_replicas: int = Field(0, ge=0, le=100)
    """How many replicas must have a withdrawal's record before it is sent."""
    close_replicas: int = Field(0, ge=0, le=100)
    """How many replicas must have the record of a new order, or of a close that is not repeatable, before it is sent.
    Closes of a whole position at market never wait."""
    intent_seconds: float = Field(30, ge=1, le=3600)
    """After how long an enqueued command that has not begun is checked, and published again when it is lost."""

    @property
    def replicas(self) -> dict[str, int]:
        """By command: how many replicas must have its begin on record when it can't be repeated."""
        return {"withdraw": self.withdraw_replicas, "close": self.close_replicas, "submit": self.close_replicas}


class ReconcileSettings(_SettingsGroup):
    """``ORDERS_RECONCILE__…``"""

    settle_seconds: float = Field(60, ge=0, le=86_400)
    """How long after the last possible arrival of a request the venue may take to list the command everywhere."""
    apart_seconds: float = Field(30, ge=0, le=86_400)
    """The least time between the two reconciles that find nothing."""
    arrival_seconds: float = Field(15, ge=0, le=3600)
    """How long after its signature a venue may still accept a request."""
    clock_margin_seconds: float = Field(2, ge=0, le=60)
    """By how much clocks may differ in addition to the measured offset of the venue's clock."""


class MetricsSettings(_SettingsGroup):
    """``ORDERS_METRICS__…``"""

    port: int = Field(0, ge=0, le=65_535)
    """Where a worker serves its metrics; 0 serves none."""
    ports: int = Field(1, ge=1, le=1000)
    """How many ports are tried, beginning with ``port``: each worker of a machine takes the first free one."""
    address: str = "127.0.0.1"
    """The address of this machine on which metrics are served."""
    targets_dir: str = ""
    """A folder in which each worker writes a file with its address, for Prometheus' ``file_sd_configs``."""


class LogSettings(_SettingsGroup):
    """``ORDERS_LOG__…``"""

    format: Literal["auto", "json", "console"] = "auto"
    """``auto`` writes lines for people to a terminal, and JSON everywhere else."""


class WorkerSettings(QueueSettings):
    """All settings of a worker."""

    accounts: dict[str, AccountSettings] = Field(default_factory=dict)
    venues: VenuesSettings = Field(default_factory=VenuesSettings)
    retry: RetrySettings = Field(default_factory=RetrySettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    ledger: LedgerSettings = Field(default_factory=LedgerSettings)
    auth: AuthSettings = Field(default_factory=AuthSettings)
    report_key_file: str = ""
    """The private key with which reports are signed; without one they are not."""
    webhooks: dict[str, WebhookSettings] = Field(default_factory=dict)
    reconcile: ReconcileSettings = Field(default_factory=ReconcileSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    policy: PolicySettings = Field(default_factory=PolicySettings)
    desk: DeskSettings = Field(default_factory=DeskSettings)
    operator_key_file: str = ""
    """The private key with which the operator of this machine signs: halts, their ends, resolves, approvals."""
    policy_file: str = ""
    """The withdrawal policy (TOML), see ``worker/execution/policy/document.py``."""
    stock_transport: bool = False
    """Use kombu's own Redis transport, with its known losses, in place of ``worker/broker/transport.py``."""
    hide_arguments: str = ",".join(sorted(HIDDEN))
    """Arguments whose values are shown in no event, log line or answer to ``inspect``: names separated by commas."""
    remote_control: str = ""
    """What remote control may change: words of ``REMOTE_CONTROLS`` separated by commas."""

    @field_validator("hide_arguments", mode="after")
    @classmethod
    def _names(cls, value: str) -> str:
        return _known_words(value, {name for command in COMMANDS.values() for name in command.model_fields})

    @field_validator("remote_control", mode="after")
    @classmethod
    def _remote_controls(cls, value: str) -> str:
        return _known_words(value, REMOTE_CONTROLS)

    alive_file: str = ""
    """A file that is touched with every heartbeat sent to the broker; see ``worker/celery_app/heartbeat_file.py``."""

    @field_validator("accounts", "webhooks", mode="after")
    @classmethod
    def _lower_names(cls, named: dict[str, _G], info: ValidationInfo) -> dict[str, _G]:
        invalid = [printable(name, 64) for name in named if not re.fullmatch(ALIAS, name)]
        if invalid:
            what = "an alias" if info.field_name == "accounts" else "the name of a webhook"
            raise ValueError(f"{', '.join(invalid)} can't be {what}: 1 to 64 letters, digits, - and _")
        return {name.lower(): group for name, group in named.items()}

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
        """How long one execution can take: the budget, and an attempt that begins at its end."""
        return self.retry.budget_seconds + self.http.connect_timeout_seconds + self.http.read_timeout_seconds


def _known_words(value: str, known: Collection[str]) -> str:
    """A list separated by commas (or written as TOML's), without blanks.

    Raises:
        ValueError: a word is not in ``known``.
    """
    value = value.translate(str.maketrans("", "", '[]"'))
    words = [word.strip() for word in value.split(",") if word.strip()]
    unknown = [word for word in words if word not in known]
    if unknown:
        raise ValueError(f"knows no {', '.join(word[:32] for word in unknown)}; there are {', '.join(sorted(known))}")
    return ",".join(words)


def load() -> WorkerSettings:
    """Read the worker's settings.

    Raises:
        SettingsError: naming each setting that is wrong; or ``SSLKEYLOGFILE`` is set.
    """
    if os.environ.get("SSLKEYLOGFILE"):
        raise SettingsError(
            "SSLKEYLOGFILE: Python writes the keys of every TLS connection to the file that it names; whoever has them "
            "can read API keys, passwords and signed requests on the network. Unset it"
        )
    return cast("WorkerSettings", WorkerSettings.load())


__all__ = ["ExternalSettings", "SettingsError", "WorkerSettings", "load"]
