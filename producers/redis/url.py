"""URLs of servers: a Redis-compatible server, or the current master by its Sentinels; with or without TLS.

::

    redis://user:password@host:6379/0                         one server
    rediss://user:password@host:6380/0?ssl_ca_certs=/ca.pem   with TLS
    sentinel://user:password@h1:26379,h2:26379,h3:26379/0?master=orders
    sentinels://…                                             with TLS to Sentinels and servers
    amqp://user:password@host:5672/vhost, amqps://…           RabbitMQ, for the broker alone

User and password are the server's; those of the Sentinels are ``sentinel_username`` and ``sentinel_password``. With TLS
the certificate is always verified; ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile`` and ``ssl_check_hostname`` are
the options.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

TLS = {"rediss", "sentinels", "amqps"}
SENTINEL = {"sentinel", "sentinels"}
SENTINEL_PORT = 26379
BROKER_SCHEMES = ("redis+socket://", "amqp://", "amqps://")
"""Prefixes of URLs that kombu understands and redis-py does not; usable for the broker only."""
TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")


@dataclass(frozen=True, slots=True)
class Sentinels:
    """The parts of a ``sentinel://`` URL."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    """The name under which the Sentinels know the servers."""
    database: int
    server: Mapping[str, Any] = field(repr=False)
    """Options of connections to the servers: user, password, TLS."""
    sentinel: Mapping[str, Any] = field(repr=False)
    """Options of connections to the Sentinels."""


def split_url(url: str) -> SplitResult:
    """``urlsplit`` for the URLs of this module: newer Pythons refuse brackets behind another host, as in
    ``sentinel://h1,[::1]:26379`` (CVE-2025-0938).

    Raises:
        ValueError: the URL is invalid. The message may quote it.
    """
    scheme, has_authority, rest = url.partition("://")
    if not has_authority or scheme.lower() not in SENTINEL:
        return urlsplit(url)
    hosts = re.split("[/?#]", rest, maxsplit=1)[0]
    return urlsplit(f"{scheme}://{rest[len(hosts) :]}")._replace(netloc=hosts)


def is_sentinel(url: str) -> bool:
    """Whether the URL names Sentinels."""
    return split_url(url).scheme in SENTINEL


def is_redis(url: str) -> bool:
    """Whether the URL is one of a Redis-compatible server, and not of RabbitMQ."""
    return not split_url(url).scheme.startswith("amqp")


def one_server(*urls: str) -> tuple[int, ...] | None:
    """The database numbers of these URLs if all name one Redis-compatible server and one login, else None.

    They are compared as they are written, so one server that is spelled in two ways is taken for two. Behind Sentinels
    it is one server if the same Sentinels know it by the same name.
    """
    parts = [split_url(url) for url in urls]
    numbers = [each.path.strip("/") or "0" for each in parts]
    first = parts[0]
    known = first.scheme in ("redis", "rediss", *SENTINEL) and "db" not in dict(parse_qsl(first.query))
    alike = {each._replace(path="") for each in parts} == {first._replace(path="")}
    return tuple(map(int, numbers)) if known and alike and all(map(str.isdecimal, numbers)) else None


def check_url(url: str) -> None:
    """Check that a URL can be parsed: an unquoted "#" or "/" in a password ends the authority early.

    Raises:
        ValueError: it cannot. The message quotes nothing of the URL, unlike Python's, which quotes the supposed port.
    """
    try:
        parts = split_url(url)
        _ = is_sentinel(url) or parts.port
    except ValueError:
        parts = None
    if parts is None or parts.fragment:
        raise ValueError(
            "is not the URL of a server: its port is not a number, or special characters in its user or password are "
            "not percent-encoded (# is %23, / is %2F)"
        )


def check_broker_options(url: str) -> None:
    """Check the options after the "?" of a broker's URL: kombu takes unknown ones for arguments of its own.

    Raises:
        ValueError: an option is unknown.
    """
    parts = split_url(url)
    known = {"ssl_cert_reqs", *TLS_OPTIONS}
    if parts.scheme in ("redis", "rediss") and not dict(parse_qsl(parts.query, keep_blank_values=True)).keys() <= known:
        raise ValueError(f"takes {', '.join(TLS_OPTIONS)} after its ?, and nothing else; a database is its path: /0")


def parse_sentinel_url(url: str) -> Sentinels:
    """Parse a ``sentinel://`` or ``sentinels://`` URL.

    Raises:
        ValueError: it is invalid. The message shows the expected form and quotes nothing of the URL.
    """
    parts = split_url(url)
    user, _, hosts = parts.netloc.rpartition("@")
    query = dict(parse_qsl(parts.query))
    unknown = query.keys() - {"master", "sentinel_username", "sentinel_password", "ssl_cert_reqs", *TLS_OPTIONS}
    database = parts.path.strip("/") or "0"
    if not hosts or not query.get("master") or unknown or not database.isdecimal() or ";" in hosts + parts.path:
        raise ValueError(
            "must look like sentinel://:password@h1:26379,h2:26379,h3:26379/0?master=NAME (TLS: sentinels://)"
        )
    name, _, password = user.partition(":")
    tls = tls_options(url) if parts.scheme in TLS else {}
    server = {"username": unquote(name) or None, "password": unquote(password) or None, **tls}
    own = {"username": query.get("sentinel_username"), "password": query.get("sentinel_password"), **tls}
    return Sentinels(
        tuple(_address(host) for host in hosts.split(",")),
        query["master"],
        int(database),
        {key: value for key, value in server.items() if value is not None},
        {key: value for key, value in own.items() if value is not None},
    )


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    check_url(f"//{text}")
    if not parts.hostname:
        raise ValueError("has a Sentinel without a host")
    return parts.hostname, parts.port or SENTINEL_PORT


def tls_options(url: str) -> dict[str, Any]:
    """The TLS options of a URL, as redis-py, kombu and Celery take them."""
    query = dict(parse_qsl(split_url(url).query))
    given: dict[str, Any] = {name: query[name] for name in TLS_OPTIONS if name in query}
    if "ssl_check_hostname" in given:
        given["ssl_check_hostname"] = given["ssl_check_hostname"].lower() not in ("false", "no", "0")
    return {"ssl": True, "ssl_cert_reqs": "required", **given}


def with_verified_tls(url: str) -> str:
    """The URL, with certificate verification required if it uses TLS: kombu does not verify for a bare ``rediss://``
    (``connection.py``).

    Raises:
        ValueError: the URL turns verification off.
    """
    parts = split_url(url)
    if parts.scheme not in TLS:
        return url
    query = dict(parse_qsl(parts.query))
    if query.setdefault("ssl_cert_reqs", "required") not in ("required", "CERT_REQUIRED"):
        raise ValueError("turns off certificate verification; name the CA instead: ?ssl_ca_certs=/path/ca.pem")
    return urlunsplit(parts._replace(query=urlencode(query, safe="/")))
