"""What the address of an HTTP server may be to which a worker sends requests."""

import ipaddress
from urllib.parse import urlsplit


def url_problem(url: str, *, allow_http: bool, query: bool = False) -> str:
    """What is wrong with a URL, as a phrase that follows the name of its setting; empty for none.

    Plain http is for loopback addresses, and with ``allow_http`` for others. A query is refused unless ``query``.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "must be an http(s) URL"
    if parts.scheme not in ("http", "https") or not parts.hostname or not _is_requestable(url):
        return "must be an http(s) URL"
    # Also a password without a user.
    if "@" in parts.netloc or parts.fragment or (parts.query and not query):
        return "must hold no user or fragment" if query else "must hold no user, query or fragment"
    if parts.scheme == "http" and not allow_http and not _is_loopback(parts.hostname):
        return "is plain http to a host that is not this machine; set allow_http to mean it"
    return ""


def _is_requestable(url: str) -> bool:
    """Whether a request can be built for the URL: an invalid host or port is found only there."""
    # Most settings state no address, and the program `orders` starts sooner without it.
    import requests

    try:
        requests.Request("GET", url).prepare()
    except (requests.RequestException, ValueError):
        return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
