"""Settings: three places, one meaning, and secrets that stay hidden."""

import os
from pathlib import Path

import pytest

from producers.settings import SettingsError
from worker.assembly import build_accounts
from worker.rate_limits import RateLimit
from worker.settings import VenuesSettings, load
from worker.venues.accounts import Account
from worker.venues.ccxt.exchanges import IDS
from worker.venues.registry import REGISTRY, different_limits

ACCOUNT = {"VENUE": "everstrike", "API_KEY": "the-key", "SECRET_KEY": "the-secret"}
REFUSALS = "VENUES__EVERSTRIKE__REFUSALS"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine that runs the tests."""
    for name in os.environ:
        if name.startswith("ORDERS_"):
            monkeypatch.delenv(name)


def set_account(monkeypatch: pytest.MonkeyPatch, alias: str = "MAIN", **changes: str) -> None:
    """One account in the environment."""
    for name, value in {**ACCOUNT, **changes}.items():
        monkeypatch.setenv(f"ORDERS_ACCOUNTS__{alias}__{name}", value)


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TOML file that the settings name."""
    path = tmp_path / "orders.toml"
    monkeypatch.setenv("ORDERS_CONFIG_FILE", str(path))
    return path


def main_account() -> Account:
    """The account that these settings describe."""
    return build_accounts(load())["main"]


def refusal() -> str:
    """The error of settings that can't be used, which never quotes a secret."""
    with pytest.raises(SettingsError) as refused:
        load()
    assert "hunter2" not in str(refused.value)
    return str(refused.value)


def test_the_defaults_are_the_contracts() -> None:
    """As written in the contract."""
    settings = load()
    databases = (settings.broker_url, settings.result_backend, settings.ledger_url)
    assert databases == tuple(f"redis://127.0.0.1:6379/{database}" for database in range(3))
    retry, http = settings.retry, settings.http
    assert (retry.attempts, retry.initial_seconds, retry.max_seconds, retry.budget_seconds) == (5, 0.2, 5, 30)
    assert (http.connect_timeout_seconds, http.read_timeout_seconds) == (3, 10)


def test_the_settings_name_the_venues_of_the_registry() -> None:
    assert VenuesSettings.model_fields.keys() == {*REGISTRY, *(f"ccxt_{ccxt_id}" for ccxt_id in IDS)}


def test_accounts_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An alias knows no case; the venue's own address is the default; no secret is in any form of the settings."""
    set_account(monkeypatch)
    main, settings = main_account(), load()
    assert (main.venue, main.base_url) == ("everstrike", "https://api.everstrike.io")
    assert (main.credentials.api_key, main.credentials.secret_key) == ("the-key", "the-secret")
    assert "the-secret" not in f"{settings!r}{settings}{settings.model_dump()}{settings.model_dump_json()}"


FLAT = """
ORDERS_REDIS_URL = "redis://toml:1"
ORDERS_ACCOUNTS__MAIN__VENUE = "bitz"
ORDERS_ACCOUNTS__MAIN__API_KEY = "k"
ORDERS_ACCOUNTS__MAIN__SECRET_KEY = "s"
ORDERS_ACCOUNTS__MAIN__ALLOW_HTTP = true
ORDERS_RETRY__ATTEMPTS = 7
"""
TABLES = """
redis_url = "redis://toml:1"
retry = {attempts = 7}
accounts.main = {venue = "bitz", api_key = "k", secret_key = "s", allow_http = true}
"""


@pytest.mark.parametrize("text", [FLAT, TABLES], ids=["the same names", "tables"])
def test_a_toml_file(text: str, config_file: Path) -> None:
    """Flat names or tables."""
    config_file.write_text(text)
    settings = load()
    main = settings.accounts["main"]
    assert (settings.broker_url, main.venue, main.allow_http) == ("redis://toml:1/0", "bitz", True)
    assert settings.retry.attempts == 7


