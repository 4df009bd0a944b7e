"""Checks of the withdrawal policy: its file, and whether it is the one that was applied."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from producers.redis.client import open_client
from worker.clock import SystemClock
from worker.execution.policy.applied import PolicyRecords
from worker.execution.policy.rules import Policy
from worker.operations.doctor.findings import Examiner, Finding
from worker.operations.doctor.servers import Server
from worker.operations.policy.advice import advice, withdrawing
from worker.operations.policy.service import PolicyInvalid, counting_now, loosenings, read_policy
from worker.public_keys import KeysFile
from worker.settings import WorkerSettings

EXAMINER = Examiner("withdrawal policy")
_MODE, _FILE = "mode", "file"


def check_policy_file(settings: WorkerSettings) -> list[Finding]:
    """Check mode and file, where this worker could withdraw at all."""
    mode, accounts = settings.policy.mode, withdrawing(settings.accounts)
    if not accounts:
        return []
    names = ", ".join(accounts)
    if mode == "off":
        message = f"off: whoever can send a command withdraws from {names} to any address"
        todo = "write a policy, and set ORDERS_POLICY__MODE=require; or give this worker keys that can't withdraw"
        return [EXAMINER.warning(_MODE, message, todo)]
    findings = [EXAMINER.ok(_MODE, mode)]
    if mode == "warn":
        message = "warn: what the policy does not permit is sent all the same"
        findings = [EXAMINER.warning(_MODE, message, "set ORDERS_POLICY__MODE=require when the warnings are right")]
    try:
        policy = read_policy(settings.policy_file)
    except PolicyInvalid as error:
        todo = "no worker starts with it: correct it" if mode == "require" else "correct it"
        return [*findings, EXAMINER.fault(_FILE, str(error), todo)]
    findings.append(_permissions(Path(settings.policy_file)))
    findings += _approvers(policy, settings)
    return findings + [EXAMINER.warning("rules", words) for words in advice(policy, settings.accounts)]


def _approvers(policy: Policy, settings: WorkerSettings) -> Iterator[Finding]:
    """Who approves a withdrawal must be somebody else than who has sealed it."""
    document = policy.document
    if not document.approvers:
        return
    if settings.auth.modes["withdraw"] != "require":
        message = "withdrawals need no seal, so that nobody knows whether a withdrawal's sender is its approver"
        yield EXAMINER.warning("approvers", message, "ORDERS_AUTH__WITHDRAW=require")
    producers = KeysFile(Path(settings.auth.keys_file)).current().producers if settings.auth.keys_file else {}
    owners = {key.key.to_text(): name for name, each in producers.items() for key in each.keys.values()}
    for name, text in document.approvers.items():
        if text in owners:
            message = f"{name} has the key of the producer {owners[text]}, who could approve its own withdrawals"
            yield EXAMINER.fault("approvers", message, "give the person a key: orders keygen")


def _permissions(path: Path) -> Finding:
    """Who can write a file, or replace it in its folder, decides where withdrawals go."""
    for each in (path, path.resolve().parent):
        mode = each.stat().st_mode
        sticky = stat.S_ISDIR(mode) and mode & stat.S_ISVTX
        if mode & 0o022 and not sticky:
            message = f"others may write {each} (mode {stat.S_IMODE(mode):o})"
            return EXAMINER.fault(_FILE, message, f"chmod go-w {each}")
    owner = path.stat().st_uid
    if owner not in (0, os.geteuid()):
        todo = "let root own it, or the user that runs the worker"
        return EXAMINER.warning(_FILE, f"{path} belongs to another user ({owner}), who may write it", todo)
    return EXAMINER.ok(_FILE, f"{path} is valid, and its owner's alone to write")


def check_applied_policy(ledger: Server, settings: WorkerSettings) -> list[Finding]:
    """Check what is on record, where the file is in use."""
    if settings.policy.mode == "off" or not withdrawing(settings.accounts):
        return []
    with open_client(ledger.url) as client:
        records = PolicyRecords(client).read()
    name, todo = "applied", "orders policy apply FILE --reason TEXT, and give every worker that file"
    findings = []
    if records.unreadable:
        message = f"{records.unreadable} records can't be read: they count in no worker that starts"
        findings.append(EXAMINER.fault("records", message, "find out who wrote them; apply the policy again"))
    counting = counting_now(records, SystemClock().now_ms())
    if not counting:
        return [
            *findings,
            EXAMINER.warning(name, "no policy was ever applied: a change of the file counts at once", todo),
        ]
    last, own = counting[-1].applied.policy, _sha256_of_file(settings)
    if own is None:  # a finding of its own
        findings.append(EXAMINER.ok(name, f"policy {last.sha256[:12]}"))
    elif last.sha256 != own:
        findings.append(EXAMINER.warning(name, "the file is not the applied policy: workers rule by both", todo))
    else:
        findings.append(EXAMINER.ok(name, f"the file is the applied policy, {last.sha256[:12]}"))
    later = sum(len(each.changes) for each in loosenings(counting))
    if later:
        findings.append(EXAMINER.ok("changes", f"{later} that loosen count later: orders policy show"))
    return findings


def _sha256_of_file(settings: WorkerSettings) -> str | None:
    try:
        return read_policy(settings.policy_file).sha256
    except PolicyInvalid:
        return None
