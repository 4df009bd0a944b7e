"""What a valid withdrawal policy probably does not mean: warnings for whoever wrote it."""

from collections.abc import Iterator, Mapping

from producers.commands import Withdraw
from worker.account_settings import AccountSettings
from worker.execution.policy.document import AccountRules, Destination
from worker.execution.policy.rules import Policy
from worker.venues.base import Venue
from worker.venues.registry import VENUES


def withdrawing(accounts: Mapping[str, AccountSettings]) -> list[str]:
    """The aliases of the accounts at venues where a worker can withdraw."""
    return sorted(alias for alias, each in accounts.items() if Withdraw.name in VENUES[each.venue].commands)


def advice(policy: Policy, accounts: Mapping[str, AccountSettings]) -> list[str]:
    """Warnings, a sentence each. ``accounts`` are those of this machine's settings; none where there are no keys."""
    found = []
    for alias, rules in policy.document.withdrawals.items():
        if accounts and alias.lower() not in accounts:
            found.append(f"{alias}: the account is not configured here")
        account = accounts.get(alias.lower())
        venue = VENUES[account.venue] if account else None
        found += [f"{alias}: {words}" for words in _about_account(rules, venue)]
    missing = [alias for alias in withdrawing(accounts) if not policy.has_account(alias)]
    found += [
        f"{alias}: there is no section for this account, so all of its withdrawals are denied" for alias in missing
    ]
    return found + _one_account_twice(accounts)


def unchecked(policy: Policy, accounts: Mapping[str, AccountSettings]) -> list[str]:
    """What no policy can check at the venues of its accounts, for whoever relies on this one."""
    found = []
    for alias in withdrawing(accounts):
        missing = _not_taken(accounts[alias]) if policy.has_account(alias) else ()
        if missing:
            what = " and no ".join(missing)
            found.append(f"{alias}: withdrawals have no {what}: the venue chooses, and no policy can check it")
    return found


def _not_taken(account: AccountSettings) -> tuple[str, ...]:
    """What a withdrawal at the account's venue can't name, of network and tag."""
    refused = VENUES[account.venue].unsupported
    example = Withdraw(account="a", asset="A", qty=1, address="a")
    if refused(example):
        return ()
    return tuple(name for name in ("network", "tag") if refused(example.model_copy(update={name: "a"})))


def _about_account(rules: AccountRules, venue: Venue | None) -> Iterator[str]:
    limited = {each.asset.upper() for each in rules.limit}
    listed = {each.asset.upper() for each in rules.to}
    if not rules.limit:
        yield "there is no limit: any number of withdrawals may follow one another"
    for asset in sorted(listed - limited if limited else ()):
        yield f"there is no limit for {asset}"
    if rules.unlisted == "deny":
        for asset in sorted(limited - listed):
            yield f"the limit for {asset} limits nothing: no entry permits that asset"
    else:
        yield "a destination that is not listed needs approvals only: assets without a limit have none there either"
    for entry in rules.to:
        yield from (f"to {entry.name}: {words}" for words in _about_destination(entry, rules, venue))


def _about_destination(entry: Destination, rules: AccountRules, venue: Venue | None) -> Iterator[str]:
    if venue is not None:
        where = {"network": entry.network, "tag": entry.tag}
        example = Withdraw(account="a", asset=entry.asset, qty=1, address=entry.address).model_copy(update=where)
        if words := venue.unsupported(example):
            yield f"nothing that can be sent matches it: {words}"
    if entry.approve_above is not None and entry.max is not None and entry.approve_above >= entry.max:
        yield "approve_above is not below max, so that nobody is ever asked"
    totals = [
        each.total for each in rules.limit if each.asset.upper() == entry.asset.upper() and each.total is not None
    ]
    if entry.max is not None and totals and entry.max > min(totals):
        yield "max is more than the limit for the asset permits in all"


def _one_account_twice(accounts: Mapping[str, AccountSettings]) -> list[str]:
    """Aliases of one account at a venue: each has limits of its own."""
    by_key: dict[tuple[str, str], list[str]] = {}
    for alias in withdrawing(accounts):
        key = accounts[alias].venue, accounts[alias].api_key.get_secret_value()
        by_key.setdefault(key, []).append(alias)
    return [
        f"{' and '.join(aliases)}: they have one key, and limits count for each alias by itself"
        for aliases in by_key.values()
        if len(aliases) > 1
    ]
