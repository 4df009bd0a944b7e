"""Settings: three places, one meaning, and secrets that stay hidden."""

import ssl
import traceback
from pathlib import Path

import pytest

from producers.celery_app import to_celery_url
from producers.client import OrderClient
from producers.redis.client import connect
from producers.redis.url import parse_sentinel_url, with_verified_tls
from producers.settings import QueueSettings, SettingsError, database_url
from worker.celery_app.config import celery_config, visibility_timeout
from worker.celery_app.queues import QUEUES, SERVED
from worker.settings import WorkerSettings, load


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine that runs the tests."""
    import os

    for name in os.environ:
        if name.startswith("ORDERS_"):
            monkeypatch.delenv(name)


def account(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    """One account in the environment."""
    fields = {"VENUE": "everstrike", "API_KEY": "the-key", "SECRET_KEY": "the-secret", **changes}
    for name, value in fields.items():
        monkeypatch.setenv(f"ORDERS_ACCOUNTS__MAIN__{name}", value)


def test_the_defaults_are_the_contracts() -> None:
    """As written in the contract."""
    settings = load()
    assert (settings.broker_url, settings.result_backend, settings.ledger_url) == (
        "redis://127.0.0.1:6379/0",
        "redis://127.0.0.1:6379/1",
        "redis://127.0.0.1:6379/2",
    )
    retry, http = settings.retry, settings.http
    assert (retry.attempts, retry.initial_seconds, retry.max_seconds, retry.budget_seconds) == (5, 0.2, 5, 30)
    assert (http.connect_timeout_seconds, http.read_timeout_seconds) == (3, 10)


def test_accounts_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An alias knows no case; the venue's own address is the default."""
    account(monkeypatch)
    main = load().account_map()["main"]
    assert (main.venue, main.base_url) == ("everstrike", "https://api.everstrike.io")
    assert (main.credentials.api_key, main.credentials.secret_key) == ("the-key", "the-secret")


