"""kombu's transport for RabbitMQ without decompression: a compressed kilobyte may hold hundreds of megabytes.

kombu decompresses a body while it creates the message object, before its envelope can be checked. Use it with
``broker_transport = "worker.broker.amqp:Transport"`` beside an ``amqp://`` URL, and with
``"worker.broker.amqp:SSLTransport"`` for TLS.
"""

from typing import Any

from kombu.transport import pyamqp

COMPRESSION = "compression"


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
