"""Findings of the doctor, and running its checks with a time limit."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import redis

CHECK_SECONDS = 5.0
"""Time limit of a check. Exceeding it is a finding."""


class Level(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check."""

    group: str
    name: str
    level: Level
    message: str
    """What was found, without secrets."""
    advice: str = ""
    """What to do about it; empty if there is nothing to do."""


@dataclass(frozen=True, slots=True)
class Examiner:
    """Creates the findings of one group."""

    group: str

    def ok(self, name: str, message: str) -> Finding:
        """A finding that all is well."""
        return Finding(self.group, name, Level.OK, message)

    def warning(self, name: str, message: str, advice: str = "") -> Finding:
        """A finding that deserves attention, although everything works."""
        return Finding(self.group, name, Level.WARNING, message, advice)

    def fault(self, name: str, message: str, advice: str = "") -> Finding:
        """A finding that something does not work, or will lose or repeat commands."""
        return Finding(self.group, name, Level.FAULT, message, advice)


@dataclass(slots=True)
class Check:
    """One check, which runs concurrently with the others."""

    group: str
    name: str
    run: Callable[[], Sequence[Finding]]
    findings: Sequence[Finding] = field(default=())
    """Its findings after :func:`run_checks`."""


def run_checks(checks: Sequence[Check], seconds: float = CHECK_SECONDS) -> list[Finding]:
    """Run all checks concurrently and return their findings in order, after ``seconds`` at the latest.

    A check that has not finished by then, or that raises, is a fault. Its thread goes on; it is a daemon, so the
    program can end.
    """
    threads = [threading.Thread(target=_run, args=(check,), daemon=True) for check in checks]
    deadline = time.monotonic() + seconds
    for check, thread in zip(checks, threads, strict=True):
        timed_out = Examiner(check.group).fault(check.name, f"no answer within {seconds:g} s", "check the network")
        check.findings = (timed_out,)
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [finding for check in checks for finding in check.findings]


def _run(check: Check) -> None:
    try:
        check.findings = tuple(check.run())
    except redis.exceptions.NoPermissionError:
        advice = "the server's ACL forbids it to this user; workers may need the same permission"
        check.findings = (Examiner(check.group).warning(check.name, "can't be checked", advice),)
    except Exception as error:  # noqa: BLE001 - one broken check must not hide what the others found
        # Only the type: a message may quote a URL with its password.
        message = f"could not be checked: {type(error).__name__}"
        check.findings = (Examiner(check.group).fault(check.name, message),)


def duration(seconds: float) -> str:
    """A duration in one unit."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
