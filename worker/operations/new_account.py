"""The first settings of an account, as the text of a TOML file with a comment for each setting."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.simulator.simulator import DEMO_ACCOUNTS
from worker.venues.ccxt.exchanges import IDS
from worker.venues.registry import BUILT_IN, REGISTRY

VENUES = (*BUILT_IN, *(f"ccxt:{ccxt_id}" for ccxt_id in IDS))
"""The venues that an account can be written for with all that it needs; ccxt has others, for positions alone."""

SIMULATED = {demo.setting: demo for demo in DEMO_ACCOUNTS.values()}
"""By venue: the account that `orders simulator` has."""

_ABOUT = {
    "api_key": "names the key in each request",
    "secret_key": "signs each request; never sent itself",
    "passphrase": "chosen when the key was made; not the password of the login",
    "uid": "the account's number",
    "wallet_address": "of the wallet that trades",
    "private_key": "of that wallet",
}


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What the file is to say."""

    alias: str
    venue: str
    credentials: Mapping[str, str] = field(repr=False)
    """By name; those that are missing or empty are left to fill in."""
    account_mode: str = ""
    testnet: bool = False
    base_url: str = ""
    """The simulator's address; empty for the venue's own."""
    redis_url: str = "redis://127.0.0.1:6379"

    @property
    def to_fill_in(self) -> list[str]:
        """The names of the credentials that the venue needs and that are not given."""
        return [name for name in credentials_of(self.venue) if not self.credentials.get(name)]


def credentials_of(venue: str) -> tuple[str, ...]:
    """The names of what an account at the venue needs to sign; of an exchange that nobody has read, the usual two."""
    return REGISTRY[venue].needs.credentials or ("api_key", "secret_key")


def config_text(account: NewAccount) -> str:
    """The file's text."""
    return "\n".join([*_servers(account), "", *_account(account), "", *_further(account), ""])


def _servers(account: NewAccount) -> list[str]:
    return [
        "# Settings of workers and of the program `orders`: ORDERS_CONFIG_FILE names this file.",
        "# It holds secrets: nobody but its owner may read it (mode 0600). What is set in the environment goes first.",
        "# docs/settings.md explains every setting; `orders doctor --venues` checks them.",
        "",
        "# One server for queues, reports and the record of what was sent (databases 0, 1 and 2): Redis 6.2 or later,",
        '# or Valkey, with appendonly yes and maxmemory-policy noeviction. With TLS: "rediss://user:password@host:6380"',
        f"redis_url = {_quoted(account.redis_url)}",
    ]


def _account(account: NewAccount) -> list[str]:
    needs = REGISTRY[account.venue].needs
    lines = [
        f"# Commands name the account by this alias: orders positions --account {account.alias}",
        f"[accounts.{account.alias}]",
        f"venue = {_quoted(account.venue)}",
    ]
    if account.base_url:
        lines += ["# The simulator. Without this line the account is one at the venue itself."]
        lines += [f"base_url = {_quoted(account.base_url)}"]
    else:
        lines += [
            "# Give the key the rights to read and to trade, and to withdraw only if this account is to withdraw; and",
            "# let the venue accept it from the workers' addresses alone.",
        ]
    for name in credentials_of(account.venue):
        value = account.credentials.get(name, "")
        lines.append(f"{name} = {_quoted(value)}  # {'' if value else 'fill this in: '}{_ABOUT[name]}")
    if needs.modes:
        lines.append(f"account_mode = {_quoted(account.account_mode)}  # {' or '.join(needs.modes)}")
    if needs.testnet and not account.base_url:
        words = "the key is one of the exchange's test network"
        lines.append(f"testnet = true  # {words}" if account.testnet else f"# testnet = true  # if {words}")
    if needs.hedge:
        lines.append("# hedge_mode = true  # if the account may hold a long and a short position of one market at once")
    lines.append('# rate_limits = "50/20s 500/200s"  # in place of the limits that are known of the venue')
    return lines


def _further(account: NewAccount) -> list[str]:
    alias = "second" if account.alias != "second" else "third"
    return [
        "# Another account:",
        f"# [accounts.{alias}]",
        f"# venue = {_quoted(account.venue)}",
        "",
        "# How often, and for how long, what was proven not executed is sent again (these are the defaults):",
        "# [retry]",
        "# attempts = 5",
        "# budget_seconds = 30",
    ]


def _quoted(text: str) -> str:
    """A text as TOML writes it: a basic string, whose escapes are JSON's."""
    return json.dumps(text, ensure_ascii=False)
