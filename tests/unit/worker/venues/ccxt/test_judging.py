"""What answers prove at every exchange of ccxt, beyond the lists of each."""

from collections.abc import Callable
from typing import Any

import pytest

from producers.commands import Cancel, Positions, Submit, Withdraw
from producers.report import Reason
from tests.unit.worker.venues.ccxt.answering_exchange import answered
from tests.unit.worker.venues.ccxt.small_exchange import CLOSE, CONTRACT, SYMBOL, judged, venue_with
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Overload, Plan, Proof
from worker.venues.ccxt.judging import proof_by_class
from worker.venues.ccxt.planned import Asked, Planned
from worker.venues.ccxt.records import contradiction
from worker.venues.ccxt.traits import Call, Envelope, Listed
from worker.venues.http.base import Response

ORDER = Submit(account="k", pair=CONTRACT, side="buy", qty="1")
WITHDRAWAL = Withdraw(account="k", asset="BTC", qty="1", address="bc1", network="BTC")
QUERY = Positions(account="k")

GARBAGE = {
    "nothing": b"",
    "HTML": b"<html>504 Gateway Time-out</html>",
    "a list": b"[]",
    "a null": b"null",
    "a text": b'"success"',
    "half": b'{"result":"succ',
    "a deep list": b"[" * 5000 + b"]" * 5000,
    "a number without end": b'{"result":' + b"9" * 5000 + b"}",
    "not a number": b'{"result":"success","sendStatus":NaN}',
    "a name twice": b'{"result":"success","result":"error","serverTime":"x"}',
    "not UTF-8": b"\xff\xfe\x00",
    "other types": b'{"result":{"a":1},"sendStatus":[1],"serverTime":1.5}',
}


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 408, 418, 500, 502, 503, 504])
def test_what_is_not_the_exchanges_own_answer_proves_nothing(status: int, name: str) -> None:
    for command in (CLOSE, QUERY):
        assert judged(venue_with(), command, Response(status, GARBAGE[name])).proof is Proof.UNKNOWN


@pytest.mark.parametrize("name", GARBAGE)
def test_a_limited_rate_proves_that_nothing_was_executed(name: str) -> None:
    verdict = judged(venue_with(), CLOSE, Response(429, GARBAGE[name], {"Retry-After": "3"}))
    assert (verdict.proof, verdict.retry_after) == (Proof.NOT_EXECUTED, 3)
    assert verdict.overload is not None


def answer(
    code: str, message: str = "", status: int = 200, record: Any = None
) -> tuple[Callable[[Any], Any], Response]:
    """Traits that read any answer as this, and the answer."""
    return lambda _: Envelope(code, message, record), answered({"error": "x"}, status)


def proof_of(code: str, listed: Listed, *, message: str = "", status: int = 200) -> Proof:
    read, response = answer(code, message, status)
    return judged(venue_with(read=read, listed=(listed,)), CLOSE, response).proof


@pytest.mark.parametrize("proof", [Proof.REFUSED, Proof.NOT_EXECUTED, Proof.SEEN])
def test_a_listed_code_counts_as_it_is_listed(proof: Proof) -> None:
    """For its commands, with its message, and of a breakdown only with its very status."""
    listed = Listed("E1", proof, "a page")
    assert proof_of("E1", listed) is proof
    assert proof_of("E2", listed) is Proof.UNKNOWN
    assert proof_of("E1", Listed("E1", proof, "a page", commands=("cancel",))) is Proof.UNKNOWN
    assert proof_of("E1", Listed("E1", proof, "a page", commands=("close",))) is proof
    assert proof_of("E1", Listed("E1", proof, "a page", message="Gone.")) is Proof.UNKNOWN
    assert proof_of("E1", Listed("E1", proof, "a page", message="Gone."), message="gone") is proof
    for status in (408, 500, 502, 503, 504):
        assert proof_of("E1", listed, status=status) is Proof.UNKNOWN
        assert proof_of("E1", Listed("E1", proof, "a page", status=status), status=status) is proof


def test_a_message_that_expresses_uncertainty_proves_nothing_unless_it_is_documented() -> None:
    words = "Unknown order sent."
    assert proof_of("E1", Listed("E1", Proof.REFUSED, "a page"), message=words) is Proof.UNKNOWN
    assert proof_of("E1", Listed("E1", Proof.REFUSED, "a page", message=words), message=words) is Proof.REFUSED


def test_the_more_precise_entry_counts() -> None:
    read, response = answer("E1", "Gone.")
    either = (Listed("E1", Proof.REFUSED, "a page"), Listed("E1", Proof.UNKNOWN, "a page", message="Gone."))
    for listed in (either, either[::-1]):
        assert judged(venue_with(read=read, listed=listed), CLOSE, response).proof is Proof.UNKNOWN


