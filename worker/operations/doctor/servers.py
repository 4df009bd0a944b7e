"""The doctor's look at the servers behind broker, results and ledger: there, durable, not evicting, on time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import redis

from producers.redaction import redacted_url, server_error_text
from producers.redis.client import open_client
from producers.redis.server_info import clock_offset
from producers.redis.url import is_redis
from producers.settings import QueueSettings
from worker.operations.doctor.findings import Examiner, Finding

EXAMINER = Examiner("servers")

_ROLES = {"broker": "broker_url", "results": "result_backend", "ledger": "ledger_url"}
_LIMIT_ADVICE = "free memory or raise maxmemory: a full server refuses commands"
_DISK_ADVICE = "is the disk full? see the server's log"
_SKEW_MS = 1_000
READS_BY_ITSELF = (9, 1)
"""The first Valkey that was seen to read all of its append-only file whatever its users may do."""


@dataclass(frozen=True, slots=True)
class Server:
    """One of the three roles and where it is."""

    role: str
    url: str

    @property
    def setting(self) -> str:
        """The setting that names it."""
        return f"ORDERS_{_ROLES[self.role].upper()}"

    @property
    def place(self) -> str:
        """The server without its database: roles that share it are looked at once."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path if not parts.netloc else ''}"

    @property
    def shown(self) -> str:
        """Its URL without the password."""
        return redacted_url(self.url)


def servers(settings: QueueSettings) -> list[Server]:
    """Broker, results and ledger."""
    return [Server(role, getattr(settings, name)) for role, name in _ROLES.items()]


def unreachable(server: Server) -> str | None:
    """Why the server can't be reached, in few words; None when it answers."""
    try:
        with open_client(server.url) as client:
            client.ping()
    except ValueError:
        return "its URL can't be read (special characters in a password must be percent-encoded)"
    except (redis.RedisError, OSError) as error:
        return server_error_text(error)
    return None


def check_reachable(server: Server) -> list[Finding]:
    """One PING."""
    if not is_redis(server.url):
        return [EXAMINER.warning(server.role, "is no Redis", "check it by its own tools; this program can't")]
    problem = unreachable(server)
    if problem is None:
        return [EXAMINER.ok(server.role, f"{server.shown} answers")]
    advice = f"start it, or correct {server.setting} (or ORDERS_REDIS_URL)"
    return [EXAMINER.fault(server.role, f"{server.shown}: {problem}", advice)]


def check_server(roles: Sequence[str], server: Server) -> list[Finding]:
    """Version, persistence, eviction, memory and clock of one server that plays these roles."""
    name = "+".join(roles)
    with open_client(server.url) as client:
        try:
            info: Mapping[str, Any] = client.info("all")
        except redis.ResponseError:
            advice = "allow INFO to this user, or check version, AOF and maxmemory-policy by hand"
            return [EXAMINER.warning(name, "can't be checked: INFO is not permitted", advice), _clock(name, client)]
        durable = not {"broker", "ledger"}.isdisjoint(roles)
        findings = [_version(name, info), _role(name, info), _eviction(name, info, durable=durable)]
        if durable:
            findings += _persistence(name, info, client) + _default_login(name, info, client)
        return [*findings, *_memory(name, info), _clock(name, client)]


def _version(name: str, info: Mapping[str, Any]) -> Finding:
    valkey = info.get("valkey_version")
    shown = f"Valkey {valkey}" if valkey else f"Redis {info.get('redis_version', '?')}"
    numbers = _numbers(str(valkey or info.get("redis_version", "")))
    if not numbers:
        return EXAMINER.warning(
            f"{name} version", "can't be checked: INFO does not tell", "Redis 7.2 or Valkey is fine"
        )
    if not valkey and numbers < (6, 2):
        return EXAMINER.fault(f"{name} version", f"{shown} is older than Redis 6.2", "upgrade the server")
    if numbers < (7, 2):
        advice = "7.2 or newer lets withdrawals wait until their record is on disk (WAITAOF)"
        return EXAMINER.warning(f"{name} version", f"{shown} has no WAITAOF", advice)
    return EXAMINER.ok(f"{name} version", shown)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


def _role(name: str, info: Mapping[str, Any]) -> Finding:
    if info.get("role") == "slave":
        return EXAMINER.fault(f"{name} role", "a replica, which takes no writes", "name the primary in the settings")
    return EXAMINER.ok(f"{name} role", "primary")


