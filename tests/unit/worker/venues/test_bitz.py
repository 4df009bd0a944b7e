"""The adapter of Bit-Z: its MD5 signature byte for byte, and errors with HTTP 200."""

import json
from urllib.parse import parse_qsl

import pytest

from producers.commands import Cancel, Positions
from producers.report import Direction, Position, Reason
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Plan, Proof
from worker.venues.bitz import Bitz, new_nonce, sign
from worker.venues.http.base import Response

SECRET = "aQmE8U7bxj16KdJcSd3yX8F8Sakd8aO6LopnHXh27d4kWyb28PxcaTvGrajLDvAw"
KEY = "376892265asdad5d12726d8bbfbd8912b3"
ACCOUNT = Account("b", "bitz", "https://apiv2.bitz.com", Credentials(KEY, SECRET))
VENUE = Bitz(nonce=lambda: "309127")
QUERY = Positions(account="b", contract_id=101)
KNOWN = "ccf86167a4324a8b84d3da79af783481"

ENTRY = {
    "positionId": "9",
    "contractId": "101",
    "price": "7980.74",
    "direction": "1",
    "amount": "1500",
    "liquidationPrice": "7287.98",
    "rlzPnl": "0.00010170",
    "unrlzPnl": "-0.00044862",
    "margin": "0.01930883",
    "leverage": "10.00000000",
    "isCross": "-1",
    "pair": "BTC_USD",
}


def body(data: object, status: object = 200) -> bytes:
    """The venue's envelope."""
    return json.dumps({"status": status, "msg": "", "data": data, "time": 1533035297, "source": "api"}).encode()


def test_a_known_signature() -> None:
    """The secret and parameters of the API page, sorted and complete as its text says and its example does not."""
    fields = [("timeStamp", "1510235730"), ("nonce", "309127"), ("contractId", "101"), ("apiKey", KEY)]
    assert sign(fields, SECRET) == KNOWN


def test_the_bytes_of_a_request() -> None:
    """The time is in seconds, and the signature is a field of the form."""
    request = VENUE.request(Plan(QUERY, ACCOUNT), 1_510_235_730_999)
    assert (request.method, request.url) == ("POST", "https://apiv2.bitz.com/Contract/getContractActivePositions")
    assert isinstance(request.body, bytes)
    assert parse_qsl(request.body.decode()) == [
        ("apiKey", KEY),
        ("contractId", "101"),
        ("nonce", "309127"),
        ("timeStamp", "1510235730"),
        ("sign", KNOWN),
    ]
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"


def test_values_are_signed_unescaped_and_sent_escaped() -> None:
    """As the venue's own clients do."""
    account = Account("b", "bitz", "https://x", Credentials("a&b", SECRET))
    request = VENUE.request(Plan(QUERY, account), 0)
    assert isinstance(request.body, bytes)
    assert b"apiKey=a%26b&" in request.body
    fields = dict(parse_qsl(request.body.decode()))
    assert fields["sign"] == sign([(k, v) for k, v in fields.items() if k != "sign"], SECRET)


def test_a_nonce_is_six_letters_and_digits() -> None:
    """The venue refuses a longer one with 203, and a repeated one as a replay."""
    nonces = {new_nonce() for _ in range(200)}
    assert all(len(n) == 6 and n.isascii() and n.isalnum() for n in nonces)
    assert len(nonces) > 190


def test_positions_are_normalised() -> None:
    """They have the same shape for every venue."""
    verdict = VENUE.judge(Plan(QUERY, ACCOUNT), Response(200, body([ENTRY])))
    assert verdict.proof is Proof.EXECUTED
    assert verdict.positions == (
        Position(
            instrument="BTC_USD",
            direction=Direction.LONG,
            size="1500",
            entry_price="7980.74",
            liquidation_price="7287.98",
            leverage="10",
            margin="0.01930883",
            realized_pnl="0.0001017",
            unrealized_pnl="-0.00044862",
            cross=False,
        ),
    )
    assert verdict.result == [ENTRY]


