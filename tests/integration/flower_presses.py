"""What somebody may press in Flower, or broadcast without it, that would touch a command."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.flower import FlowerNode, Page


@dataclass(frozen=True)
class Two:
    """A command that is being sent, and one that is queued."""

    sent: str
    queued: str


Press = Callable[[FlowerNode, str, Two], Page]
"""Flower, the worker's name, the commands."""

PRESSES: dict[str, Press] = {
    "revoke, being sent": lambda f, _, two: f.post(f"/api/task/revoke/{two.sent}"),
    "revoke, queued": lambda f, _, two: f.post(f"/api/task/revoke/{two.queued}"),
    "terminate, being sent": lambda f, _, two: f.post(f"/api/task/revoke/{two.sent}", terminate="true"),
    "kill, being sent": lambda f, _, t: f.post(f"/api/task/revoke/{t.sent}", terminate="true", signal="SIGKILL"),
    "terminate, queued": lambda f, _, two: f.post(f"/api/task/revoke/{two.queued}", terminate="true"),
    "abort, being sent": lambda f, _, two: f.post(f"/api/task/abort/{two.sent}"),
    "abort, queued": lambda f, _, two: f.post(f"/api/task/abort/{two.queued}"),
    "shut down": lambda f, worker, _: f.post(f"/api/worker/shutdown/{worker}"),
    "pool restart": lambda f, worker, _: f.post(f"/api/worker/pool/restart/{worker}"),
    "pool grow": lambda f, worker, _: f.post(f"/api/worker/pool/grow/{worker}", n="3"),
    "pool shrink": lambda f, worker, _: f.post(f"/api/worker/pool/shrink/{worker}", n="1"),
    "autoscale": lambda f, worker, _: f.post(f"/api/worker/pool/autoscale/{worker}", min="0", max="1"),
    "add consumer": lambda f, worker, _: f.post(f"/api/worker/queue/add-consumer/{worker}", queue="others"),
    "cancel consumer": lambda f, w, _: f.post(f"/api/worker/queue/cancel-consumer/{w}", queue="orders.withdraw"),
    "rate limit": lambda f, w, _: f.post("/api/task/rate-limit/orders.withdraw", workername=w, ratelimit="1/h"),
    "soft limit": lambda f, w, _: f.post("/api/task/timeout/orders.withdraw", workername=w, soft="1"),
    "hard limit": lambda f, w, _: f.post("/api/task/timeout/orders.withdraw", workername=w, hard="1"),
    "apply": lambda f, *_: f.post("/api/task/apply/orders.withdraw", {"kwargs": {"account": "main"}}),
    "async-apply": lambda f, *_: f.post("/api/task/async-apply/orders.withdraw", {"kwargs": {"account": "main"}}),
    "send-task": lambda f, *_: f.post("/api/task/send-task/orders.withdraw", {"kwargs": {"account": "main"}}),
}

BROADCASTS: list[tuple[str, dict[str, Any]]] = [
    ("revoke", {"task_id": [], "terminate": False, "signal": "SIGTERM"}),
    ("revoke", {"task_id": [], "terminate": True, "signal": "SIGKILL"}),
    ("terminate", {"task_id": [], "signal": "SIGKILL"}),
    ("revoke_by_stamped_headers", {"headers": {"a": "b"}, "terminate": True}),
    ("rate_limit", {"task_name": "orders.withdraw", "rate_limit": "1/h"}),
    ("time_limit", {"task_name": "orders.withdraw", "hard": 0.1, "soft": 0.1}),
    ("pool_restart", {"reload": True}),
    ("pool_grow", {"n": 2}),
    ("pool_shrink", {"n": 1}),
    ("autoscale", {"max": 1, "min": 0}),
    ("add_consumer", {"queue": "others"}),
    ("cancel_consumer", {"queue": "orders.withdraw"}),
    ("election", {"id": "1", "topic": "task", "action": None}),
    ("shutdown", {}),
]
