"""TLS for broker, results and ledger: certificates are checked, everywhere, and what can't be checked is not spoken to.

The embedded server has no TLS: these need Debian's `redis-server`. It is older than `WAITAOF`, so that waiting for
replicas is done here by `WAIT`.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from producers.client import OrderClient, publisher_app
from producers.commands import Cancel, Withdraw
from producers.errors import BrokerUnavailable
from producers.redis.client import connect
from producers.settings import QueueSettings
from tests.ha.conftest import MakeWorker
from tests.ha.sentinels import PASSWORD, Quorum, RedisNode
from tests.support.certificates import Certificate, CertificateAuthority
from tests.support.flower import FlowerNode
from tests.support.servers import free_port
from worker.bootstrap import build_app
from worker.settings import WorkerSettings


@dataclass(frozen=True)
class Chain:
    """Who is trusted, and who is not."""

    ca: CertificateAuthority
    other_ca: CertificateAuthority
    server: Certificate
    elsewhere: Certificate
    """The same CA's, for another host."""
    client: Certificate

    def options(self, own: Certificate, clients: str) -> dict[str, str]:
        """A server's options; ``clients`` is yes or no: whether they must show a certificate."""
        return {
            "tls-cert-file": str(own.certificate),
            "tls-key-file": str(own.key),
            "tls-ca-cert-file": str(self.ca.certificate),
            "tls-auth-clients": clients,
        }


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Certificates for this module."""
    folder = tmp_path_factory.mktemp("certificates")
    ca, other = CertificateAuthority(folder, "ours"), CertificateAuthority(folder, "theirs")
    here = "IP:127.0.0.1"
    return Chain(
        ca, other, ca.issue("server", here), ca.issue("elsewhere", "DNS:redis.elsewhere"), ca.issue("client", here)
    )


@pytest.fixture(scope="module")
def program(require_service: Callable[[str, object], None]) -> str:
    """A server with TLS."""
    found = shutil.which("redis-server")
    require_service("redis-server with TLS", found)
    return str(found)


@pytest.fixture(scope="module")
def serve(
    chain: Chain, program: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Certificate, str], RedisNode]]:
    """Start a server that speaks TLS alone."""
    made: list[RedisNode] = []

    def start(own: Certificate, clients: str = "no") -> RedisNode:
        port = free_port()
        tls = [f"{name} {value}" for name, value in chain.options(own, clients).items()]
        durable = ["appendonly yes", "appendfsync always", "save ''", "maxmemory-policy noeviction"]
        lines = ["port 0", f"tls-port {port}", f"requirepass {PASSWORD}", *durable, *tls]
        shown = {"ssl_certfile": str(chain.client.certificate), "ssl_keyfile": str(chain.client.key)}
        asking = {"ssl": True, "ssl_cert_reqs": "none", "ssl_check_hostname": False, "password": PASSWORD, **shown}
        node = RedisNode("server", tmp_path_factory.mktemp("tls"), lines, port, program, **asking)
        made.append(node)
        node.start()
        node.ready()
        return node

    yield start
    for node in made:
        node.teardown()


def url_of(node: RedisNode, ca: Path | None, own: Certificate | None = None) -> str:
    """The URL of a setting."""
    query = [f"ssl_ca_certs={ca}"] if ca else []
    query += [f"ssl_certfile={own.certificate}", f"ssl_keyfile={own.key}"] if own else []
    return f"rediss://:{PASSWORD}@127.0.0.1:{node.port}?{'&'.join(query)}"


def test_the_whole_way(serve: Callable[..., RedisNode], chain: Chain, make_worker: MakeWorker, tmp_path: Path) -> None:
    """Worker, client, doctor and Flower, with a server that wants to see a certificate of each."""
    url = url_of(serve(chain.server, "yes"), chain.ca.certificate, chain.client)
    worker = make_worker(ORDERS_REDIS_URL=url)
    flower = FlowerNode(tmp_path / "flower", {"ORDERS_REDIS_URL": url})
    flower.start()
    try:
        with OrderClient(QueueSettings(redis_url=url)) as client:
            withdraw = Withdraw(account="main", asset="ETH", qty="0.01", address="0xtls")
            assert client.wait(client.enqueue(withdraw), 20).outcome.value == "accepted"
        code, output = worker.exec_run([str(Path(sys.executable).with_name("orders")), "doctor"])
        assert "answers" in output.decode(), (code, output.decode())
        flower.ready()
        flower.sees(f"w1@{worker.id[:12]}")
        assert "orders.withdraw" in flower.get("/api/queues/length").text
    finally:
        flower.teardown()


ROLES: dict[str, Callable[[str], Any]] = {
    "worker's broker": lambda url: _ping(build_app(WorkerSettings(redis_url=url)).connection_for_read()),
    "client's broker": lambda url: _ping(publisher_app(QueueSettings(redis_url=url).broker_url).connection_for_write()),
    "results": lambda url: build_app(WorkerSettings(redis_url=url)).backend.client.ping(),
    "ledger": lambda url: connect(QueueSettings(redis_url=url).ledger_url, timeout=5).ping(),
}
"""How each connection of ours begins."""


def _ping(connection: Any) -> bool:
    with connection:
        return bool(connection.default_channel.client.ping())


@pytest.fixture(scope="module")
def urls(serve: Callable[..., RedisNode], chain: Chain) -> dict[str, str]:
    """What is right, and what is wrong in one way each."""
    right, elsewhere, strict = serve(chain.server), serve(chain.elsewhere), serve(chain.server, "yes")
    ca = chain.ca.certificate
    return {
        "right": url_of(right, ca),
        "with a client's certificate": url_of(strict, ca, chain.client),
        "another name, which is said not to matter": url_of(elsewhere, ca) + "&ssl_check_hostname=false",
        "no CA named": url_of(right, None),
        "another CA": url_of(right, chain.other_ca.certificate),
        "the certificate of another host": url_of(elsewhere, ca),
        "no client's certificate": url_of(strict, ca),
    }


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("way", ["right", "with a client's certificate", "another name, which is said not to matter"])
def test_who_is_known_is_spoken_to(urls: dict[str, str], role: str, way: str) -> None:
    """Otherwise the refusals below would prove nothing."""
    assert ROLES[role](urls[way])


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "way", ["no CA named", "another CA", "the certificate of another host", "no client's certificate"]
)
def test_who_is_not_is_not(urls: dict[str, str], role: str, way: str) -> None:
    """A bare `rediss://` that checks nothing would hand every command, and the password, to whoever is in between."""
    with pytest.raises(Exception, match=r"(?i)certificate|closed|reset|EOF") as refused:
        ROLES[role](urls[way])
    assert PASSWORD not in str(refused.value)


def test_a_client_is_told(urls: dict[str, str]) -> None:
    """In words that name the cause."""
    with (
        OrderClient(QueueSettings(redis_url=urls["another CA"])) as client,
        pytest.raises(BrokerUnavailable, match=r"(?i)certificate"),
    ):
        client.enqueue(Cancel(account="main", order_id="1"))


def test_sentinels_over_tls(program: str, chain: Chain, make_worker: MakeWorker, tmp_path: Path) -> None:
    """Sentinels and servers, by name and password and CA; on this older server replicas are waited for by `WAIT`. The
    same with another CA reaches nobody."""
    with Quorum(tmp_path / "quorum", 1, chain.options(chain.server, "no"), program) as quorum:
        worker = make_worker(ORDERS_REDIS_URL=quorum.url, ORDERS_LEDGER__WITHDRAW_REPLICAS="1")
        with OrderClient(QueueSettings(redis_url=quorum.url, intent_replicas=1)) as client:
            withdraw = Withdraw(account="main", asset="ETH", qty="0.01", address="0xsentinels")
            assert client.wait(client.enqueue(withdraw), 20).outcome.value == "accepted"
        assert "don't wait for the ledger's disk" in worker.logs()
        wrong = quorum.url.replace(str(chain.ca.certificate), str(chain.other_ca.certificate))
        for role, begin in ROLES.items():
            assert begin(quorum.url), role
            with pytest.raises(Exception, match=r"(?i)certificate|No master"):
                begin(wrong)
