"""Ctrl-C, SIGTERM and a closed terminal end the demo once, and never interrupt its clean-up."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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

    def installed(self) -> AbstractContextManager[None]:
        """Handle the signals inside the block."""
        return _handled_by(self._handle)

    def postpone(self) -> None:
        """From now on only record signals, because the clean-up has begun, which takes a limited time."""
        self._postponing = True

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signal module's signature
        if self._postponing:
            self.late_exit_code = _exit_code(number)
            return
        self._postponing = True
        raise Interrupted(number)


@contextmanager
def heard_later() -> Iterator[None]:
    """Let no signal interrupt the block: the first that comes is heard at its end."""
    heard = list[int]()
    try:
        with _handled_by(lambda number, _: heard.append(number)):
            yield
    finally:
        if heard:
            signal.raise_signal(heard[0])


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Only the main thread can handle signals; in any other this has no effect."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Even if SIGINT is ignored, as it is in background jobs of shell scripts.
    before = {number: signal.signal(number, handler) for number in ENDING}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _exit_code(number: int) -> int:
    """The exit code with which a shell reports a process that was ended by a signal."""
    return 128 + number
