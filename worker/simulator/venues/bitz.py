"""The simulated Bit-Z: `POST /Contract/getContractActivePositions`, written from the venue's documents alone.

Errors have HTTP 200, a negative `status` and an empty `msg`. Which of the documented numbers stands for which mistake
is inferred from their groups (I). One is documented: a nonce longer than 6 characters gets 203.
"""

import hashlib
import hmac
import re
from collections import deque
from collections.abc import Mapping
from functools import partial

from worker.simulator.accounts import Account, Accounts
from worker.simulator.messages import Examined, Reply, Request, read_fields, to_json
from worker.simulator.records import ContractPosition

PATH = "/Contract/getContractActivePositions"
FIELDS = frozenset({"apiKey", "contractId", "nonce", "timeStamp", "sign"})
WINDOW_SECONDS = 60
"""How far `timeStamp` may differ from the venue's clock in either direction. I."""

BAD_PARAMETER = -102
VERIFICATION_FAILED = -103  # outside the window, or a nonce used before
BAD_SIGNATURE = -105
ILLEGAL_KEY = -300069
NONCE_TOO_LONG = 203

_SECONDS = re.compile(r"[0-9]{1,12}")
_INTEGER = re.compile(r"[1-9][0-9]{0,8}")
_NONCE = re.compile(r"[0-9A-Za-z]{6}")


class _RefusedError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def sign(fields: Mapping[str, str], secret: str) -> str:
    """The lower-case hex MD5 of the sorted `k=v`, without `sign` and joined by `&`, followed by the secret."""
    text = "&".join(f"{name}={fields[name]}" for name in sorted(fields) if name != "sign")
    return hashlib.md5(f"{text}{secret}".encode(), usedforsecurity=False).hexdigest()


class BitZ:
    """Checks and answers requests for active positions."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._nonces = _Nonces()

    def examine(self, request: Request) -> Examined | None:
        """Check a request; None if its path does not belong to this venue."""
        if request.path != PATH:
            return None
        fields, clean = read_fields(request.body)
        api_key = fields.get("apiKey") or None
        account = self._accounts.account("bitz", api_key or "")
        signed = account is not None and hmac.compare_digest(
            sign(fields, account.secret).encode(), fields.get("sign", "").encode()
        )
        timestamp = fields.get("timeStamp", "")
        timestamp_ms = int(timestamp) * 1000 if _SECONDS.fullmatch(timestamp) else None
        try:
            if request.method != "POST" or not request.is_form or not clean:
                raise _RefusedError(BAD_PARAMETER)
            known = self._check(fields, account, signed=signed, now_ms=request.time_ms)
            run = partial(self._positions, known, int(fields["contractId"]), request.time_ms)
        except _RefusedError as refusal:
            run = partial(_error, refusal.status, request.time_ms)
        return Examined(run, api_key, fields, timestamp_ms, signed)

    def _check(self, fields: Mapping[str, str], account: Account | None, *, signed: bool, now_ms: int) -> Account:
        if fields.keys() != FIELDS or not _INTEGER.fullmatch(fields["contractId"]):
            raise _RefusedError(BAD_PARAMETER)
        nonce, timestamp = fields["nonce"], fields["timeStamp"]
        if len(nonce) > 6:
            raise _RefusedError(NONCE_TOO_LONG)
        if not _NONCE.fullmatch(nonce) or not _SECONDS.fullmatch(timestamp):
            raise _RefusedError(BAD_PARAMETER)
        if account is None:
            raise _RefusedError(ILLEGAL_KEY)
        if not signed:
            raise _RefusedError(BAD_SIGNATURE)
        if abs(now_ms // 1000 - int(timestamp)) > WINDOW_SECONDS:
            raise _RefusedError(VERIFICATION_FAILED)
        if not self._nonces.is_new((account.api_key, timestamp, nonce), now_ms):
            raise _RefusedError(VERIFICATION_FAILED)
        return account

    def _positions(self, account: Account, contract_id: int, now_ms: int) -> Reply:
        holdings = self._accounts.visible(account, PATH)
        rows = [_view(position) for position in holdings.contracts if position.contract_id == str(contract_id)]
        return Reply(200, _body(200, rows, now_ms))


class _Nonces:
    """The nonces used, with their time stamps, kept as long as the window accepts the time stamp."""

    def __init__(self) -> None:
        self._used: set[tuple[str, str, str]] = set()
        self._ages: deque[tuple[int, tuple[str, str, str]]] = deque()

    def is_new(self, nonce: tuple[str, str, str], now_ms: int) -> bool:
        """Whether a key has not used a nonce with a time stamp before; also records that it has now."""
        while self._ages and self._ages[0][0] < now_ms - 2 * WINDOW_SECONDS * 1000:
            self._used.discard(self._ages.popleft()[1])
        if nonce in self._used:
            return False
        self._used.add(nonce)
        self._ages.append((now_ms, nonce))
        return True


def _view(position: ContractPosition) -> dict[str, object]:
    """A position as the venue shows it; every number is a quoted string, as on the API page."""
    return {
        "positionId": position.position_id,
        "contractId": position.contract_id,
        "price": position.price,
        "direction": position.direction,
        "amount": position.amount,
        "liquidationPrice": position.liquidation_price,
        "rlzPnl": position.realized,
        "unrlzPnl": position.unrealized,
        "margin": position.margin,
        "leverage": position.leverage,
        "isCross": position.is_cross,
        "pair": position.pair,
    }


def _error(status: int, now_ms: int) -> Reply:
    """An error; its `data` is an empty string, which does not mean that no position is open."""
    return Reply(200, _body(status, "", now_ms))


def _body(status: int, data: object, now_ms: int) -> bytes:
    seconds, rest = divmod(now_ms, 1000)
    microtime = f"0.{rest:03}00000 {seconds}"
    return to_json(
        {"status": status, "msg": "", "data": data, "time": seconds, "microtime": microtime, "source": "api"}
    )
