"""Checks of the queues, of the commands that workers hold, and of the workers."""

import re
import time
from collections.abc import Iterable, Sequence
from typing import Any, cast

import redis
from kombu.exceptions import KombuError

from producers.client import publisher_app
from producers.redaction import strip_quoted_command
from producers.redis.client import open_client
from worker.broker.dead_letters import DEAD_SUFFIX
from worker.broker.envelope_check import DEFAULT_QUEUE
from worker.broker.messages import message_enqueued_at_ms
from worker.broker.parked import WaitingGroup, look
from worker.broker.scripts import OLDEST
from worker.broker.stats import PRIORITY_SEPARATOR, priority_lists
from worker.celery_app.config import SWEEP_SECONDS, visibility_timeout
from worker.celery_app.queues import QUEUES, SERVED
from worker.operations.doctor.findings import Examiner, Finding, duration
from worker.operations.doctor.servers import Server
from worker.operations.doctor.waiting import check_shares
from worker.settings import WorkerSettings

_QUEUES, _WORKERS = Examiner("queues"), Examiner("workers")
INSPECT_SECONDS = 2.0
"""How long workers have to answer a remote control command."""
MAX_QUEUE_AGE_SECONDS = 60.0
"""How long a command may wait in its queue without a warning."""
MAX_GROUPS_SHOWN = 5
"""How many accounts' shares of a queue are named."""
MAX_UNSERVED_SHOWN = 5
"""How many lists that no worker serves are named."""
_BESIDE = re.compile(rb"\.dead$|\.waiting:|\.lane:|^orders\.lane")
"""Lists that are no queues: dead letters, messages that wait by account, and what belongs to a lane."""
START_ADVICE = "start one: orders worker"


def check_queues(broker: Server) -> list[Finding]:
    """Check how many commands wait in each queue and for how long, and find commands in queues that nobody serves."""
    # Messages may not be text.
    with open_client(broker.url, decode_responses=False) as client:
        return [_queue(client, name) for name in SERVED] + _unserved(client) + _dead(client)


def _unserved(client: redis.Redis) -> list[Finding]:
    """Find commands on lists that look like queues of commands but are not: a mistyped name, or a priority between
    kombu's steps."""
    served = {each.encode() for name in SERVED for each in priority_lists(name)}
    patterns = (f"{start}*" for start in ("orders.", f"{DEFAULT_QUEUE}{PRIORITY_SEPARATOR}"))
    found = {key for pattern in patterns for key in client.scan_iter(match=pattern, count=1000, _type="LIST")}
    unserved = sorted(key for key in found - served if not _BESIDE.search(key))
    if not unserved:
        return []
    shown = [key.decode("utf-8", "backslashreplace")[:80] for key in unserved[:MAX_UNSERVED_SHOWN]]
    message = ", ".join(f"{client.llen(key)} on {name!r}" for key, name in zip(unserved, shown, strict=False))
    more = f" and {len(unserved) - MAX_UNSERVED_SHOWN} more" if len(unserved) > MAX_UNSERVED_SHOWN else ""
    advice = f"no worker serves these: the sender must name one of {', '.join(QUEUES)}"
    return [_QUEUES.warning("other queues", message + more, advice)]


def _queue(client: redis.Redis, name: str) -> Finding:
    with client.pipeline(transaction=False) as pipe:
        for each in priority_lists(name):
            pipe.llen(each)
            pipe.eval(OLDEST.source, 1, each)  # the next one to be taken, which is the oldest
        replies = pipe.execute(raise_on_error=False)
    for reply in replies:
        if isinstance(reply, redis.ResponseError):
            message = f"can't be read: {strip_quoted_command(reply)}"
            advice = "check its key with redis-cli: TYPE; the user needs the rights of a worker's"
            return _QUEUES.fault(name, message, advice)
    return _waiting(name, sum(replies[0::2]), map(message_enqueued_at_ms, replies[1::2]), _beside(client, name))


def _beside(client: redis.Redis, name: str) -> Sequence[WaitingGroup]:
    """What waits by account; nothing where it can't be read, which is another finding."""
    try:
        return look(client, name, most=1).waiting
    except redis.ResponseError:
        return ()


def _waiting(name: str, depth: int, times: Iterable[int | None], groups: Sequence[WaitingGroup]) -> Finding:
    depth += sum(each.count for each in groups)
    if not depth:
        return _QUEUES.ok(name, "empty")
    known = [at for at in (*times, *(each.next_enqueued_at for each in groups)) if at is not None]
    ages = [max(0.0, time.time() - at / 1000) for at in known]
    message = f"{depth} waiting" + (f", the oldest for {duration(max(ages))}" if ages else "")
    if groups:
        message += f" ({', '.join(f'{each.count} of {each.group}' for each in groups[:MAX_GROUPS_SHOWN])})"
    if ages and max(ages) > MAX_QUEUE_AGE_SECONDS:
        advice = "no worker serves it, more are needed, or its account must wait; see workers, and orders parked"
        return _QUEUES.warning(name, message, advice)
    return _QUEUES.ok(name, message)


