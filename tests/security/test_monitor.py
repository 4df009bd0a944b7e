"""What somebody can do who holds Flower's login: ask workers, and change nothing by it."""

import json
from typing import Any
from uuid import uuid4

from tests.support.compose_stack import WITHDRAW, ComposeStack
from tests.support.waiting import until

FANOUT = "/0.celery.pidbox"
"""Where remote control is published for every worker."""
BROKERS_OWN = (
    "orders.withdraw",
    "orders.close.dead",
    "unacked_mutex",
    "unacked_index",
    "celery-task-meta-x",
    "orders:x",
)


def publish(stack: ComposeStack, text: str) -> None:
    with stack.server.login("flower") as flower:
        # A worker that could not read the one before subscribes anew.
        until(lambda: flower.publish(FANOUT, text) >= len(stack.workers), "every worker to listen")


def broadcast(stack: ComposeStack, method: Any, *, reply_to: Any = None, **more: Any) -> None:
    """Publish a remote control command by hand, with whatever a program would not write."""
    body = {"method": method, "arguments": more.pop("arguments", {}), "destination": None, **more}
    properties = {"delivery_tag": str(uuid4()), "delivery_info": {"exchange": "celery.pidbox", "routing_key": ""}}
    text = json.dumps(
        {
            "body": json.dumps({**body, "ticket": str(uuid4()), "reply_to": reply_to}),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": more.get("headers", {"clock": 1, "expires": None}),
            "properties": properties,
        }
    )
    publish(stack, text)


METHODS: dict[str, dict[str, Any]] = {
    "shutdown": {},
    "revoke": {"task_id": "victim", "terminate": True},
    "terminate": {"task_id": "victim", "signal": "KILL"},
    "revoke_by_stamped_headers": {"headers": {"a": "b"}},
    "rate_limit": {"task_name": "orders.cancel", "rate_limit": "1/h"},
    "time_limit": {"task_name": "orders.cancel", "soft": 1, "hard": 1},
    "pool_restart": {"reload": True, "modules": ["os"]},
    "pool_shrink": {"n": 100},
    "pool_grow": {"n": 100_000},
    "autoscale": {"max": 0, "min": 0},
    "add_consumer": {"queue": "notifications"},
    "cancel_consumer": {"queue": "orders.cancel"},
    "election": {"id": "x", "topic": "task", "action": {"task": "orders.withdraw", "kwargs": WITHDRAW}},
    "hello": {"from_node": "x", "revoked": {str(number): 1e300 for number in range(5_000)}},
    "memdump": {"samples": 10**9},
    "memsample": {},
    "objgraph": {"num": 10**9, "max_depth": 10**9},
    "conf": {"with_defaults": True},
    "enable_events": {},
    "no such method": {},
}


def test_no_broadcast_changes_or_ends_a_worker(stack: ComposeStack) -> None:
    """Each is refused or only looks, also when it is malformed."""
    for method, arguments in METHODS.items():
        broadcast(stack, method, arguments=arguments)
        broadcast(stack, method, arguments=[1])
        broadcast(stack, method, destination="x", pattern="(a+)+$", matcher="pcre")
    for odd in ([], {}, 7, None, "x" * 100_000):
        broadcast(stack, odd)
    broadcast(stack, "ping", headers={"clock": 10**300, "expires": "x"})
    for text in ("", "?", "[]", "{}", "[" * 50_000, "9" * 50_000, '{"body": 1, "properties": 1}'):
        publish(stack, text)
    stack.check_alive()
    assert stack.ping() == [{"ok": "pong"}] * 2


def test_an_answer_goes_to_nobodys_key(stack: ComposeStack) -> None:
    """A worker's answer is written with the worker's login, wherever the question says."""

    def answers() -> dict[str, tuple[bool, int]]:
        """Where a message lies; workers keep their own index and lock there, some of it for a moment."""
        broker = stack.admin(0)
        return {key: (broker.type(key) == "list", broker.llen(f"{key}.dead")) for key in BROKERS_OWN}

    before = answers()
    for key in BROKERS_OWN:
        for exchange in ("", key, "celery.pidbox"):
            broadcast(stack, "ping", reply_to={"exchange": exchange, "routing_key": key})
    assert stack.ping() == [{"ok": "pong"}] * 2
    assert answers() == before


def test_redirected_answers_are_no_commands(stack: ComposeStack) -> None:
    """Flower binds a queue for the answers to itself, and so may bind any: what arrives there is moved to the dead."""
    table = "_kombu.binding.reply.celery.pidbox"
    with stack.server.login("flower") as flower:
        for entry in ("stolen\x06\x16\x06\x16orders.withdraw", "x", "\x06\x16\x06\x16orders.withdraw", ""):
            flower.sadd(table, entry)
        broadcast(stack, "ping", reply_to={"exchange": "reply.celery.pidbox", "routing_key": "stolen"})
        until(lambda: not stack.admin(0).llen("orders.withdraw"), "taken")
        stack.check_alive()
        flower.delete(table)
    assert stack.ping() == [{"ok": "pong"}] * 2
