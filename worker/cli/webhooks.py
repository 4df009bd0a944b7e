"""`orders webhooks`: what waits for each webhook, what was given up, and sending it again."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

import typer

from producers.cli.output import emit, exit_if_stdout_fails, failure, when
from producers.cli.plugins import JsonOption, command_app
from producers.cli.tables import print_table
from producers.redis.client import open_client
from worker.cli.options import WhoOption, actor_name, operator_command, operator_key
from worker.ledger.webhooks import Delivery, WebhookState
from worker.operations.times import age
from worker.operations.webhooks import NoSuchWebhook, WebhookService

webhooks = command_app()
WHERE = "orders webhooks"


@webhooks.command()
def _webhooks(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="List what this webhook has to send.")] = None,
    resend: Annotated[
        str | None, typer.Option("--resend", metavar="ID", help="Send the report of this command again.")
    ] = None,
    resend_dead: Annotated[
        bool, typer.Option("--resend-dead", help="Send every report again that was given up.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; the journal keeps it.")] = "",
    who: WhoOption = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=0, help="How many reports are listed.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List the webhooks, or what waits for one of them and what was given up; and send reports again.

    What was sent again is signed anew and has the same webhook-id as before: a receiver that has it already drops it.

    Example: `orders webhooks books --resend-dead --reason "the receiver is up again"`
    """
    acts = resend is not None or resend_dead
    if acts and (name is None or not reason.strip()):
        raise failure("to send again, give NAME and --reason", "Usage", where=WHERE, as_json=as_json)
    with operator_command(WHERE, as_json=as_json) as settings, open_client(settings.ledger_url) as client:
        service = WebhookService(client)
        try:
            if name is None:
                _show_all(service.all(), as_json=as_json)
            elif acts:
                actor = actor_name(who, operator_key(settings, who, WHERE, as_json=as_json))
                word = {"who": actor, "why": reason.strip()}
                _say_sent(name, _resent(service, name, resend, word), actor, as_json=as_json)
            else:
                queue = service.queue(name)
                _show_one(name, queue.state(), queue.waiting(limit), queue.dead(limit), as_json=as_json)
        except NoSuchWebhook as error:
            raise failure(str(error), "Usage", where=WHERE, as_json=as_json) from None


def _resent(service: WebhookService, name: str, command_id: str | None, word: dict[str, str]) -> list[str]:
    if command_id is not None:
        return [service.resend(name, command_id, **word).command_id]
    return [each.command_id for each in service.resend_dead(name, **word)]


def _say_sent(name: str, ids: list[str], who: str, *, as_json: bool) -> None:
    with exit_if_stdout_fails(WHERE, f"They are queued: orders webhooks {name}"):
        if as_json:
            emit({"webhook": name, "resent": ids, "who": who})
        else:
            print(f"{len(ids)} queued for {name}; orders webhooks {name} shows what becomes of them.")


def _show_all(found: Mapping[str, WebhookState], *, as_json: bool) -> None:
    if as_json:
        emit({"webhooks": [{"name": name, **asdict(state)} for name, state in found.items()]})
    elif found:
        columns = ("webhook", "waiting", "oldest", "given up", "entries missed")
        rows = [(name, s.waiting, age(s.oldest) if s.oldest else "-", s.dead, s.missed) for name, s in found.items()]
        print_table(columns, rows)
    else:
        print("No worker has served a webhook. ORDERS_WEBHOOKS__<NAME>__URL names one: docs/webhooks.md")


def _show_one(name: str, state: WebhookState, waiting: list[Delivery], dead: list[Delivery], *, as_json: bool) -> None:
    if as_json:
        listed = {"waiting_reports": list(map(asdict, waiting)), "dead_reports": list(map(asdict, dead))}
        emit({"name": name, **asdict(state), **listed})
        return
    rows = [(each, what) for what, listed in (("waits", waiting), ("given up", dead)) for each in listed]
    if not rows:
        print("Nothing waits.")
        return
    columns = ("id", "outcome", "ended", "is", "attempts", "the last one said")
    print_table(columns, [(e.command_id, e.outcome, when(e.since), what, e.attempt, e.said or "-") for e, what in rows])
