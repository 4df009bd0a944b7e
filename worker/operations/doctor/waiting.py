"""Checks of what waits at the servers, and of what decides how long: parked commands, cool-downs, limits, shares."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

import redis

from producers.commands import COMMANDS
from producers.redis.client import open_client
from worker.broker.parked import WaitingState, look
from worker.ledger.cool_downs import CoolDowns
from worker.ledger.keys import BEGINS_KEY, COOL_DOWNS_KEY
from worker.operations.doctor.findings import Examiner, Finding, duration
from worker.operations.doctor.servers import Server
from worker.operations.parked import MOST_READ, AccountCoolDown, stopped_by
from worker.settings import WorkerSettings
from worker.venues.registry import accounts_of, different_limits

_QUEUES, _LEDGER, _WORKERS, _SETTINGS = map(Examiner, ("queues", "ledger", "workers", "settings"))
MAX_OVERDUE_SECONDS = 60.0
"""How long a parked command may be due without a warning."""
_KINDS = {".parked": "zset", ".parked.messages": "hash", ".parked.next": "string", ".waiting": "zset"}
"""What the keys are that stand beside a queue (``waiting.lua``)."""


def check_parked(broker: Server) -> list[Finding]:
    """Check how many commands are parked and for what, and that none is overdue; and the type of each key."""
    with open_client(broker.url, decode_responses=False) as client:
        wrong = [finding for task in COMMANDS for finding in _wrong_types(client, task)]
        return wrong or [_parked({task: look(client, task, most=MOST_READ) for task in COMMANDS})]


def _wrong_types(client: redis.Redis, queue: str) -> list[Finding]:
    keys = {queue + suffix: kind for suffix, kind in _KINDS.items()}
    keys |= {f"{queue}.waiting:{_text(group)}": "list" for group in _groups(client, f"{queue}.waiting")}
    return [finding for key, kind in keys.items() if (finding := _wrong_type(client, _QUEUES, key, kind))]


def _groups(client: redis.Redis, key: str) -> list[bytes]:
    try:
        return cast("list[bytes]", client.zrange(key, 0, 255))
    except redis.ResponseError:
        return []


def _wrong_type(client: redis.Redis, examiner: Examiner, key: str, kind: str) -> Finding | None:
    found = _text(client.type(key))
    if found in (kind, "none"):
        return None
    advice = f"rename it, and look at what it holds: redis-cli RENAME {key} {key}.broken"
    return examiner.fault(key, f"is of the type {found} and must be {kind}: somebody wrote to it by hand", advice)


def _parked(looks: Mapping[str, WaitingState]) -> Finding:
    count = sum(each.parked for each in looks.values())
    if not count:
        return _QUEUES.ok("parked", "none")
    reasons = sum((each.reasons for each in looks.values()), Counter[str]())
    message = f"{count} ({', '.join(f'{number} {why}' for why, number in reasons.most_common())})"
    overdue = {task: each.overdue_ms / 1000 for task, each in looks.items()}
    task = max(overdue, key=lambda name: overdue[name])
    if overdue[task] > MAX_OVERDUE_SECONDS:
        advice = f"no worker takes from {task}: see workers, and orders parked"
        return _QUEUES.warning("parked", f"{message}; one of {task} is overdue for {duration(overdue[task])}", advice)
    return _QUEUES.ok("parked", message)


def check_cool_downs(ledger: Server, settings: WorkerSettings | None) -> list[Finding]:
    """Check for cool-downs, and for keys that no worker can count requests in."""
    accounts = accounts_of(settings.accounts) if settings else {}
    with open_client(ledger.url) as client:
        keys = {COOL_DOWNS_KEY: "hash", **{BEGINS_KEY.format(each.bucket): "list" for each in accounts.values()}}
        wrong = [finding for key, kind in keys.items() if (finding := _wrong_type(client, _LEDGER, key, kind))]
        if any(each.name == COOL_DOWNS_KEY for each in wrong):
            return wrong
        found = [AccountCoolDown(stopped_by(each.key, accounts), each) for each in CoolDowns(client).all()]
    return [*wrong, *(_cool_down(each) for each in found if each.stored.left_ms)] or [_LEDGER.ok("cool-downs", "none")]


def _cool_down(each: AccountCoolDown) -> Finding:
    message = f"no request is sent for another {duration(each.stored.left_ms / 1000)}: {each.stored.why}"
    advice = "the venue asked for it; orders parked has more, and docs/runbook.md#an-account-cools-down"
    return _LEDGER.warning(f"cool-down {each.named}", message, advice)


def check_rate_limits(settings: WorkerSettings) -> list[Finding]:
    """Accounts that share a key and not its rate limits."""
    advice = "give them the same RATE_LIMITS"
    return [_SETTINGS.warning("rate limits", each, advice) for each in different_limits(settings.accounts)]


def check_shares(settings: WorkerSettings, stats: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """Accounts whose share of a worker's threads is less than one; ``stats`` has what each worker answered."""
    findings = []
    for name, answer in sorted(stats.items()):
        threads = (answer.get("pool") or {}).get("max-concurrency")
        for alias, account in sorted(settings.accounts.items()):
            share = account.thread_share
            if share is not None and isinstance(threads, int) and share * threads < 1:
                message = f"{share:g} of {threads} threads of {name} is less than one: it gets one"
                advice = f"raise ORDERS_ACCOUNTS__{alias.upper()}__THREAD_SHARE, or the worker's --concurrency"
                findings.append(_WORKERS.warning(f"threads of {alias}", message, advice))
    return findings


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