@pytest.mark.parametrize(("data", "count"), [([], 0), ({}, 0), ({"0": ENTRY}, 1), (ENTRY, 1), ([ENTRY, ENTRY], 2)])
def test_success_is_a_list_or_an_object(data: object, count: int) -> None:
    """An empty one means that no position is open."""
    verdict = VENUE.judge(Plan(QUERY, ACCOUNT), Response(200, body(data)))
    assert verdict.proof is Proof.EXECUTED
    assert verdict.positions is not None
    assert len(verdict.positions) == count


@pytest.mark.parametrize(
    "data",
    [
        *(
            "",
            None,
            7,
            True,
            ["x"],
            [{}],
            [{**ENTRY, "amount": None}],
            [{**ENTRY, "direction": "0"}],
            [{**ENTRY, "amount": "x"}],
        ),
        *(
            [{**ENTRY, "amount": "-5"}],
            [{**ENTRY, "amount": ""}],
            [ENTRY, {**ENTRY, "amount": None}],
            [{**ENTRY, "contractId": "102"}],
        ),
        [{**ENTRY, "amount": "0", "contractId": 102}],
    ],
)
def test_unreadable_data_proves_nothing(data: object) -> None:
    """It must never be reported as no open position; nor must a missing size count as zero."""
    verdict = VENUE.judge(Plan(QUERY, ACCOUNT), Response(200, body(data)))
    assert verdict.proof is not Proof.EXECUTED
    assert verdict.positions is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        *(({"amount": "0", "direction": way}, None) for way in ("1", "-1", "0", "", None)),
        *(({"amount": size, "direction": "0"}, None) for size in ("0.00000000", "-0", 0, "0E-9")),
        ({"amount": "-5", "direction": "-1"}, {"size": "5", "direction": Direction.SHORT}),
        ({"amount": "5", "direction": -1}, {"size": "5", "direction": Direction.SHORT}),
        ({"liquidationPrice": "-", "leverage": [], "margin": True}, dict.fromkeys(("leverage", "margin"))),
        ({"pair": None}, {"instrument": "101"}),
        ({"pair": {}, "contractId": 101}, {"instrument": "101"}),
    ],
)
def test_size_and_direction_decide(changes: dict[str, object], expected: dict[str, object] | None) -> None:
    """Zero is no position, however it is written and whatever the direction. An unreadable optional field is None."""
    verdict = VENUE.judge(Plan(QUERY, ACCOUNT), Response(200, body([{**ENTRY, **changes}])))
    assert verdict.proof is Proof.EXECUTED
    assert verdict.positions is not None
    assert len(verdict.positions) == (0 if expected is None else 1)
    for position in verdict.positions:
        assert {name: getattr(position, name) for name in expected or {}} == expected


@pytest.mark.parametrize(
    ("code", "proof"),
    [
        (-104, Proof.NOT_EXECUTED),
        (-106, Proof.NOT_EXECUTED),
        (-301001, Proof.NOT_EXECUTED),
        (-110, Proof.NOT_EXECUTED),
        (-112, Proof.NOT_EXECUTED),
        (-200025, Proof.NOT_EXECUTED),
        (-100044, Proof.NOT_EXECUTED),
        (-200032, Proof.NOT_EXECUTED),
        *((code, Proof.REFUSED) for code in (-114, -102, -103, -105, -109, -111, -117, -300069, -300101, -300102)),
        *((code, Proof.REFUSED) for code in (-200003, -200005, -200027, -200028, -200029, -200030, -200031)),
        *((code, Proof.REFUSED) for code in (-200033, -200034, -200035, -200037, -200038, -200055, -100015, -300103)),
        (-1, Proof.UNKNOWN),
        (203, Proof.UNKNOWN),
        (-200026, Proof.UNKNOWN),
        (0, Proof.UNKNOWN),
    ],
)
@pytest.mark.parametrize("carried", ["status", "data"])
def test_errors_are_decided_by_number(code: int, proof: Proof, carried: str) -> None:
    """In ``status``, or in ``data`` with status 200."""
    content = body(None, status=code) if carried == "status" else body(code)
    verdict = VENUE.judge(Plan(QUERY, ACCOUNT), Response(200, content))
    assert (verdict.proof, verdict.venue_code, verdict.positions) == (proof, code, None)


