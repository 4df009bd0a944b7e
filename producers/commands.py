"""The four commands: frozen, validated, and each with one fingerprint.

A command is what a producer asks for. Its arguments are checked here, by the same code on both sides of the
queue, so that bad input is refused where it is made and, from clients that skip this package, before anything
is sent.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from producers.errors import InvalidCommand
from producers.visible import invisible, invisible_class, printable

MAX_DECIMAL_CHARS = 40
"""The longest plain notation taken. Venues use at most 18 places; what is longer is a mistake, or an attack on
the memory of whoever writes ``1e400000`` out in full."""

MOST_UNKNOWN, LONGEST_NAME = 5, 64
"""How many arguments that a command does not have are named in a refusal, and how much of a name."""

_DECIMAL = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)

_ABOVE_ZERO = r"^\+?([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]+\.[0-9]*[1-9][0-9]*)([eE][-+]?[0-9]+)?$"
"""The same for schemas: with a digit that is no zero, and in what all dialects of expressions have."""


def _nowhere(characters: str) -> dict[str, Any]:
    """In a schema, that none of these characters is in a text. A pattern that is to match the whole would let a line
    break pass at its end: in Python and PCRE, ``$`` stands before it as well."""
    return {"not": {"pattern": f"[{characters}]"}}


def plain(value: Decimal) -> str:
    """A decimal in plain notation, without exponent and without trailing zeros: ``Decimal("1.50e-5")`` gives
    ``"0.000015"``. Everstrike takes no exponent (``venues.md``), and equal amounts get equal fingerprints."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


FLOAT_DIGITS = 15
"""Significant decimal digits that every number keeps on its way through a binary float and back (C11, ``DBL_DIG``)."""


def is_exact(number: float) -> bool:
    """Whether the shortest decimal form of a float is the number that was written: ``0.1`` is, and what was written as
    ``284578000.00000004`` has become ``284578000.00000006``, whose digits are more than a float holds."""
    return len(Decimal(float.__repr__(number)).normalize().as_tuple().digits) <= FLOAT_DIGITS


def _amount(value: object) -> Decimal:
    """Take a decimal string, a Decimal, an integer, or a float that says what was written; refuse the rest with a
    reason."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise PydanticCustomError("amount_type", "must be a decimal: a string like '0.001', or a number")
    if isinstance(value, float) and math.isfinite(value) and not is_exact(value):
        raise PydanticCustomError("amount_float", "is a binary float of more than 15 digits: write it as a string")
    if isinstance(value, int) and abs(value) >= 10**MAX_DECIMAL_CHARS:
        raise PydanticCustomError("amount_long", "has more than {n} digits", {"n": MAX_DECIMAL_CHARS})
    # Its subclasses, NumPy's for one, have a representation of their own.
    text = float.__repr__(value) if isinstance(value, float) else str(value)
    if text.lower().lstrip("+-").startswith(("nan", "snan", "inf")):
        raise PydanticCustomError("amount_finite", "must be finite, not NaN or infinity")
    if len(text) > 2 * MAX_DECIMAL_CHARS or not _DECIMAL.fullmatch(text):
        raise PydanticCustomError("amount_parse", "is not a decimal number")
    try:
        amount = Decimal(text)
    except InvalidOperation:  # an exponent beyond what Decimal itself can hold
        raise PydanticCustomError("amount_long", "has more than {n} digits", {"n": MAX_DECIMAL_CHARS}) from None
    if amount <= 0:
        raise PydanticCustomError("amount_sign", "must be greater than zero")
    exponent = amount.as_tuple().exponent
    # Bounded before it is written out: Decimal("1e400000") is small, its plain notation is not.
    if not isinstance(exponent, int) or abs(exponent) > MAX_DECIMAL_CHARS or len(plain(amount)) > MAX_DECIMAL_CHARS:
        raise PydanticCustomError("amount_long", "has more than {n} digits", {"n": MAX_DECIMAL_CHARS})
    return Decimal(plain(amount))


Amount = Annotated[
    Decimal,
    BeforeValidator(_amount),
    PlainSerializer(plain, return_type=str),
    WithJsonSchema(
        {
            "description": "A decimal above zero: a string, or a JSON number, read digit by digit. Written out "
            f"without exponent it has at most {MAX_DECIMAL_CHARS} characters.",
            "anyOf": [
                {
                    "type": "string",
                    "pattern": _ABOVE_ZERO,
                    "maxLength": 2 * MAX_DECIMAL_CHARS,
                    **_nowhere("^0-9.eE+-"),
                },
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 10**MAX_DECIMAL_CHARS},
            ],
        }
    ),
]
"""A finite decimal above zero, never a binary float once it is taken."""

GivenAmount = Decimal | int | str
"""An amount as a caller may give it. Type checkers are told by the commands' ``__init__``, for they know a field by one
type alone, the one that it has afterwards (PEP 681 has no converters)."""

TriggerEvent = Literal["MARK_PRICE", "INDEX_PRICE", "LAST_PRICE"]

ALIAS = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
"""What an alias of an account looks like."""

Account = Annotated[
    str,
    Field(
        pattern=ALIAS,
        description="Alias of an account; case does not matter.",
        json_schema_extra=_nowhere("^A-Za-z0-9_-"),
    ),
    # Environment variables, which name the accounts, know no case either.
    AfterValidator(str.lower),
]


def _word(text: str) -> str:
    """Refuse what holds a character that nobody sees: the address that is paid would not be the one that is read."""
    unseen = invisible(text)
    if unseen == "U+0020":
        raise PydanticCustomError("word_blank", "must be one word without blanks")
    if unseen:
        raise PydanticCustomError("word_unseen", "holds {unseen}, a character that nobody sees", {"unseen": unseen})
    return text


Word = Annotated[
    str,
    Field(min_length=1, max_length=256, json_schema_extra=_nowhere(invisible_class())),
    AfterValidator(_word),
]
"""A name at the venue, of characters that a person can see (:mod:`producers.visible`)."""
UnixMilliseconds = Annotated[int, Field(gt=0, lt=10**15, description="UNIX milliseconds, without point or exponent.")]


class Command(BaseModel):
    """What the four commands share: an account, and a deadline after which nothing is sent."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)

    name: ClassVar[str]
    """``close``, ``cancel``, ``withdraw`` or ``positions``."""
    mutating: ClassVar[bool] = True
    """False for a query, which may be repeated as often as one likes."""

    account: Account
    deadline: UnixMilliseconds | None = None

    @classmethod
    def task_name(cls) -> str:
        """The Celery task of this kind of command, and the queue of the same name."""
        return f"orders.{cls.name}"

    @property
    def task(self) -> str:
        """The Celery task, and the queue of the same name."""
        return self.task_name()

    @property
    def repeatable(self) -> bool:
        """Whether executing it twice has the effect of executing it once (the contract's second column)."""
        return False

    def arguments(self) -> dict[str, Any]:
        """The normalised keyword arguments: what was not given is left out, decimals are plain strings."""
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

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            account: str,
            pair: str,
            qty: GivenAmount | None = None,
            price: GivenAmount | None = None,
            trigger_price: GivenAmount | None = None,
            trigger_event: TriggerEvent | None = None,
            close_on_trigger: bool | None = None,
            recv_window: int | None = None,
            deadline: int | None = None,
        ) -> None: ...

    @property
    def repeatable(self) -> bool:
        """True for the whole position at market: the second time there is nothing left to close."""
        return self.qty is None and self.price is None and self.trigger_price is None


