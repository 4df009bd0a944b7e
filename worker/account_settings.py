"""``ORDERS_ACCOUNTS__<ALIAS>__…``: an account at a venue, how fast it may be used, and how much it may hold."""

from dataclasses import fields
from typing import Any

from pydantic import ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from producers.settings import QuotedTextModel
from worker.http_urls import url_problem
from worker.rate_limits import RateLimit, parse_rate_limits
from worker.venues.accounts import Credentials
from worker.venues.registry import REGISTRY, AccountNeeds, problem_of_name

SECRETS = tuple(each.name for each in fields(Credentials))
"""The settings that hold a secret."""


class AccountSettings(QuotedTextModel):
    """The settings of one account."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    venue: str
    """``everstrike``, ``bitz``, or ``ccxt:<exchange>`` (:mod:`worker.venues.ccxt`)."""
    # Which secrets are required and which are refused, the venue says. An empty one is none.
    api_key: SecretStr = SecretStr("")
    """Required, except at exchanges that know wallets."""
    secret_key: SecretStr = SecretStr("")
    """Required, except at exchanges that know wallets."""
    passphrase: SecretStr = SecretStr("")
    """Of an exchange that asks for one beside the key."""
    uid: SecretStr = SecretStr("")
    """The account's number, at an exchange that asks for it."""
    wallet_address: SecretStr = SecretStr("")
    """Of an exchange that knows wallets instead of keys."""
    private_key: SecretStr = SecretStr("")
    """Of that wallet."""
    account_mode: str = ""
    """The kind of account, at exchanges whose requests differ by it."""
    hedge_mode: bool = False
    """Whether the account may hold a long and a short position of one market at once."""
    testnet: bool = False
    """Whether the account is one of the exchange's test network, which is its address then."""
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

    @property
    def further_secrets(self) -> dict[str, SecretStr]:
        """The secrets beside key and secret key that are set."""
        named = ((name, getattr(self, name)) for name in SECRETS[2:])
        return {name: secret for name, secret in named if secret.get_secret_value()}

    @model_validator(mode="before")
    @classmethod
    def _absent_is_empty(cls, value: Any) -> Any:
        # So that each is validated by its name: pydantic 2.12.0 tells no validator the name of a field with a default.
        return dict.fromkeys((*SECRETS, "account_mode"), "") | value if isinstance(value, dict) else value

    @field_validator("venue")
    @classmethod
    def _known_venue(cls, value: str) -> str:
        problem = problem_of_name(value)
        if problem is not None:
            raise ValueError(problem)
        return value

    @field_validator(*SECRETS)
    @classmethod
    def _printable(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        text, venue = value.get_secret_value(), info.data.get("venue")
        # Of a venue that is not known, which is reported by itself, both keys are.
        needs = REGISTRY[venue].needs if venue is not None else AccountNeeds(others=True)
        if not text and info.field_name in needs.credentials:
            raise PydanticCustomError("missing", "is missing")
        if text and info.field_name not in needs.credentials and not needs.others:
            raise ValueError(f"{venue} has nothing like it")
        if text and (not text.isascii() or not text.isprintable() or " " in text):
            raise ValueError("must be printable ASCII without blanks (a stray newline at the end of a file?)")
        return value

    @field_validator("account_mode")
    @classmethod
    def _known_mode(cls, value: str, info: ValidationInfo) -> str:
        venue = info.data.get("venue")
        modes = REGISTRY[venue].needs.modes if venue is not None else (value,)
        if value not in modes and (value or modes):
            listed = f"must be {' or '.join(modes)}" if modes else f"{venue} has nothing like it"
            raise ValueError(listed)
        return value

    @field_validator("hedge_mode", "testnet")
    @classmethod
    def _possible(cls, value: bool, info: ValidationInfo) -> bool:
        venue = info.data.get("venue")
        needs = REGISTRY[venue].needs if venue is not None else None
        if value and needs is not None and not (needs.hedge if info.field_name == "hedge_mode" else needs.testnet):
            raise ValueError(f"{venue} has nothing like it")
        return value

    @model_validator(mode="after")
    def _safe_url(self) -> "AccountSettings":
        problem = url_problem(self.base_url, allow_http=self.allow_http) if self.base_url else ""
        if problem:
            raise ValueError(f"base_url {problem}")
        return self
