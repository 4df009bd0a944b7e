"""Settings: three places, one meaning, and secrets that stay hidden."""

import os
import ssl
import traceback
from pathlib import Path
from typing import get_args

import pytest

from producers.celery_app import for_celery
from producers.client import OrderClient
from producers.redis.client import connect
from producers.redis.url import sentinels_of, verified_tls
from producers.settings import QueueSettings, SettingsError, database_url
from worker.bootstrap import build_accounts
from worker.settings import AccountSettings, VenuesSettings, load
from worker.venues.accounts import Account
from worker.venues.registry import REGISTRY

ACCOUNT = {"VENUE": "everstrike", "API_KEY": "the-key", "SECRET_KEY": "the-secret"}


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
    """As literals, which pydantic wants."""
    assert set(get_args(AccountSettings.model_fields["venue"].annotation)) == REGISTRY.keys()
    assert VenuesSettings.model_fields.keys() == REGISTRY.keys()


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
def test_a_toml_file(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flat names or tables."""
    path = tmp_path / "orders.toml"
    path.write_text(text)
    monkeypatch.setenv("ORDERS_CONFIG_FILE", str(path))
    settings = load()
    main = settings.accounts["main"]
    assert (settings.broker_url, main.venue, main.allow_http) == ("redis://toml:1/0", "bitz", True)
    assert settings.retry.attempts == 7


def test_lists_of_a_toml_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern may hold commas and quotes; a list of words is one as the text with commas is."""
    path = tmp_path / "orders.toml"
    path.write_text(
        'hide_arguments = ["qty", "price"]\n[venues.everstrike]\n'
        'refusals = ["no, \\"such\\" pair", \'the \\w+ is gone\']'
    )
    monkeypatch.setenv("ORDERS_CONFIG_FILE", str(path))
    settings = load()
    assert settings.venues.refusals_of("everstrike") == ('no, "such" pair', r"the \w+ is gone")
    assert (settings.venues.refusals_of("bitz"), settings.venues.refusals_of("kraken")) == ((), ())
    assert settings.hidden_arguments == {"qty", "price"}


def test_the_environment_beats_secrets_beat_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file each in the secrets folder, without the newline that an editor leaves."""
    toml, secrets = tmp_path / "orders.toml", tmp_path / "secrets"
    secrets.mkdir()
    toml.write_text(
        '[accounts.main]\nvenue = "everstrike"\napi_key = "toml"\nsecret_key = "toml"\nbase_url = "https://t"'
    )
    (secrets / "ORDERS_ACCOUNTS__MAIN__API_KEY").write_text("file\n")
    (secrets / "orders_accounts__main__secret_key").write_text("file\n")
    (secrets / "unrelated").write_text("x")
    monkeypatch.setenv("ORDERS_CONFIG_FILE", str(toml))
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
        ("VENUES__EVERSTRIKE__REFUSALS", "hunter2 was refused", "REFUSALS: must be a JSON list of regular expressions"),
        ("VENUES__EVERSTRIKE__REFUSALS", '{"hunter2": 1}', "must be a JSON list"),
        ("VENUES__EVERSTRIKE__REFUSALS", "[1]", "must be a JSON list"),
        (
            "VENUES__EVERSTRIKE__REFUSALS",
            '["fine", "hunter2("]',
            "REFUSALS: pattern 2 is no regular expression: missing )",
        ),
        ("VENUES__EVERSTRIKE__REFUSALS", '["(hunter2.*)?"]', "pattern 1 matches a message without words"),
        ("VENUES__EVERSTRIKE__REFUSALS", '["(?!hunter2).+"]', "pattern 1 matches just any message"),
        ("VENUES__EVERSTRIKE__REFUSALS", '["(a+)+hunter2"]', "pattern 1 repeats a group"),
        (
            "VENUES__BITZ__REFUSALS",
            f'["{"hunter2" * 50}"]',
            "BITZ__REFUSALS: pattern 1 has more than 300 characters",
        ),
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
        (b'a = "hunter2"\nb = [\n', "it is no TOML, at end of document"),
        (b'secret = hunter2"', "it is no TOML, at line 1, column 10"),
        (b'secret = "hunter2\xff"', "it is not UTF-8"),
    ],
)
def test_a_file_that_can_not_be_read_says_where(
    content: bytes, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where to mend it, and not a word of what it holds."""
    path = tmp_path / "orders.toml"
    path.write_bytes(content)
    monkeypatch.setenv("ORDERS_CONFIG_FILE", str(path))
    assert refusal() == f"ORDERS_CONFIG_FILE: {path} can't be read: {words}"


# -- URLs of the servers -----------------------------------------------------------------------------------------------


def test_databases_of_one_server() -> None:
    """0, 1 and 2 of it, whatever its URL holds besides."""
    assert database_url("redis://:pw@h:1/9?x=y", 2) == "redis://:pw@h:1/2?x=y"
    with pytest.raises(SettingsError, match=r"ORDERS_REDIS_URL: .* ORDERS_BROKER_URL"):
        QueueSettings.load(redis_url="unix:///run/redis.sock")


def test_tls_is_verified() -> None:
    """A bare rediss URL would check no certificate."""
    assert verified_tls("rediss://h/0") == "rediss://h/0?ssl_cert_reqs=required"
    verified = verified_tls("rediss://h/0?ssl_ca_certs=/ca.pem")
    assert verified == "rediss://h/0?ssl_ca_certs=/ca.pem&ssl_cert_reqs=required"
    assert QueueSettings(redis_url="rediss://h").broker_url.endswith("ssl_cert_reqs=required")


def test_sentinels_are_one_url() -> None:
    """Taken apart as it is meant, for redis-py, kombu and Celery alike; the TLS options reach Sentinels and servers."""
    url = "sentinels://ann:p%40ss@h1,h2:1,[::1]:2/3?master=orders&sentinel_password=s%3Bx&ssl_ca_certs=/ca.pem"
    found = sentinels_of(url)
    assert found.hosts == (("h1", 26379), ("h2", 1), ("::1", 2))
    assert (found.master, found.database) == ("orders", 3)
    tls = {"ssl": True, "ssl_cert_reqs": "required", "ssl_ca_certs": "/ca.pem"}
    assert found.server == {"username": "ann", "password": "p@ss", **tls}
    assert found.sentinel == {"password": "s;x", **tls}
    assert "p@ss" not in repr(found)
    for_kombu = for_celery(url)
    assert for_kombu.url.split(";")[1] == "sentinel://ann:p%40ss@h2:1/3"
    assert for_kombu.options["master_name"] == "orders"
    assert for_kombu.tls == {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/ca.pem"}
    settings = QueueSettings(redis_url="sentinel://:pw@h1,h2?master=orders")
    assert settings.ledger_url == "sentinel://:pw@h1,h2/2?master=orders"


ALL_URLS = ("REDIS_URL", "BROKER_URL", "RESULT_BACKEND", "LEDGER_URL")
UNVERIFIED = [
    f"{scheme}://:hunter2@h/0?master=m&ssl_cert_reqs={word}"
    for scheme in ("rediss", "sentinels")
    for word in ("none", "optional", "CERT_NONE")
]
NO_SENTINELS = [
    "sentinel://h1:26379",
    "sentinel://h1:26379;sentinel://h2:26379/0?master=m",
    "sentinel://?master=m",
    "sentinel://h1/x?master=m",
    "sentinel://h1?master=m&mastr=n",
    "sentinel://h1:port?master=m",
]


@pytest.mark.parametrize(
    ("name", "url", "words"),
    [
        # Anybody on the way could read every command, and send some.
        *((name, url, "asks not to check") for name in ALL_URLS for url in UNVERIFIED),
        # kombu's own form, for one, names no master.
        *(("BROKER_URL", url, "") for url in NO_SENTINELS),
        # kombu takes each option for an argument of its own, and ends in a TypeError at the first message.
        *(
            (name, f"redis://h:1?{option}=1", "ssl_ca_certs")
            for name in ALL_URLS[:2]
            for option in ("db=7", "socket_timeout=5", "hunter2")
        ),
    ],
)
def test_a_url_that_must_not_be_used_is_refused(
    name: str, url: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In words that say how to write it, without the password."""
    monkeypatch.setenv(f"ORDERS_{name}", url)
    with pytest.raises(SettingsError, match=f"ORDERS_{name}: .*{words}") as refused:
        QueueSettings.load()
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", ALL_URLS)
@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2#x@redis.internal:6379",
        "redis://:1#hunter2@redis.internal:6379",
        "redis://:hunter2/x@redis.internal:6379",
        "redis://:hunter2\N{ACCOUNT OF}@redis.internal:6379",
        "redis://:hunter2@redis.internal:99999",
        "sentinel://user:hunter2?master=m",
    ],
)
def test_a_password_that_breaks_its_url_is_not_quoted(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> None:
    """Python's own words for such a URL hold the piece of it that is no port, which is a piece of the password."""
    monkeypatch.setenv(f"ORDERS_{name}", url)
    with pytest.raises(SettingsError, match=f"ORDERS_{name}: ") as refused:
        OrderClient()
    shown = "".join(traceback.format_exception(refused.value))
    assert "hunter2" not in shown.replace(url, "")


def test_options_that_no_connection_knows_are_refused() -> None:
    """When the client is made, not at its first command."""
    connect("redis://h:1?client_name=desk", timeout=1).close()
    with pytest.raises(ValueError, match="option"):
        connect("redis://h:1?colour=red", timeout=1)