@pytest.mark.parametrize(
    ("status", "text", "proof"),
    [
        (200, b"<html>", Proof.UNKNOWN),
        (200, b'{"status":true,"data":[]}', Proof.UNKNOWN),
        (200, b'{"status":"200","data":[]}', Proof.UNKNOWN),
        (200, b"[]", Proof.UNKNOWN),
        (502, b"", Proof.UNKNOWN),
        (429, b"", Proof.NOT_EXECUTED),
        *((status, b"<html>", Proof.UNKNOWN) for status in (400, 401, 403, 404, 422, 503)),
        (200, b'{"status":200,"data":[]}', Proof.UNKNOWN),
        (200, b'{"status":-102,"msg":""}', Proof.UNKNOWN),
        (403, b'{"status":-102}', Proof.UNKNOWN),
        (403, body(None, -102), Proof.REFUSED),
        (403, body(None, 403), Proof.UNKNOWN),
        (403, body([]), Proof.UNKNOWN),
        (200, b'{"status":200,"msg":"Service unavailable","data":[]}', Proof.UNKNOWN),
        (200, b'{"status":200,"msg":"","data":[],"success":false}', Proof.UNKNOWN),
        (200, b'{"status":200,"msg":"","data":[],"time":1,"source":"api","error":null}', Proof.EXECUTED),
    ],
)
def test_what_other_responses_prove(status: int, text: bytes, proof: Proof) -> None:
    """A code counts only in the complete envelope, and of the HTTP statuses only 429."""
    assert VENUE.judge(Plan(QUERY, ACCOUNT), Response(status, text)).proof is proof


def test_an_operator_lists_further_codes() -> None:
    """Bit-Z's refusals have no message, so a pattern must match the code."""
    venue = Bitz(refusals=["-2000(26|99)"])
    verdict = venue.judge(Plan(QUERY, ACCOUNT), Response(200, body(None, -200026)))
    assert verdict.proof is Proof.REFUSED
    assert verdict.message.endswith("(-200026) (listed in ORDERS_VENUES__BITZ__REFUSALS: -2000(26|99))")
    assert venue.judge(Plan(QUERY, ACCOUNT), Response(200, body(None, -2000261))).proof is Proof.UNKNOWN


def test_maintenance_is_waited_for_longer() -> None:
    """It does not end within milliseconds."""
    assert VENUE.judge(Plan(QUERY, ACCOUNT), Response(200, body(None, -112))).retry_after == 5.0
    assert VENUE.judge(Plan(QUERY, ACCOUNT), Response(200, body(None, -104))).retry_after is None


@pytest.mark.parametrize(("status", "text"), [(429, b""), (200, body(None, -110)), (200, body(None, -112)), (502, b"")])
def test_retry_after_is_respected(status: int, text: bytes) -> None:
    """An earlier request would be refused again."""
    assert VENUE.judge(Plan(QUERY, ACCOUNT), Response(status, text, {"Retry-After": "7"})).retry_after == 7.0


def test_an_unlisted_code_has_its_own_reason() -> None:
    """An operator reads it."""
    assert VENUE.judge(Plan(QUERY, ACCOUNT), Response(200, body(None, -1))).unknown_reason is Reason.UNLISTED_ANSWER


def test_bitz_takes_positions_of_one_contract() -> None:
    """Everything else is refused with a sentence."""
    assert VENUE.unsupported(QUERY) is None
    assert "contract_id is missing" in (VENUE.unsupported(Positions(account="b")) or "")
    assert "pair" in (VENUE.unsupported(Positions(account="b", pair="P", contract_id=1)) or "")
    assert "takes no cancel" in (VENUE.unsupported(Cancel(account="b", order_id="1")) or "")


@pytest.mark.parametrize("name", ["contractId", "contract_id", "ContractID"])
def test_a_position_of_another_contract_proves_nothing(name: str) -> None:
    """It must not be reported as that of the requested contract."""
    entry = {key: value for key, value in ENTRY.items() if key != "contractId"}
    verdict = VENUE.judge(Plan(QUERY, ACCOUNT), Response(200, body([{**entry, name: "999999"}])))
    assert (verdict.proof, verdict.positions) == (Proof.UNKNOWN, None)
