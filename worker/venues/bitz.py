"""Bit-Z: open positions of a contract.

The exchange closed in October 2021; this adapter matches its published clients byte for byte (``docs/venues.md``).
"""

import hashlib
import secrets
import string
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from producers.commands import Command, Positions
from producers.report import Direction, Position, Reason
from worker.venues.accounts import Account
from worker.venues.base import Proof, Verdict
from worker.venues.contradictions import denies, names_another, says_no
from worker.venues.freshness import NO_CACHE
from worker.venues.http.base import Response, SignedRequest, retry_after_seconds
from worker.venues.json_values import int_or_none, one_line, read_json, to_report_json
from worker.venues.listed_answers import find_listed, from_settings
from worker.venues.positions import read_position

NONCE_CHARACTERS = string.ascii_letters + string.digits

AGAIN_CODES = {
    -104: "network error at the venue",
    -106: "network error at the venue",
    -301001: "network error at the venue",
    -110: "too many requests",
    -112: "maintenance",
    -200025: "trading halt",
    -100044: "failed to fetch",
    -200032: "system error",
}
"""Negative statuses after which a read may be tried again (``docs/venues.md``)."""

LONG_WAIT_SECONDS = 5.0
LONG_WAIT_CODES = frozenset({-112, -200025})
"""Maintenance and halt: worth a longer wait than a passing error, inside the deadline."""

FINAL_CODES = frozenset(
    {
        *(-114, -102, -103, -105, -109, -111, -117, -300069, -300101, -300102),
        *(-200003, -200005, *range(-200031, -200026), -200033, -200034, -200035, -200037, -200038, -200055),
        *(-100015, -300103),
    }
)
"""Negative statuses that refuse for good."""

DIRECTIONS = {"1": Direction.LONG, "-1": Direction.SHORT}


def new_nonce() -> str:
    """Exactly six letters and digits; a longer one is answered with 203."""
    return "".join(secrets.choice(NONCE_CHARACTERS) for _ in range(6))


def sign(fields: Iterable[tuple[str, str]], secret_key: str) -> str:
    """Lower-case hex MD5 of ``k1=v1&k2=v2…`` + secret, keys ascending, values not URL-encoded.

    The page's text is right and its worked example is not (``docs/venues.md``).
    """
    text = "&".join(f"{key}={value}" for key, value in sorted(fields)) + secret_key
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


