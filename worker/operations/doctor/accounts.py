"""Checks of the accounts' keys, on demand: one read at the venue with each key.

The read is that of `orders positions`, made by the venue's adapter, and changes nothing. At a venue that requires no
signature for reads it proves nothing about the secret.
"""

import time
from dataclasses import replace

from producers.commands import Positions
from worker.operations.doctor.findings import Check, Examiner, Finding
from worker.operations.doctor.key_advice import key_advice
from worker.operations.doctor.venues import closed
from worker.settings import WorkerSettings
from worker.venues.accounts import Account
from worker.venues.base import Plan, PlanFailed, PlanRefused, Proof, Venue
from worker.venues.http.base import HttpLimits, NoResponse, SignedRequest
from worker.venues.http.transport import Transport
from worker.venues.registry import VENUES, account_of
from worker.venues.response_freshness import distrust_if_stale
from worker.venues.response_redaction import redact_response, secrets_of

EXAMINER = Examiner("venues")
_LIMITS = HttpLimits(1.5, 2.5)
"""Seconds to connect and for the whole response; together less than the time limit of a check."""
SOME_BASE64 = "YW5vdGhlciBzZWNyZXQ="
"""A secret that is nobody's; those of some exchanges are in base64."""
EXAMPLE_CONTRACT_ID = 101
"""A contract from Bit-Z's documentation, for venues that show the positions of one contract only."""


def key_checks(settings: WorkerSettings, *, wanted: bool) -> list[Check]:
    """One check for each account, or a finding that says how to request them."""
    if not wanted:
        finding = EXAMINER.ok("keys", "not tested; orders doctor --venues makes one read with each account's key")
        return [Check("venues", "keys", lambda: [finding])] if settings.accounts else []
    accounts = [account_of(alias, config) for alias, config in settings.accounts.items()]
    open_venues = [each for each in accounts if not closed(each.venue, each.base_url)]
    ca_file = settings.http.ca_file or None
    return [Check("venues", f"key of {each.alias}", lambda a=each: [check_key(a, ca_file)]) for each in open_venues]  # type: ignore[misc]


def check_key(account: Account, ca_file: str | None = None) -> Finding:
    """Make one read with the account's key. The finding contains nothing of the key or the signature."""
    name, venue = f"key of {account.alias}", VENUES[account.venue]
    command = _read(venue, account.alias)
    if command is None:
        return EXAMINER.warning(name, f"{account.venue} has no read to test it with")
    requests: list[SignedRequest] = []
    transport = Transport(_LIMITS, ca_file)
    try:
        plan = venue.plan(command, "doctor", account, transport.send)

        def prepare() -> SignedRequest:
            requests.append(venue.request(plan, _now_ms()))
            return requests[-1]

        response = transport.send(plan.base_url or account.base_url, prepare)
    except (PlanRefused, PlanFailed) as error:
        return EXAMINER.warning(name, f"can't be tested: {error}", "check the account's settings, and the network")
    except OSError:
        return EXAMINER.warning(name, "can't be tested: ORDERS_HTTP__CA_FILE can't be read")
    finally:
        transport.close()
    if isinstance(response, NoResponse):
        return EXAMINER.warning(name, f"can't be tested: {response.message}", "check whether the venue is reachable")
    response = redact_response(response, secrets_of(requests[-1], account))
    verdict = distrust_if_stale(None, venue.judge(plan, response), response)
    if verdict.proof is Proof.EXECUTED:
        return EXAMINER.ok(name, f"a read with it succeeds: {_proof_of_secret(venue, plan)}")
    if verdict.proof is Proof.REFUSED or response.status in (401, 403):
        advice = key_advice(verdict.message, f"ORDERS_ACCOUNTS__{account.alias.upper()}__")
        return EXAMINER.fault(name, f"a read with it is refused ({response.status}): {verdict.message}", advice)
    return EXAMINER.warning(
        name, f"the response to a read proves nothing about it ({response.status}): {verdict.message}"
    )


def _read(venue: Venue, alias: str) -> Positions | None:
    candidates = (Positions(account=alias), Positions(account=alias, contract_id=EXAMPLE_CONTRACT_ID))
    if Positions.name not in venue.commands:
        return None
    return next((each for each in candidates if venue.unsupported(each) is None), None)


def _proof_of_secret(venue: Venue, plan: Plan) -> str:
    """What the accepted read proves: whether it depends on the secret at all."""
    keys = replace(plan.account.credentials, secret_key=SOME_BASE64)
    other = replace(plan, account=replace(plan.account, credentials=keys))
    now = _now_ms()
    first, second = (venue.request(each, now) for each in (plan, other))
    if (first.headers, first.body, first.url) == (second.headers, second.body, second.url):
        return "the venue knows the key. It needs no signature, so nothing is proven about the secret"
    return "key and secret are right. Whether the key may trade or withdraw, a read does not show"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