def test_lists_of_a_toml_file(config_file: Path) -> None:
    """A pattern may hold commas and quotes; a list of words is one as the text with commas is."""
    config_file.write_text(
        'hide_arguments = ["qty", "price"]\n[venues.everstrike]\n'
        'refusals = ["no, \\"such\\" pair", \'the \\w+ is gone\']'
    )
    settings = load()
    assert settings.venues.refusals_of("everstrike") == ('no, "such" pair', r"the \w+ is gone")
    assert (settings.venues.refusals_of("bitz"), settings.venues.refusals_of("kraken")) == ((), ())
    assert settings.hidden_arguments == {"qty", "price"}


def test_the_environment_beats_secrets_beat_toml(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file each in the secrets folder, without the newline that an editor leaves."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    config_file.write_text(
        '[accounts.main]\nvenue = "everstrike"\napi_key = "toml"\nsecret_key = "toml"\nbase_url = "https://t"'
    )
    (secrets / "ORDERS_ACCOUNTS__MAIN__API_KEY").write_text("file\n")
    (secrets / "orders_accounts__main__secret_key").write_text("file\n")
    (secrets / "unrelated").write_text("x")
    monkeypatch.setenv("ORDERS_SECRETS_DIR", str(secrets))
    monkeypatch.setenv("ORDERS_ACCOUNTS__MAIN__SECRET_KEY", "environment")
    main = main_account()
    found = (main.credentials.api_key, main.credentials.secret_key, main.base_url)
    assert found == ("file", "environment", "https://t")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ACCOUNTS__MAIN__VENUE", "kraken", "ORDERS_ACCOUNTS__MAIN__VENUE"),
        ("ACCOUNTS__MAIN__SECRET_KEY", "", "ORDERS_ACCOUNTS__MAIN__SECRET_KEY"),
        ("ACCOUNTS__MAIN__SECRET_KEY", "hunter2\n", "printable ASCII"),
        ("ACCOUNTS__MAIN__BASE_URL", "http://10.0.0.1", "set allow_http to mean it"),
        ("ACCOUNTS__MAIN__BASE_URL", "ftp://x", "must be an http"),
        ("ACCOUNTS__MAIN__BASE_URL", "https://hunter2:99999", "must be an http"),
        ("ACCOUNTS__MAIN__BASE_URL", "https://*.hunter2", "must be an http"),
        ("ACCOUNTS__MAIN__BASE_URL", "https://user:hunter2@x", "must hold no user"),
        ("ACCOUNTS__MAIN__COLOUR", "red", "ORDERS_ACCOUNTS__MAIN__COLOUR: there is no such setting"),
        ("ACCOUNTS__MAIN__ALLOW_HTTP", "hunter2", "ORDERS_ACCOUNTS__MAIN__ALLOW_HTTP: must be a valid boolean"),
        ("ACCOUNTS", "hunter2", "ORDERS_ACCOUNTS"),
        (REFUSALS, "hunter2 was refused", "REFUSALS: must be a JSON list of regular expressions"),
        (REFUSALS, '{"hunter2": 1}', "must be a JSON list"),
        (REFUSALS, "[1]", "must be a JSON list"),
        (REFUSALS, '["fine", "hunter2("]', "REFUSALS: pattern 2 is no regular expression: missing )"),
        (REFUSALS, '["(hunter2.*)?"]', "pattern 1 matches a message without words"),
        (REFUSALS, '["(?!hunter2).+"]', "pattern 1 matches just any message"),
        (REFUSALS, '["(a+)+hunter2"]', "pattern 1 repeats a group"),
        ("VENUES__BITZ__REFUSALS", f'["{"hunter2" * 50}"]', "BITZ__REFUSALS: pattern 1 has more than 300 characters"),
        ("VENUES__KRAKEN__REFUSALS", "[]", "ORDERS_VENUES__KRAKEN: there is no such setting"),
        ("VENUES__BITZ__REFUSAL", "[]", "ORDERS_VENUES__BITZ__REFUSAL: there is no such setting"),
        # A server refuses a number beyond its own, and so would the end of a command that was executed; a record that
        # goes before the last redelivery lets it be executed again.
        ("LEDGER__KEEP_DAYS", "inf", "ORDERS_LEDGER__KEEP_DAYS: must be"),
        ("LEDGER__KEEP_DAYS", "1e12", "ORDERS_LEDGER__KEEP_DAYS: must be"),
        ("LEDGER__KEEP_DAYS", "0.01", "ORDERS_LEDGER__KEEP_DAYS: must be"),
        ("LEDGER__JOURNAL_LINES", "1" + "0" * 30, "ORDERS_LEDGER__JOURNAL_LINES: must be"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found at the start and not in the night, without a secret in the error."""
    if name != "ACCOUNTS":
        set_account(monkeypatch)
    monkeypatch.setenv(f"ORDERS_{name}", value)
    assert words in refusal()


@pytest.mark.parametrize("alias", ["ma\u200bin", "mäin", "ma in", "-main", "x" * 65, "\U000e0041"])
def test_an_alias_that_no_command_can_name_is_refused(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its account would look configured, and no command would find it."""
    set_account(monkeypatch, alias)
    refused = refusal()
    assert refused.startswith("ORDERS_ACCOUNTS: ")
    assert "can't be an alias" in refused
    assert refused.isprintable()


@pytest.mark.parametrize(
    ("url", "changes"),
    [
        *((url, {}) for url in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://x")),
        ("http://simulator:9100", {"ALLOW_HTTP": "true"}),
    ],
)
def test_plain_http_goes_to_this_machine_or_by_leave(
    url: str, changes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simulator on a loopback address needs no leave; the slash at the end of an address is left out."""
    set_account(monkeypatch, BASE_URL=f"{url}/", **changes)
    assert main_account().base_url == url


@pytest.mark.parametrize("name", ["ORDERS_CONFIG_FILE", "ORDERS_SECRETS_DIR"])
def test_a_place_that_can_not_be_read_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Never a silent default."""
    monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    assert name in refusal()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'a = "hunter2"\nb = [\n', "it is not TOML, at end of document"),
        (b'secret = hunter2"', "it is not TOML, at line 1, column 10"),
        (b'secret = "hunter2\xff"', "it is not UTF-8"),
    ],
)
def test_a_file_that_can_not_be_read_says_where(content: bytes, words: str, config_file: Path) -> None:
    """Where to mend it, and not a word of what it holds."""
    config_file.write_bytes(content)
    assert refusal() == f"ORDERS_CONFIG_FILE: {config_file} can't be read: {words}"


