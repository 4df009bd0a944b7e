"""Runs all checks of `orders doctor`. They change nothing, and each round has a time limit.

The servers' reachability is checked first, so that a server that is down is one finding and not a dozen.
"""

from collections.abc import Sequence
from functools import partial

from producers.cli.settings import check_urls
from worker.operations.doctor import queues as doctor_queues
from worker.operations.doctor import servers as doctor_servers
from worker.operations.doctor.accounts import key_checks
from worker.operations.doctor.exchanges import exchange_checks
from worker.operations.doctor.findings import CHECK_SECONDS, Check, Examiner, Finding, run_checks
from worker.operations.doctor.ledger import check_last_step, check_ledger, check_replicas
from worker.operations.doctor.policy import check_applied_policy, check_policy_file
from worker.operations.doctor.rights import check_rights
from worker.operations.doctor.seals import check_seals
from worker.operations.doctor.settings import check_settings
from worker.operations.doctor.venues import venue_checks
from worker.operations.doctor.waiting import check_cool_downs, check_parked, check_rate_limits
from worker.operations.doctor.webhooks import check_webhook_queues, webhook_checks
from worker.settings import LedgerSettings, WorkerSettings, load

VENUES_SECONDS = 20.0
"""Time limit of a check when keys and lists of markets are read."""
_NEEDS = {"broker": ("queues", "workers"), "ledger": ("ledger",)}
"""Groups of checks that need a server, by the server's role."""


def diagnose(*, venues: bool = False) -> list[Finding]:
    """All findings, by group, within about 10 s. With ``venues`` each account's key is tested as well, and lists of
    markets are read, within about 25 s."""
    settings, queues, findings = check_settings()
    findings += [*check_rate_limits(settings), *check_seals(settings)] if settings else []
    if queues is None:
        return findings
    servers = doctor_servers.servers(queues)
    pings = _pings(servers)
    findings += run_checks(pings)
    reachable = {s.role: s for s, ping in zip(servers, pings, strict=True) if ping.findings[0].level == "ok"}
    at_venues = _venue_checks(settings, wanted=venues) if settings else []
    seconds = VENUES_SECONDS if venues else CHECK_SECONDS
    findings += run_checks(
        _server_checks(reachable, producer=not (settings and settings.accounts)) + at_venues, seconds
    )
    findings += run_checks(_role_checks(reachable, settings) + _policy_checks(reachable, settings))
    skipped = [(role, group) for role, groups in _NEEDS.items() if role not in reachable for group in groups]
    return findings + [Examiner(group).warning(group, f"not checked: no {role}") for role, group in skipped]


def _pings(servers: Sequence[doctor_servers.Server]) -> list[Check]:
    return [Check("servers", s.role, lambda s=s: doctor_servers.check_reachable(s)) for s in servers]  # type: ignore[misc]


def first_findings() -> list[Finding]:
    """What a new file of settings is checked for, within about 25 s: whether its settings can be used, whether the
    servers and the venues answer, and whether each account's key does."""
    settings, _, findings = check_settings()
    if settings is None:
        return findings
    checks = _pings(doctor_servers.servers(settings)) + _venue_checks(settings, wanted=True)
    return findings + run_checks(checks, VENUES_SECONDS)


def _venue_checks(settings: WorkerSettings, *, wanted: bool) -> list[Check]:
    return [
        *venue_checks(settings),
        *key_checks(settings, wanted=wanted),
        *exchange_checks(settings, wanted=wanted),
        *webhook_checks(settings),
    ]


def _server_checks(reachable: dict[str, doctor_servers.Server], *, producer: bool) -> list[Check]:
    """The checks of each server, whatever number of roles it has. Its login is a ``producer``'s where no account is
    configured."""
    by_address: dict[str, list[doctor_servers.Server]] = {}
    for server in reachable.values():
        by_address.setdefault(server.address, []).append(server)
    checks = []
    for shared in by_address.values():
        roles = [server.role for server in shared]
        name, server = "+".join(roles), shared[0]
        checks += [
            Check("servers", name, partial(doctor_servers.check_server, roles, server)),
            Check("servers", f"{name} rights", partial(check_rights, roles, server, producer=producer)),
        ]
    return checks


def _role_checks(reachable: dict[str, doctor_servers.Server], settings: WorkerSettings | None) -> list[Check]:
    checks = []
    if broker := reachable.get("broker"):
        checks += [
            Check("queues", "queues", lambda: doctor_queues.check_queues(broker)),
            Check("queues", "parked", lambda: check_parked(broker)),
            Check("queues", "held by workers", lambda: doctor_queues.check_unacked(broker, settings)),
            Check("workers", "workers", lambda: doctor_queues.check_workers(broker)),
        ]
        if settings:
            checks.append(Check("workers", "redelivery", lambda: doctor_queues.check_visibility(broker, settings)))
    if ledger := reachable.get("ledger"):
        own = settings.ledger if settings else LedgerSettings()
        checks.append(Check("ledger", "ledger", lambda: check_ledger(ledger, own)))
        checks.append(Check("ledger", "cool-downs", lambda: check_cool_downs(ledger, settings)))
        checks.append(Check("ledger", "replicas", lambda: check_replicas(ledger, own)))
        if settings and settings.webhooks:
            checks.append(Check("webhooks", "queues", lambda: check_webhook_queues(settings)))
        if settings and settings.accounts:
            checks.append(Check("ledger", "a command's end", lambda: check_last_step(settings)))
    return checks


def _policy_checks(reachable: dict[str, doctor_servers.Server], settings: WorkerSettings | None) -> list[Check]:
    if settings is None:
        return []
    checks = [Check("withdrawal policy", "file", lambda: check_policy_file(settings))]
    if ledger := reachable.get("ledger"):
        checks.append(Check("withdrawal policy", "applied", lambda: check_applied_policy(ledger, settings)))
    return checks


def preflight() -> list[str]:
    """What is wrong for a worker that starts now, one sentence each, within about 5 s.

    Raises:
        SettingsError: the settings are invalid, so a worker would not start.
    """
    settings = load()
    check_urls(settings)
    found = run_checks(_pings(doctor_servers.servers(settings)))
    return [f"{f.name} {f.message}. Starting anyway: Celery keeps trying to connect" for f in found if f.level != "ok"]
