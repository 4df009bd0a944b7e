"""kombu's transport for RabbitMQ, which opens no message that is compressed: a kilobyte may hold hundreds of megabytes.

kombu decompresses while it makes its message object, before anybody can look at it. Use it with
``broker_transport = "worker.broker.amqp:Transport"`` beside an ``amqp://`` URL, and with
``"worker.broker.amqp:SSLTransport"`` for TLS.
"""

# kombu publishes no types.
# mypy: disallow-subclassing-any=False

from typing import Any

from kombu.transport import pyamqp

COMPRESSION = "compression"


class Message(pyamqp.Message):
    """A message whose body is as it came, and whose headers say so."""

    def __init__(self, msg: Any, channel: Any = None, **kwargs: Any) -> None:
        headers = msg.properties.get("application_headers") or {}
        msg.properties["application_headers"] = {name: headers[name] for name in headers if name != COMPRESSION}
        super().__init__(msg, channel, **kwargs)
        self.headers = headers


class Channel(pyamqp.Channel):
    """kombu's channel with other messages."""

    Message = Message


class Connection(pyamqp.Connection):
    """kombu's connection with other channels."""

    Channel = Channel


class Transport(pyamqp.Transport):
    """For ``amqp://``."""

    Connection = Connection


class SSLTransport(pyamqp.SSLTransport):
    """For ``amqps://``."""

    Connection = Connection
