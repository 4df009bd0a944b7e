"""Which responses ask for no further requests for some time.

What such a response proves about the command is another matter: a 429 proves that nothing was executed, and a 418 alone
proves nothing.
"""

from dataclasses import replace

from worker.venues.base import Overload, Proof, Verdict

BANNED = 418
"""With this status exchanges ban the address that has ignored their 429, Binance for example (developers.binance.com,
"Limits": "an automated IP ban (HTTP status 418)"). No venue here documents it; whoever sends it means the address."""


def with_overload(verdict: Verdict, scope: Overload, *, listed: bool = False) -> Verdict:
    """The verdict, which says for whom a cool-down begins if its response asks for one.

    It does by status 429 or 418, whoever answers: the venue, or a rate limit in front of it; by ``Retry-After`` in any
    response that is no success; or because it is ``listed`` as an overload.

    Args:
        verdict: what the response proves, with its status and its ``Retry-After``.
        scope: for whom the venue limits the rate of requests.
        listed: whether the venue documents the response as an overload.
    """
    if verdict.proof is Proof.EXECUTED:
        return verdict
    if verdict.http_status == BANNED:
        return replace(verdict, overload=Overload.ADDRESS)
    # `Retry-After: 0` asks for nothing.
    return replace(verdict, overload=scope) if listed or verdict.http_status == 429 or verdict.retry_after else verdict