def _eviction(name: str, info: Mapping[str, Any], *, durable: bool) -> Finding:
    name, policy, limit = f"{name} eviction", info.get("maxmemory_policy"), info.get("maxmemory")
    if policy == "noeviction" or limit == 0:
        return EXAMINER.ok(name, "nothing is evicted" + ("" if limit else " (no memory limit)"))
    if policy is None or limit is None:
        return EXAMINER.warning(name, "can't be checked: INFO does not tell", "maxmemory-policy must be noeviction")
    advice = "CONFIG SET maxmemory-policy noeviction, and in the server's configuration file"
    if durable:
        lost = "queued commands and the memory of what was executed can vanish"
        return EXAMINER.fault(name, f"maxmemory-policy is {policy}: {lost}", advice)
    return EXAMINER.warning(name, f"maxmemory-policy is {policy}: reports can vanish", advice)


def _persistence(name: str, info: Mapping[str, Any], client: redis.Redis) -> list[Finding]:
    name = f"{name} on disk"
    if info.get("rdb_last_bgsave_status") == "err":
        return [EXAMINER.fault(name, "the last snapshot failed, and writes may be refused", _DISK_ADVICE)]
    if info.get("aof_enabled") is None:
        return [EXAMINER.warning(name, "can't be checked: INFO does not tell", "appendonly must be yes")]
    if not info["aof_enabled"]:
        lost = "a restart forgets queued commands and what was executed"
        advice = "CONFIG SET appendonly yes, and in the server's configuration file"
        return [EXAMINER.fault(name, f"no append-only file: {lost}", advice)]
    if "err" in (info.get("aof_last_write_status"), info.get("aof_last_bgrewrite_status")):
        return [EXAMINER.fault(name, "the append-only file can't be written", _DISK_ADVICE)]
    try:
        fsync = client.config_get("appendfsync").get("appendfsync")
    except redis.ResponseError:
        advice = "CONFIG GET is not permitted to this user; look at appendfsync by hand: always, or everysec"
        return [EXAMINER.warning(name, "append-only file; can't check how often it is synced", advice)]
    return [_fsync(name, fsync)]


def _fsync(name: str, fsync: str | None) -> Finding:
    said = f"append-only file, appendfsync {fsync}"
    if fsync == "always":
        return EXAMINER.ok(name, said)
    if fsync == "everysec":
        advice = "appendfsync always loses nothing that was acknowledged, at the price of some speed"
        return EXAMINER.warning(name, f"{said}: a power cut may lose the last second", advice)
    advice = "CONFIG SET appendfsync always, and in the server's configuration file"
    return EXAMINER.fault(name, f"{said}: a power cut may lose half a minute", advice)


def _default_login(name: str, info: Mapping[str, Any], client: redis.Redis) -> list[Finding]:
    """Some servers read their append-only file in the name of the login `default`, and in silence drop what it has no
    right to (docs/deploying.md). Nothing is said where this user may not ask."""
    if not info.get("aof_enabled") or _numbers(str(info.get("valkey_version", ""))) >= READS_BY_ITSELF:
        return []
    try:
        user: Any = client.acl_getuser("default") or {}
    except redis.RedisError:
        return []
    every_key = {"~*", "*"} & {*user.get("keys", [])}
    if not user or (every_key and {"+@all", "+@write"} & {*user.get("categories", [])}):
        return []
    message = (
        "the login `default` lacks rights: at its start the server may drop every transaction and script of its file"
    )
    advice = "ACL SETUSER default off resetpass ~* &* +@all (off lets nobody in), and in the server's list of users"
    return [EXAMINER.warning(f"{name} default login", message, advice)]


def _memory(name: str, info: Mapping[str, Any]) -> list[Finding]:
    used, limit = info.get("used_memory"), info.get("maxmemory") or info.get("total_system_memory")
    if not used or not limit:
        return []
    of = "maxmemory" if info.get("maxmemory") else "the machine's memory (no maxmemory is set)"
    share = used / limit
    said = f"{used / 2**20:.0f} MiB, {share:.0%} of {of}"
    if share >= 0.95:
        return [EXAMINER.fault(f"{name} memory", said, _LIMIT_ADVICE)]
    if share >= 0.8:
        return [EXAMINER.warning(f"{name} memory", said, _LIMIT_ADVICE)]
    return [EXAMINER.ok(f"{name} memory", said)]


def _clock(name: str, client: redis.Redis) -> Finding:
    def ask() -> float:
        seconds, micros = client.time()
        return float(seconds) * 1000 + float(micros) / 1000

    offset, _ = clock_offset(ask, samples=3)
    said = f"{offset:+.0f} ms from this machine's"
    if abs(offset) > _SKEW_MS:
        advice = "deadlines and timestamps go by the workers' clocks: let NTP set both machines' clocks"
        return EXAMINER.warning(f"{name} clock", said, advice)
    return EXAMINER.ok(f"{name} clock", said)