def test_a_file_for_the_keys_of_tls_keeps_a_worker_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would write to it what decrypts every request."""
    monkeypatch.setenv("SSLKEYLOGFILE", "")
    assert load()
    monkeypatch.setenv("SSLKEYLOGFILE", "keys")
    with pytest.raises(SettingsError, match=r"SSLKEYLOGFILE: .*Unset it"):
        load()


EVERSTRIKES = (RateLimit(10, 1000), RateLimit(50, 20_000), RateLimit(500, 200_000))
SAME_ADDRESS = [
    *("", "https://api.everstrike.io/", "https://API.Everstrike.IO", "HTTPS://api.everstrike.io:443//"),
    "https://api.everstrike.io.",
]


@pytest.mark.parametrize("url", SAME_ADDRESS)
def test_a_venues_own_limits_hold_at_its_own_address(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """However the address is written."""
    set_account(monkeypatch, BASE_URL=url)
    assert main_account().rate_limits == EVERSTRIKES


@pytest.mark.parametrize(
    "url", ["https://api.testnet.everstrike.io", "https://api.everstrike.io:8443", "https://api.everstrike.io/v2"]
)
def test_a_venues_own_limits_hold_nowhere_else(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Nobody knows the limits of a test network or of a simulator; those that are listed hold everywhere."""
    set_account(monkeypatch, BASE_URL=url)
    assert main_account().rate_limits == ()
    set_account(monkeypatch, BASE_URL=url, RATE_LIMITS=" 10/1s  50/20s ")
    assert main_account().rate_limits == (RateLimit(10, 1000), RateLimit(50, 20_000))


def test_rate_limits_can_be_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also at the venue's own address."""
    set_account(monkeypatch, RATE_LIMITS="Off")
    assert main_account().rate_limits == ()


