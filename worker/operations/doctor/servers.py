"""Checks of the servers behind broker, results and ledger: reachable, durable, not evicting, right clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from producers.redaction import redacted_url, server_error_text
from producers.redis.client import open_client
from producers.redis.server_info import ServerInfo, read_server_info, server_clock_offset
from producers.redis.url import is_redis, split_url
from producers.settings import QueueSettings
from worker.operations.doctor.findings import Examiner, Finding

EXAMINER = Examiner("servers")

_ROLES = {"broker": "broker_url", "results": "result_backend", "ledger": "ledger_url"}
_MEMORY_ADVICE = "free memory or raise maxmemory: a full server refuses commands"
_DISK_ADVICE = "is the disk full? See the server's log"
_MAX_CLOCK_OFFSET_MS = 1_000
"""How far a server's clock may differ from this machine's without a warning."""
REPLAYS_WITH_ALL_RIGHTS = (9, 1)
"""The first Valkey that was observed to replay all of its append-only file whatever rights its users have."""


@dataclass(frozen=True, slots=True)
class Server:
    """The server that has one of the three roles."""

    role: str
    url: str

    @property
    def setting(self) -> str:
        """The setting that holds its URL."""
        return f"ORDERS_{_ROLES[self.role].upper()}"

    @property
    def address(self) -> str:
        """Its URL without the database: a server that has several roles is checked once."""
        parts = split_url(self.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path if not parts.netloc else ''}"

    @property
    def shown(self) -> str:
        """Its URL without the password."""
        return redacted_url(self.url)


def servers(settings: QueueSettings) -> list[Server]:
    """Broker, results and ledger."""
    return [Server(role, getattr(settings, name)) for role, name in _ROLES.items()]


def unreachable(server: Server) -> str | None:
    """Why the server cannot be reached, in few words; None when it answers."""
    try:
        with open_client(server.url) as client:
            client.ping()
    except ValueError:
        return "its URL can't be read (special characters in a password must be percent-encoded)"
    except (redis.RedisError, OSError) as error:
        return server_error_text(error)
    return None


def check_reachable(server: Server) -> list[Finding]:
    """Whether the server answers a ``PING``."""
    if not is_redis(server.url):
        return [EXAMINER.warning(server.role, _not_redis(server), "check it with its own tools; this program can't")]
    problem = unreachable(server)
    if problem is None:
        return [EXAMINER.ok(server.role, f"{server.shown} answers")]
    advice = f"start it, or correct {server.setting} (or ORDERS_REDIS_URL)"
    return [EXAMINER.fault(server.role, f"{server.shown}: {problem}", advice)]


def _not_redis(server: Server) -> str:
    """What a broker that is no Redis can't do (docs/scaling.md#rabbitmq-as-broker)."""
    lacks = "nothing is parked there, accounts have no shares of the threads, and lanes are refused"
    return f"is not Redis{f': {lacks}' if server.role == 'broker' else ''}"


def check_server(roles: Sequence[str], server: Server) -> list[Finding]:
    """Version, persistence, eviction, memory and clock of one server that has these roles."""
    name = "+".join(roles)
    with open_client(server.url) as client:
        try:
            info = read_server_info(client)
        except redis.ResponseError:
            advice = "allow INFO to this user, or check version, AOF and maxmemory-policy by hand"
            return [EXAMINER.warning(name, "can't be checked: INFO is not permitted", advice), _clock(name, client)]
        durable = not {"broker", "ledger"}.isdisjoint(roles)
        findings = [_version(name, info), _role(name, info), _eviction(name, info, durable=durable)]
        if durable:
            findings += _persistence(name, info, client) + _default_login(name, info, client)
        return [*findings, *_memory(name, info), _clock(name, client)]


def _version(name: str, info: ServerInfo) -> Finding:
    name, product = f"{name} version", f"{info.product} {info.version or '?'}"
    if not info.version_numbers:
        return EXAMINER.warning(name, "can't be checked: INFO does not state it", "Redis 7.2 or Valkey is fine")
    if info.product == "Redis" and info.version_numbers < (6, 2):
        return EXAMINER.fault(name, f"{product} is older than Redis 6.2", "upgrade the server")
    if info.version_numbers < (7, 2):
        advice = "7.2 or newer lets withdrawals wait until their record is on disk (WAITAOF)"
        return EXAMINER.warning(name, f"{product} has no WAITAOF", advice)
    return EXAMINER.ok(name, product)


def _role(name: str, info: ServerInfo) -> Finding:
    if info.role == "slave":
        return EXAMINER.fault(f"{name} role", "a replica, which takes no writes", "name the primary in the settings")
    return EXAMINER.ok(f"{name} role", "primary")