@pytest.mark.parametrize("alias", ["ma\u200bin", "mäin", "ma in", "-main", "x" * 65, "\U000e0041"])
def test_an_alias_that_no_command_can_name_is_refused(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its account would look configured, and no command would find it."""
    for name, value in {"VENUE": "everstrike", "API_KEY": "the-key", "SECRET_KEY": "the-secret"}.items():
        monkeypatch.setenv(f"ORDERS_ACCOUNTS__{alias}__{name}", value)
    with pytest.raises(SettingsError, match=r"ORDERS_ACCOUNTS: .* can't be an alias") as refused:
        load()
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        """
        ORDERS_REDIS_URL = "redis://toml:1"
        ORDERS_ACCOUNTS__MAIN__VENUE = "bitz"
        ORDERS_ACCOUNTS__MAIN__API_KEY = "k"
        ORDERS_ACCOUNTS__MAIN__SECRET_KEY = "s"
        ORDERS_ACCOUNTS__MAIN__ALLOW_HTTP = true
        ORDERS_RETRY__ATTEMPTS = 7
        """,
        """
        redis_url = "redis://toml:1"
        [accounts.main]
        venue = "bitz"
        api_key = "k"
        secret_key = "s"
        allow_http = true
        [retry]
        attempts = 7
        """,
    ],
    ids=["the same names", "tables"],
)
def test_a_toml_file(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flat names or tables."""
    path = tmp_path / "orders.toml"
    path.write_text(text)
    monkeypatch.setenv("ORDERS_CONFIG_FILE", str(path))
    settings = load()
    assert settings.broker_url == "redis://toml:1/0"
    assert settings.accounts["main"].venue == "bitz"
    assert settings.accounts["main"].allow_http
    assert settings.retry.attempts == 7


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
    main = load().account_map()["main"]
    assert (main.credentials.api_key, main.credentials.secret_key, main.base_url) == (
        "file",
        "environment",
        "https://t",
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"VENUE": "kraken"}, "ORDERS_ACCOUNTS__MAIN__VENUE"),
        ({"SECRET_KEY": ""}, "ORDERS_ACCOUNTS__MAIN__SECRET_KEY"),
        ({"SECRET_KEY": "hunter2\n"}, "printable ASCII"),
        ({"BASE_URL": "http://10.0.0.1"}, "set allow_http to mean it"),
        ({"BASE_URL": "ftp://x"}, "must be an http"),
        ({"BASE_URL": "https://hunter2:99999"}, "must be an http"),
        ({"BASE_URL": "https://*.hunter2"}, "must be an http"),
        ({"BASE_URL": "https://user:hunter2@x"}, "must hold no user"),
        ({"COLOUR": "red"}, "ORDERS_ACCOUNTS__MAIN__COLOUR: there is no such setting"),
        ({"ALLOW_HTTP": "hunter2"}, "ORDERS_ACCOUNTS__MAIN__ALLOW_HTTP: must be a valid boolean"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not(
    changes: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says which, and never quotes a secret."""
    account(monkeypatch, **changes)
    with pytest.raises(SettingsError) as refused:
        load()
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "EVERSTRIKE__REFUSALS",
            "hunter2 was refused",
            "REFUSALS: must be a JSON list of regular expressions",
        ),
        ("EVERSTRIKE__REFUSALS", '{"hunter2": 1}', "must be a JSON list"),
        ("EVERSTRIKE__REFUSALS", "[1]", "must be a JSON list"),
        ("EVERSTRIKE__REFUSALS", '["fine", "hunter2("]', "REFUSALS: pattern 2 is no regular expression: missing )"),
        ("EVERSTRIKE__REFUSALS", '["(hunter2.*)?"]', "pattern 1 matches a message without words"),
        ("EVERSTRIKE__REFUSALS", '["(?!hunter2).+"]', "pattern 1 matches just any message"),
        ("EVERSTRIKE__REFUSALS", '["(a+)+hunter2"]', "pattern 1 repeats a group"),
        (
            "BITZ__REFUSALS",
            f'["{"hunter2" * 50}"]',
            "BITZ__REFUSALS: pattern 1 has more than 300 characters",
        ),
        ("KRAKEN__REFUSALS", "[]", "ORDERS_VENUES__KRAKEN: there is no such setting"),
        ("BITZ__REFUSAL", "[]", "ORDERS_VENUES__BITZ__REFUSAL: there is no such setting"),
    ],
)
def test_wrong_refusals_are_named_and_not_shown(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pattern that nobody can match, or that matches what it should not, is found at start and not in the night."""
    monkeypatch.setenv(f"ORDERS_VENUES__{name}", value)
    with pytest.raises(SettingsError) as refused:
        load()
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)


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


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://x"])
def test_plain_http_to_this_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulator on a loopback address needs no leave."""
    account(monkeypatch, BASE_URL=url)
    assert load().account_map()["main"].base_url == url


@pytest.mark.parametrize(
    ("name", "value"),
    [("KEEP_DAYS", "inf"), ("KEEP_DAYS", "1e12"), ("KEEP_DAYS", "0.01"), ("JOURNAL_LINES", "1" + "0" * 30)],
)
def test_bounds_that_the_ledger_needs(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A server refuses a number beyond its own, and so would the end of a command that was executed; and a record that
    goes before the last redelivery lets it be executed again."""
    monkeypatch.setenv(f"ORDERS_LEDGER__{name}", value)
    with pytest.raises(SettingsError, match=f"ORDERS_LEDGER__{name}: must be"):
        load()


def test_plain_http_elsewhere_by_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has to say so."""
    account(monkeypatch, BASE_URL="http://simulator:9100/", ALLOW_HTTP="true")
    assert load().account_map()["main"].base_url == "http://simulator:9100"


@pytest.mark.parametrize("name", ["ORDERS_CONFIG_FILE", "ORDERS_SECRETS_DIR"])
def test_a_place_that_can_not_be_read_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Never a silent default."""
    monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match=name):
        load()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'a = "hunter2"\nb = [\n', "it is not TOML, at end of document"),
        (b'secret = hunter2"', "it is not TOML, at line 1, column 10"),
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
    with pytest.raises(SettingsError) as refused:
        load()
    assert str(refused.value) == f"ORDERS_CONFIG_FILE: {path} can't be read: {words}"


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """In any form in which settings might be shown."""
    account(monkeypatch)
    settings = load()
    assert "the-secret" not in f"{settings!r}{settings}{settings.model_dump()}{settings.model_dump_json()}"


def test_databases_of_one_server() -> None:
    """0, 1 and 2 of it, whatever its URL holds besides."""
    assert database_url("redis://:pw@h:1/9?x=y", 2) == "redis://:pw@h:1/2?x=y"
    with pytest.raises(SettingsError, match=r"ORDERS_REDIS_URL: .* ORDERS_BROKER_URL"):
        QueueSettings.load(redis_url="unix:///run/redis.sock")


def test_tls_is_verified() -> None:
    """A bare rediss URL would check no certificate."""
    assert with_verified_tls("rediss://h/0") == "rediss://h/0?ssl_cert_reqs=required"
    assert (
        with_verified_tls("rediss://h/0?ssl_ca_certs=/ca.pem")
        == "rediss://h/0?ssl_ca_certs=/ca.pem&ssl_cert_reqs=required"
    )
    assert QueueSettings(redis_url="rediss://h").broker_url.endswith("ssl_cert_reqs=required")


@pytest.mark.parametrize("name", ["REDIS_URL", "BROKER_URL", "RESULT_BACKEND", "LEDGER_URL"])
@pytest.mark.parametrize("scheme", ["rediss", "sentinels"])
@pytest.mark.parametrize("word", ["none", "optional", "CERT_NONE"])
def test_tls_that_verifies_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, scheme: str, word: str
) -> None:
    """Anybody on the way could read every command, and send some."""
    monkeypatch.setenv(f"ORDERS_{name}", f"{scheme}://:hunter2@h/0?master=m&ssl_cert_reqs={word}")
    with pytest.raises(SettingsError, match=f"ORDERS_{name}: turns off certificate verification") as refused:
        QueueSettings.load()
    assert "hunter2" not in str(refused.value)