def test_rate_limits_as_a_list_of_a_toml_file(config_file: Path) -> None:
    """As other lists are."""
    config_file.write_text(
        'accounts.main = {venue = "bitz", api_key = "k", secret_key = "s", rate_limits = ["5/1s", "9/10s"]}'
    )
    assert main_account().rate_limits == (RateLimit(5, 1000), RateLimit(9, 10_000))


UNREADABLE_LIMITS = [
    *("50", "50/20", "50 / 20s", "0/1s", "1/0s", "-1/1s", "1.5/1s", "50/20s;500/200s", "venue 50/20s", "off off"),
    *("10001/1s", "1/86401s", "\u0665/1s", "1/1m", "1/1s " * 9, "hunter2", "9" * 5000 + "/1s", "true"),
]


@pytest.mark.parametrize("number", range(len(UNREADABLE_LIMITS)))
def test_limits_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The message says how limits are written."""
    set_account(monkeypatch, RATE_LIMITS=UNREADABLE_LIMITS[number])
    assert "ORDERS_ACCOUNTS__MAIN__RATE_LIMITS: a limit is written as requests/seconds, such as 50/20s" in refusal()


@pytest.mark.parametrize("value", ["", " ", "[]", '[""]'])
def test_no_limits_are_written_as_off(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A variable that was left empty by mistake must not lift them."""
    set_account(monkeypatch, RATE_LIMITS=value)
    assert "RATE_LIMITS: must be venue, off, or a list such as 50/20s 500/200s" in refusal()


def test_the_share_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fraction, or not set."""
    set_account(monkeypatch)
    assert load().accounts["main"].thread_share is None
    set_account(monkeypatch, THREAD_SHARE="0.25")
    assert load().accounts["main"].thread_share == 0.25


@pytest.mark.parametrize("value", ["0", "-0.5", "1.01", "nan", "inf", "half", ""])
def test_a_share_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """More than all, nothing, or no number."""
    set_account(monkeypatch, THREAD_SHARE=value)
    assert "ORDERS_ACCOUNTS__MAIN__THREAD_SHARE" in refusal()


def test_accounts_with_one_key_have_one_bucket_and_the_strictest_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The venue sees one account, whatever its aliases are. It is said which limits hold."""
    set_account(monkeypatch)
    set_account(monkeypatch, "SECOND", BASE_URL="https://API.everstrike.io:443/", RATE_LIMITS="40/20s 600/200s")
    set_account(monkeypatch, "THIRD", RATE_LIMITS="off")
    set_account(monkeypatch, "OTHER", API_KEY="another-key", RATE_LIMITS="1/1s")
    set_account(monkeypatch, "SIMULATED", BASE_URL="http://127.0.0.1:9100", RATE_LIMITS="2/1s")
    settings = load()
    accounts = build_accounts(settings)
    shared = [accounts[alias] for alias in ("main", "second", "third")]
    assert len({account.bucket for account in accounts.values()}) == 3
    assert {account.bucket for account in shared} == {accounts["main"].bucket}
    assert {account.rate_limits for account in shared} == {
        (RateLimit(10, 1000), RateLimit(40, 20_000), RateLimit(500, 200_000))
    }
    assert accounts["other"].rate_limits == (RateLimit(1, 1000),)
    (sentence,) = different_limits(settings.accounts)
    assert sentence == (
        "the accounts main (10/1s 50/20s 500/200s), second (40/20s 600/200s), third (off) have one key at one address "
        "and different rate limits; for all holds 10/1s 40/20s 500/200s"
    )


def test_accounts_with_one_key_and_the_same_limits_are_no_surprise(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever order they are listed, and whatever they list in addition that says nothing."""
    set_account(monkeypatch)
    set_account(monkeypatch, "SECOND", RATE_LIMITS="500/200s 50/20s 10/1s 60/20s")
    assert not different_limits(load().accounts)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://API.Everstrike.io./", "api.everstrike.io:443"),
        ("http://localhost", "localhost:80"),
        ("http://[::1]:9100/x", "::1:9100"),
    ],
)
def test_the_host_of_an_account(monkeypatch: pytest.MonkeyPatch, url: str, host: str) -> None:
    """Cool-downs of an address are kept under it, so it has one spelling and always a port."""
    set_account(monkeypatch, BASE_URL=url)
    assert main_account().host == host
