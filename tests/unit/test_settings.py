"""Settings: three places, one meaning, and secrets that stay hidden."""

from pathlib import Path

import pytest

from producers.settings import QueueSettings, SettingsError, database_url, verified_tls
from worker.celeryconfig import QUEUES, celery_config, visibility_timeout
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
        ({"BASE_URL": "https://user:hunter2@x"}, "must hold no user"),
        ({"COLOUR": "red"}, "ORDERS_ACCOUNTS__MAIN__COLOUR"),
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


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://x"])
def test_plain_http_to_this_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulator on a loopback address needs no leave."""
    account(monkeypatch, BASE_URL=url)
    assert load().account_map()["main"].base_url == url


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


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """In any form in which settings might be shown."""
    account(monkeypatch)
    settings = load()
    assert "the-secret" not in f"{settings!r}{settings}{settings.model_dump()}{settings.model_dump_json()}"


def test_databases_of_one_server() -> None:
    """0, 1 and 2 of it, whatever its URL holds besides."""
    assert database_url("redis://:pw@h:1/9?x=y", 2) == "redis://:pw@h:1/2?x=y"
    with pytest.raises(SettingsError, match=r"ORDERS_REDIS_URL: .* ORDERS_BROKER_URL"):
        QueueSettings.load(redis_url="sentinel://h:26379")


def test_tls_is_verified() -> None:
    """A bare rediss URL would check no certificate."""
    assert verified_tls("rediss://h/0") == "rediss://h/0?ssl_cert_reqs=required"
    assert verified_tls("rediss://h/0?ssl_cert_reqs=none") == "rediss://h/0?ssl_cert_reqs=none"
    assert QueueSettings(redis_url="rediss://h").broker_url.endswith("ssl_cert_reqs=required")


def test_a_group_given_as_one_value_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by its name."""
    monkeypatch.setenv("ORDERS_ACCOUNTS", "hunter2")
    with pytest.raises(SettingsError, match="accounts") as refused:
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


def test_queues_reduce_risk_first() -> None:
    """Cancels and closes are served before queries and withdrawals."""
    assert QUEUES.index("orders.cancel") < QUEUES.index("orders.positions") < QUEUES.index("orders.withdraw")
    assert QUEUES.index("orders.close") < QUEUES.index("orders.positions")
    assert [queue.name for queue in celery_config(WorkerSettings())["task_queues"]] == list(QUEUES)