class Cancel(Command):
    """Cancel one order."""

    name: ClassVar[str] = "cancel"

    order_id: Word

    @property
    def repeatable(self) -> bool:
        """True: a cancelled order can't be cancelled again."""
        return True


class Withdraw(Command):
    """Withdraw an asset to an address. Accepted means submitted: Everstrike pays once it is confirmed by e-mail."""

    name: ClassVar[str] = "withdraw"

    asset: Word
    qty: Amount
    address: Word

    if TYPE_CHECKING:

        def __init__(
            self, *, account: str, asset: str, qty: GivenAmount, address: str, deadline: int | None = None
        ) -> None: ...


class Positions(Command):
    """Ask for open positions: one instrument's, or all (Everstrike)."""

    name: ClassVar[str] = "positions"
    mutating: ClassVar[bool] = False

    contract_id: Annotated[int, Field(gt=0, lt=10**15, description="Bit-Z contract id.")] | None = None
    pair: Annotated[Word, Field(description="Everstrike market.")] | None = None

    @property
    def repeatable(self) -> bool:
        """True: a read changes nothing."""
        return True


COMMANDS: dict[str, type[Command]] = {c.task_name(): c for c in (Close, Cancel, Withdraw, Positions)}
"""Command class by task name."""


def canonical_json(value: object) -> bytes:
    """JSON in one way only: keys sorted, no blanks, UTF-8 unescaped.

    What JSON can't hold, a number of thousands of digits or lists a thousand deep, gives an empty text: such arguments
    are refused anyway, and their refusal must not fail on them.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=repr)
    except (ValueError, TypeError, RecursionError):
        return b""
    return text.encode("utf-8", "surrogatepass")


def fingerprint(task: str, arguments: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of ``["<task>",{<arguments>}]`` as canonical JSON.

    For a valid command the arguments are :meth:`Command.arguments`: absent and null ones left out, the account in
    lower case, amounts as plain decimal strings without trailing zeros. A command that could not be read is
    fingerprinted by the arguments as they came.

    >>> fingerprint("orders.cancel", {"account": "main", "order_id": "1"})[:16]
    'e447381c690014ee'
    """
    return hashlib.sha256(canonical_json([task, dict(arguments)])).hexdigest()


def parse_command(task: str, arguments: Mapping[str, Any]) -> Command:
    """Make the command of ``task`` from keyword arguments as they came in a message.

    Raises:
        InvalidCommand: naming every argument that is missing or out of bounds, and the first that are unknown.
    """
    model = COMMANDS.get(task)
    if model is None:
        raise InvalidCommand(task, [f"there is no such command; known are {', '.join(sorted(COMMANDS))}"])
    unknown = [name for name in arguments if name not in model.model_fields]
    untold = frozenset(unknown[MOST_UNKNOWN:])
    try:
        command = model.model_validate({name: value for name, value in arguments.items() if name not in untold})
    except ValidationError as error:
        problems = [_problem(each["type"], each["loc"], each["msg"]) for each in error.errors()]
        more = [f"and {len(untold):,} more that are none either"] if untold else []
        raise InvalidCommand(task, problems + more) from None
    return command


def _problem(kind: str, loc: tuple[int | str, ...], message: str) -> str:
    """One problem as a person reads it. Values are left out: an unknown argument may well be a secret."""
    name = printable(".".join(str(part)[:LONGEST_NAME] for part in loc), LONGEST_NAME) or "arguments"
    if kind == "missing":
        return f"{name} is missing"
    if kind == "extra_forbidden":
        return f"{name} is not an argument of this command"
    if kind == "string_unicode":
        return f"{name} must be text without half characters (in UTF-8)"
    if kind == "string_pattern_mismatch":
        return f"{name} must be letters, digits, - and _"
    return f"{name} {message.replace('Input should be', 'must be').replace('String should', 'must')}"
