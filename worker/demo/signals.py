"""Ctrl-C, SIGTERM and a closed terminal: each ends the demo once, and never in the middle of its own clean-up."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asked the demo to end. Like KeyboardInterrupt it is no Exception, so that nothing swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.exit_code = _exit_code(number)
        self.name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


class Signals:
    """Turns the first signal into :class:`Interrupted`; later ones wait until the clean-up is done."""

    def __init__(self) -> None:
        self._muted = False
        self.late_exit_code = 0
        """What the demo exits with because of a signal that came during its clean-up; 0 when none did."""

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals inside; only a main thread can, and any other is left as it is."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # Also where SIGINT came ignored, as shells pass it to the background jobs of scripts.
        before = {number: signal.signal(number, self._handle) for number in ENDING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def mute(self) -> None:
        """From now on only remember: the clean-up has begun, and it is bounded."""
        self._muted = True

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signal module's signature
        if self._muted:
            self.late_exit_code = _exit_code(number)
            return
        self._muted = True
        raise Interrupted(number)


def _exit_code(number: int) -> int:
    """As a shell reports a process that a signal ended."""
    return 128 + number
