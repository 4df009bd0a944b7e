"""TLS for broker, results and ledger: every connection checks the server's certificate.

The embedded server has no TLS: these need Debian's `redis-server`. It is older than `WAITAOF`, so that replicas are
waited for by `WAIT` here.
"""

import asyncio
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from producers.client import publisher_app
from producers.commands import Cancel
from producers.errors import BrokerUnavailable
from producers.redis.asynchronous import connect as connect_async
from producers.redis.client import connect
from producers.settings import QueueSettings
from tests.ha.conftest import Authorities, MakeWorker, withdrawal
from tests.ha.sentinels import PASSWORD, SentinelCluster
from tests.support.certificates import Certificate
from tests.support.clients import CLIENTS, ClientClass, client_class
from tests.support.flower import FlowerNode
from tests.support.node import running
from tests.support.servers import Server, option_words
from worker.bootstrap import build_app
from worker.settings import WorkerSettings

__all__ = ["client_class"]


@dataclass(frozen=True)
class Certificates:
    """The CA that is trusted, another one, and what the first has signed."""

    ca: Path
    other_ca: Path
    server: Certificate
    elsewhere: Certificate
    """For another host."""
    client: Certificate

    def options(self, own: Certificate, clients: str) -> dict[str, str]:
        """A server's options; ``clients`` is yes or no: whether they must show a certificate."""
        return {
            "tls-cert-file": str(own.certificate),
            "tls-key-file": str(own.key),
            "tls-ca-cert-file": str(self.ca),
            "tls-auth-clients": clients,
        }


@pytest.fixture(scope="module")
def certificates(authorities: Authorities) -> Certificates:
    """Certificates for this module."""
    ours, theirs = authorities
    elsewhere = ours.issue("elsewhere", "DNS:redis.elsewhere")
    return Certificates(ours.certificate, theirs.certificate, ours.issue("server"), elsewhere, ours.issue("client"))


@pytest.fixture(scope="module")
def program(require_service: Callable[[str, object], None]) -> str:
    """A server with TLS."""
    found = shutil.which("redis-server")
    require_service("redis-server with TLS", found)
    return str(found)


Serve = Callable[..., Server]


@pytest.fixture(scope="module")
def serve(certificates: Certificates, program: str) -> Iterator[Serve]:
    """``serve(certificate, clients="no")``: a server that speaks TLS alone."""
    with ExitStack() as stack:

        def start(own: Certificate, clients: str = "no") -> Server:
            server = Server(program=program)
            listen = {"port": 0, "tls-port": server.port, "requirepass": PASSWORD}
            server.options = option_words({**listen, **certificates.options(own, clients)})
            client = certificates.client
            server.connection_options = {
                "password": PASSWORD,
                "ssl": True,
                "ssl_cert_reqs": "none",
                "ssl_check_hostname": False,
                "ssl_certfile": str(client.certificate),
                "ssl_keyfile": str(client.key),
            }
            return stack.enter_context(server)

        yield start


def url_of(server: Server, ca: Path | None, own: Certificate | None = None) -> str:
    """The URL of a setting."""
    query = [f"ssl_ca_certs={ca}"] if ca else []
    query += [f"ssl_certfile={own.certificate}", f"ssl_keyfile={own.key}"] if own else []
    return f"rediss://:{PASSWORD}@127.0.0.1:{server.port}?{'&'.join(query)}"


def test_a_command_goes_the_whole_way(
    serve: Serve, certificates: Certificates, make_worker: MakeWorker, tmp_path: Path
) -> None:
    """Worker, client, doctor and Flower, with a server that wants to see a certificate of each."""
    url = url_of(serve(certificates.server, "yes"), certificates.ca, certificates.client)
    worker = make_worker(ORDERS_REDIS_URL=url)
    for made in CLIENTS.values():
        with made(QueueSettings(redis_url=url)) as client:
            assert client.wait(client.enqueue(withdrawal()), 20).outcome.value == "accepted"
    code, output = worker.exec_run([str(Path(sys.executable).with_name("orders")), "doctor"])
    assert "answers" in output.decode(), (code, output.decode())
    with running(FlowerNode(tmp_path / "flower", {"ORDERS_REDIS_URL": url})) as (flower,):
        flower.sees(worker.node_name)
        assert "orders.withdraw" in flower.get("/api/queues/length").text


