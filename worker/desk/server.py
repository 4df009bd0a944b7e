"""Running the desk: which addresses it may listen on, its server, and its first link."""

import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
import uvicorn

from producers.redis.url import split_url
from producers.signing import PrivateKey
from worker.auth_settings import DeskSettings, is_loopback
from worker.desk.app import build_app
from worker.desk.entrance import Entrance
from worker.desk.gate import Address
from worker.desk.logins import Logins
from worker.desk.protocol import MAX_CONNECTIONS, MAX_HEADER_BYTES, BoundedProtocol
from worker.desk.services import DeskServices
from worker.desk.sessions import Sessions
from worker.operations.doctor.rights import DESK_RIGHTS, permitted
from worker.settings import WorkerSettings
from worker.watched_file import FileUnusable

logger = logging.getLogger("orders.desk")

KEEP_ALIVE_SECONDS = 15
STOP_SECONDS = 5


class DeskRefused(Exception):
    """The desk does not start; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Listening:
    """A desk that listens."""

    url: str
    link: str
    """The link that opens it once; empty where people log in."""


def check_address(host: str, desk: DeskSettings) -> None:
    """Refuse an address that other machines can reach without logins, or by which passwords would be readable.

    Raises:
        DeskRefused: it must not listen there.
    """
    if is_loopback(host):
        return
    if not desk.logins_file:
        raise DeskRefused(
            f"{host} can be reached by other machines, and no logins are set: set ORDERS_DESK__LOGINS_FILE "
            "(`orders desk --add-login NAME` writes it), or listen on 127.0.0.1"
        )
    if not desk.public_url:
        raise DeskRefused(
            f"{host} can be reached by other machines: set ORDERS_DESK__PUBLIC_URL to how browsers reach it, such as "
            "https://desk.example.com for a proxy that ends TLS, or http://127.0.0.1:8088 for a port that is published "
            "on this machine alone"
        )


def check_login(services: DeskServices) -> str:
    """Check that the login of the ledger may do what a desk does. Returns a warning if the ledger can't be asked.

    Raises:
        DeskRefused: it may not.
    """
    login = split_url(services.settings.ledger_url).username or "default"
    try:
        found = permitted(services.client, DESK_RIGHTS)
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise DeskRefused(
            f"the ledger does not let {login} in ({type(error).__name__}); set ORDERS_REDIS_URL"
        ) from None
    except (redis.RedisError, OSError) as error:
        return f"the ledger can't be asked now ({type(error).__name__}); the desk says so until it answers"
    # A login that may not even open a transaction can't act.
    missing = [each.words for each in DESK_RIGHTS if each not in (found or ())]
    if missing:
        raise DeskRefused(
            f"the login {login} may not {', '.join(missing)} at the ledger: it is not an operator's. Set "
            "ORDERS_REDIS_URL to the operator's login (docs/deploying.md#logins)"
        )
    return ""


def address_of(host: str, port: int, public_url: str) -> Address:
    """By which names a desk at this address is reached."""
    names = {f"{_bracketed(each)}:{port}" for each in ({host, "127.0.0.1", "localhost", "::1"})}
    origins = {f"http://{name}" for name in names}
    if public_url:
        parts = urlsplit(public_url)
        names.add(parts.netloc)
        origins.add(public_url)
    names |= {name.removesuffix(":80") for name in names}
    origins |= {name.removesuffix(":80") for name in origins}
    return Address(frozenset(names), frozenset(origins), public_url.startswith("https://"))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host.lower()


def run_desk(
    settings: WorkerSettings,
    key: PrivateKey | None,
    host: str,
    port: int,
    on_ready: Callable[[Listening], None],
    note: Callable[[str], None],
) -> None:
    """Serve until Ctrl-C or SIGTERM. ``on_ready`` is called when it listens, and with a new link whenever the last one
    was used; ``note`` is told what is worth a warning.

    Raises:
        DeskRefused: it must not start, or can't listen there.
    """
    desk = settings.desk
    check_address(host, desk)
    logins = _logins(desk)
    services = DeskServices(settings, key)
    try:
        if warning := check_login(services):
            note(warning)
        listener = _listen(host, port)
        actual = int(listener.getsockname()[1])
        url = desk.public_url or f"http://{_bracketed(host)}:{actual}"
        address = address_of(host, actual, desk.public_url)
        sessions = Sessions(desk.idle_minutes * 60, desk.session_hours * 3600)
        entrance = Entrance(
            sessions, address, logins, lambda token: on_ready(Listening(url, f"{url}/enter?token={token}"))
        )
        if logins is None:
            started: Callable[[], None] = entrance.new_link
        else:
            started = lambda: on_ready(Listening(url, ""))  # noqa: E731 - two lines would be no clearer
        _serve(build_app(services, entrance), listener, started)
    finally:
        services.close()


def _logins(desk: DeskSettings) -> Logins | None:
    if not desk.logins_file:
        return None
    try:
        return Logins(Path(desk.logins_file))
    except FileUnusable as error:
        raise DeskRefused(f"ORDERS_DESK__LOGINS_FILE: {desk.logins_file}: {error}") from None


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # With its protocol, because asyncio switches Nagle's delay off only where it knows the protocol: 40 ms a page.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise DeskRefused(
            f"can't listen on {host} port {port}: {error.strerror}. Choose another --port, or 0 for a free one"
        ) from None
    return listener


class _Server(uvicorn.Server):
    """A server that tells when it listens."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell."""
        await super().startup(sockets)
        self._tell()


def _serve(app: Any, listener: socket.socket, started: Callable[[], None]) -> None:
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,  # addresses have ids and the link's token
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        limit_concurrency=MAX_CONNECTIONS,
        backlog=128,
    )
    with listener:
        _Server(config, started).run(sockets=[listener])
