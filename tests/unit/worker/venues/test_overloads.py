"""Which responses ask for no further requests, for whom and for how long; whatever they prove."""

import json
import re
from pathlib import Path

import pytest

from producers.commands import Cancel, Command, Positions
from tests.unit.worker.venues.http.http_answers import KINDS
from worker.ledger.pacing import MAX_COOL_DOWN_SECONDS
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Overload, Plan, Proof, Venue, Verdict
from worker.venues.bitz import FINAL_CODES, OVERLOADS, TRANSIENT_CODES, Bitz
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.http.base import MAX_RETRY_AFTER_SECONDS, Response

ACCOUNT = Account("main", "everstrike", "https://venue.test", Credentials("key", "secret"))
EVERSTRIKE, BITZ = Everstrike(), Bitz()
CANCEL = Cancel(account="a", order_id="A1")
QUERY = Positions(account="a", contract_id=101)
ASKED: list[tuple[Venue, Command]] = [(EVERSTRIKE, CANCEL), (EVERSTRIKE, Positions(account="a")), (BITZ, QUERY)]
SLOW_DOWN = (
    b'{"code":429,"msg":"You have done that too much recently. Care to try again in 0.043 seconds?","result":null}'
)
EXECUTED = b'{"code":200,"msg":"null","result":{"id":"A1"}}'


def everstrike(status: int, message: str = "Invalid request") -> bytes:
    """The envelope of a refusal."""
    return json.dumps({"code": status, "msg": message, "result": {}}).encode()


def bitz(code: int, data: object = None) -> bytes:
    """The envelope of an error."""
    return json.dumps({"status": code, "msg": "", "data": data}).encode()


