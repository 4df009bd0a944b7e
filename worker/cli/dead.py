"""`orders dead`: the dead letters, and what an operator does with one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import redis
import typer

from producers.cli.forms import wants_document
from producers.cli.options import confirm
from producers.cli.output import emit, exit_if_stdout_fails, failure, when
from producers.cli.plugins import JsonOption, command_app
from producers.cli.tables import console, print_record
from producers.redaction import redacted_url
from producers.redis.client import open_client
from producers.redis.url import is_redis
from worker.cli.options import WhoOption, YesOption, actor_name, operator_command, operator_key
from worker.cli.output import print_dead
from worker.clock import SystemClock
from worker.operations.dead_letters import (
    BrokerRefuses,
    DeadLetterService,
    FoundLetter,
    NoSuchLetter,
    NotResendable,
)
from worker.operations.outages import outage_text
from worker.settings import WorkerSettings

dead = command_app()
WHERE = "orders dead"
LetterArgument = Annotated[
    str, typer.Argument(metavar="LETTER", help="The beginning of its digest, as `orders dead` lists it.")
]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; the journal keeps it.")]


@dead.callback(invoke_without_command=True)
def _dead(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="How many messages of each queue.")] = 50,
) -> None:
    """List dead letters: messages that no worker could read, or whose task is unknown. They stay on `<queue>.dead`.

    Their arguments are not shown, because they may contain anything. `orders dead show LETTER` shows those that a
    command has.
    """
    if context.invoked_subcommand is not None:
        return
    as_json = wants_document()
    with _service(WHERE, as_json=as_json) as (service, _):
        found = list(service.list(limit))
    if as_json:
        queues = [(queue, count, [each.to_json() for each in letters]) for queue, count, letters in found]
        emit({"dead": [{"queue": queue, "count": count, "messages": rows} for queue, count, rows in queues]})
    elif found:
        print_dead(found)
    else:
        print("No dead letters.")


@dead.command("show")
def _show(letter: LetterArgument, as_json: JsonOption = False) -> None:
    """Show one dead letter, and whether it may be sent again."""
    with _service(f"{WHERE} show", as_json=as_json) as (service, _):
        found = service.find("", letter)
    if as_json:
        emit(_as_json(found))
    else:
        _print(found)


@dead.command("resend")
def _resend(
    letter: LetterArgument,
    reason: ReasonOption,
    who: WhoOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put a dead letter on its queue again, as it is: every check is made again.

    For a message that a worker of another version or with other keys refused. It needs a login that may write to that
    queue, as a worker's; the login `operator` may not. Asks for confirmation unless --yes is given; without a terminal
    --yes is required.

    Example: `orders dead resend 3f9a1c22 --reason "its producer's key was missing in the file"`
    """
    where = f"{WHERE} resend"
    with _acting(where, who, reason, as_json=as_json) as (service, name):
        found = service.find("", letter)
        if found.refusal:
            raise NotResendable(found.refusal)
        _confirm(found, "Send this again", where=where, yes=yes, as_json=as_json)
        service.resend(found, who=name, why=reason.strip())
    _say(found, "resent", name, where, as_json=as_json)


@dead.command("drop")
def _drop(
    letter: LetterArgument,
    reason: ReasonOption,
    who: WhoOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove one dead letter for ever: exactly the one that is shown.

    Who, why and its digest are recorded in the journal, and nothing else of it. Asks for confirmation unless --yes is
    given; without a terminal --yes is required.

    Example: `orders dead drop 3f9a1c22 --reason "its sender has sent it again"`
    """
    where = f"{WHERE} drop"
    with _acting(where, who, reason, as_json=as_json) as (service, name):
        found = service.find("", letter)
        _confirm(found, "Remove this for ever", where=where, yes=yes, as_json=as_json)
        service.drop(found, who=name, why=reason.strip())
    _say(found, "dropped", name, where, as_json=as_json)


@contextmanager
def _acting(where: str, who: str | None, reason: str, *, as_json: bool) -> Iterator[tuple[DeadLetterService, str]]:
    if not reason.strip():
        raise failure("--reason must say why", "Usage", where=where, as_json=as_json)
    with _service(where, who, acts=True, as_json=as_json) as opened:
        yield opened


@contextmanager
def _service(
    where: str, who: str | None = None, *, acts: bool = False, as_json: bool
) -> Iterator[tuple[DeadLetterService, str]]:
    """The service, and who acts by it: with the key of this machine where it ``acts``."""
    with operator_command(where, as_json=as_json) as settings:
        key = operator_key(settings, who, where, as_json=as_json) if acts else None
        url = _broker_url(settings, where, as_json=as_json)
        try:
            with open_client(url, decode_responses=False) as broker, open_client(settings.ledger_url) as ledger:
                keep_days = settings.ledger.keep_days
                service = DeadLetterService(broker, ledger, SystemClock(), keep_days=keep_days, key=key)
                yield service, actor_name(who, key)
        except (NoSuchLetter, NotResendable, BrokerRefuses) as error:
            raise failure(str(error), type(error).__name__, where=where, as_json=as_json) from None
        except (redis.RedisError, OSError, ValueError) as error:
            message = f"{redacted_url(url)}: {outage_text(error, 'ORDERS_BROKER_URL')}"
            raise failure(message, "BrokerUnavailable", where=where, as_json=as_json) from None


def _broker_url(settings: WorkerSettings, where: str, *, as_json: bool) -> str:
    url = settings.broker_url
    if not is_redis(url):
        shown = redacted_url(url)
        message = f"{shown} is not Redis: inspect its *.dead queues with its own tools (rabbitmqctl list_queues)"
        raise failure(message, "NoRedis", where=where, as_json=as_json)
    return url


def _confirm(found: FoundLetter, question: str, *, where: str, yes: bool, as_json: bool) -> None:
    if not (yes or as_json):
        with exit_if_stdout_fails(where, "Nothing was changed"):
            _print(found)
    confirm(f"{question}?", "it stays where it is", where=where, yes=yes, as_json=as_json)


def _say(found: FoundLetter, done: str, who: str, where: str, *, as_json: bool) -> None:
    with exit_if_stdout_fails(where, f"The dead letter was {done}: orders journal"):
        if as_json:
            emit({"done": done, "who": who, "letter": found.letter.to_json()})
            return
        command_id = found.letter.command_id
        after = f" `orders show {command_id}` tells what becomes of it." if done == "resent" and command_id else ""
        print(f"{done} by {who}.{after}")


def _print(found: FoundLetter) -> None:
    letter = found.letter
    rows = [
        ("letter", letter.digest),
        ("queue", letter.queue),
        ("task or text", letter.task or letter.beginning),
        ("id", letter.command_id or "-"),
        ("arguments", found.arguments or "can't be read"),
        ("enqueued", f"{when(found.enqueued_at)}, as it says" if found.enqueued_at else "it does not say when"),
        ("bytes", letter.size),
        ("why", letter.why or "its envelope does not show it: the worker's log has the reason"),
        ("send again", f"no: {found.refusal}" if found.refusal else "it may be sent again, and is checked again"),
    ]
    print_record(console(), rows)


def _as_json(found: FoundLetter) -> dict[str, object]:
    more = {"enqueued_at": found.enqueued_at, "arguments": found.arguments, "refusal": found.refusal}
    return {**found.letter.to_json(), **more}
