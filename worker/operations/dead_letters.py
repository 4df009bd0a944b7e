"""What an operator does with a dead letter: look at it, have it sent again, or drop it; each by a word on record.

A dead letter is a stranger's message. Sending it again puts the same bytes on the queue that they came from, where each
check is made again: the envelope's, the seal's, the arguments', the policy's and the ledger's. That can't do what the
message could not do before. It is refused where it would be pointless, because the message breaks the rules still, and
where it would be dangerous: after the time for which the ledger keeps records nobody knows whether the id was executed.
"""

import json
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import redis

from producers.commands import COMMANDS
from producers.exact_json import check_bounds
from producers.message_json import loads
from producers.printable import is_command_id, printable
from producers.redaction import shown_arguments
from producers.signing import PrivateKey
from worker.broker import dead_letters
from worker.broker.dead_letters import READ_BYTES, DeadLetter
from worker.broker.messages import enqueued_at_ms
from worker.clock import Clock
from worker.ledger.journal_writer import JournalWriter
from worker.operations.operator import MAX_WHO_LENGTH, MAX_WHY_LENGTH
from worker.operations.signed_words import Word

MIN_DIGEST = 8
"""How many of its digits name a dead letter, if no other begins like it."""
PAGE, MOST_SEARCHED = 100, 10_000
"""How many dead letters of a queue are read at once, and are searched."""
MARGIN_MS = 86_400_000
"""A message that is sent again may wait for so long."""
RECORDED = "the journal has the word, and nothing was moved"


class NoSuchLetter(LookupError):
    """There is no such dead letter, or not any more."""


class NotResendable(Exception):
    """The dead letter can't or must not be sent again."""


class BrokerRefuses(Exception):
    """The broker refuses to move the dead letter, or can't be reached. Where it refuses, nothing was moved."""


@dataclass(frozen=True, slots=True)
class FoundLetter:
    """One dead letter, and what an operator decides by."""

    letter: DeadLetter
    enqueued_at: int | None
    """UNIX ms, as the message says."""
    arguments: str
    """Those that the command has, for people; the values of others are hidden. Empty where they can't be read."""
    refusal: str
    """Why it must not be sent again; empty where it may."""


