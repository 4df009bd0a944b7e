"""Parked messages as workers write them (``park.lua``)."""

import json

import redis


def message(command_id: str, **headers: object) -> str:
    """A message of a close whose body is nobody's business."""
    return json.dumps({"body": "c2VjcmV0", "headers": {"id": command_id, "task": "orders.close", **headers}})


def park(broker: redis.Redis, key: str, command_id: str, waits_for: str, group: str, at: int, due: int) -> None:
    """Park a message of the queue with this key."""
    broker.zadd(f"{key}.parked", {f"tag-{command_id}": due})
    broker.hset(f"{key}.parked.messages", f"tag-{command_id}", f"{waits_for} {at} {group}\n{message(command_id)}")
