"""Whose command a message is: its seal, checked against the public keys and the scopes of the producers.

A command is checked once, by the process that takes its message. What is refused under ``require`` takes no id and
stores no result, because the id may be another command's: its message becomes a dead letter, as it came.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from producers.commands import COMMANDS
from producers.intents import Intent
from producers.seal import Seal, SealError, verify
from worker.auth_settings import Mode
from worker.clock import Clock
from worker.execution.policy.token_bucket import TokenBucket
from worker.public_keys import KeysFile, Producer

logger = logging.getLogger("orders.seals")

MAX_AHEAD_MS = 300_000
"""How far ahead of this machine's clock a seal's ``at`` may be: five minutes, as in Kerberos (``clockskew`` of MIT's
krb5.conf)."""
AGAIN_BURST, AGAIN_SECONDS = 100, 1.0
"""How many badly sealed messages that come again are looked up in the ledger at once, and in which time one more after
that. Anybody can write that a message comes again."""
WARN_EVERY_SECONDS = 60.0
"""How often a warning is repeated for one producer, command and problem."""

PROBLEMS = {
    "unsealed": "it has no seal",
    "malformed": "its seal is malformed",
    "unknown_key": "no producer has the key that its seal names",
    "expired_key": "the key that its seal names has expired",
    "foreign_id": "its id is not one of its sealer's",
    "arguments": "it has arguments that no seal covers",
    "signature": "its seal is not the signature of this command",
    "out_of_scope": "its sealer may not send this command for this account",
    "future": "its seal was made in the future",
    "late": "its seal was valid until a time so long ago that nobody can know whether it was executed since",
}
"""What can be wrong with a command, each with its words for people."""


class NotTrusted(Exception):
    """A command that ``require`` does not execute; the text quotes nothing of the message."""

    def __init__(self, problem: str, by: str = "", claimed: str = "") -> None:
        super().__init__(PROBLEMS[problem])
        self.problem = problem
        """A key of :data:`PROBLEMS`."""
        self.by = by
        """Whose verified seal it has; empty without one."""
        self.claimed = claimed
        """The listed producer that its seal names, verified or not; empty where it names none."""


@dataclass(frozen=True, slots=True)
class Authority:
    """What follows from a command's seal. Times are UNIX milliseconds; 0 sets no limit."""

    sealed_by: str = ""
    """Who sealed it; empty for a command without a valid seal."""
    begin_by: int = 0
    """The command is not begun after it."""
    known_until: int = 0
    """Had it been executed, its record would exist at least until then. After it, nobody can know."""
    refused: NotTrusted | None = None
    """Why it may only be ended and not begun."""

    def to_json(self) -> dict[str, Any]:
        """The part that executing it needs."""
        return {"sealed_by": self.sealed_by, "begin_by": self.begin_by, "known_until": self.known_until}


UNCHECKED = Authority()


def only_if_begun(refused: NotTrusted) -> Authority:
    """The authority of a message that the broker delivers again: it may have been begun when it was accepted, before
    a key was removed or a mode changed. Then the command gets its end; otherwise it is refused."""
    return Authority(begin_by=1, known_until=1, refused=refused)