def _ping(connection: Any) -> bool:
    with connection:
        return bool(connection.default_channel.client.ping())


async def _ping_with_asyncio(url: str) -> bool:
    async with connect_async(url, timeout=5) as client:
        return bool(await client.ping())


CONNECTIONS: dict[str, Callable[[str], Any]] = {
    "worker's broker": lambda url: _ping(build_app(WorkerSettings(redis_url=url)).connection_for_read()),
    "client's broker": lambda url: _ping(publisher_app(QueueSettings(redis_url=url).broker_url).connection_for_write()),
    "results": lambda url: build_app(WorkerSettings(redis_url=url)).backend.client.ping(),
    "asyncio": lambda url: asyncio.run(_ping_with_asyncio(QueueSettings(redis_url=url).ledger_url)),
    "ledger": lambda url: connect(QueueSettings(redis_url=url).ledger_url, timeout=5).ping(),
}
"""How each connection of ours is made."""
TRUSTED = ("our CA", "a client's certificate", "another name, which is said not to matter")
REFUSED = ("no CA named", "another CA", "the certificate of another host", "no client's certificate")


@pytest.fixture(scope="module")
def urls(serve: Serve, certificates: Certificates) -> dict[str, str]:
    """URLs that are right, and others that are wrong in one way each."""
    right, elsewhere = serve(certificates.server), serve(certificates.elsewhere)
    strict = serve(certificates.server, "yes")
    ca = certificates.ca
    return {
        "our CA": url_of(right, ca),
        "a client's certificate": url_of(strict, ca, certificates.client),
        "another name, which is said not to matter": url_of(elsewhere, ca) + "&ssl_check_hostname=false",
        "no CA named": url_of(right, None),
        "another CA": url_of(right, certificates.other_ca),
        "the certificate of another host": url_of(elsewhere, ca),
        "no client's certificate": url_of(strict, ca),
    }


@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("url", TRUSTED)
def test_a_server_that_is_trusted_is_connected_to(urls: dict[str, str], connection: str, url: str) -> None:
    """Otherwise the refusals below would prove nothing."""
    assert CONNECTIONS[connection](urls[url])


@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("url", REFUSED)
def test_a_server_that_is_not_trusted_is_refused(urls: dict[str, str], connection: str, url: str) -> None:
    """A bare `rediss://` that checks nothing would hand every command, and the password, to whoever is in between."""
    with pytest.raises(Exception, match=r"(?i)certificate|closed|reset|EOF") as refused:
        CONNECTIONS[connection](urls[url])
    assert PASSWORD not in str(refused.value)


def test_a_client_is_told_that_the_certificate_is_wrong(urls: dict[str, str], client_class: ClientClass) -> None:
    """The client's error names the cause."""
    with (
        client_class(QueueSettings(redis_url=urls["another CA"])) as client,
        pytest.raises(BrokerUnavailable, match=r"(?i)certificate"),
    ):
        client.enqueue(Cancel(account="main", order_id="1"))


def test_sentinels_over_tls(program: str, certificates: Certificates, make_worker: MakeWorker, tmp_path: Path) -> None:
    """Sentinels and servers, by name and password and CA; on this older server replicas are waited for by `WAIT`.
    With another CA nobody is reached."""
    with SentinelCluster(tmp_path, 1, certificates.options(certificates.server, "no"), program) as cluster:
        worker = make_worker(ORDERS_REDIS_URL=cluster.url, ORDERS_LEDGER__WITHDRAW_REPLICAS="1")
        for made in CLIENTS.values():
            with made(QueueSettings(redis_url=cluster.url, intent_replicas=1)) as client:
                assert client.wait(client.enqueue(withdrawal()), 20).outcome.value == "accepted"
        assert "don't wait for the ledger's disk" in worker.logs()
        wrong = cluster.url.replace(str(certificates.ca), str(certificates.other_ca))
        for name, make in CONNECTIONS.items():
            assert make(cluster.url), name
            with pytest.raises(Exception, match=r"(?i)certificate|No master"):
                make(wrong)
