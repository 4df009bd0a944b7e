"""Checks of the settings and of the files that contain them."""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from producers.settings import PREFIX, QueueSettings, SettingsError, external_settings
from worker.operations.doctor.findings import Examiner, Finding
from worker.settings import WorkerSettings, load
from worker.venues.registry import address_of

EXAMINER = Examiner("settings")
ACCEPTED_FOR_SECONDS = 15.0
"""How long after its ``timestamp`` Everstrike accepts an order (``docs/venues.md``)."""
_SOURCES = {"ORDERS_CONFIG_FILE", "ORDERS_SECRETS_DIR"}


def check_settings() -> tuple[WorkerSettings | None, QueueSettings | None, list[Finding]]:
    """The worker's settings and the queues' settings, each None if they cannot be read, and the findings."""
    try:
        settings = load()
    except SettingsError as error:
        findings = [_fault(line) for line in error.problems]
        return None, _queues_alone(), [*findings, *_names(), *_files(os.environ)]
    findings = [EXAMINER.ok("readable", "all settings can be read"), *_accounts(settings), *_reconcile(settings)]
    return settings, settings, [*findings, *_names(), *_files(os.environ)]


def _queues_alone() -> QueueSettings | None:
    try:
        return cast("QueueSettings", QueueSettings.load())
    except SettingsError:
        return None


def _fault(line: str) -> Finding:
    name, _, problem = line.partition(": ")
    if not problem:
        name, problem = "readable", line
    return EXAMINER.fault(name, problem, "fix it: workers do not start with it")


def _accounts(settings: WorkerSettings) -> list[Finding]:
    if not settings.accounts:
        advice = "set ORDERS_ACCOUNTS__<ALIAS>__VENUE, __API_KEY and __SECRET_KEY; a producer's host needs none"
        return [EXAMINER.warning("accounts", "none: a worker with these settings refuses every command", advice)]
    findings = []
    for alias, account in sorted(settings.accounts.items()):
        url = address_of(account)
        name, message = f"account {alias}", f"{account.venue} at {url}"
        if urlsplit(url).scheme == "http" and account.allow_http:
            advice = "use https, or remove ALLOW_HTTP if it is a simulator on this machine"
            findings.append(EXAMINER.warning(name, f"{message}: plain http, which anybody on the way can read", advice))
        else:
            findings.append(EXAMINER.ok(name, message))
    return findings


def _reconcile(settings: WorkerSettings) -> list[Finding]:
    """Check that reconciliation waits as long as the venue accepts a request: one that is executed later would count as
    absent."""
    arrival_seconds = settings.reconcile.arrival_seconds
    if arrival_seconds >= ACCEPTED_FOR_SECONDS:
        return []
    message = (
        f"{arrival_seconds:g} s, but Everstrike accepts a request for {ACCEPTED_FOR_SECONDS:g} s: "
        "an executed command may be settled as not sent"
    )
    name = "ORDERS_RECONCILE__ARRIVAL_SECONDS"
    return [
        EXAMINER.fault(name, message, f"set it to {ACCEPTED_FOR_SECONDS:g} or more, or remove it, before you reconcile")
    ]


def _names() -> list[Finding]:
    """Warn about unknown ORDERS_… names: they are ignored, so a typo would go unnoticed."""
    known = {f"{PREFIX}{name}".upper() for name in WorkerSettings.model_fields} | _SOURCES
    try:
        unknown = sorted(name for name in external_settings(os.environ) if name.split("__")[0] not in known)
    except SettingsError:  # reported already
        return []
    return [EXAMINER.warning(name, "is not a setting and is ignored", "a typo?") for name in unknown]


def _files(environ: Mapping[str, str]) -> list[Finding]:
    """Check who may read or write the files with secrets."""
    paths: list[Path] = []
    folder, config = environ.get("ORDERS_SECRETS_DIR"), environ.get("ORDERS_CONFIG_FILE")
    try:
        if folder:
            paths += sorted(p for p in Path(folder).iterdir() if p.is_file() and p.name.upper().startswith(PREFIX))
        if config and _holds_secrets(Path(config)):
            paths.append(Path(config))
        return _permissions(paths)
    except (OSError, ValueError):  # unreadable, which is reported already
        return []


def _holds_secrets(path: Path) -> bool:
    text = path.read_text(encoding="utf-8").lower()
    return "secret_key" in text or "api_key" in text or "@" in text


def _permissions(paths: Sequence[Path]) -> list[Finding]:
    findings = []
    for path in paths:
        mode = stat.S_IMODE(path.stat().st_mode)
        advice = f"chmod 600 {path}"
        if mode & 0o022:
            findings.append(EXAMINER.fault(str(path), f"others may write it (mode {mode:o})", advice))
        elif mode & 0o044:
            findings.append(EXAMINER.warning(str(path), f"others may read it (mode {mode:o})", advice))
    if paths and not findings:
        findings.append(EXAMINER.ok("secret files", f"{len(paths)}, readable by their owner alone"))
    return findings
