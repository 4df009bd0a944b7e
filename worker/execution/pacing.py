"""How fast commands are sent: under which limits of its venue one begins, and what a response says about those that
follow."""

from producers.commands import Cancel, Close, Command
from worker.ledger.pacing import CoolDown, Pace, Urgency
from worker.venues.accounts import Account
from worker.venues.base import Overload, Venue, Verdict

URGENCIES = {Cancel.name: Urgency.CANCEL, Close.name: Urgency.CLOSE}


def pace_of(command: Command, account: Account, venue: Venue) -> Pace:
    """Under which rate limits and cool-downs the command begins. Cool-downs hold for every account."""
    return Pace(
        account.bucket,
        account.host,
        account.rate_limits,
        URGENCIES.get(command.name, Urgency.OTHER),
        passes_cool_down=command.name in venue.passes_cool_down,
    )


def cool_down_after(verdict: Verdict) -> CoolDown | None:
    """What a response says about the attempts that follow, in words that quote nothing of it: other commands' reports
    and accounts are told them."""
    if verdict.overload is None:
        return None
    return CoolDown(verdict.retry_after, verdict.overload is Overload.ADDRESS, verdict.overload_words)


NO_ANSWER = CoolDown(None, by_address=None, why="nothing came back that shows whether the venue answers again")
"""After a probe without a response: it has shown nothing, and the next one waits longer."""