def test_sentinels_are_one_url() -> None:
    """Taken apart as it is meant, for redis-py, kombu and Celery alike; the TLS options reach Sentinels and servers."""
    url = "sentinels://ann:p%40ss@h1,h2:1,[::1]:2/3?master=orders&sentinel_password=s%3Bx&ssl_ca_certs=/ca.pem"
    found = parse_sentinel_url(url)
    assert found.hosts == (("h1", 26379), ("h2", 1), ("::1", 2))
    assert (found.master, found.database) == ("orders", 3)
    tls = {"ssl": True, "ssl_cert_reqs": "required", "ssl_ca_certs": "/ca.pem"}
    assert found.server == {"username": "ann", "password": "p@ss", **tls}
    assert found.sentinel == {"password": "s;x", **tls}
    assert "p@ss" not in repr(found)
    for_kombu = to_celery_url(url)
    assert for_kombu.url.split(";")[1] == "sentinel://ann:p%40ss@h2:1/3"
    assert for_kombu.options["master_name"] == "orders"
    assert for_kombu.tls == {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/ca.pem"}
    settings = QueueSettings(redis_url="sentinel://:pw@h1,h2?master=orders")
    assert settings.ledger_url == "sentinel://:pw@h1,h2/2?master=orders"


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://h1:26379",
        "sentinel://h1:26379;sentinel://h2:26379/0?master=m",
        "sentinel://?master=m",
        "sentinel://h1/x?master=m",
        "sentinel://h1?master=m&mastr=n",
        "sentinel://h1:port?master=m",
    ],
)
def test_sentinels_written_otherwise_are_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """In words that say how to write them; kombu's own form, for one, names no master."""
    monkeypatch.setenv("ORDERS_BROKER_URL", url)
    with pytest.raises(SettingsError, match="ORDERS_BROKER_URL: "):
        QueueSettings.load()


@pytest.mark.parametrize(
    "name", ["ORDERS_REDIS_URL", "ORDERS_BROKER_URL", "ORDERS_RESULT_BACKEND", "ORDERS_LEDGER_URL"]
)
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
    monkeypatch.setenv(name, url)
    with pytest.raises(SettingsError, match=f"{name}: ") as refused:
        OrderClient()
    shown = "".join(traceback.format_exception(refused.value))
    assert "hunter2" not in shown.replace(url, "")


@pytest.mark.parametrize("name", ["ORDERS_REDIS_URL", "ORDERS_BROKER_URL"])
@pytest.mark.parametrize("query", ["db=7", "socket_timeout=5", "hunter2"])
def test_options_that_the_broker_does_not_know_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, query: str
) -> None:
    """kombu takes each for an argument of its own, and ends in a TypeError at the first message."""
    monkeypatch.setenv(name, f"redis://h:1?{query}=1")
    with pytest.raises(SettingsError, match=f"{name}: .*ssl_ca_certs") as refused:
        QueueSettings.load()
    assert "hunter2" not in str(refused.value)


def test_options_that_no_connection_knows_are_refused() -> None:
    """When the client is made, not at its first command."""
    connect("redis://h:1?client_name=desk", timeout=1).close()
    with pytest.raises(ValueError, match="option"):
        connect("redis://h:1?colour=red", timeout=1)


def test_a_group_given_as_one_value_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by its name."""
    monkeypatch.setenv("ORDERS_ACCOUNTS", "hunter2")
    with pytest.raises(SettingsError, match="ORDERS_ACCOUNTS") as refused:
        load()
    assert "hunter2" not in str(refused.value)


def test_redelivery_comes_after_the_longest_run_and_within_a_minute() -> None:
    """With the defaults 50 s and a sweep; with a larger budget, later."""
    settings = WorkerSettings()
    sweep = celery_config(settings)["broker_transport_options"]["unacked_restore_interval"]
    assert settings.longest_run_seconds < visibility_timeout(settings)
    assert visibility_timeout(settings) + sweep < 60
    patient = WorkerSettings.model_validate({"retry": {"budget_seconds": 300}})
    assert visibility_timeout(patient) > patient.longest_run_seconds


@pytest.mark.parametrize(("broker", "told"), [("amqp://rabbit", False), ("redis://server", True)])
def test_only_one_thread_speaks_with_rabbitmq(broker: str, told: bool) -> None:
    """After a lost connection Celery would change the prefetch count from threads of the pool, and the worker hang."""
    settings = WorkerSettings(broker_url=broker, redis_url="redis://server")
    assert celery_config(settings)["worker_enable_prefetch_count_reduction"] is told


def test_queues_reduce_risk_first() -> None:
    """Cancels and closes are served before queries and withdrawals."""
    assert QUEUES.index("orders.cancel") < QUEUES.index("orders.positions") < QUEUES.index("orders.withdraw")
    assert QUEUES.index("orders.close") < QUEUES.index("orders.positions")
    assert [queue.name for queue in celery_config(WorkerSettings())["task_queues"]] == list(SERVED)
