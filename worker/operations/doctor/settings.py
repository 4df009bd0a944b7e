"""The doctor's look at the settings and at the files they come from."""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from producers.settings import PREFIX, QueueSettings, SettingsError, external_settings
from worker.operations.doctor.findings import Examiner, Finding
from worker.settings import VENUES, WorkerSettings, load

EXAMINER = Examiner("settings")
TAKEN_SECONDS = 15.0
"""How long after its ``timestamp`` Everstrike takes an order (``docs/venues.md``)."""
_PLACES = {"ORDERS_CONFIG_FILE", "ORDERS_SECRETS_DIR"}


def check_settings() -> tuple[WorkerSettings | None, QueueSettings | None, list[Finding]]:
    """The worker's settings and those of the queues, each None when it can't be read, and the findings."""
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
    return EXAMINER.fault(name, problem, "mend it: workers do not start with it")


def _accounts(settings: WorkerSettings) -> list[Finding]:
    if not settings.accounts:
        advice = "set ORDERS_ACCOUNTS__<ALIAS>__VENUE, __API_KEY and __SECRET_KEY; a host that only sends needs none"
        return [EXAMINER.warning("accounts", "none: a worker with these settings refuses every command", advice)]
    findings = []
    for alias, account in sorted(settings.accounts.items()):
        url = account.base_url or VENUES[account.venue].base_url
        name, said = f"account {alias}", f"{account.venue} at {url}"
        if urlsplit(url).scheme == "http" and account.allow_http:
            advice = "use https, or remove ALLOW_HTTP when it is a simulator on this machine"
            findings.append(EXAMINER.warning(name, f"{said}: plain http, anybody on the way reads it", advice))
        else:
            findings.append(EXAMINER.ok(name, said))
    return findings


def _reconcile(settings: WorkerSettings) -> list[Finding]:
    """A window that is shorter than the venue's hides what was executed late, and its absence settles."""
    told = settings.reconcile.arrival_seconds
    if told >= TAKEN_SECONDS:
        return []
    said = f"{told:g} s; Everstrike takes a request for {TAKEN_SECONDS:g}: reconcile may settle as not sent what was"
    name = "ORDERS_RECONCILE__ARRIVAL_SECONDS"
    return [EXAMINER.fault(name, said, f"set it to {TAKEN_SECONDS:g} at least, or remove it, before you reconcile")]


def _names() -> list[Finding]:
    """ORDERS_… names that no setting has; they are ignored, so a typo goes unnoticed."""
    known = {f"{PREFIX}{name}".upper() for name in WorkerSettings.model_fields} | _PLACES
    try:
        unknown = sorted(name for name in external_settings(os.environ) if name.split("__")[0] not in known)
    except SettingsError:  # told already
        return []
    return [EXAMINER.warning(name, "is no setting and is ignored", "a typo?") for name in unknown]


def _files(environ: Mapping[str, str]) -> list[Finding]:
    """Who else may read, or write, the files that hold secrets."""
    paths: list[Path] = []
    folder, config = environ.get("ORDERS_SECRETS_DIR"), environ.get("ORDERS_CONFIG_FILE")
    try:
        if folder:
            paths += sorted(p for p in Path(folder).iterdir() if p.is_file() and p.name.upper().startswith(PREFIX))
        if config and _holds_secrets(Path(config)):
            paths.append(Path(config))
        return _permissions(paths)
    except (OSError, ValueError):  # unreadable: told already
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