def _eviction(name: str, info: ServerInfo, *, durable: bool) -> Finding:
    name, policy, limit = f"{name} eviction", info.eviction_policy, info.maxmemory
    if policy == "noeviction" or limit == 0:
        return EXAMINER.ok(name, "nothing is evicted" + ("" if limit else " (no memory limit)"))
    if policy is None or limit is None:
        return EXAMINER.warning(name, "can't be checked: INFO does not state it", "maxmemory-policy must be noeviction")
    advice = "CONFIG SET maxmemory-policy noeviction, and in the server's configuration file"
    if durable:
        lost = "queued commands and the record of what was executed can vanish"
        return EXAMINER.fault(name, f"maxmemory-policy is {policy}: {lost}", advice)
    return EXAMINER.warning(name, f"maxmemory-policy is {policy}: reports can vanish", advice)


def _persistence(name: str, info: ServerInfo, client: redis.Redis) -> list[Finding]:
    name = f"{name} on disk"
    if info.snapshot_failed:
        return [EXAMINER.fault(name, "the last snapshot failed, and writes may be refused", _DISK_ADVICE)]
    if info.appends_to_file is None:
        return [EXAMINER.warning(name, "can't be checked: INFO does not state it", "appendonly must be yes")]
    if not info.appends_to_file:
        lost = "a restart forgets queued commands and what was executed"
        advice = "CONFIG SET appendonly yes, and in the server's configuration file"
        return [EXAMINER.fault(name, f"no append-only file: {lost}", advice)]
    if info.append_failed or info.rewrite_failed:
        return [EXAMINER.fault(name, "the append-only file can't be written", _DISK_ADVICE)]
    try:
        fsync = client.config_get("appendfsync").get("appendfsync")
    except redis.ResponseError:
        advice = "CONFIG GET is not permitted to this user; check appendfsync by hand: always, or everysec"
        return [EXAMINER.warning(name, "append-only file; can't check how often it is synced", advice)]
    return [_fsync(name, fsync)]


def _fsync(name: str, fsync: str | None) -> Finding:
    message = f"append-only file, appendfsync {fsync}"
    if fsync == "always":
        return EXAMINER.ok(name, message)
    if fsync == "everysec":
        advice = "appendfsync always loses nothing that was acknowledged, at the price of some speed"
        return EXAMINER.warning(name, f"{message}: a power cut may lose the last second", advice)
    advice = "CONFIG SET appendfsync always, and in the server's configuration file"
    return EXAMINER.fault(name, f"{message}: a power cut may lose half a minute", advice)


def _default_login(name: str, info: ServerInfo, client: redis.Redis) -> list[Finding]:
    """Some servers replay their append-only file as the user `default`, and silently drop what it has no right to
    (docs/deploying.md). There is no finding where this user may not ask."""
    valkey = info.version_numbers if info.product == "Valkey" else ()
    if not info.appends_to_file or valkey >= REPLAYS_WITH_ALL_RIGHTS:
        return []
    try:
        user: Any = client.acl_getuser("default") or {}
    except redis.RedisError:
        return []
    every_key = {"~*", "*"} & {*user.get("keys", [])}
    if not user or (every_key and {"+@all", "+@write"} & {*user.get("categories", [])}):
        return []
    message = "the user `default` lacks rights: on startup the server may drop every transaction and script of its file"
    advice = "ACL SETUSER default off resetpass ~* &* +@all (off lets nobody in), and in the server's list of users"
    return [EXAMINER.warning(f"{name} default login", message, advice)]


def _memory(name: str, info: ServerInfo) -> list[Finding]:
    if not info.used_memory or not info.memory_limit:
        return []
    of = "maxmemory" if info.maxmemory else "the machine's memory (no maxmemory is set)"
    share = info.used_memory / info.memory_limit
    message = f"{info.used_memory / 2**20:.0f} MiB, {share:.0%} of {of}"
    if share >= 0.95:
        return [EXAMINER.fault(f"{name} memory", message, _MEMORY_ADVICE)]
    if share >= 0.8:
        return [EXAMINER.warning(f"{name} memory", message, _MEMORY_ADVICE)]
    return [EXAMINER.ok(f"{name} memory", message)]


def _clock(name: str, client: redis.Redis) -> Finding:
    offset_ms = server_clock_offset(client, samples=3)
    message = f"{offset_ms:+.0f} ms from this machine's"
    if abs(offset_ms) > _MAX_CLOCK_OFFSET_MS:
        advice = "deadlines and timestamps go by the workers' clocks: let NTP set both machines' clocks"
        return EXAMINER.warning(f"{name} clock", message, advice)
    return EXAMINER.ok(f"{name} clock", message)
