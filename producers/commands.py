"""The commands: frozen, validated, and each with one fingerprint.

The same code checks the arguments on both sides of the queue (:mod:`producers.arguments` defines their types). Bad
input is refused where it is made and, from clients that do not use this package, before anything is sent.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from producers.arguments import (
    Account,
    Amount,
    AmountInput,
    OrderSide,
    PositionDirection,
    TimeInForce,
    TriggerEvent,
    UnixMilliseconds,
    Word,
)
from producers.arguments import plain_notation as plain_notation
from producers.errors import InvalidCommand
from producers.printable import printable

MAX_UNKNOWN_NAMED, MAX_NAME_LENGTH = 5, 64
"""How many unknown arguments a refusal names, and how many characters of each name."""


class Command(BaseModel):
    """Base of the commands: an account, and a deadline after which nothing is sent."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)

    name: ClassVar[str]
    """``close``, ``submit``, ``cancel``, ``withdraw`` or ``positions``."""
    mutating: ClassVar[bool] = True
    """False for a query, which may be repeated freely."""

    account: Account
    deadline: UnixMilliseconds | None = None

    @classmethod
    def task_name(cls) -> str:
        """The Celery task of this type of command, which is also the name of its queue."""
        return f"orders.{cls.name}"

    @property
    def task(self) -> str:
        """The Celery task, which is also the name of the queue."""
        return self.task_name()

    @property
    def repeatable(self) -> bool:
        """Whether executing it twice has the effect of executing it once."""
        return False

    def arguments(self) -> dict[str, Any]:
        """The normalised keyword arguments: absent ones are left out, decimals are plain strings."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the task and the normalised arguments."""
        return fingerprint(self.task, self.arguments())


class Close(Command):
    """Close a position: all of it at market, or by quantity, at a price, or at a trigger."""

    name: ClassVar[str] = "close"

    pair: Word
    qty: Amount | None = None
    price: Amount | None = None
    trigger_price: Amount | None = None
    trigger_event: TriggerEvent | None = None
    close_on_trigger: bool | None = None
    recv_window: Annotated[int, Field(gt=0, le=15_000, description="Milliseconds.")] | None = None
    direction: Annotated[PositionDirection, Field(description="Of an account that holds both.")] | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            account: str,
            pair: str,
            qty: AmountInput | None = None,
            price: AmountInput | None = None,
            trigger_price: AmountInput | None = None,
            trigger_event: TriggerEvent | None = None,
            close_on_trigger: bool | None = None,
            recv_window: int | None = None,
            direction: PositionDirection | None = None,
            deadline: int | None = None,
        ) -> None: ...

    @property
    def repeatable(self) -> bool:
        """True for a whole position at market: a second close finds nothing left to close."""
        return self.qty is None and self.price is None and self.trigger_price is None


_GIVEN: JsonValue = {"not": {"type": "null"}}
_SUBMIT_RULES: list[JsonValue] = [
    {
        "if": {"properties": {"trigger_event": {"type": "string"}}, "required": ["trigger_event"]},
        "then": {"properties": {"trigger_price": _GIVEN}, "required": ["trigger_price"]},
    },
    {
        "if": {"properties": {"post_only": {"const": True}}, "required": ["post_only"]},
        "then": {"properties": {"price": _GIVEN, "time_in_force": {"enum": ["GTC", None]}}, "required": ["price"]},
    },
    {
        "if": {"properties": {"time_in_force": {"type": "string"}}, "required": ["time_in_force"]},
        "then": {"properties": {"price": _GIVEN}, "required": ["price"]},
    },
]
"""In the schema's words, which of the arguments of a new order belong together."""


class Submit(Command):
    """Submit a new order: at market, at a price, or at a trigger."""

    model_config = ConfigDict(json_schema_extra={"allOf": _SUBMIT_RULES})

    name: ClassVar[str] = "submit"

    pair: Word
    side: OrderSide
    qty: Amount
    price: Amount | None = None
    trigger_price: Amount | None = None
    trigger_event: TriggerEvent | None = None
    reduce_only: bool | None = None
    post_only: bool | None = None
    time_in_force: TimeInForce | None = None

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        problems = []
        if self.trigger_event is not None and self.trigger_price is None:
            problems.append("trigger_event needs trigger_price")
        if self.post_only and self.price is None:
            problems.append("post_only needs price: an order at market is executed at once")
        if self.post_only and self.time_in_force in ("IOC", "FOK"):
            problems.append(f"post_only excludes time_in_force {self.time_in_force}: such an order never rests")
        if self.time_in_force is not None and self.price is None:
            problems.append("time_in_force needs price: an order at market is executed at once")
        if problems:
            raise PydanticCustomError("belong_together", "{problems}", {"problems": "; ".join(problems)})
        return self

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            account: str,
            pair: str,
            side: OrderSide,
            qty: AmountInput,
            price: AmountInput | None = None,
            trigger_price: AmountInput | None = None,
            trigger_event: TriggerEvent | None = None,
            reduce_only: bool | None = None,
            post_only: bool | None = None,
            time_in_force: TimeInForce | None = None,
            deadline: int | None = None,
        ) -> None: ...