class ProducerAuth:
    """Checks commands. Threads may share it."""

    def __init__(
        self,
        modes: Mapping[str, Mode],
        keys: KeysFile,
        *,
        clock: Clock,
        keep_ms: int,
        count: Callable[[str, str, str], None],
        journal: Callable[..., None],
    ) -> None:
        """``modes`` by command; ``keep_ms`` is for how long the ledger keeps a record. ``count`` is told of each
        command that is or would be refused: the command, the problem and the mode. ``journal`` takes the event, the id
        and the further fields of an entry, and may leave it out."""
        self._modes = modes
        self._keys = keys
        self._clock = clock
        self._keep_ms = keep_ms
        self._count = count
        self._journal = journal
        self._looked_up = TokenBucket(AGAIN_BURST, AGAIN_SECONDS, clock.monotonic)
        self._warned_at: dict[tuple[str, str, str], float] = {}

    def check(
        self, task: str, command_id: str, arguments: tuple[Any, Any], header: object, *, again: bool
    ) -> Authority:
        """What the seal of a command, with its positional and keyword arguments as in the message, allows. ``again``
        says that the message may not come for the first time.

        Raises:
            NotTrusted: it must not be executed; it was counted.
        """
        command = task.removeprefix("orders.")
        mode = self._modes.get(command, "off")
        if mode == "off":
            return UNCHECKED
        try:
            seal = self._verified(task, command_id, arguments, header)
        except NotTrusted as refused:
            if mode == "warn":
                self._warn(command, refused)
                return Authority(refused.by)
            if again and COMMANDS[task].mutating and self._looked_up.take():
                return only_if_begun(refused)
            self.refuse(task, command_id, refused)
            raise
        if mode == "warn":
            return Authority(seal.by)
        return Authority(seal.by, seal.until, self._known_until(seal))

    def check_intent(self, intent: Intent, is_recorded: Callable[[str], bool]) -> None:
        """Check the seal of a command that is about to be published again. ``is_recorded`` says whether the ledger has
        its record: then its message only ends what has begun.

        Raises:
            NotTrusted: it must not be published; it was counted.
        """
        if self._modes.get(intent.task.removeprefix("orders."), "off") != "require":
            return
        try:
            seal = self._verified(intent.task, intent.command_id, ([], intent.kwargs), intent.seal)
            if self._clock.now_ms() > self._known_until(seal):
                raise NotTrusted("late", seal.by, seal.by)
        except NotTrusted as refused:
            if is_recorded(intent.command_id):
                return
            self.refuse(intent.task, intent.command_id, refused)
            raise

    def refuse(self, task: str, command_id: str, refused: NotTrusted) -> None:
        """Count a command that is refused, and write it into the journal."""
        command = task.removeprefix("orders.")
        self._count(command, refused.problem, "require")
        named = {"by": refused.by} if refused.by else {"claimed_by": refused.claimed} if refused.claimed else {}
        event = "unsealed" if refused.problem == "unsealed" else "badly_sealed"
        self._journal(event, command_id, command=command, why=refused.problem, **named)

    def _known_until(self, seal: Seal) -> int:
        # A record is kept from the command's end on, by the server's clock; ``at`` is by the producer's.
        return seal.at + self._keep_ms - MAX_AHEAD_MS

    def _verified(self, task: str, command_id: str, arguments: tuple[Any, Any], header: object) -> Seal:
        if header is None:
            raise NotTrusted("unsealed")
        try:
            seal = Seal.from_header(header)
        except SealError as error:
            raise NotTrusted(error.flaw) from None
        producer = self._keys.current().producers.get(seal.by)
        claimed = producer.name if producer else ""
        trusted = producer.keys.get(seal.kid) if producer else None
        now = self._clock.now_ms()
        if producer is None or trusted is None:
            raise NotTrusted("unknown_key", claimed=claimed)
        if not trusted.valid_at(now):
            raise NotTrusted("expired_key", claimed=claimed)
        positional, named = arguments
        if positional:
            raise NotTrusted("arguments", claimed=claimed)
        try:
            verify(seal, trusted.key, task, command_id, named)
        except SealError as error:
            raise NotTrusted(error.flaw, claimed=claimed) from None
        if not _in_scope(producer, task, named):
            raise NotTrusted("out_of_scope", seal.by, claimed)
        if seal.at > now + MAX_AHEAD_MS:
            raise NotTrusted("future", seal.by, claimed)
        return seal

    def _warn(self, command: str, refused: NotTrusted) -> None:
        """Count a command that ``require`` would refuse, and say so once in a while."""
        self._count(command, refused.problem, "warn")
        # Only listed names are keys, so that no sender can fill the memory.
        key = (refused.claimed, command, refused.problem)
        now = self._clock.monotonic()
        if now - self._warned_at.get(key, float("-inf")) >= WARN_EVERY_SECONDS:
            self._warned_at[key] = now
            logger.warning(
                "a %s of %s is executed, and would not be with ORDERS_AUTH__MODE=require: %s",
                command,
                refused.claimed or "an unknown producer",
                refused,
            )


def _in_scope(producer: Producer, task: str, named: Mapping[str, Any]) -> bool:
    account = named.get("account")
    return producer.allows(task.removeprefix("orders."), account if isinstance(account, str) else "")
