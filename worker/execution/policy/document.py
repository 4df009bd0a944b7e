"""The withdrawal policy as it is written down, in a file (TOML) and in the ledger's database (JSON).

::

    [withdrawals.main]                # an account's alias
    unlisted = "deny"                 # or "approve": to other destinations only with approvals
    approvals = 1                     # how many persons, wherever approvals are needed
    hold = "2h"                       # how long a withdrawal waits for them
    [[withdrawals.main.to]]
    name = "treasury"
    asset = "ETH"
    address = "0x…"
    network = "ethereum"              # optional, like tag: a withdrawal must then name the same
    max = "5"                         # optional: the most in one withdrawal
    approve_above = "1"               # optional: approvals for more than this; "0" for any amount
    [[withdrawals.main.limit]]
    asset = "ETH"
    window = "24h"
    total = "20"                      # total, count or both
    count = 10
    [approvers]
    anna = "ed25519:…"

Amounts are texts, because TOML's numbers are binary floats. A policy is valid as a whole or not at all.
"""

import re
from collections import Counter
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from producers.arguments import ALIAS, Amount, Word
from producers.printable import printable
from producers.signing import NAME, PublicKey, SigningError
from worker.ledger.limits import MAX_COUNTED_UNITS
from worker.watched_file import FileUnusable, toml_tables

MAX_PROBLEMS = 10
"""How many problems an error names."""
TOTAL_DECIMALS = 9
"""Decimals of a limit's total: the ledger counts in billionths."""
MAX_LIMITS = 50
"""Limits of one account: each that applies is counted in the ledger, in the step in which a withdrawal begins."""
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
MAX_WINDOW_MS, MAX_HOLD_MS = 31 * DAY_MS, 7 * DAY_MS
_DURATION = re.compile(r"([1-9][0-9]{0,5})([mhd])", re.ASCII)


def duration_ms(text: str) -> int:
    """Milliseconds of a duration such as ``30m``, ``24h`` or ``7d``; 0 for what is none."""
    found = _DURATION.fullmatch(text)
    return int(found[1]) * {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}[found[2]] if found else 0


def _duration(text: str) -> str:
    if not duration_ms(text):
        raise PydanticCustomError("duration", 'is not a duration such as "30m", "24h" or "7d"')
    return text


def _window(text: str) -> str:
    if duration_ms(_duration(text)) > MAX_WINDOW_MS:
        raise PydanticCustomError("window", "is longer than 31 days")
    return text


def _hold(text: str) -> str:
    if duration_ms(_duration(text)) > MAX_HOLD_MS:
        raise PydanticCustomError("hold", "is longer than 7 days")
    return text


def _amount_text(value: object) -> object:
    if not isinstance(value, str):
        raise PydanticCustomError("amount_text", """must be a text in quotes, such as "0.5": numbers are not exact""")
    return value


def _zero_or(value: object, handler: ValidatorFunctionWrapHandler) -> Decimal:
    amount: Decimal = Decimal(0) if value == "0" else handler(value)
    return amount


def _total(total: Decimal) -> Decimal:
    if total > MAX_COUNTED_UNITS or total != round(total, TOTAL_DECIMALS):
        words = "is more than 9 * 10^15, or has more than {decimals} decimals"
        raise PydanticCustomError("total", words, {"decimals": TOTAL_DECIMALS})
    return total


def _public_key(text: str) -> str:
    try:
        PublicKey.from_text(text)
    except SigningError as error:
        raise PydanticCustomError("key", "is not a public key: {why}", {"why": str(error)}) from None
    return text


