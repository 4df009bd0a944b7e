"""A response that was stored in a cache proves nothing about the present."""

import json
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

import pytest

from producers.commands import Command, Positions
from producers.report import Reason
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Plan, Proof, Venue, Verdict
from worker.venues.bitz import Bitz
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.http.base import Response, Timing
from worker.venues.response_freshness import date_header_ms, distrust_if_stale, staleness

ACCOUNT = Account("main", "everstrike", "https://venue.test", Credentials("key", "secret"))
T0 = 1_800_000_000_000

FRESH: list[Mapping[str, str]] = [
    {},
    {"Age": "0"},
    {"age": " 2 "},
    {"X-Cache": "MISS"},
    {"X-Cache": "Miss from cloudfront"},
    {"X-Cache": "RefreshHit from cloudfront"},
    {"X-Cache": "TCP_MISS from a1-2-3-4.deploy.akamaitechnologies.com"},
    {"X-Cache-Lookup": "HIT from squid:3128"},
    {"X-Cache-Hits": "0"},
    {"CF-Cache-Status": "DYNAMIC"},
    {"CF-Cache-Status": "REVALIDATED"},
    {"Cache-Status": "ExampleCache; fwd=request"},
    {"Cache-Control": "max-age=600, stale-while-revalidate=30"},
    {"Surrogate-Key": "hit"},
    {"Cache-Status": "ExampleCache; fwd=stale; fwd-status=200"},
    {"X-Cache": "not cached"},
    {"X-Cache-Enabled": "True"},
    {"X-From-Cache": "0"},
    {"X-Cached": "false"},
    {"X-Varnish": "32770"},
    {"Server-Timing": "cdn-cache; desc=MISS, edge; dur=3, hit; dur=1"},
    {"Warning": '199 - "1100 things"'},
    {"Date": "yesterday"},
]
STALE: list[Mapping[str, str]] = [
    {"Age": "3"},
    {"AGE": "600"},
    {"Age": "99999999999999999999"},
    {"Age": "9" * 5000},
    {"Age": "-1"},
    {"Age": "1.5"},
    {"Age": "0, 600"},
    {"Age": ""},
    {"Age": "\u0660"},
    {"X-Cache": "HIT"},
    {"x-cache": "Hit from cloudfront"},
    {"X-Cache": "MISS, HIT"},
    {"X-Cache": "TCP_MEM_HIT from a1-2-3-4.deploy.akamaitechnologies.com"},
    {"X-Cache-Hits": "0, 1"},
    {"X-Cache-Status": "STALE"},
    {"X-Proxy-Cache": "UPDATING"},
    {"CF-Cache-Status": "hit"},
    {"Cache-Status": 'OriginCache; hit; ttl=1100, "CDN Company Here"; fwd=uri-miss'},
    *({"X-Rack-Cache": value} for value in ("fresh", "stale, valid, store")),
    {"X-Cache": "cached"},
    *({name: value} for name in ("X-From-Cache", "X-Cached") for value in ("1", "true", "yes")),
    {"X-Varnish": "32770 3"},
    # Some of the expressions would take half a minute for these.
    *({"X-Varnish": "1" * 32_000}, {"Server-Timing": "cache" * 6_500}, {"cache" * 6_400 + "control": "x"}),
    {"Server-Timing": "edge; dur=1, cdn-cache; desc=HIT"},
    {"Warning": '110 proxy "Response is Stale"'},
    {"Warning": '199 - "x", 111 - "Revalidation Failed"'},
]
AT_ONCE = Timing(100.0, 102.9)


@pytest.mark.parametrize("headers", FRESH, ids=str)
def test_a_response_without_signs_of_a_cache_is_fresh(headers: Mapping[str, str]) -> None:
    """Its age may be as large as the time that passed since the request."""
    assert staleness(Response(200, b"", headers, AT_ONCE)) == ""


@pytest.mark.parametrize("headers", STALE, ids=lambda headers: str(headers)[:60])
def test_a_stored_response_is_stale(headers: Mapping[str, str]) -> None:
    """So is one with an unreadable header. The reason quotes nothing but a number of seconds."""
    words = staleness(Response(200, b"", headers, AT_ONCE))
    assert "cache" in words
    assert len(words) < 60


