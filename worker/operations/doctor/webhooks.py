"""Checks of the webhooks: whether each receiver is reachable, how far its clock is from this machine's, and whether
anything was given up. The form of the secrets is checked with the settings."""

from email.utils import parsedate_to_datetime

from producers.redis.client import open_client
from worker.clock import SystemClock
from worker.ledger.webhooks import states
from worker.operations.doctor.findings import Check, Examiner, Finding
from worker.settings import WorkerSettings
from worker.venues.http.base import HttpLimits, NoResponse, SignedRequest
from worker.venues.http.transport import Transport
from worker.webhook_settings import WebhookSettings

EXAMINER = Examiner("webhooks")
SECONDS = 2.0
"""For connecting, and for the answer."""
WARN_SECONDS, REFUSED_SECONDS = 30, 300
"""Receivers usually refuse a signature that is more than five minutes old, or as much ahead."""


def webhook_checks(settings: WorkerSettings) -> list[Check]:
    """One check for each webhook. A GET without a signature is sent, which a receiver answers with any status."""
    return [
        Check("webhooks", name, lambda name=name, own=own: [check_receiver(name, own)])  # type: ignore[misc]
        for name, own in sorted(settings.webhooks.items())
    ]


def check_receiver(name: str, settings: WebhookSettings) -> Finding:
    """Whether the receiver answers, and its clock, by the ``Date`` of its answer."""
    where, url = settings.shown_address, settings.address
    transport = Transport(HttpLimits(connect_timeout=SECONDS, read_timeout=SECONDS), settings.ca_file or None)
    answer = transport.send(url, lambda: SignedRequest("GET", url, {}))
    transport.close()
    if isinstance(answer, NoResponse):
        advice = "reports are tried for a day: start the receiver, or correct the URL, its certificate or CA_FILE"
        return EXAMINER.fault(name, f"{where}: {answer.message.replace('the venue', 'the receiver')}", advice)
    try:
        offset = SystemClock().now_ms() / 1000 - parsedate_to_datetime(answer.date).timestamp() - 0.5
    except (ValueError, TypeError, OverflowError):
        return EXAMINER.ok(name, f"{where} answers HTTP {answer.status}, and does not state its time")
    said = f"{where} answers HTTP {answer.status}, its clock is {-offset:+.0f} s from this machine's"
    if abs(offset) >= REFUSED_SECONDS:
        return EXAMINER.fault(name, f"{said}: it will refuse every signature as too old", "let NTP set both clocks")
    if abs(offset) >= WARN_SECONDS:
        return EXAMINER.warning(name, said, "let NTP set both clocks")
    return EXAMINER.ok(name, said)


def check_webhook_queues(settings: WorkerSettings) -> list[Finding]:
    """What the ledger keeps for the webhooks that are configured here."""
    findings = []
    with open_client(settings.ledger_url) as client:
        found = states(client, sorted(settings.webhooks))
    for name, state in found.items():
        title = f"{name} queue"
        if state.missed:
            advice = "raise ORDERS_LEDGER__JOURNAL_LINES, or keep a worker running; what ended is in `orders list`"
            findings.append(EXAMINER.warning(title, f"{state.missed} journal entries were trimmed unread", advice))
        if state.dead:
            advice = f"orders webhooks {name} says why; --resend-dead sends them again"
            findings.append(EXAMINER.warning(title, f"{state.dead} reports were given up", advice))
        if not state.missed and not state.dead:
            findings.append(EXAMINER.ok(title, f"{state.waiting} reports wait"))
    return findings