class Bitz:
    """The venue ``bitz``."""

    name = "bitz"
    base_url = "https://apiv2.bitz.com"
    commands: tuple[str, ...] = (Positions.name,)

    def __init__(self, nonce: Callable[[], str] = new_nonce, refusals: Iterable[str] = ()) -> None:
        """``refusals``: patterns of further codes that refuse for good, see :func:`listed.from_settings`. Of codes,
        because a refusal's message is empty here.

        Raises:
            ValueError: when one of them can't be used.
        """
        self._nonce = nonce
        self._listed = from_settings(self.name, refusals)

    def unsupported(self, command: Command) -> str | None:
        """Bit-Z takes positions of one contract and nothing else."""
        if not isinstance(command, Positions):
            return f"Bit-Z takes no {command.name}, only positions"
        if command.pair is not None:
            return "pair is an argument for Everstrike; Bit-Z takes contract_id"
        if command.contract_id is None:
            return "contract_id is missing: Bit-Z asks for one contract at a time"
        return None

    def request(self, command: Command, account: Account, now_ms: int) -> SignedRequest:
        """A form whose fields are signed together, the signature among them; ``timeStamp`` is in seconds."""
        if not isinstance(command, Positions):
            raise TypeError(f"Bit-Z has no request for {command.task}")
        fields = (
            ("apiKey", account.credentials.api_key),
            ("contractId", str(command.contract_id)),
            ("nonce", self._nonce()),
            ("timeStamp", str(now_ms // 1000)),
        )
        url = account.base_url + "/Contract/getContractActivePositions"
        headers = {"content-type": "application/x-www-form-urlencoded", **NO_CACHE}
        signed = [*fields, ("sign", sign(fields, account.credentials.secret_key))]
        return SignedRequest("POST", url, headers, urlencode(signed).encode("ascii"))

    def judge(self, command: Command, answer: Response) -> Verdict:
        """Errors arrive on HTTP 200 with a negative status and an empty message: decide by number."""
        payload = read_json(answer.body)
        envelope = payload if isinstance(payload, Mapping) else {}
        status, data, message = envelope.get("status"), envelope.get("data"), envelope.get("msg")
        said: dict[str, Any] = {
            "http_status": answer.status,
            "venue_code": int_or_none(status),
            "venue_message": one_line(message) if isinstance(message, str) else None,
            "result": to_report_json(data),
            "retry_after": retry_after_seconds(answer.headers),
        }
        if answer.status == 429:
            return Verdict(Proof.NOT_EXECUTED, "the venue limits the rate of requests (429)", **said)
        if said["venue_code"] is None or not isinstance(message, str | None) or not envelope.keys() >= {"msg", "data"}:
            return Verdict(Proof.UNKNOWN, f"a reply with status {answer.status} that can't be read", **said)
        # A refusal may also be carried in data: {"status":200,"msg":"","data":-200031}.
        carried = int_or_none(data) if status == 200 else None
        code: int = said["venue_code"] if carried is None else carried
        if code == 200 and answer.status == 200:
            wrong = says_no({**envelope, "data": None}) or denies(message)
            if wrong:
                why = f"the venue said yes, but {wrong}"
                return Verdict(Proof.UNKNOWN, why, Reason.UNLISTED_ANSWER, **said)
            return _judge_data(command, data, said)
        return self._judge_code(code, {**said, "venue_code": code})

    def _judge_code(self, code: int, said: dict[str, Any]) -> Verdict:
        if code in AGAIN_CODES:
            if said["retry_after"] is None and code in LONG_WAIT_CODES:
                said = {**said, "retry_after": LONG_WAIT_SECONDS}
            return Verdict(Proof.NOT_EXECUTED, f"{AGAIN_CODES[code]} ({code})", **said)
        said, listed = {**said, "own_refusal": True}, find_listed(self._listed, code, str(code))
        if code in FINAL_CODES or listed:
            note = listed.note if listed else ""
            return Verdict(Proof.REFUSED, f"the venue refused it ({code}){note}", **said)
        return Verdict(Proof.UNKNOWN, f"the venue answered {code}, which is not listed", Reason.UNLISTED_ANSWER, **said)


def _judge_data(command: Command, data: Any, said: dict[str, Any]) -> Verdict:
    """Success is a list or an object in ``data``; anything else there is an error, never "flat"."""
    contract = str(command.contract_id) if isinstance(command, Positions) else ""
    entries = list(data.values()) if isinstance(data, Mapping) and "positionId" not in data else data
    if isinstance(entries, Mapping):
        entries = [entries]
    try:
        if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
            raise TypeError("neither a list nor an object")
        read = [_position(contract, entry) for entry in entries]
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return Verdict(Proof.UNKNOWN, "the venue's positions can't be read", Reason.UNLISTED_ANSWER, **said)
    positions = tuple(position for position in read if position is not None)
    return Verdict(Proof.EXECUTED, f"{len(positions)} open", **said, positions=positions)


def _position(contract: str, entry: Mapping[str, Any]) -> Position | None:
    if names_another(entry, "contractId", contract):
        raise ValueError("it is about another contract")
    pair = entry.get("pair")
    return read_position(
        pair if isinstance(pair, str) and pair else contract,
        entry["amount"],
        entry.get("direction"),
        DIRECTIONS,
        entry_price=entry.get("price"),
        liquidation_price=entry.get("liquidationPrice"),
        leverage=entry.get("leverage"),
        margin=entry.get("margin"),
        realized_pnl=entry.get("rlzPnl"),
        unrealized_pnl=entry.get("unrlzPnl"),
        cross={"1": True, "-1": False}.get(str(entry.get("isCross"))),
    )
