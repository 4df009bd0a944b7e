"""A poller that also watches connections on which no command is in progress: the server may send an invalidation
there."""

# kombu offers no other seam than its private parts; worker.broker.transport checks that they are as expected.
# ruff: noqa: SLF001

from __future__ import annotations

from queue import Empty
from typing import TYPE_CHECKING, Any

from kombu.transport import redis as stock

if TYPE_CHECKING:
    from worker.broker.take import TakingChannel

__all__ = ["Poller"]


class Poller(stock.MultiChannelPoller):
    """kombu's poller, which also watches a connection on which no command is in progress."""

    #: What the last turn at which all was looked at has found: None if something is not watched yet.
    _found: list[Any] | None = None
    _takers: tuple[TakingChannel, ...] = ()
    _has_news = True

    def on_poll_init(self, poller: Any) -> None:
        """Prepare for an event loop, which watches nothing yet."""
        self._found = None
        super().on_poll_init(poller)

    def on_poll_start(self) -> None:
        """Send the takes that are due. Whether all is watched is looked at only when something has changed."""
        self._has_news = self._found is None or self._found != self._state()
        if self._has_news:
            self._found = None
            super().on_poll_start()
            self._takers = tuple(each for each in self._channels if each.active_queues)
            is_watched = all(self._client_registered(each, each.client, "BRPOP") for each in self._takers)
            self._found = self._state() if is_watched else None
            return
        for channel in self._takers:
            if not channel._in_poll and channel.next_take.is_due() and channel.qos.can_consume():
                channel._brpop_start()

    def _state(self) -> list[Any]:
        """What must be as it was for kombu's own work at each turn to have nothing to do."""
        state: list[Any] = [getattr(client.connection, "_sock", None) for _, client, _ in self._chan_to_sock]
        for channel in self._channels:
            state += (channel, len(channel._active_queues), len(channel.active_fanout_queues), channel._in_listen)
            state.append(bool(channel._in_poll) and not channel.qos.can_consume())
        return state

    @property
    def fds(self) -> Any:
        """What the event loop is to register; it does so at every turn, with a call to the kernel for each."""
        return super().fds if self._has_news else {}

    def _register_BRPOP(self, channel: TakingChannel) -> None:  # noqa: N802 - kombu's name
        """Watch the channel's connection, and send a take when one is due."""
        if not self._client_registered(channel, channel.client, "BRPOP"):
            if not channel.next_take.is_due():
                return
            if channel._in_poll:
                channel.forget_take()
            self._register(channel, channel.client, "BRPOP")
        if not channel._in_poll and channel.next_take.is_due():
            channel._brpop_start()

    def on_readable(self, fileno: int) -> Any:
        """Let the channel read what has come on its connection."""
        channel, kind = self._fd_to_chan.get(fileno, (None, None))
        if kind == "BRPOP" and not channel._in_poll:
            channel.read_push()
            raise Empty
        return super().on_readable(fileno)

    def maybe_restore_messages(self) -> None:
        """Restore messages only if a channel here acknowledges any: a monitor does not, and need not be allowed to
        write to the queues."""
        if any(set(channel.active_queues) - channel._no_ack_queues for channel in self._channels):
            super().maybe_restore_messages()

    def get(self, callback: Any, timeout: float | None = None) -> Any:
        """Wait no longer than until the next take is due, so that takes are also sent in time where no event loop calls
        the poller."""
        max_wait_seconds = min(map(_seconds_to_take, self._channels), default=1)
        return super().get(callback, max_wait_seconds if timeout is None else min(timeout, max_wait_seconds))


def _seconds_to_take(channel: TakingChannel) -> float:
    if channel._in_poll or not channel.active_queues or not channel.qos.can_consume():
        return float(channel.brpop_timeout or 1)
    return channel.next_take.seconds_left()
