"""Accounts with their limits, cool-downs and halts: what the desk's own settings know, and what the ledger knows."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.desk.views import render, services_of
from worker.ledger.halts import ANY
from worker.operations.times import duration
from worker.venues.accounts import Account

TITLE, PATH = "Accounts", "/accounts"


@dataclass(frozen=True, slots=True)
class AccountLine:
    """One account, without anything secret."""

    alias: str
    venue: str
    host: str
    limits: str
    cool_down: str
    halts: str


def show(request: Request) -> Response:
    """The accounts of the desk's settings; and cool-downs and halts of others."""
    services = services_of(request)
    cool_downs, halts = services.parked.cool_downs(), services.operator.halts()
    stopped = {
        alias: f"{duration(each.stored.left_ms)} left: {each.stored.why}"
        for each in cool_downs
        for alias in each.accounts
    }
    halted: dict[str, list[str]] = {}
    for scope, _ in halts:
        halted.setdefault(scope.account, []).append(scope.in_words())
    lines = [_line(account, stopped, halted) for _, account in sorted(services.accounts.items())]
    others = [each for each in cool_downs if not each.accounts]
    return render(request, "accounts.html", title=TITLE, accounts=lines, others=others, every=halted.get(ANY, []))


def _line(account: Account, stopped: dict[str, str], halted: dict[str, list[str]]) -> AccountLine:
    limits = ", ".join(str(each) for each in account.rate_limits)
    return AccountLine(
        account.alias,
        account.venue + (" (test network)" if account.testnet else ""),
        account.host,
        limits or "none",
        stopped.get(account.alias, ""),
        "; ".join(halted.get(account.alias, [])),
    )


routes = [Route(PATH, show, methods=["GET"])]
