"""What the doctor finds, and how its checks are kept from hanging."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import redis

CHECK_SECONDS = 5.0
"""How long one check may take; what takes longer is a finding of its own."""


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    group: str
    name: str
    level: Level
    message: str
    """What was found; no secret in it."""
    advice: str = ""
    """What to do about it."""


@dataclass(frozen=True, slots=True)
class Examiner:
    """Makes the findings of one group."""

    group: str

    def ok(self, name: str, message: str) -> Finding:
        """All is well."""
        return Finding(self.group, name, Level.OK, message)

    def warning(self, name: str, message: str, advice: str = "") -> Finding:
        """It works, and somebody should look at it."""
        return Finding(self.group, name, Level.WARNING, message, advice)

    def fault(self, name: str, message: str, advice: str = "") -> Finding:
        """It does not work, or will lose or repeat commands."""
        return Finding(self.group, name, Level.FAULT, message, advice)


@dataclass(slots=True)
class Check:
    """A check of one thing, run beside the others."""

    group: str
    name: str
    run: Callable[[], Sequence[Finding]]
    findings: Sequence[Finding] = field(default=())
    """What it found, once `run_checks` has returned."""


def run_checks(checks: Sequence[Check], seconds: float = CHECK_SECONDS) -> list[Finding]:
    """Run all checks at once and return their findings in order, after ``seconds`` at the latest.

    A check that is not done by then, or that fails itself, is a fault. Its thread is left behind: it is a daemon, so
    that it keeps no program from ending.
    """
    threads = [threading.Thread(target=_run, args=(check,), daemon=True) for check in checks]
    ends_at = time.monotonic() + seconds
    for check, thread in zip(checks, threads, strict=True):
        late = Examiner(check.group).fault(check.name, f"no answer within {seconds:g} s", "is the network all right?")
        check.findings = (late,)
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends_at - time.monotonic()))
    return [finding for check in checks for finding in check.findings]


def _run(check: Check) -> None:
    try:
        check.findings = tuple(check.run())
    except redis.exceptions.NoPermissionError:
        advice = "the server's ACL forbids it to this user; workers may need the same permission"
        check.findings = (Examiner(check.group).warning(check.name, "can't be checked", advice),)
    except Exception as error:  # noqa: BLE001 - one broken check must not hide what the others found
        # The type alone: a message could quote a URL with its password.
        message = f"could not be checked: {type(error).__name__}"
        check.findings = (Examiner(check.group).fault(check.name, message),)


def duration(seconds: float) -> str:
    """A time span in one unit."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
