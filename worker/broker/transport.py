"""kombu's Redis transport without its two faults: a worker that ends in an outage, and messages that are lost.

Use it with `broker_transport = "worker.broker.transport:Transport"` beside a `redis://` or `rediss://` broker URL. Only
the consuming side differs. What is stored on the server is what stock kombu stores, so that stock workers, clients and
monitors may share it.

The principle behind it: when in doubt a message stays in `unacked`, and the visibility timeout delivers it again. A
second delivery is harmless, because the ledger knows the command id; a lost message or a dead worker is not.

`ORDERS_STOCK_TRANSPORT=1` in the environment selects the stock transport, with its faults.
"""

from __future__ import annotations

import inspect
import logging
import os
from typing import TYPE_CHECKING, Any

import kombu
import redis
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as stock

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SentinelTransport", "Transport"]

logger = logging.getLogger(__name__)

TESTED_KOMBU = "5.7."
#: The private parts of kombu's Redis transport that are overridden or called, with their signatures in that version.
EXPECTED = {
    "QoS": {
        "ack": "(self, delivery_tag)",
        "append": "(self, message, delivery_tag)",
        "reject": "(self, delivery_tag, requeue=False)",
        "restore_by_tag": "(self, tag, client=None, leftmost=False)",
        "restore_unacked": "(self, client=None)",
        "restore_visible": "(self, start=0, num=10, interval=10)",
        "_remove_from_indices": "(self, delivery_tag, pipe=None)",
    },
    "Channel": {
        "basic_consume": "(self, queue, *args, **kwargs)",
        "close": "(self)",
        "conn_or_acquire": "(self, client=None)",
        "_brpop_read": "(self, **options)",
        "_brpop_start": "(self, timeout=None)",
        "_connparams": "(self, asynchronous=False)",
        "_flush_brpop_reauth": "(self)",
        "_handle_message": "(self, client, r)",
        "_get_message_priority": "(self, message, reverse=False)",
        "_lookup": "(self, exchange, routing_key, default=None)",
        "_deliver_fanout_message": "(self, message, exchange)",
        "_on_connection_disconnect": "(self, connection)",
        "_q_for_pri": "(self, queue, pri)",
        "_queue_bind": "(self, exchange, routing_key, pattern, queue)",
        "_receive": "(self)",
        "_receive_one": "(self, c)",
        "_size": "(self, queue)",
    },
    "SentinelChannel": {"_sentinel_managed_pool": "(self, asynchronous=False)"},
    "MultiChannelPoller": {
        "get": "(self, callback, timeout=None)",
        "on_poll_init": "(self, poller)",
        "on_poll_start": "(self)",
        "on_readable": "(self, fileno)",
        "_client_registered": "(self, channel, client, cmd)",
        "_register": "(self, channel, client, type)",
        "_register_BRPOP": "(self, channel)",
    },
    "Transport": {"close_connection": "(self, connection)", "_deliver": "(self, message, queue)"},
    "virtual": {"Message": "(payload, channel=None, **kwargs)"},
}


def check_kombu(version: str, transport: Any, expected: Mapping[str, Mapping[str, str]] = EXPECTED) -> None:
    """Raise `ImportError` unless kombu is of the tested version and its private parts have the expected signatures."""
    if not {"timeout", "push_request"} <= inspect.signature(redis.Connection.read_response).parameters.keys():
        raise ImportError(f"worker.broker.transport needs redis-py 8.1 or later and found {redis.__version__}")
    changed = [
        f"{owner}.{name}"
        for owner, methods in expected.items()
        for name, signature in methods.items()
        if signature != _signature(getattr(getattr(transport, owner, None), name, None))
    ]
    if version.startswith(TESTED_KOMBU) and not changed:
        return
    found = f"kombu {version}" + (f" with another {', '.join(changed)}" if changed else "")
    raise ImportError(
        f"worker.broker.transport was tested with kombu {TESTED_KOMBU}x and found {found}. Install "
        "'kombu>=5.7,<5.8', or set "
        "ORDERS_STOCK_TRANSPORT=1 to run on kombu's own transport, which can lose a message when a worker is killed "
        "and can end the worker when the server goes away."
    )


def _signature(function: Any) -> str:
    return str(inspect.signature(function)) if function is not None else "nothing"


if os.environ.get("ORDERS_STOCK_TRANSPORT") == "1":
    logger.warning("ORDERS_STOCK_TRANSPORT=1: kombu's own transport is used; a message can be lost in a crash")
    Transport, SentinelTransport = stock.Transport, stock.SentinelTransport
else:
    check_kombu(kombu.__version__, stock)
    # Imported after the check, because these modules build on what it checks.
    from worker.broker import channel
    from worker.broker.poller import Poller
    from worker.broker.sentinel import SentinelChannel

    class Transport(stock.Transport):  # type: ignore[no-redef]
        """The transport to name in `broker_transport`."""

        Channel = channel.Channel

        def __init__(self, client: Any, **kwargs: Any) -> None:
            if "master_name" in client.transport_options and not isinstance(self, SentinelTransport):
                raise ValueError("this transport knows no Sentinel: use worker.broker.transport:SentinelTransport")
            super().__init__(client, **kwargs)
            self.cycle = Poller()

        def _collect(self, connection: Any) -> None:
            """Release a lost connection: kombu's `Connection.collect` calls this when the server is gone."""
            for each in (*self._avail_channels, *self.channels):
                each.mark_lost()
            self.close_connection(connection)

    class SentinelTransport(Transport):  # type: ignore[no-redef, misc, valid-type]
        """The transport for a broker behind Sentinels (``sentinel://``, with ``master_name`` among the options)."""

        Channel = SentinelChannel
        default_port = 26379

    # When a Sentinel is away, kombu continues with the next one's URL and chooses the transport by its scheme again.
    TRANSPORT_ALIASES["sentinel"] = "worker.broker.transport:SentinelTransport"
