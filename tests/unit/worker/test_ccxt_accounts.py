"""The settings of accounts at exchanges of ccxt: each exchange says what an account must have."""

import pytest

from worker.bootstrap import build_venues
from worker.settings import SettingsError, load
from worker.venues.ccxt import binding
from worker.venues.registry import REGISTRY, VENUES, account_of

OKX = {"VENUE": "ccxt:okx", "API_KEY": "key", "SECRET_KEY": "secret", "PASSPHRASE": "sesame", "ACCOUNT_MODE": "futures"}
KRAKEN = {"VENUE": "ccxt:krakenfutures", "API_KEY": "key", "SECRET_KEY": "c2VjcmV0"}
EVERSTRIKE = {"VENUE": "everstrike", "API_KEY": "key", "SECRET_KEY": "secret"}


def use(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"ORDERS_ACCOUNTS__MAIN__{name}", value)


def test_an_account_has_everything_that_its_exchange_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {**OKX, "HEDGE_MODE": "true", "TESTNET": "true"})
    settings = load()
    account = account_of("main", settings.accounts["main"])
    assert (account.base_url, account.mode, account.hedge, account.testnet) == (
        "https://www.okx.com",
        "futures",
        True,
        True,
    )
    assert (account.credentials.api_key, account.credentials.passphrase) == ("key", "sesame")
    assert account.rate_limits == ()  # nobody has said which hold at a test network
    assert "sesame" not in f"{settings!r}{settings}{settings.model_dump()}{settings.model_dump_json()}{account!r}"


def test_the_address_is_the_exchanges_own_or_its_test_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, KRAKEN)
    account = account_of("main", load().accounts["main"])
    assert (account.base_url, account.rate_limits) == (
        "https://futures.kraken.com",
        VENUES["ccxt:krakenfutures"].rate_limits,
    )
    monkeypatch.setenv("ORDERS_ACCOUNTS__MAIN__TESTNET", "true")
    assert account_of("main", load().accounts["main"]).base_url == "https://demo-futures.kraken.com"


WRONG: list[tuple[dict[str, str], str]] = [
    ({**OKX, "PASSPHRASE": ""}, "PASSPHRASE: is missing"),
    ({**KRAKEN, "API_KEY": ""}, "API_KEY: is missing"),
    ({**EVERSTRIKE, "SECRET_KEY": ""}, "SECRET_KEY: is missing"),
    ({**KRAKEN, "PASSPHRASE": "hunter2"}, "PASSPHRASE: ccxt:krakenfutures has nothing like it"),
    ({**EVERSTRIKE, "UID": "hunter2"}, "UID: everstrike has nothing like it"),
    ({**EVERSTRIKE, "WALLET_ADDRESS": "hunter2"}, "WALLET_ADDRESS: everstrike has nothing like it"),
    ({**EVERSTRIKE, "PRIVATE_KEY": "hunter2"}, "PRIVATE_KEY: everstrike has nothing like it"),
    ({**OKX, "PASSPHRASE": "hunter2 "}, "PASSPHRASE: must be printable ASCII"),
    ({**OKX, "ACCOUNT_MODE": ""}, "ACCOUNT_MODE: must be futures or multi_currency"),
    ({**OKX, "ACCOUNT_MODE": "spot"}, "ACCOUNT_MODE: must be futures or multi_currency"),
    ({**KRAKEN, "ACCOUNT_MODE": "x"}, "ACCOUNT_MODE: ccxt:krakenfutures has nothing like it"),
    ({**KRAKEN, "HEDGE_MODE": "true"}, "HEDGE_MODE: ccxt:krakenfutures has nothing like it"),
    ({**EVERSTRIKE, "TESTNET": "true"}, "TESTNET: everstrike has nothing like it"),
    ({**KRAKEN, "VENUE": "kraken"}, "VENUE: must be everstrike, bitz or ccxt:<exchange>"),
    ({**KRAKEN, "VENUE": "ccxt:../x"}, "VENUE: must be everstrike, bitz or ccxt:<exchange>"),
    ({**KRAKEN, "VENUE": "ccxt:hunter"}, "VENUE: ccxt knows no exchange hunter; there are ccxt:binanceusdm, ccxt:b"),
]


@pytest.mark.parametrize(("settings", "words"), WRONG, ids=[words for _, words in WRONG])
def test_what_an_exchange_does_not_know_is_refused(
    settings: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No value is in the message, but for a venue's name."""
    use(monkeypatch, settings)
    with pytest.raises(SettingsError) as wrong:
        load()
    assert f"ORDERS_ACCOUNTS__MAIN__{words}" in str(wrong.value)
    assert "hunter2" not in str(wrong.value)


def test_without_the_extra_the_settings_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "installed_version", lambda: None)
    use(monkeypatch, KRAKEN)
    with pytest.raises(SettingsError, match=r"VENUE: ccxt is not installed: pip install .*\[ccxt\]"):
        load()


def test_a_worker_has_the_venues_of_its_accounts_with_their_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry lists those that are built in."""
    use(monkeypatch, KRAKEN)
    monkeypatch.setenv("ORDERS_VENUES__CCXT_KRAKENFUTURES__REFUSALS", '["no such thing"]')
    settings = load()
    assert list(REGISTRY) == ["everstrike", "bitz"]
    assert set(build_venues(settings)) == {"everstrike", "bitz", "ccxt:krakenfutures"}
    assert settings.venues.refusals_of("ccxt:krakenfutures") == ("no such thing",)
    monkeypatch.setenv("ORDERS_VENUES__CCXT_NOBODY__REFUSALS", "[]")
    with pytest.raises(SettingsError, match="CCXT_NOBODY: there is no such setting"):
        load()