def judged(venue: Venue, command: Command, status: int, body: bytes = b"", retry_after: str | None = None) -> Verdict:
    """What the venue's adapter says about a response."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return venue.judge(Plan(command, ACCOUNT), Response(status, body, headers))


@pytest.mark.parametrize(("venue", "command"), ASKED, ids=["mutating", "reading", "Bit-Z"])
@pytest.mark.parametrize("body", [b"", b"<html>", SLOW_DOWN, everstrike(429), bitz(-104), EXECUTED])
def test_429_limits_the_account_whoever_answers(venue: Venue, command: Command, body: bytes) -> None:
    """The venue, or a rate limit in front of it. One that claims to have executed proves nothing, and limits too."""
    assert judged(venue, command, 429, body).overload is Overload.ACCOUNT


@pytest.mark.parametrize(("venue", "command"), ASKED, ids=["mutating", "reading", "Bit-Z"])
@pytest.mark.parametrize("body", [b"", b"<html>I'm a teapot", everstrike(418, "Way too many requests"), bitz(418)])
def test_418_bans_the_address_and_proves_nothing(venue: Venue, command: Command, body: bytes) -> None:
    """No source says that a venue executes nothing that it answers so."""
    verdict = judged(venue, command, 418, body, "30")
    assert (verdict.overload, verdict.retry_after) == (Overload.ADDRESS, 30.0)
    assert verdict.proof is Proof.UNKNOWN


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 408, 413, 422, 500, 502, 503, 504])
@pytest.mark.parametrize("whole", [True, False], ids=["the application", "something in front"])
def test_a_time_to_wait_counts_in_any_response_that_is_no_success(status: int, whole: bool) -> None:
    """Also in a final refusal. Without it none of them limits anything: 503 is how Everstrike refuses."""
    for venue, command, body in ((EVERSTRIKE, CANCEL, everstrike(status)), (BITZ, QUERY, bitz(-102))):
        told = body if whole else b"<html>"
        assert judged(venue, command, status, told, "7").overload is Overload.ACCOUNT
        assert judged(venue, command, status, told).overload is None
        assert judged(venue, command, status, told, "0").overload is None
        assert judged(venue, command, status, told, "soon").overload is None


def test_a_success_limits_nothing() -> None:
    """Whatever else it says."""
    for venue, command, body in ((EVERSTRIKE, CANCEL, EXECUTED), (BITZ, QUERY, bitz(200, []))):
        verdict = judged(venue, command, 200, body, "7")
        assert (verdict.proof, verdict.overload) == (Proof.EXECUTED, None)
        # Not what a success looks like.
        assert judged(venue, command, 200, b"[]", "7").overload is Overload.ACCOUNT


@pytest.mark.parametrize("code", sorted(TRANSIENT_CODES.keys() | FINAL_CODES | {-1}))
@pytest.mark.parametrize("in_data", [True, False], ids=["in data", "in status"])
def test_listed_overloads_of_bitz(code: int, in_data: bool) -> None:
    """Those four and no other, in a whole envelope."""
    verdict = judged(BITZ, QUERY, 200, bitz(200, code) if in_data else bitz(code))
    assert verdict.overload is (Overload.ACCOUNT if code in OVERLOADS else None)
    assert judged(BITZ, QUERY, 200, json.dumps({"status": code, "data": None}).encode()).overload is None


def test_each_listed_overload_has_its_source() -> None:
    """In docs/venues.md."""
    page = Path("docs/venues.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"### Limits and overloads of Bit-Z\n(.*?)\n#", page, re.DOTALL)
    listed = {int(code) for code in re.findall(r"^\| (-\d+) \| [^|]+ \| `'\1'`: [^|]+ \|", table, re.MULTILINE)}
    assert listed == OVERLOADS


def test_the_words_of_an_overload_hold_none_of_the_response() -> None:
    """They are shown with other accounts' commands; a response may quote its request, and be of any length."""
    for status, body, words in (
        (429, everstrike(429, "hunter2"), "the venue answered 429, Retry-After 30 s"),
        (418, b'{"code":"hunter2","msg":"hunter2","result":{"hunter2":1}}', "the venue answered 418, Retry-After 30 s"),
        (503, b'{"code":%s,"msg":"","result":null}' % (b"9" * 4000), "the venue answered 503, Retry-After 30 s"),
    ):
        assert judged(EVERSTRIKE, CANCEL, status, body, "30").overload_words == words
    assert judged(BITZ, QUERY, 200, bitz(-112)).overload_words == "the venue answered 200 (-112), Retry-After 5 s"
    assert judged(BITZ, QUERY, 200, bitz(-110)).overload_words == "the venue answered 200 (-110)"


def loosely_read(data: bytes) -> Response:
    """Whatever could be taken for the parts of a response."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    status = re.search(r" ([1-5]\d\d)\b", first, re.ASCII)
    named = (line.partition(":") for line in lines)
    return Response(int(status[1]) if status else 200, body, {name: value.strip() for name, _, value in named})


@pytest.mark.parametrize("kind", KINDS)
def test_no_response_raises_or_stops_an_account_for_ever(kind: str) -> None:
    """Thousands of odd ones, with odd times to wait: each says of an overload whether there is one, and no wait is
    more than a number, which the ledger cuts to a quarter of an hour."""
    waits = [
        None,
        "999999",
        "9" * 5000,
        "-5",
        "1e9",
        "inf",
        "nan",
        "\x00",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "0.0000001",
    ]
    for number, data in enumerate(KINDS[kind]()):
        response = loosely_read(data)
        wait = waits[number % len(waits)]
        headers = {**response.headers, "Date": "Fri, 15 Jan 2027 08:00:00 GMT"}
        if wait is not None:
            headers["Retry-After"] = wait
        for status in (response.status, 418, 429, 503):
            for venue, command in ASKED:
                verdict = venue.judge(Plan(command, ACCOUNT), Response(status, response.body, headers))
                asked = verdict.retry_after
                assert asked is None or 0 <= asked <= MAX_RETRY_AFTER_SECONDS
                assert (verdict.overload is not None) >= (status in (418, 429))
                assert len(verdict.overload_words) < 100
    assert 0 < MAX_COOL_DOWN_SECONDS <= 900
