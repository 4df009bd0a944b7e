"""Checks of the ledger: open unknowns, halts, commands that were enqueued and have not begun, and replicas."""

import json
import time
from typing import cast

from producers.redis.client import open_client
from producers.redis.server_info import read_server_info
from producers.redis.url import is_sentinel
from worker.celery_app.one_server import one_server_of
from worker.execution.policy.ledger_server import KINDS, replicas_setting
from worker.ledger.halts import HaltScope, halt_of
from worker.ledger.keys import DUE_KEYS, HALTS_KEY, UNKNOWN_KEY
from worker.operations.doctor.findings import Examiner, Finding, duration
from worker.operations.doctor.servers import Server
from worker.settings import LedgerSettings, WorkerSettings

EXAMINER = Examiner("ledger")
_GRACE_SECONDS = 60.0
"""How long an intent may be overdue before it is a finding."""


def check_ledger(ledger: Server, settings: LedgerSettings) -> list[Finding]:
    """Check for open unknowns, halts and overdue intents."""
    with open_client(ledger.url) as client:
        count = cast("int", client.zcard(UNKNOWN_KEY))
        oldest = cast("list[tuple[str, float]]", client.zrange(UNKNOWN_KEY, 0, 0, withscores=True))
        halts = cast("dict[str, str]", client.hgetall(HALTS_KEY))
        overdue_ms = (time.time() - settings.intent_seconds - _GRACE_SECONDS) * 1000
        overdue = sum(cast("int", client.zcount(due, "-inf", overdue_ms)) for due in DUE_KEYS.values())
        intents = sum(cast("int", client.hlen(outbox)) for outbox in DUE_KEYS)
        unseen = intents - sum(cast("int", client.zcard(due)) for due in DUE_KEYS.values())
    return [_unknowns(count, oldest), *_halts(halts), _intents(overdue, unseen)]


def check_replicas(ledger: Server, settings: LedgerSettings) -> list[Finding]:
    """Check that the replicas exist that commands wait for, and behind Sentinels that commands wait."""
    with open_client(ledger.url) as client:
        online = read_server_info(client).online_replicas
    found = []
    for command, needed in settings.replicas.items():
        what, setting = KINDS[command], replicas_setting(command)
        name = f"replicas for {what}"
        if needed > online:
            advice = f"bring replicas back, or lower {setting}"
            found.append(EXAMINER.fault(name, f"{online} of {needed}: {what} are refused", advice))
        elif needed:
            found.append(EXAMINER.ok(name, f"{online}, {needed} needed"))
        elif is_sentinel(ledger.url):
            advice = f"{setting}=1: a record that no replica has is lost in a failover, and with it what was sent"
            found.append(EXAMINER.warning(name, f"{what} don't wait for a replica", advice))
    return found


def check_last_step(settings: WorkerSettings) -> list[Finding]:
    """Say in how many steps of the servers a command ends: its settle, its stored report, its ack."""
    with open_client(settings.ledger_url) as client:
        here = one_server_of(settings, client)
        if here is None or not here.has_messages:
            return [EXAMINER.ok("a command's end", "three steps: not all of its servers and logins are one")]
        refusal = here.refusal()
    if not refusal:
        return [EXAMINER.ok("a command's end", "one step: settled, stored and acknowledged")]
    advice = "allow the worker's login SELECT, and in scripts what it may do without (compose/server/users.acl.in)"
    return [EXAMINER.warning("a command's end", f"three steps: a script may not do it ({refusal[:60]})", advice)]


def _unknowns(count: int, oldest: list[tuple[str, float]]) -> Finding:
    if not count or not oldest:
        return EXAMINER.ok("open unknowns", "none")
    command_id, since_ms = oldest[0]
    message = f"{count}, the oldest for {duration(max(0.0, time.time() - since_ms / 1000))}"
    advice = f"check at the venue whether it was executed; begin with: orders show {command_id}"
    return EXAMINER.warning("open unknowns", message, advice)


def _halts(halts: dict[str, str]) -> list[Finding]:
    if not halts:
        return [EXAMINER.ok("halts", "none")]
    return [_halt(what, stored) for what, stored in sorted(halts.items())]


def _halt(what: str, stored: str) -> Finding:
    name, scope = f"halt {what}", HaltScope(*what.rpartition("/")[::2]).in_words()
    try:
        halt = halt_of(stored)
    except (json.JSONDecodeError, KeyError, TypeError, ValueError):
        return EXAMINER.warning(name, f"{scope}: halted, by a record that can't be read")
    age = duration(max(0.0, time.time() - halt.at / 1000))
    return EXAMINER.warning(name, f"{scope}: halted by {halt.who} for {age}: {halt.why}", "is it intended?")


def _intents(overdue: int, unseen: int) -> Finding:
    name = "enqueued, not begun"
    if not overdue:
        return EXAMINER.ok(name, "none overdue" + (f", {unseen} not seen by any worker yet" if unseen > 0 else ""))
    advice = "workers republish lost commands; has one been running long enough? See workers and queues"
    return EXAMINER.warning(name, f"{overdue} overdue", advice)
