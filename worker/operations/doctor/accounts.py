"""The doctor's look at the accounts' keys, when it is asked to: one read at the venue with each.

The read is the one of `orders positions`, made by the venue's own adapter. It changes nothing there; its answer proves
no more than it says, and a venue that wants no signature on a read tells nothing of the secret.
"""

import time
from dataclasses import replace

from producers.commands import Positions
from worker.operations.doctor.findings import Check, Examiner, Finding
from worker.operations.doctor.venues import closed
from worker.settings import VENUES, WorkerSettings
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Proof, Venue
from worker.venues.freshness import distrust_if_stale
from worker.venues.http.base import HttpLimits, NoResponse, SignedRequest
from worker.venues.http.transport import Transport
from worker.venues.redaction import redact_response, secrets_of

EXAMINER = Examiner("venues")
LIMITS = HttpLimits(1.5, 2.5)
"""Seconds to connect and for the whole answer; together less than a check may take."""
CONTRACT = 101
"""A contract that Bit-Z's pages name, for venues that show positions of one contract alone."""


def key_checks(settings: WorkerSettings, *, wanted: bool) -> list[Check]:
    """One check for each account; or one that says how to have them."""
    if not wanted:
        said = EXAMINER.ok("keys", "not tried; orders doctor --venues makes one read with each account's key")
        return [Check("venues", "keys", lambda: [said])] if settings.accounts else []
    asked = [each for each in settings.account_map().values() if not closed(each.venue, each.base_url)]
    ca_file = settings.http.ca_file or None
    return [Check("venues", f"key of {each.alias}", lambda a=each: [check_key(a, ca_file)]) for each in asked]  # type: ignore[misc]


def check_key(account: Account, ca_file: str | None = None) -> Finding:
    """What the venue says to one read with this account's key. Nothing of a key or a signature is in the finding."""
    name, venue = f"key of {account.alias}", VENUES[account.venue]
    command = _read(venue, account.alias)
    if command is None:
        return EXAMINER.warning(name, f"{account.venue} has no read that could be tried")
    made: list[SignedRequest] = []

    def prepare() -> SignedRequest:
        made.append(venue.request(command, account, _now_ms()))
        return made[-1]

    transport = Transport(LIMITS, ca_file)
    try:
        answer = transport.send(account.base_url, prepare)
    except OSError:
        return EXAMINER.warning(name, "can't be tried: ORDERS_HTTP__CA_FILE can't be read")
    finally:
        transport.close()
    if isinstance(answer, NoResponse):
        return EXAMINER.warning(name, f"can't be tried: {answer.message}", "see whether the venue is reached")
    answer = redact_response(answer, secrets_of(made[-1], account))
    verdict = distrust_if_stale(None, venue.judge(command, answer), answer)
    if verdict.proof is Proof.EXECUTED:
        return EXAMINER.ok(name, f"a read with it is answered: {_told_of_secret(venue, command, account)}")
    if verdict.proof is Proof.REFUSED or answer.status in (401, 403):
        prefix = f"ORDERS_ACCOUNTS__{account.alias.upper()}__"
        advice = f"check {prefix}API_KEY and {prefix}SECRET_KEY, the key's rights, and the addresses it is allowed from"
        return EXAMINER.fault(name, f"a read with it is refused ({answer.status}): {verdict.message}", advice)
    return EXAMINER.warning(name, f"the answer to a read tells nothing of it ({answer.status}): {verdict.message}")


def _read(venue: Venue, alias: str) -> Positions | None:
    tried = (Positions(account=alias), Positions(account=alias, contract_id=CONTRACT))
    if Positions.name not in venue.commands:
        return None
    return next((each for each in tried if venue.unsupported(each) is None), None)


def _told_of_secret(venue: Venue, command: Positions, account: Account) -> str:
    """Whether the read depends on the secret at all."""
    other = replace(account, credentials=Credentials(account.credentials.api_key, "another-secret"))
    now = _now_ms()
    first, second = (venue.request(command, each, now) for each in (account, other))
    if (first.headers, first.body) == (second.headers, second.body):
        return "the key is known there. It needs no signature, so it says nothing of the secret"
    return "key and secret are right"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
