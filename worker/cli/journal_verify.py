"""`orders journal --verify`: what it reads, and what it prints."""

import time
from collections import deque
from pathlib import Path
from typing import Any

import typer

from producers.cli.exit_codes import ExitCode
from producers.cli.output import emit, failure, when
from producers.redis.client import open_client
from producers.signing import PublicKey, SigningError
from worker.ledger.raw_journal import RawJournal
from worker.operations.archive.compare import compare
from worker.operations.archive.findings import Finding, Findings
from worker.operations.archive.verify import ArchiveVerifier, Points, order, read_checkpoints
from worker.operations.archive.verify_stream import verify_stream
from worker.settings import WorkerSettings

WHERE = "orders journal"


def usage_problem(
    archive: Path | None, checkpoints: Path | None, key: str | None, start: str | None, *, verify: bool, shows: bool
) -> str:
    """What is wrong with the options; empty if nothing is. ``shows``: there is one that says which entries to show."""
    if verify and shows:
        return "--verify verifies every entry: omit ID and --follow, and name the first one with --from"
    if not verify and (archive or checkpoints or key or start):
        return "--archive, --checkpoints, --checkpoint-key and --from need --verify"
    if checkpoints and not (archive and key):
        return "--checkpoints needs --archive and --checkpoint-key"
    if key and not checkpoints:
        return "--checkpoint-key needs --checkpoints"
    if start and order(start.encode()) == (0, 0):
        return "--from must be an entry's position, such as 1795678901234-0"
    return ""


def verify(
    settings: WorkerSettings,
    archive: Path | None,
    checkpoints: Path | None,
    key: str | None,
    start: str | None,
    *,
    as_json: bool,
) -> typer.Exit:
    """Verify the journal, print what was found, and return the exit to raise.

    Raises:
        LedgerUnavailable: the server can't be read.
    """
    findings, position = Findings(), (start or "").encode()
    try:
        points = _points(checkpoints, key, findings)
        archived = None
        if archive is not None:
            # Before the stream: what it has, the server must have had by then.
            archived = ArchiveVerifier(archive, findings, points, start=position)
            archived.verify()
        with open_client(settings.ledger_url, decode_responses=False) as client:
            lines = settings.ledger.journal_lines
            stream = verify_stream(RawJournal(client), findings, start=position, journal_lines=lines)
            if archived is None:
                deque(stream, maxlen=0)
            else:
                compare(stream, archived, findings, now_ms=time.time_ns() // 1_000_000, start=position)
    except SigningError as error:
        raise failure(f"--checkpoint-key: {error}", "Usage", where=WHERE, as_json=as_json) from None
    except OSError as error:
        message = f"{error.filename}: {error.strerror}"
        raise failure(message, "Usage", where=WHERE, as_json=as_json) from None
    if as_json:
        emit(_document(findings))
    else:
        _print(findings, archived is not None, points is not None)
    return typer.Exit(ExitCode.FAILED if findings.tampered else ExitCode.ACCEPTED)


def _points(path: Path | None, key: str | None, findings: Findings) -> Points | None:
    return read_checkpoints(path, PublicKey.from_text(key), findings) if path and key else None


def _document(findings: Findings) -> dict[str, Any]:
    return {
        "ok": not findings.tampered,
        "tampered": findings.tampered,
        "entries": findings.entries,
        "before_chain": findings.before_chain,
        "first": findings.first,
        "last": findings.last,
        "archived": findings.archived,
        "compared": findings.compared,
        "checkpoints": findings.checkpoints,
        "findings": [_finding(each) for each in findings.found],
        "not_listed": findings.untold,
    }


def _finding(each: Finding) -> dict[str, Any]:
    return {
        "layer": each.layer,
        "tampered": each.tampered,
        "text": each.text,
        "position": each.position or None,
        "file": each.file or None,
    }


def _print(findings: Findings, with_archive: bool, with_checkpoints: bool) -> None:
    span = f", {_at(findings.first)} to {_at(findings.last)}" if findings.last else ""
    print(f"At the server: {findings.entries} entries{span}.")
    if findings.before_chain:
        print(f"{findings.before_chain} of them are from before the chain began and can't be verified.")
    if with_archive:
        print(f"In the archive: {findings.archived} entries; {findings.compared} are the same at the server.")
    if with_checkpoints:
        print(f"Checkpoints: {findings.checkpoints}.")
    for each in findings.found:
        where = ", ".join(part for part in (each.file, _at(each.position)) if part)
        print(f"{'TAMPERED' if each.tampered else 'note'}  {each.layer}: {each.text}{f' [{where}]' if where else ''}")
    for layer, count in findings.untold.items():
        print(f"          {layer}: {count} more")
    if findings.tampered:
        print(f"\nSigns of tampering: {findings.tampered}. See docs/runbook.md, The journal does not verify.")
    else:
        print("No sign of tampering.")


def _at(position: str) -> str:
    if not position:
        return ""
    return f"{position} ({when(order(position.encode())[0])})"
