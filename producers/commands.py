"""The commands: frozen, validated, and each with one fingerprint.

A command is what a producer asks for. Its arguments are checked by the same code on both sides of the queue
(:mod:`producers.arguments` says what each may be), so that bad input is refused where it is made and, from clients that
skip this package, before anything is sent.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from producers.arguments import Account, Amount, AmountInput, TriggerEvent, UnixMilliseconds, Word
from producers.arguments import plain_notation as plain_notation
from producers.errors import InvalidCommand
from producers.printable import printable

MAX_UNKNOWN_NAMED, LONGEST_NAME = 5, 64
"""How many arguments that a command does not have are named in a refusal, and how much of a name."""


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
            qty: AmountInput | None = None,
            price: AmountInput | None = None,
            trigger_price: AmountInput | None = None,
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
            self, *, account: str, asset: str, qty: AmountInput, address: str, deadline: int | None = None
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
    lower case, amounts as plain decimal strings without trailing zeros, however they came: ``0.10``, ``"0.1"`` and
    ``"1e-1"`` are one. A command that could not be read is
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
    untold = frozenset(unknown[MAX_UNKNOWN_NAMED:])
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
