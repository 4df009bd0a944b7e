"""Withdrawals and currencies of the simulated OKX.

www.okx.com/docs-v5/en, #funding-account-rest-api-withdrawal: the client id is not used twice (58404), and a withdrawal
is refused as a whole, by a code in the envelope. Which code stands for which mistake is partly inferred (I). A
withdrawal waits (state 0) until a test changes it.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from worker.simulator.accounts import Balance, Holdings
from worker.simulator.derivatives import CoinWithdrawal, put_bounded
from worker.simulator.venues.matching import is_multiple

CHAINS: Mapping[str, tuple[tuple[str, str, int], ...]] = {
    "USDT": (("USDT-ERC20", "3.2", 6), ("USDT-TRC20", "1.5", 6)),
    "BTC": (("BTC-Bitcoin", "0.0001", 8),),
    "XRP": (("XRP-Ripple", "0.1", 6),),
}
"""For each currency its chains, the first of which is the main one: name, fee, and decimal places of an amount."""

_FIELDS = frozenset({"ccy", "amt", "dest", "toAddr", "chain", "clientId", "fee", "rcvrInfo", "areaCode"})
_DECIMAL = re.compile(r"[0-9]{1,30}(\.[0-9]{1,18})?")
_CLIENT_ID = re.compile(r"[0-9A-Za-z]{1,32}")


class WithdrawalRefused(Exception):
    """Raised for a withdrawal that is not accepted."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(code)
        self.code = code
        self.words = words


def currency_views() -> list[dict[str, object]]:
    """The `data` of asset/currencies."""
    return [
        {
            "ccy": asset,
            "name": asset,
            "chain": chain,
            "canDep": True,
            "canInternal": True,
            "canWd": True,
            "fee": fee,
            "minFee": fee,
            "maxFee": fee,
            "mainNet": chain == chains[0][0],
            "minWd": "0.001",
            "maxWd": "8852150",
            "minDep": "0.001",
            "needTag": asset == "XRP",
            "wdTickSz": str(places),
            "wdQuota": "10000000",
            "usedWdQuota": "0",
            "logoLink": "",
        }
        for asset, chains in CHAINS.items()
        for chain, fee, places in chains
    ]


def read_withdrawal(fields: Mapping[str, Any], holdings: Holdings, withdrawal_id: str, now_ms: int) -> CoinWithdrawal:
    """The withdrawal that a request describes. Raises WithdrawalRefused."""
    for name in ("ccy", "amt", "dest", "toAddr"):
        if not fields.get(name):
            raise WithdrawalRefused("50014", f"Parameter {name} can not be empty.")
    wrong = [name for name, value in fields.items() if name not in _FIELDS or not isinstance(value, str)]
    if wrong:
        raise WithdrawalRefused("51000", f"Parameter {wrong[0]} error")
    chains = {name: (fee, places) for name, fee, places in CHAINS.get(fields["ccy"], ())}
    chain = fields.get("chain", next(iter(chains), ""))
    if chain not in chains or fields["dest"] != "4":
        raise WithdrawalRefused("51000", f"Parameter {'chain' if fields['dest'] == '4' else 'dest'} error")
    fee, places = chains[chain]
    amount = Decimal(fields["amt"]) if _DECIMAL.fullmatch(fields["amt"]) else Decimal(0)
    if not amount or not is_multiple(amount, Decimal(1).scaleb(-places)):
        raise WithdrawalRefused("51000", "Parameter amt error")
    client_id = fields.get("clientId")
    if client_id is not None and not _CLIENT_ID.fullmatch(client_id):
        raise WithdrawalRefused("51000", "Parameter clientId error")
    if client_id is not None and any(made.client_id == client_id for made in holdings.derivatives.withdrawals.values()):
        raise WithdrawalRefused("58404", "ClientId already exists")
    if amount + Decimal(fee) > holdings.balances.get(fields["ccy"], Balance()).free:
        raise WithdrawalRefused("58350", "Insufficient balance.")
    return CoinWithdrawal(
        id=withdrawal_id,
        client_id=client_id,
        asset=fields["ccy"],
        chain=chain,
        address=fields["toAddr"],
        amount=amount,
        fee=Decimal(fee),
        time=now_ms,
    )


def spend(holdings: Holdings, withdrawal: CoinWithdrawal) -> None:
    """Take a withdrawal and its fee from the balance."""
    balance = holdings.balances.get(withdrawal.asset, Balance())
    paid = withdrawal.amount + withdrawal.fee
    holdings.balances[withdrawal.asset] = replace(balance, free=balance.free - paid, withdrawn=balance.withdrawn + paid)
    put_bounded(holdings.derivatives.withdrawals, withdrawal.id, withdrawal)
