"""Settings of webhooks: what is refused, what is masked, and which reports are wanted."""

import base64
import os
from pathlib import Path

import pytest

from producers.settings import SettingsError
from worker.settings import load
from worker.webhook_settings import WebhookSettings

SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()
PREFIX = "ORDERS_WEBHOOKS__BOOKS__"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine that runs the tests, and one webhook."""
    for name in os.environ:
        if name.startswith("ORDERS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv(f"{PREFIX}URL", "https://books.test/reports?token=hunter2")
    monkeypatch.setenv(f"{PREFIX}SECRET", SECRET)


def books() -> WebhookSettings:
    return load().webhooks["books"]


def test_a_webhook_is_named_in_lower_case_and_shows_no_secret() -> None:
    assert books().shown_address == "https://books.test"
    assert books().signing_secrets == (bytes(32),)
    assert "hunter2" not in repr(load())
    assert SECRET not in repr(load())


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("URL", "http://books.test/hunter2", "plain http to a host that is not this machine"),
        ("URL", "ftp://books.test/hunter2", "must be an http(s) URL"),
        ("URL", "https://hunter2:x@books.test/", "must hold no user or fragment"),
        ("URL", "https://:hunter2@books.test/", "must hold no user or fragment"),
        ("URL", "hunter2", "must be an http(s) URL"),
        ("SECRET", "hunter2", "must be whsec_ and the base64 of 24 to 64 random bytes"),
        ("SECRET", "whsec_hunter2", "must be whsec_ and the base64"),
        ("SECRET", "whsec_" + base64.b64encode(bytes(23)).decode(), "must be whsec_ and the base64"),
        ("SECRET", "", "is missing"),
        ("COMMANDS", "positions", "knows no positions"),
        ("OUTCOMES", "maybe", "knows no maybe"),
        ("CONNECTIONS", "17", "less than or equal to 16"),
        ("COMAND", "close", "there is no such setting"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    monkeypatch.setenv(f"{PREFIX}{name}", value)
    with pytest.raises(SettingsError) as refused:
        load()
    assert problem in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_plain_http_is_for_this_machine_and_where_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}URL", "http://127.0.0.1:1/")
    assert books().address == "http://127.0.0.1:1/"
    monkeypatch.setenv(f"{PREFIX}URL", "http://books.test/")
    monkeypatch.setenv(f"{PREFIX}ALLOW_HTTP", "true")
    assert books().address == "http://books.test/"


def test_a_name_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "orders.toml").write_text(f'[webhooks."a b"]\nurl = "https://x.test"\nsecret = "{SECRET}"\n')
    monkeypatch.setenv("ORDERS_CONFIG_FILE", str(tmp_path / "orders.toml"))
    with pytest.raises(SettingsError, match="can't be the name of a webhook"):
        load()


def test_lists_may_be_tomls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}OUTCOMES", '["accepted", "unknown"]')
    monkeypatch.setenv(f"{PREFIX}ACCOUNTS", " Main , other")
    assert books().wanted_outcomes == ("accepted", "unknown")
    assert books().wants({"account": "MAIN", "command": "close"})
    assert not books().wants({"account": "third", "command": "close"})
    assert not books().wants({"account": None, "command": "close"})
