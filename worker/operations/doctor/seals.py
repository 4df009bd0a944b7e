"""Checks of sealed commands and signed reports: what is not checked, and the keys."""

import stat
from collections.abc import Iterator
from pathlib import Path
from time import time

from producers.signing import PrivateKey, SigningError
from worker.operations.doctor.findings import Examiner, Finding, duration
from worker.public_keys import KeysFile, TrustedKey
from worker.settings import WorkerSettings
from worker.venues.registry import VENUES

EXAMINER = Examiner("seals")
EXPIRES_SOON_SECONDS = 14 * 86_400
"""How long before its end a key is reported: time enough to replace it at every producer."""
HOW = "see docs/operating.md, Sealed commands"


def check_seals(settings: WorkerSettings) -> list[Finding]:
    """All findings about seals and signatures; none where a worker with these settings could neither withdraw
    nor place an order, and checks nothing."""
    return [
        *_modes(settings),
        *(_keys(Path(settings.auth.keys_file)) if settings.auth.keys_file else ()),
        *_own(settings),
    ]


def _modes(settings: WorkerSettings) -> Iterator[Finding]:
    modes, served = settings.auth.modes, settings.accounts.items()
    for command, what in (("submit", "places orders for"), ("withdraw", "withdraws from")):
        able = sorted(alias for alias, each in served if command in VENUES[each.venue].commands)
        if modes[command] == "off" and able:
            message = f"off: whoever can write to the queue orders.{command} {what} {', '.join(able)}"
            name = f"ORDERS_AUTH__{command.upper()}"
            yield EXAMINER.warning(name, message, f"let producers seal their commands, {HOW}")
    if problem := settings.auth.problem_with(settings.ledger.keep_days):
        yield EXAMINER.fault("ORDERS_LEDGER__KEEP_DAYS", problem, "set it: no worker starts with it")
    if settings.auth.checked:
        yield EXAMINER.ok("modes", ", ".join(f"{command} {mode}" for command, mode in sorted(modes.items())))


def _keys(path: Path) -> Iterator[Finding]:
    file = KeysFile(path)
    if file.problem:
        advice = "correct it: until then workers go on with the last valid one, and none starts that requires seals"
        yield EXAMINER.fault("public keys", f"{path}: {file.problem}", advice)
        return
    keys = file.current()
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o022:
        yield EXAMINER.fault(
            str(path), f"others may write it (mode {mode:o}): they may send any command", f"chmod 644 {path}"
        )
    else:
        yield EXAMINER.ok("public keys", f"producers: {len(keys.producers)}, operators: {len(keys.operators)}")
    if not keys.producers:
        yield EXAMINER.warning("producers", f"{path} lists none, so no seal is valid", f"list them, {HOW}")
    for name, producer in keys.producers.items():
        for kid, key in producer.keys.items():
            yield from _expiry(f"key {name}/{kid}", key)
    for name, own in keys.operators.items():
        for kid, key in own.items():
            yield from _expiry(f"key {name}/{kid}".rstrip("/"), key)


def _expiry(name: str, key: TrustedKey) -> Iterator[Finding]:
    if key.not_after is None:
        return
    left = key.not_after / 1000 - time()
    if left < 0:
        yield EXAMINER.warning(name, f"expired {duration(-left)} ago: nothing that it signs is accepted", "remove it")
    elif left < EXPIRES_SOON_SECONDS:
        yield EXAMINER.warning(name, f"expires in {duration(left)}", f"replace it, {HOW}")


def _own(settings: WorkerSettings) -> Iterator[Finding]:
    if not settings.report_key_file:
        return
    path = Path(settings.report_key_file)
    try:
        key = PrivateKey.from_file(path)
        mode = stat.S_IMODE(path.stat().st_mode)
    except (SigningError, OSError) as error:
        yield EXAMINER.fault("ORDERS_REPORT_KEY_FILE", str(error), "correct it: no worker starts with it")
        return
    if mode & 0o077:
        message = f"others may read or write it (mode {mode:o}): they may forge reports"
        yield EXAMINER.fault("ORDERS_REPORT_KEY_FILE", message, f"chmod 600 {path}")
    else:
        yield EXAMINER.ok("reports", f"signed as {key.by}/{key.kid}")
