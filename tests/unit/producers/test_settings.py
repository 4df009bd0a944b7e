"""The URLs of the servers: TLS, Sentinels, databases, and passwords that no error quotes."""

import ssl
import traceback
from urllib.parse import SplitResult, urlsplit

import pytest

from producers.celery_app import to_celery_url
from producers.client import OrderClient
from producers.redis.client import connect
from producers.redis.url import parse_sentinel_url, with_verified_tls
from producers.settings import QueueSettings, SettingsError, database_url
from tests.unit.worker.test_settings import clean  # noqa: F401 - a fixture


def test_databases_of_one_server() -> None:
    """0, 1 and 2 of it, whatever its URL holds besides."""
    assert database_url("redis://:pw@h:1/9?x=y", 2) == "redis://:pw@h:1/2?x=y"
    with pytest.raises(SettingsError, match=r"ORDERS_REDIS_URL: .* ORDERS_BROKER_URL"):
        QueueSettings.load(redis_url="unix:///run/redis.sock")


def test_tls_is_verified() -> None:
    """A bare rediss URL would check no certificate."""
    assert with_verified_tls("rediss://h/0") == "rediss://h/0?ssl_cert_reqs=required"
    verified = with_verified_tls("rediss://h/0?ssl_ca_certs=/ca.pem")
    assert verified == "rediss://h/0?ssl_ca_certs=/ca.pem&ssl_cert_reqs=required"
    assert QueueSettings(redis_url="rediss://h").broker_url.endswith("ssl_cert_reqs=required")


@pytest.fixture(params=["as it is", "strict"])
def _split(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """``urlsplit`` of this Python, and as newer ones have it."""

    def strict(given: str) -> SplitResult:
        parts = urlsplit(given)
        if parts.netloc.rpartition("@")[2].partition("[")[0] and "[" in parts.netloc:
            raise ValueError("Invalid IPv6 URL")
        return parts

    if request.param == "strict":
        monkeypatch.setattr("producers.redis.url.urlsplit", strict)


@pytest.mark.usefixtures("_split")
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
        *((name, url, "turns off certificate verification") for name in ALL_URLS for url in UNVERIFIED),
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