def _dead(client: redis.Redis) -> list[Finding]:
    """Check for messages that no worker could read."""
    lists = [f"{name}{DEAD_SUFFIX}" for name in (*SERVED, "unacked")]
    with client.pipeline(transaction=False) as pipe:
        for each in lists:
            pipe.llen(each)
        lengths = pipe.execute(raise_on_error=False)
    found = {name: length for name, length in zip(lists, lengths, strict=True) if isinstance(length, int) and length}
    if not found:
        return [_QUEUES.ok("dead letters", "none")]
    message = ", ".join(f"{length} in {name}" for name, length in found.items())
    advice = "each is a command that was not executed and has no report: see orders dead, and inform the sender"
    return [_QUEUES.warning("dead letters", message, advice)]


def check_unacked(broker: Server, settings: WorkerSettings | None) -> list[Finding]:
    """Check whether a worker has held a command for longer than any worker may."""
    with open_client(broker.url, decode_responses=False) as client:
        count = cast("int", client.hlen("unacked"))
        oldest = cast("list[tuple[bytes, float]]", client.zrange("unacked_index", 0, 0, withscores=True))
    if not count:
        return [_QUEUES.ok("held by workers", "none")]
    # The time comes from another machine and may be wrong.
    age = min(max(0.0, time.time() - oldest[0][1]), time.time()) if oldest else 0.0
    message = f"{count}, the oldest for {duration(age)}"
    limit = visibility_timeout(settings) + 2 * SWEEP_SECONDS if settings else 60.0
    if age > limit:
        advice = "the worker that held it has died; running workers return it to its queue: start one, and check again"
        return [_QUEUES.warning("held by workers", f"{message}, longer than the {limit:g} s it may take", advice)]
    return [_QUEUES.ok("held by workers", message)]


def check_workers(broker: Server) -> list[Finding]:
    """Check which workers answer, and that every queue has one."""
    answers = _ask(broker, "active_queues")
    if isinstance(answers, str):
        return [_WORKERS.fault("workers", answers, "see servers")]
    served = {name: sorted(queue["name"] for queue in queues) for name, queues in sorted(answers.items())}
    if not served:
        message = f"none answers within {INSPECT_SECONDS:g} s; nobody serves {', '.join(QUEUES)}"
        return [_WORKERS.fault("workers", message, START_ADVICE)]
    findings = [_WORKERS.ok(name, f"serves {', '.join(queues)}") for name, queues in served.items()]
    for queue in SERVED:
        if any(queue in queues for queues in served.values()):
            continue
        if queue == DEFAULT_QUEUE:
            message = "no worker serves it: commands whose sender names no queue go there, and would get no answer"
            findings.append(_WORKERS.warning(queue, message, f"add it to a worker's --queues: -Q …,{queue}"))
        else:
            advice = f"start one: orders worker -Q {queue}"
            findings.append(_WORKERS.fault(queue, "no worker serves it: its commands wait", advice))
    return findings


def check_visibility(broker: Server, settings: WorkerSettings) -> list[Finding]:
    """Check that no command is redelivered while it may still run, and that each account has a thread."""
    own, longest = visibility_timeout(settings), settings.longest_run_seconds
    stats = _ask(broker, "stats")
    stats = {} if isinstance(stats, str) else stats
    timeouts = {name: _visibility(answer) for name, answer in stats.items()}
    shares = check_shares(settings, stats)
    # The shortest timeout of all apps on a broker takes effect.
    shortest = min([own, *(seconds for seconds in timeouts.values() if seconds is not None)])
    message = f"redelivered after {shortest:g} s, the longest run takes {longest:g} s"
    if shortest <= longest:
        advice = "restart every worker with the same settings; the shortest visibility timeout applies to all"
        return [_WORKERS.warning("redelivery", f"{message}: a command may go to a second worker", advice), *shares]
    return [_WORKERS.ok("redelivery", message), *shares]


def _visibility(stats: dict[str, Any]) -> float | None:
    options = (stats.get("broker") or {}).get("transport_options") or {}
    value = options.get("visibility_timeout")
    return float(value) if isinstance(value, int | float) else None


def _ask(broker: Server, inspection: str) -> dict[str, Any] | str:
    """The answers to one of Celery's inspections (``active_queues``, ``stats``) by worker, or why none can be had.

    Raises:
        redis.exceptions.NoPermissionError: this login may not ask.
    """
    app = publisher_app(broker.url)
    try:
        return getattr(app.control.inspect(timeout=INSPECT_SECONDS), inspection)() or {}
    except redis.exceptions.NoPermissionError:
        raise
    except (KombuError, redis.RedisError, OSError) as error:
        return f"can't be asked: {type(error).__name__}"
    finally:
        app.close()
