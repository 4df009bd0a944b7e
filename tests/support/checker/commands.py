"""Commands as they were sent, and what tells each from all others at its venue.

At Everstrike that is its arguments, at an exchange its client order id, which is computed here anew. Nothing of the
product is imported but the simulator's names of its accounts.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from worker.simulator.simulator import DEMO_BITZ_KEY, DEMO_BITZ_SECRET, DEMO_EVERSTRIKE_KEY, DEMO_EVERSTRIKE_SECRET

KEYS = {
    "main": DEMO_EVERSTRIKE_KEY,
    **{f"desk-{number}": f"faults-key-{number}-{'k' * 39}" for number in range(1, 4)},
}
"""API keys of the accounts at Everstrike. Most are as long as real ones, so that an answer that echoes a key is cut
within it by whoever cuts before redacting."""
EXCHANGE_KEYS = {alias: f"{alias}-key-{'k' * 45}" for alias in ("kraken-1", "kraken-2", "okx-1")}
"""API keys of the accounts at exchanges with client order ids."""
EXCHANGE_SECRET = base64.b64encode(b"faults-exchange-secret").decode()
PASSPHRASE = "faults-passphrase"
KRAKEN, OKX = "ccxt:krakenfutures", "ccxt:okx"
VENUES = {
    **dict.fromkeys(KEYS, "everstrike"),
    "bz": "bitz",
    **{alias: KRAKEN if alias.startswith("kraken") else OKX for alias in EXCHANGE_KEYS},
}
ALL_KEYS = {**KEYS, "bz": DEMO_BITZ_KEY, **EXCHANGE_KEYS}
ORDERS, CANCELS = ("close", "submit"), ("cancel",)
EXCHANGE_PATHS = {
    # By venue: the paths that change something, for which commands, and the field that names the command.
    KRAKEN: {
        "/derivatives/api/v3/sendorder": (ORDERS, "cliOrdId"),
        "/derivatives/api/v3/cancelorder": (CANCELS, "order_id"),
    },
    OKX: {"/api/v5/trade/order": (ORDERS, "clOrdId"), "/api/v5/trade/cancel-order": (CANCELS, "ordId")},
}
PATHS = {
    **{("everstrike", kind): f"/auth/{kind}" for kind in ("close", "cancel", "withdraw")},
    **{
        (venue, kind): path
        for venue, paths in EXCHANGE_PATHS.items()
        for path, (kinds, _) in paths.items()
        for kind in kinds
    },
}
"""Where a command is sent to, by POST."""
NAMED_BY = {path: name for paths in EXCHANGE_PATHS.values() for path, (_, name) in paths.items()}
SECRETS = tuple(
    secret[:12]
    for secret in (*ALL_KEYS.values(), DEMO_EVERSTRIKE_SECRET, DEMO_BITZ_SECRET, EXCHANGE_SECRET, PASSPHRASE)
)
"""How the keys begin: the beginning of a key that was cut is a secret still."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A command as it was sent."""

    command_id: str
    task: str
    kwargs: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The command's name."""
        return self.task.removeprefix("orders.")

    @property
    def account(self) -> str:
        """The account's alias, as the contract normalises it."""
        return str(self.kwargs["account"]).lower()

    @property
    def repeatable(self) -> bool:
        """Whether the contract lets it be sent again after an attempt of unknown fate."""
        if self.kind == "close":
            return not {"qty", "price", "trigger_price"} & self.kwargs.keys()
        return self.kind in {"cancel", "positions"}


def handle_of(command: Sent, exchange_url: str) -> str:
    """The client order id of a command at an exchange: 128 bits of the SHA-256 of the account's digest and its id."""
    place = "\n".join((VENUES[command.account], exchange_url, ALL_KEYS[command.account]))
    digest = hashlib.sha256(place.encode()).hexdigest()[:16]
    return hashlib.sha256(f"{digest}\n{command.command_id}".encode()).digest()[:16].hex()


def name_of(sent: Sent, exchange_url: str) -> tuple[Any, ...]:
    """What tells a command from all others, by what it was sent with."""
    path = PATHS[VENUES[sent.account], sent.kind]
    if path not in NAMED_BY:
        return name_at_venue(path, sent.kwargs, "order_id")
    return path, sent.kwargs["order_id"] if sent.kind == "cancel" else handle_of(sent, exchange_url)


def name_at_venue(path: str, fields: Mapping[str, Any], order_field: str) -> tuple[Any, ...]:
    """What tells one command from all others, in the venue's record of it as in its arguments."""
    if path in NAMED_BY:
        return path, fields.get(NAMED_BY[path])
    match path:
        case "/auth/withdraw":
            return path, fields["asset"], number_of(fields["qty"]), fields["address"]
        case "/auth/cancel":
            return path, fields[order_field]
    return path, fields["pair"], number_of(fields.get("qty")), number_of(fields.get("price"))


def number_of(value: Any) -> Decimal | None:
    """An amount, however it was written."""
    return None if value is None else Decimal(repr(value) if isinstance(value, float) else str(value))


def fingerprint_of(command: Sent) -> str:
    """As the contract says to make it: normalised arguments as canonical JSON."""
    arguments = {**command.kwargs, "account": command.account}
    for name in {"qty", "price"} & arguments.keys():
        text = format(number_of(arguments[name]) or Decimal(0), "f")
        arguments[name] = text.rstrip("0").rstrip(".") if "." in text else text
    canonical = json.dumps([command.task, arguments], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