AmountText = Annotated[Amount, BeforeValidator(_amount_text)]
Approvals = Annotated[int, Field(ge=1, le=10)]
Hold = Annotated[str, AfterValidator(_hold)]
Name = Annotated[Word, StringConstraints(max_length=64)]
Alias = Annotated[str, StringConstraints(pattern=ALIAS)]
Approver = Annotated[str, StringConstraints(pattern=f"^{NAME}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Destination(_Part):
    """``[[withdrawals.ALIAS.to]]``: where an account may withdraw to. Every text is compared exactly."""

    name: Name
    asset: Word
    address: Word
    network: Word | None = None
    tag: Word | None = None
    max: AmountText | None = None
    approve_above: Annotated[AmountText, WrapValidator(_zero_or)] | None = None
    approvals: Approvals | None = None
    hold: Hold | None = None

    @property
    def key(self) -> tuple[str, str, str | None, str | None]:
        """What a withdrawal must name to match it."""
        return self.asset, self.address, self.network, self.tag


class LimitRule(_Part):
    """``[[withdrawals.ALIAS.limit]]``: how much of an asset may be withdrawn within a time, wherever it goes to."""

    asset: Word
    window: Annotated[str, AfterValidator(_window)]
    total: Annotated[AmountText, AfterValidator(_total)] | None = None
    count: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    @property
    def window_ms(self) -> int:
        """The window in milliseconds."""
        return duration_ms(self.window)

    @property
    def key(self) -> str:
        """Its counter within the account. Whatever way the asset is written, it is one: a venue may not mind."""
        return f"{self.asset.upper()}/{self.window_ms}"


class AccountRules(_Part):
    """``[withdrawals.ALIAS]``: the rules for one account."""

    unlisted: Literal["deny", "approve"] = "deny"
    approvals: Approvals = 1
    hold: Hold = "2h"
    to: list[Destination] = Field(default_factory=list)
    limit: list[LimitRule] = Field(default_factory=list, max_length=MAX_LIMITS)


class PolicyDocument(_Part):
    """A whole policy."""

    withdrawals: dict[Alias, AccountRules] = Field(default_factory=dict)
    approvers: dict[Approver, Annotated[str, AfterValidator(_public_key)]] = Field(default_factory=dict)


def parse_toml(content: bytes) -> PolicyDocument:
    """The policy in a file.

    Raises:
        FileUnusable: something in it is wrong; the text names up to :data:`MAX_PROBLEMS` entries.
    """
    return parse_tables(toml_tables(content))


def parse_tables(tables: object) -> PolicyDocument:
    """The policy in tables that were read from TOML or JSON.

    Raises:
        FileUnusable: as :func:`parse_toml`.
    """
    try:
        document = PolicyDocument.model_validate(tables)
    except ValidationError as error:
        problems = [_problem(each["loc"], each["type"], each["msg"]) for each in error.errors()]
    else:
        problems = _contradictions(document)
    if problems:
        more = [f"and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
        raise FileUnusable("; ".join(problems[:MAX_PROBLEMS] + more))
    return document


def _problem(location: tuple[int | str, ...], kind: str, message: str) -> str:
    """One problem in words, without the value. Lists are counted from 1."""
    names = [f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in location if part != "[key]"]
    where = printable("".join(names).lstrip("."), 160) or "the file"
    if kind == "missing":
        return f"{where} is missing"
    if kind == "extra_forbidden":
        return f"{where} is not known here"
    if kind == "string_pattern_mismatch":
        return f"{where} can't be a name: letters, digits, - and _"
    return f"{where} {message.replace('Input should', 'must').replace('String should', 'must')}"


def _contradictions(document: PolicyDocument) -> list[str]:
    """What is wrong between entries that are right by themselves."""
    problems = _repeated("approver's key", list(document.approvers.values()), shown=False)
    problems += _repeated("account", [alias.lower() for alias in document.withdrawals])
    for alias, rules in document.withdrawals.items():
        here = f"withdrawals.{alias}"
        problems += _repeated(f"name in {here}.to", [each.name for each in rules.to])
        problems += _same_destinations(here, rules.to)
        problems += _repeated(f"limit in {here}", [each.key for each in rules.limit], shown=False)
        for number, limit in enumerate(rules.limit, 1):
            if limit.total is None and limit.count is None:
                problems.append(f"{here}.limit[{number}] limits nothing: it needs total or count")
        needed = [(f"{here}.unlisted", rules.approvals)] if rules.unlisted == "approve" else []
        for entry in rules.to:
            if entry.approve_above is not None:
                needed.append((f"{here}.to {entry.name}", entry.approvals or rules.approvals))
            elif entry.approvals is not None or entry.hold is not None:
                problems.append(f"{here}.to {entry.name} has approvals or hold without approve_above")
        problems += [
            f"{where} needs {count} approvals, and there are {len(document.approvers)} approvers"
            for where, count in needed
            if count > len(document.approvers)
        ]
    return [printable(each) for each in problems]


def _same_destinations(here: str, entries: list[Destination]) -> list[str]:
    first: dict[tuple[str | None, ...], str] = {}
    problems = []
    for entry in entries:
        other = first.setdefault(entry.key, entry.name)
        if other != entry.name:
            problems.append(f"{here}.to {other} and {entry.name} are one destination: each may be listed once")
    return problems


def _repeated(what: str, values: list[str], *, shown: bool = True) -> list[str]:
    """The values that occur more than once; a person with two names would be two persons."""
    twice = sorted(value for value, count in Counter(values).items() if count > 1)
    return [f"the {what}{' ' + value if shown else ''} is there more than once" for value in twice]


def to_json(document: PolicyDocument) -> dict[str, Any]:
    """The document as JSON has it: amounts are texts, and what has its default is left out."""
    return document.model_dump(mode="json", exclude_defaults=True)
