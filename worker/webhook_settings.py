"""``ORDERS_WEBHOOKS__<NAME>__…``: where reports are sent to, and which."""

import base64
import binascii
from typing import Any
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from producers.commands import COMMANDS
from producers.report import Outcome
from producers.settings import QuotedTextModel
from worker.http_urls import url_problem

SECRET_PREFIX = "whsec_"  # noqa: S105 - in front of a secret
SECRET_BYTES = range(24, 65)
"""How long a secret is (Standard Webhooks, "Symmetric")."""
MUTATING = tuple(sorted(command.name for command in COMMANDS.values() if command.mutating))
"""The commands whose reports can be sent: queries leave nothing in the ledger."""


class WebhookSettings(QuotedTextModel):
    """The settings of one webhook. No message names any of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: SecretStr
    """Masked, because some receivers put a token into it."""
    secret: SecretStr
    """One secret of Standard Webhooks, ``whsec_`` and base64; or several separated by blanks, while they are replaced:
    each signs."""
    accounts: str = ""
    """Only reports of these accounts, separated by commas; empty for all."""
    commands: str = ""
    """Only reports of these commands, separated by commas; empty for all."""
    outcomes: str = ""
    """Only reports with these outcomes, separated by commas; empty for all."""
    allow_http: bool = False
    """Allows plain http also to other than loopback addresses."""
    ca_file: str = ""
    """A file of certificates to trust in place of the bundled ones."""
    connections: int = Field(2, ge=1, le=16)
    """How many reports a worker sends at the same time."""
    timeout_seconds: float = Field(10, gt=0, le=60)
    """For connecting, and for the whole answer."""
    initial_seconds: float = Field(5, gt=0, le=3600)
    """The wait before the second attempt; each further one is twice as long."""
    max_seconds: float = Field(900, gt=0, le=3600)
    """The longest wait between two attempts."""
    retry_hours: float = Field(24, gt=0, le=168)
    """How long a report is tried to be sent, from the end of its command."""

    @field_validator("url")
    @classmethod
    def _safe_url(cls, value: SecretStr) -> SecretStr:
        if problem := url_problem(value.get_secret_value(), allow_http=True, query=True):
            raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _safe_scheme(self) -> "WebhookSettings":
        if problem := url_problem(self.address, allow_http=self.allow_http, query=True):
            raise ValueError(f"url {problem}")
        return self

    @field_validator("secret")
    @classmethod
    def _usable(cls, value: SecretStr) -> SecretStr:
        if not secrets_of(value.get_secret_value()):
            raise ValueError("is missing")
        return value

    @field_validator("accounts", "commands", "outcomes", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        # A list of a TOML file arrives as its text, or, with earlier versions of pydantic-settings, as a list.
        listed = ",".join(map(str, value)) if isinstance(value, list) else value
        if not isinstance(listed, str):
            return listed
        return ",".join(word for each in listed.translate(_WITHOUT).split(",") if (word := each.strip().lower()))

    @field_validator("commands")
    @classmethod
    def _known_commands(cls, value: str) -> str:
        return _known(value, MUTATING)

    @field_validator("outcomes")
    @classmethod
    def _known_outcomes(cls, value: str) -> str:
        return _known(value, [outcome.value for outcome in Outcome])

    @property
    def address(self) -> str:
        """The URL."""
        return self.url.get_secret_value()

    @property
    def shown_address(self) -> str:
        """Where the receiver is, without the part of the URL that may be secret."""
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def signing_secrets(self) -> tuple[bytes, ...]:
        """The secrets, as they sign."""
        return secrets_of(self.secret.get_secret_value())

    @property
    def wanted_outcomes(self) -> tuple[str, ...]:
        """The outcomes of the reports that are sent."""
        return tuple(self.outcomes.split(",")) if self.outcomes else tuple(outcome.value for outcome in Outcome)

    def wants(self, report: Any) -> bool:
        """Whether the report, a JSON object, is of the accounts and commands that are sent."""
        named = str(report.get("account") or "").lower(), str(report.get("command"))
        return all(not listed or word in listed.split(",") for word, listed in zip(named, self._filters, strict=True))

    @property
    def _filters(self) -> tuple[str, str]:
        return self.accounts, self.commands


_WITHOUT = str.maketrans("", "", '[]"')


def secrets_of(text: str) -> tuple[bytes, ...]:
    """The secrets in a text.

    Raises:
        ValueError: one of them is none of Standard Webhooks. The error quotes nothing.
    """
    return tuple(map(_secret, text.split()))


def _secret(word: str) -> bytes:
    try:
        secret = base64.b64decode(word.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not word.startswith(SECRET_PREFIX) or len(secret) not in SECRET_BYTES:
        raise ValueError(
            f"must be {SECRET_PREFIX} and the base64 of 24 to 64 random bytes: "
            f'echo "{SECRET_PREFIX}$(head -c 32 /dev/urandom | base64)" makes one'
        )
    return secret


def _known(value: str, known: list[str] | tuple[str, ...]) -> str:
    unknown = [word[:32] for word in value.split(",") if word and word not in known]
    if unknown:
        raise ValueError(f"knows no {', '.join(unknown)}; there are {', '.join(known)}")
    return value
