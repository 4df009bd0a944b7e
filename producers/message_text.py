"""The messages of commands as Celery's ``send_task`` and kombu write them, without the time that they take for each.

``send_task`` takes 150 µs for a message, most of which is the same for every message of its task. Here it writes one,
with marks in the places that differ, and the others are that one with the marks replaced.
"""

# kombu publishes no types.
# mypy: disallow-subclassing-any=False

import json
import uuid
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from celery import Celery, Task, signals
from celery.utils.nodenames import anon_nodename
from kombu import Connection
from kombu.transport import virtual
from kombu.utils.json import dumps

from producers.intents import Intent
from producers.redaction import shown_arguments

KWARGS, HEADERS, PARENT = '{"%(kwargs)s": 0}', '"%(headers)s": 0', '"%(parent_id)s"'
"""Marks of an object, of members of one, and of a text or null. The others stand within the quotes of a text."""


class MessageTexts:
    """Writes the messages of one app's tasks; safe to share among threads."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._patterns: dict[str, tuple[str, str]] = {}

    def write(self, message: Intent, headers: Mapping[str, Any], parent: Task | None) -> str:
        """A command's message as kombu's Redis transport pushes it to the queue; ``headers`` are further ones, and
        ``parent`` is the task that sends it."""
        task = message.task
        body, text = self._patterns.get(task) or self._patterns.setdefault(task, _pattern(self._app, task))
        sender = parent and parent.request
        return text % {
            "body": b64encode((body % {"kwargs": message.kwargs_json}).encode()).decode(),
            "id": json.dumps(message.command_id)[1:-1],
            "root_id": json.dumps(message.command_id if sender is None else sender.root_id or sender.id)[1:-1],
            "parent_id": json.dumps(sender and sender.id),
            "shown": json.dumps(shown_arguments(task, message.kwargs))[1:-1],
            "headers": json.dumps({**message.headers(), **headers})[1:-1],
            "origin": json.dumps(anon_nodename())[1:-1],
            "reply_to": self._app.thread_oid,
            "delivery_tag": uuid.uuid4(),
        }


def is_listened_to() -> bool:
    """Whether somebody waits for the signals that Celery gives when it publishes."""
    return bool(
        signals.before_task_publish.receivers or signals.after_task_publish.receivers or signals.task_sent.receivers
    )


def _pattern(app: Celery, task: str) -> tuple[str, str]:
    """A message's body and the message, both with marks in the form of Python's ``%`` operator."""
    with Connection(transport=_Keeper) as connection:
        app.send_task(
            task,
            kwargs=json.loads(KWARGS),
            task_id="%(id)s",
            root_id="%(root_id)s",
            parent_id="%(parent_id)s",
            headers=json.loads(f"{{{HEADERS}}}"),
            reply_to="%(reply_to)s",
            argsrepr="()",
            kwargsrepr="%(shown)s",
            queue=task,
            connection=connection,
            add_to_parent=False,
            retry=False,
        )
        message = connection.transport.kept
    message["headers"]["origin"], message["properties"]["delivery_tag"] = "%(origin)s", "%(delivery_tag)s"
    body, message["body"] = b64decode(message["body"]).decode(), "%(body)s"
    text = dumps(message).replace(HEADERS, "%(headers)s").replace(PARENT, "%(parent_id)s")
    return body.replace(KWARGS, "%(kwargs)s"), text


class _KeepingChannel(virtual.Channel):
    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:  # noqa: ARG002 - kombu's signature
        self.connection.kept = message


class _Keeper(virtual.Transport):
    """A transport that keeps the last message instead of sending it."""

    Channel = _KeepingChannel
    state = virtual.BrokerState()
    kept: dict[str, Any]
