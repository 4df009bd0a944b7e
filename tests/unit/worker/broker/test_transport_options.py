"""What a channel of ours hears of the transport's options."""

import pytest
from kombu.transport import redis as stock

from worker.broker.transport import SentinelTransport, Transport


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(Transport, stock.Channel), (SentinelTransport, stock.SentinelChannel)],
    ids=["one", "sentinel"],
)
def test_every_option_of_the_stock_channel_is_heard(ours: type[Transport], theirs: type[stock.Channel]) -> None:
    """The name of a Sentinel's master is one that no worker starts without; ours are the gate and the shares."""
    assert {*theirs.from_transport_options, "gated_queues", "accounts"} <= set(ours.Channel.from_transport_options)
