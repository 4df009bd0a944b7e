"""Ctrl-C, SIGTERM and a closed terminal end the demo once, and never interrupt its clean-up."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Raised when a signal asks the demo to end. It is not an Exception, as KeyboardInterrupt, so that nothing catches
    it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.exit_code = _exit_code(number)
        self.name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


class Signals:
    """Turns the first signal into :class:`Interrupted`; later ones wait until the clean-up is done."""

    def __init__(self) -> None:
        self._postponing = False
        self.late_exit_code = 0
        """The exit code for a signal that arrived during the clean-up; 0 if none did."""

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals inside the block. Only the main thread can do that; in any other this has no effect."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # Even if SIGINT is ignored, as it is in background jobs of shell scripts.
        before = {number: signal.signal(number, self._handle) for number in ENDING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def postpone(self) -> None:
        """From now on only record signals, because the clean-up has begun, which takes a limited time."""
        self._postponing = True

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signal module's signature
        if self._postponing:
            self.late_exit_code = _exit_code(number)
            return
        self._postponing = True
        raise Interrupted(number)


def _exit_code(number: int) -> int:
    """The exit code with which a shell reports a process that was ended by a signal."""
    return 128 + number
