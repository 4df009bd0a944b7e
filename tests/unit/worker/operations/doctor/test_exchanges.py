"""What the doctor says about exchanges that are used through ccxt."""

import pytest

from worker.operations.doctor import exchanges
from worker.operations.doctor.exchanges import check_library, check_traits
from worker.operations.doctor.findings import Level
from worker.operations.doctor.venues import max_age_ms
from worker.venues.ccxt.binding import PINNED


@pytest.mark.parametrize(
    ("version", "level", "words"),
    [
        (PINNED, Level.OK, PINNED),
        (None, Level.FAULT, "it is not installed"),
        ("4.5.91", Level.FAULT, f"4.5.91 is installed, and only {PINNED} is used"),
    ],
)
def test_ccxt_is_there_in_the_pinned_version(version: str | None, level: Level, words: str) -> None:
    found = check_library(version)
    assert (found.level, words in found.message) == (level, True)
    assert ("pip install" in found.advice) == (level is Level.FAULT)


def test_an_exchange_that_nobody_has_read_takes_positions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "installed_version", lambda: None)
    found = check_traits("coincheck", ["a", "b"])
    assert [(each.name, each.level) for each in found] == [("coincheck (a, b)", Level.WARNING)]
    assert "takes positions alone" in found[0].message


def test_a_name_that_ccxt_does_not_know_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "installed_version", lambda: PINNED)
    monkeypatch.setattr(exchanges, "is_known", lambda ccxt_id: False)
    assert [each.level for each in check_traits("krakenfuture", ["main"])] == [Level.FAULT]


def test_what_was_never_run_is_told_and_what_is_refused_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "installed_version", lambda: None)
    never, refused, unread = check_traits("krakenfutures", ["main"])
    assert (never.level, refused.level, unread.level) == (Level.WARNING, Level.OK, Level.OK)
    assert "read, never run against the exchange: positions, submit, close, cancel, look" in never.message
    assert "orders venue-check main" in never.advice
    assert "does not take withdraw (Kraken Futures sends to the account's own spot wallet only)" in refused.message


@pytest.mark.parametrize(
    ("venue", "age_ms"), [("everstrike", 15_000), ("ccxt:bybit", 5_000), ("ccxt:coincheck", 15_000)]
)
def test_a_clock_is_compared_with_how_long_requests_are_valid(venue: str, age_ms: int) -> None:
    assert max_age_ms(venue) == age_ms