def test_a_listed_overload_asks_for_a_pause() -> None:
    read, response = answer("E1")
    listed = (Listed("E1", Proof.NOT_EXECUTED, "a page", overload=True),)
    venue = venue_with(read=read, listed=listed, overload_scope=Overload.ACCOUNT)
    assert judged(venue, CLOSE, response).overload is Overload.ACCOUNT


@pytest.mark.parametrize(
    ("names", "proof"),
    [
        (("InsufficientFunds", "ExchangeError"), Proof.REFUSED),
        (("BadSymbol", "BadRequest", "ExchangeError"), Proof.REFUSED),
        (("AccountNotEnabled", "PermissionDenied", "AuthenticationError"), Proof.REFUSED),
        (("RateLimitExceeded", "NetworkError"), Proof.NOT_EXECUTED),
        (("InvalidNonce", "NetworkError"), Proof.NOT_EXECUTED),
        (("InvalidOrder", "ExchangeError"), None),
        (("OrderNotFound", "InvalidOrder"), None),
        (("AuthenticationError", "ExchangeError"), None),
        (("BadRequest", "ExchangeError"), None),
        (("RequestTimeout", "OperationFailed"), None),
        (("OnMaintenance", "ExchangeNotAvailable"), None),
        (("DuplicateOrderId", "InvalidOrder"), None),
    ],
)
def test_few_of_the_classes_of_ccxt_are_believed(names: tuple[str, ...], proof: Proof | None) -> None:
    """Of a query; of a command none is, see below."""
    assert proof_by_class(names) is proof


FUNDS = {"result": "error", "error": "insufficientFunds", "serverTime": "x"}


def test_a_class_proves_nothing_of_a_command() -> None:
    """``insufficientFunds`` is ccxt's InsufficientFunds: a query is refused in the exchange's own envelope alone, and a
    command is by listed codes."""
    unread = venue_with(listed=(), read=lambda _: None)
    assert judged(venue_with(listed=()), QUERY, answered(FUNDS)).proof is Proof.REFUSED
    assert judged(unread, QUERY, answered(FUNDS)).proof is Proof.UNKNOWN
    assert judged(venue_with(listed=()), QUERY, answered(FUNDS, 500)).proof is Proof.UNKNOWN
    for error in ("insufficientFunds", "contractNotFound", "apiLimitExceeded", "nonceBelowThreshold"):
        for status in (200, 400, 418):
            assert (
                judged(venue_with(listed=()), CLOSE, answered({**FUNDS, "error": error}, status)).proof is Proof.UNKNOWN
            )


def test_an_operators_refusal_is_named() -> None:
    from worker.venues.listed_answers import refusals_from_settings

    read, response = answer("E1", "The market is closed on Sundays", 400)
    venue = venue_with(read=read, listed=())
    assert judged(venue, CLOSE, response).proof is Proof.UNKNOWN
    venue._listed = refusals_from_settings(venue.name, [r"the market is closed on \w+"])
    verdict = judged(venue, CLOSE, response)
    assert verdict.proof is Proof.REFUSED
    assert "ORDERS_VENUES__CCXT_KRAKENFUTURES__REFUSALS" in verdict.message


def test_a_refusal_that_shows_an_order_contradicts_itself() -> None:
    event = {"type": "PLACE", "order": {"orderId": "1", "symbol": CONTRACT, "side": "sell", "quantity": 1, "filled": 0}}
    placed = {"result": "success", "sendStatus": {"order_id": "1", "status": "placed", "orderEvents": [event]}}
    read, _ = answer("E1")
    venue = venue_with(read=read, listed=(Listed("E1", Proof.REFUSED, "a page"),))
    verdict = judged(venue, CLOSE, answered({**placed, "serverTime": "x"}))
    assert (verdict.proof, verdict.unknown_reason) == (Proof.UNKNOWN, Reason.UNLISTED_ANSWER)


@pytest.mark.parametrize(
    "body",
    [
        {"order_id": "1"},
        {"code": "1", "data": [{"ordId": "1", "sCode": "0"}]},
        {"retCode": 0, "result": {"orderId": "1"}},
        {"orderId": 22542179},
    ],
)
def test_a_limited_rate_that_shows_an_order_proves_nothing(body: dict[str, Any]) -> None:
    assert judged(venue_with(), ORDER, answered(body, 429)).proof is Proof.UNKNOWN
    assert judged(venue_with(), ORDER, answered(dict.fromkeys(body), 429)).proof is Proof.NOT_EXECUTED