class Cancel(Command):
    """Cancel one order."""

    name: ClassVar[str] = "cancel"

    order_id: Word
    pair: Annotated[Word, Field(description="The order's market, for venues that want it.")] | None = None

    @property
    def repeatable(self) -> bool:
        """True: a cancelled order cannot be cancelled again."""
        return True


class Withdraw(Command):
    """Withdraw an asset to an address. Accepted means submitted: Everstrike pays after confirmation by e-mail."""

    name: ClassVar[str] = "withdraw"

    asset: Word
    qty: Amount
    address: Word
    network: Annotated[Word, Field(description="The chain, where the venue has several for the asset.")] | None = None
    tag: Annotated[Word, Field(description="The memo or tag of the address, where the asset needs one.")] | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            account: str,
            asset: str,
            qty: AmountInput,
            address: str,
            network: str | None = None,
            tag: str | None = None,
            deadline: int | None = None,
        ) -> None: ...


class Positions(Command):
    """Query open positions: of one instrument, or all of them (Everstrike)."""

    name: ClassVar[str] = "positions"
    mutating: ClassVar[bool] = False

    contract_id: Annotated[int, Field(gt=0, lt=10**15, description="Bit-Z contract id.")] | None = None
    pair: Annotated[Word, Field(description="The market (not Bit-Z).")] | None = None

    @property
    def repeatable(self) -> bool:
        """True: a read changes nothing."""
        return True


COMMANDS: dict[str, type[Command]] = {c.task_name(): c for c in (Close, Submit, Cancel, Withdraw, Positions)}
"""Command class by task name."""
_ARGUMENTS = {task: frozenset(model.model_fields) for task, model in COMMANDS.items()}
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=repr)


def canonical_json(value: object) -> bytes:
    """JSON in its one canonical form: keys sorted, no spaces, UTF-8 unescaped.

    A value that JSON cannot hold, such as a number of thousands of digits or lists nested a thousand deep, gives an
    empty text. Such arguments are refused anyway, and the refusal must not fail on them.
    """
    try:
        text = _CANONICAL.encode(value)
    except (ValueError, TypeError, RecursionError):
        return b""
    return text.encode("utf-8", "surrogatepass")


def fingerprint(task: str, arguments: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of ``["<task>",{<arguments>}]`` as canonical JSON.

    For a valid command the arguments are :meth:`Command.arguments`: absent and null ones are left out, the account is
    in lower case, amounts are plain decimal strings without trailing zeros: ``0.10``, ``"0.1"`` and ``"1e-1"`` are
    equal. The fingerprint of an invalid command is made of the arguments as they were received.

    >>> fingerprint("orders.cancel", {"account": "main", "order_id": "1"})[:16]
    'e447381c690014ee'
    """
    return hashlib.sha256(canonical_json([task, dict(arguments)])).hexdigest()


def parse_command(task: str, arguments: Mapping[str, Any]) -> Command:
    """Make the command of ``task`` from the keyword arguments of a message.

    Raises:
        InvalidCommand: it names every argument that is missing or invalid, and the first unknown ones.
    """
    model = COMMANDS.get(task)
    if model is None:
        raise InvalidCommand(task, [f"unknown command; the commands are {', '.join(sorted(COMMANDS))}"])
    given, known = dict(arguments), _ARGUMENTS[task]
    unnamed = [name for name in arguments if name not in known][MAX_UNKNOWN_NAMED:]
    for name in unnamed:
        del given[name]
    try:
        return model.model_validate(given)
    except ValidationError as error:
        words = [_problem(each["type"], each["loc"], each["msg"]) for each in error.errors()]
        problems = [problem for text in words for problem in text.split("; ")]
        more = [f"and {len(unnamed):,} more unknown arguments"] if unnamed else []
        raise InvalidCommand(task, problems + more) from None


def _problem(kind: str, loc: tuple[int | str, ...], message: str) -> str:
    """One problem in words. Values are left out: an unknown argument may be a secret."""
    if kind == "belong_together":
        return message
    name = printable(".".join(str(part)[:MAX_NAME_LENGTH] for part in loc), MAX_NAME_LENGTH) or "arguments"
    if kind == "missing":
        return f"{name} is missing"
    if kind == "extra_forbidden":
        return f"{name} is not an argument of this command"
    if kind == "string_unicode":
        return f"{name} must be valid Unicode text, without lone surrogates"
    if kind == "string_pattern_mismatch":
        return f"{name} must consist of letters, digits, - and _"
    return f"{name} {message.replace('Input should be', 'must be').replace('String should', 'must')}"