def test_without_timing_any_age_is_too_old() -> None:
    """It is not known how long the response took."""
    assert staleness(Response(200, b"", {"Age": "1"}))
    assert not staleness(Response(200, b"", {"Age": "0"}))


NO_POSITIONS: dict[str, tuple[Venue, Command, dict[str, Any]]] = {
    "everstrike": (Everstrike(), Positions(account="a"), {"code": 200, "msg": None, "result": {}}),
    "bitz": (Bitz(), Positions(account="a", contract_id=101), {"status": 200, "msg": "", "data": []}),
}


def judged(venue: str, headers: Mapping[str, str]) -> Verdict:
    """What a response proves that shows no open position."""
    adapter, command, envelope = NO_POSITIONS[venue]
    response = Response(200, json.dumps(envelope).encode(), headers, AT_ONCE)
    return distrust_if_stale(None, adapter.judge(Plan(command, ACCOUNT), response), response)


@pytest.mark.parametrize("venue", NO_POSITIONS)
def test_stored_positions_are_not_reported(venue: str) -> None:
    """An hour-old response without positions would let a trader leave a position open."""
    assert judged(venue, {"Age": "0"}).positions == ()
    old = judged(venue, {"Age": "3600"})
    assert (old.proof, old.positions, old.unknown_reason) == (Proof.UNKNOWN, None, Reason.UNLISTED_ANSWER)
    assert "3600 s" in old.message


@pytest.mark.parametrize("proof", [Proof.EXECUTED, Proof.REFUSED, Proof.NOT_EXECUTED, Proof.UNKNOWN])
def test_a_stored_response_proves_nothing_about_any_command(proof: Proof) -> None:
    """A cancel whose stored response is "not found" may have been executed. Only a 429 counts, as it may come from a
    proxy."""
    verdict = Verdict(proof, "the message of the venue")
    stored = {"Age": "600"}
    assert distrust_if_stale(T0, verdict, Response(503, b"", stored, AT_ONCE)).proof is Proof.UNKNOWN
    assert distrust_if_stale(T0, verdict, Response(429, b"", stored, AT_ONCE)) is verdict
    assert distrust_if_stale(T0, verdict, Response(503, b"", {"Date": formatdate(0, usegmt=True)}, AT_ONCE)) is verdict


@pytest.mark.parametrize("venue", NO_POSITIONS)
def test_positions_are_requested_from_the_venue_and_not_from_a_cache(venue: str) -> None:
    """Their requests have the header ``Cache-Control: no-cache``."""
    adapter, command, _ = NO_POSITIONS[venue]
    request = adapter.request(
        Plan(command, Account("a", venue, "https://venue.test", Credentials("key", "secret"))), T0
    )
    assert request.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("venue", NO_POSITIONS)
@pytest.mark.parametrize(("behind", "believed"), [(-3600, True), (0, True), (16, True), (17, False), (3600, False)])
def test_positions_dated_before_their_request_are_not_believed(venue: str, behind: int, believed: bool) -> None:
    """A cache without an Age header keeps the Date. Clocks may differ as much as the venue allows."""
    date = {"Date": formatdate(T0 / 1000 - behind, usegmt=True)}
    verdict = judged(venue, date)
    answer = Response(200, b"", date, AT_ONCE)
    assert distrust_if_stale(None, verdict, answer) is verdict
    found = distrust_if_stale(T0, verdict, answer)
    assert (found.proof is Proof.EXECUTED, found.positions == ()) == (believed, believed)


@pytest.mark.parametrize(
    ("date", "ms"),
    [
        ("Fri, 15 Jan 2027 08:00:00 GMT", T0),
        ("Fri, 15 Jan 2027 08:00:10 GMT, Fri, 15 Jan 2027 08:00:00 GMT", T0),
        ("", None),
        ("yesterday", None),
        ("Fri, 99 Jan 2027 08:00:00 GMT", None),
        ("Fri, 15 Foo 2027 08:00:00 GMT", None),
    ],
)
def test_an_unreadable_date_is_ignored(date: str, ms: int | None) -> None:
    """Of two dates, by a server and a proxy, the older one counts."""
    assert date_header_ms(Response(200, b"", {"Date": date})) == ms