@pytest.mark.parametrize("record", [{"ordId": "1"}, {"orderId": 22542179}, {"wdId": "67"}])
def test_a_refusal_whose_record_has_an_id_contradicts_itself(record: dict[str, Any]) -> None:
    """But that of a cancel, which names its order."""
    refusal = (Listed("E1", Proof.REFUSED, "a page"),)
    for shown, proof in ((record, Proof.UNKNOWN), (dict.fromkeys(record, ""), Proof.REFUSED)):
        read, response = answer("E1", status=400, record=shown)
        assert judged(venue_with(read=read, listed=refusal), ORDER, response).proof is proof
        cancel = Cancel(account="k", order_id="1")
        assert judged(venue_with(read=read, listed=refusal), cancel, response).proof is Proof.REFUSED


@pytest.mark.parametrize(
    ("message", "record", "words"),
    [
        ("", None, "no record"),
        ("", {}, "no record"),
        ("", ["1"], "no record"),
        ("request rejected", {"order_id": "1"}, "its message"),
        ("system timeout", {"order_id": "1"}, "its message"),
    ],
)
def test_a_success_that_names_nothing_or_reports_a_failure_is_none(message: str, record: Any, words: str) -> None:
    """Also of a cancel, whose record need not name its order."""
    taken = (Listed("0", Proof.EXECUTED, "a page"),)
    venue = venue_with(read=lambda _: Envelope("0", message, record), listed=taken)
    body = {"result": "success", "cancelStatus": {"status": "cancelled", "order_id": "1"}, "serverTime": "x"}
    verdict = judged(venue, Cancel(account="k", order_id="1"), answered(body))
    assert (verdict.proof, words in verdict.message) == (Proof.UNKNOWN, True)


def test_traits_that_raise_prove_nothing() -> None:
    def read(value: Any) -> Envelope | None:
        raise RuntimeError("a secret")

    verdict = judged(venue_with(read=read), CLOSE, answered({}))
    assert verdict.proof is Proof.UNKNOWN
    assert "a secret" not in verdict.message


ACCOUNT = Account("k", "ccxt:x", "https://x", Credentials("key", "secret"))
TAKEN = {"id": "7", "status": "open", "symbol": SYMBOL, "side": "buy", "amount": "1", "clientOrderId": "h"}


def wrong(command: Any, record: dict[str, Any], *, reduces: bool = False) -> str:
    asked = Asked({}, {"amount": "1"}, reduces, SYMBOL, "buy")
    plan = Plan(command, ACCOUNT, details=Planned(None, Call("", (), {}), asked=asked, handle="h"))
    return contradiction(plan, record, str(record.get("id") or "")) or ""


def test_a_record_that_says_little_contradicts_nothing() -> None:
    empty = dict.fromkeys(TAKEN)
    for record in (TAKEN, {**empty, "id": "7"}, {"id": "7"}, {**TAKEN, "amount": "1.000"}, {**TAKEN, "amount": "0"}):
        assert not wrong(ORDER, record)
    assert not wrong(CLOSE, {**TAKEN, "amount": "0.5"}, reduces=True)
    assert not wrong(Cancel(account="k", order_id="7"), {})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"id": None}, "no id"),
        ({"symbol": "ETH/USD:USD"}, "market"),
        ({"side": "sell"}, "side"),
        ({"amount": "2"}, "amount"),
        ({"clientOrderId": "other"}, "client order id"),
        ({"status": "rejected"}, "rejected"),
        ({"status": "expired"}, "expired"),
        ({"status": "canceled"}, "canceled"),
    ],
)
def test_a_record_of_something_else_is_no_success(changed: dict[str, Any], words: str) -> None:
    assert words in wrong(ORDER, {**TAKEN, **changed})
    assert words in wrong(CLOSE, {**TAKEN, **changed}, reduces=True)


@pytest.mark.parametrize(
    ("command", "record", "words"),
    [
        (Cancel(account="k", order_id="7"), {"id": "8"}, "another order"),
        (Cancel(account="k", order_id="7"), {"id": "7", "status": "closed"}, "closed"),
        (WITHDRAWAL, {"id": "7", "currency": "ETH"}, "asset"),
        (WITHDRAWAL, {"id": "7", "currency": "BTC", "address": "bc2"}, "address"),
        (WITHDRAWAL, {"id": "7", "status": "failed"}, "failed"),
    ],
)
def test_a_cancel_and_a_withdrawal_are_compared_too(command: Any, record: dict[str, Any], words: str) -> None:
    assert words in wrong(command, record)
