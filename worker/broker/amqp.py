"""kombu's transport for RabbitMQ with bounds on what a message may make of a worker.

py-amqp joins a body of any length, and an error in a message's headers ends the worker, and then the next one that gets
the message. Here only the beginning is kept of a body that is too long, while the rest is read, and headers that can't
be read count as none. kombu decompresses a body while it creates the message object, before its envelope can be
checked: a compressed kilobyte may hold hundreds of megabytes. Here nothing is decompressed. Use it with
``broker_transport = "worker.broker.amqp:Transport"`` beside an ``amqp://`` URL, and with
``"worker.broker.amqp:SSLTransport"`` for TLS.
"""

import logging
from struct import unpack_from
from typing import Any

from amqp import method_framing
from amqp.basic_message import Message as ReceivedMessage
from kombu.transport import pyamqp

from worker.broker.envelope_check import MAX_MESSAGE_BYTES

COMPRESSION = "compression"
KEPT_BYTES = MAX_MESSAGE_BYTES + 1
"""How much is kept of the body of a message: one byte more than a message may have, by which the gate knows it."""

logger = logging.getLogger(__name__)


class BoundedMessage(ReceivedMessage):
    """A message that is being received, frame by frame."""

    def inbound_header(self, buf: Any, offset: int = 0) -> int:
        """Read the properties. Those that can't be read, being nested too deeply for instance, are left out: any sender
        may send anything, and an error here ends the worker."""
        try:
            return int(super().inbound_header(buf, offset))
        except Exception as error:  # noqa: BLE001
            logger.error("the headers of a message can't be read (%s)", type(error).__name__)  # noqa: TRY400
            _, self.body_size = unpack_from(">HxxQ", buf, offset)
            self.properties: dict[str, Any] = {}
            self.ready = not self.body_size
            return offset

    def inbound_body(self, buf: Any) -> None:
        """Receive a part of the body."""
        room = KEPT_BYTES - self.body_received
        kept = bytes(buf[: max(0, room)])
        left = self.body_size - self.body_received - len(buf)
        super().inbound_body(kept)
        self.body_received += len(buf) - len(kept)
        if left <= 0 and not self.ready:
            self.body, self.ready = b"".join(self._pending_chunks), True
            self._pending_chunks[:] = []


if method_framing.Message not in (ReceivedMessage, BoundedMessage):
    raise ImportError("worker.broker.amqp was tested with amqp 5, whose method_framing makes each received Message")
method_framing.Message = BoundedMessage


class Message(pyamqp.Message):
    """A message whose body stays compressed, as its headers say."""

    def __init__(self, msg: Any, channel: Any = None, **kwargs: Any) -> None:
        headers = msg.properties.get("application_headers") or {}
        msg.properties["application_headers"] = {name: headers[name] for name in headers if name != COMPRESSION}
        super().__init__(msg, channel, **kwargs)
        self.headers = headers


class Channel(pyamqp.Channel):
    """kombu's channel with our messages."""

    Message = Message


class Connection(pyamqp.Connection):
    """kombu's connection with our channels."""

    Channel = Channel


class Transport(pyamqp.Transport):
    """The transport for ``amqp://``."""

    Connection = Connection


class SSLTransport(pyamqp.SSLTransport):
    """The transport for ``amqps://``."""

    Connection = Connection