class DeadLetterService:
    """Every method may raise :class:`redis.RedisError` or :class:`OSError` where the broker can't be asked."""

    def __init__(
        self, broker: redis.Redis, ledger: redis.Redis, clock: Clock, *, keep_days: float, key: PrivateKey | None = None
    ) -> None:
        """``broker`` must not decode replies. ``keep_days`` is how long the ledger keeps records; ``key`` signs."""
        self._broker = broker
        self._journal = JournalWriter(ledger)
        self._clock = clock
        self._keep_ms = int(keep_days * 86_400_000)
        self._key = key

    def list(self, limit: int = 50) -> Iterator[tuple[str, int, list[DeadLetter]]]:
        """Each queue with dead letters, how many there are, and the newest of them."""
        return dead_letters.dead_letters(self._broker, limit)

    def find(self, queue: str, digest: str) -> FoundLetter:
        """The dead letter of a queue, or of any if that is empty, whose digest begins so.

        Raises:
            NoSuchLetter: there is none, or several begin so.
        """
        digest = digest.lower()
        if len(digest) < MIN_DIGEST:
            raise NoSuchLetter(f"a dead letter is named by at least {MIN_DIGEST} digits of its digest: orders dead")
        queues = [queue] if queue else [name for name, _ in dead_letters.dead_queues(self._broker)]
        found = {(letter.queue, letter.digest): (letter, raw) for letter, raw in self._search(queues, digest)}
        if not found:
            raise NoSuchLetter(f"there is no dead letter {printable(digest, 40)}, or not any more; see orders dead")
        if len(found) > 1:
            raise NoSuchLetter(f"{len(found)} dead letters begin with {printable(digest, 40)}: give more digits")
        return self._found(*next(iter(found.values())))

    def _search(self, queues: Iterable[str], digest: str) -> Iterator[tuple[DeadLetter, bytes]]:
        for queue in queues:
            for first in range(0, MOST_SEARCHED, PAGE):
                page = dead_letters.read_letters(self._broker, queue, first, PAGE)
                yield from ((letter, raw) for letter, raw in page if letter.digest.startswith(digest))
                if len(page) < PAGE:
                    break

    def resend(self, found: FoundLetter, *, who: str, why: str) -> None:
        """Put a dead letter on its queue again, as it is, and off the dead letters, in one step.

        The word is on record before that, so that nothing is sent again without it.

        Raises:
            NotResendable: it can't or must not be sent again.
            NoSuchLetter: it is not there any more.
            BrokerRefuses: the broker refuses.
            LedgerUnavailable: the journal can't be written; nothing was moved.
        """
        if found.refusal:
            raise NotResendable(found.refusal)
        self._move("dead_resend", found.letter, who, why, to_queue=found.letter.queue)

    def drop(self, found: FoundLetter, *, who: str, why: str) -> None:
        """Remove exactly this dead letter for ever, with the word on record before that.

        Raises:
            NoSuchLetter, BrokerRefuses, LedgerUnavailable: as :meth:`resend`.
        """
        self._move("dead_drop", found.letter, who, why)

    def _move(self, event: str, letter: DeadLetter, who: str, why: str, to_queue: str = "") -> None:
        if not self._is_there(letter):
            raise NoSuchLetter("the dead letter is not there any more: somebody has sent it again or dropped it")
        command_id = letter.command_id if is_command_id(letter.command_id) else ""
        word = Word(
            event=event,
            who=printable(who, MAX_WHO_LENGTH),
            why=printable(why, MAX_WHY_LENGTH),
            at=self._clock.now_ms(),
            id=command_id or "",
            scope=printable(letter.queue, MAX_WHO_LENGTH),
            reference=letter.digest,
        )
        said = {"scope": word.scope, "who": word.who, "why": word.why, "reference": word.reference}
        self._journal.write(event, word.id, **{**said, **word.signed(self._key)})
        try:
            is_moved = dead_letters.remove_letter(self._broker, letter, to_queue)
        except redis.exceptions.NoPermissionError as error:
            needs = (
                "send what it sends: run this with a worker's" if to_queue else "drop it: run this with an operator's"
            )
            raise BrokerRefuses(f"this login may not {needs} login (docs/cli.md). {RECORDED}") from error
        except redis.ResponseError as error:
            raise BrokerRefuses(f"the broker refuses ({str(error)[:120]}); {RECORDED}") from error
        if not is_moved:
            raise NoSuchLetter(f"the dead letter is not there any more; {RECORDED}")

    def _is_there(self, letter: DeadLetter) -> bool:
        try:
            self.find(letter.queue, letter.digest)
        except NoSuchLetter:
            return False
        return True

    def _found(self, letter: DeadLetter, raw: bytes) -> FoundLetter:
        message = _message(raw) if letter.size <= READ_BYTES else {}
        enqueued_at = enqueued_at_ms(message.get("headers"))
        arguments = _arguments(letter, message)
        return FoundLetter(letter, enqueued_at, arguments, self._refusal(letter, enqueued_at))

    def _refusal(self, letter: DeadLetter, enqueued_at: int | None) -> str:
        again = "its sender has to send it again"
        if letter.queue not in COMMANDS:
            return f"only what came from a queue of commands is sent again; {again}"
        if letter.why:
            return f"no worker would execute it: {letter.why}; {again}, mended"
        if enqueued_at is None:
            return f"it does not say when it was enqueued, so that nobody knows whether it was executed since; {again}"
        if self._clock.now_ms() - enqueued_at > self._keep_ms - MARGIN_MS:
            days = self._keep_ms // 86_400_000
            return (
                f"the ledger keeps records for {days} days, so that nobody knows whether it was executed since; {again}"
            )
        return ""


def _message(raw: bytes) -> Mapping[str, Any]:
    """A message, also out of an unacked entry; empty for what is none."""
    try:
        check_bounds(raw, READ_BYTES)
        message = json.loads(raw)
        message = message[0] if isinstance(message, list) else message
    except (ValueError, LookupError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _arguments(letter: DeadLetter, message: Mapping[str, Any]) -> str:
    try:
        body = b64decode(message["body"], validate=True)
        check_bounds(body, READ_BYTES)
        arguments = loads(body)[1]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return printable(shown_arguments(letter.task or "", arguments, frozenset()), 2000) if arguments else ""
