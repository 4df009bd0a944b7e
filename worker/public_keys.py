"""The public keys that workers trust: of producers, with what each may send, and of operators.

They are in a TOML file that workers alone can read (``ORDERS_AUTH__KEYS_FILE``)::

    [producers.payroll]
    may = ["withdraw:treasury", "cancel"]    # a command at one account, or at every account
    [producers.payroll.keys]                 # by the key's id, several at once while a key is replaced
    2026-08 = { key = "ed25519:…", not_after = 2026-12-15T00:00:00Z }
    2026-11 = "ed25519:…"
    [operators]
    anna = "ed25519:…"                       # or a table of keys by their ids, as above

The file is valid as a whole or not at all. One that changes is read again; while the new one is broken, the last valid
one stays in force.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

from producers.arguments import ALIAS
from producers.commands import COMMANDS
from producers.printable import printable
from producers.signing import NAME, PublicKey, SigningError
from worker.watched_file import FileUnusable, WatchedFile, toml_tables

ANY_KID = ""
"""The id of a key that is its owner's only one and has no id in the file."""


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key, and until when it is one."""

    key: PublicKey
    not_after: int | None = None
    """UNIX milliseconds; None where the key does not expire."""

    def valid_at(self, now_ms: int) -> bool:
        """Whether the key has not expired at a time in UNIX milliseconds."""
        return self.not_after is None or now_ms <= self.not_after


Keys = Mapping[str, TrustedKey]
"""An owner's keys by their ids."""


@dataclass(frozen=True, slots=True)
class Producer:
    """A service that may send commands."""

    name: str
    keys: Keys
    may: frozenset[tuple[str, str | None]]
    """Commands (``withdraw``), each with the alias of an account in lower case, or None for every account."""

    def allows(self, command: str, account: str) -> bool:
        """Whether the producer may send this command for this account. Aliases are case-insensitive."""
        return (command, None) in self.may or (command, account.lower()) in self.may


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """What is in a file of public keys."""

    producers: Mapping[str, Producer] = field(default_factory=dict)
    operators: Mapping[str, Keys] = field(default_factory=dict)

    def operator_key(self, name: str, kid: str) -> TrustedKey | None:
        """The key of an operator by its id; one that has no id in the file has every id."""
        keys = self.operators.get(name, {})
        return keys.get(kid) or keys.get(ANY_KID)


def parse(content: bytes) -> PublicKeys:
    """What a file of public keys holds.

    Raises:
        FileUnusable: something in it is wrong; the text names the entry, and quotes no key.
    """
    tables = toml_tables(content)
    _refuse_unknown(tables, {"producers", "operators"}, "the file")
    producers = {
        name: _producer(name, table, f"[producers.{printable(name, 64)}]")
        for name, table in _table(tables.get("producers", {}), "[producers]").items()
    }
    operators = {
        _name(name, "[operators]"): _operator_keys(value, f"[operators] {printable(name, 64)}")
        for name, value in _table(tables.get("operators", {}), "[operators]").items()
    }
    owned = {f"the producer {name}": each.keys for name, each in producers.items()}
    _refuse_shared(owned | {f"the operator {name}": keys for name, keys in operators.items()})
    return PublicKeys(producers, operators)


def _producer(name: str, value: object, where: str) -> Producer:
    table = _table(value, where)
    _refuse_unknown(table, {"may", "keys"}, where)
    may = table.get("may")
    if not isinstance(may, list):
        raise FileUnusable(f'{where} needs `may`, a list such as ["withdraw:main", "cancel"]')
    keys = _keys_by_id(table.get("keys", {}), f"{where} keys")
    return Producer(_name(name, where), keys, frozenset(_scope(each, where) for each in may))


def _scope(value: object, where: str) -> tuple[str, str | None]:
    command, colon, account = value.partition(":") if isinstance(value, str) else ("", "", "")
    if f"orders.{command}" not in COMMANDS:
        known = ", ".join(sorted(name.removeprefix("orders.") for name in COMMANDS))
        raise FileUnusable(f"{where} may: {printable(value, 64)} names no command; the commands are {known}")
    if colon and not re.fullmatch(ALIAS, account):
        raise FileUnusable(f"{where} may: {printable(value, 100)} does not name an account after the colon")
    return command, account.lower() if colon else None


def _operator_keys(value: object, where: str) -> Keys:
    """An operator's only key (a text, or a table with ``key``), or several by their ids."""
    if isinstance(value, str) or (isinstance(value, dict) and "key" in value):
        return {ANY_KID: _key(value, where)}
    return _keys_by_id(value, where)


def _keys_by_id(value: object, where: str) -> Keys:
    table = _table(value, where)
    if not table:
        raise FileUnusable(f"{where}: there is no key")
    return {_name(kid, where): _key(given, f"{where} {printable(kid, 64)}") for kid, given in table.items()}


def _key(value: object, where: str) -> TrustedKey:
    table = {"key": value} if isinstance(value, str) else _table(value, where)
    _refuse_unknown(table, {"key", "not_after"}, where)
    end = table.get("not_after")
    if end is not None and (not isinstance(end, datetime) or end.tzinfo is None):
        raise FileUnusable(f"{where}: not_after is a time with a zone and without quotes, as 2026-12-15T00:00:00Z")
    try:
        key = PublicKey.from_text(table.get("key"))
    except SigningError as error:
        raise FileUnusable(f"{where}: {error}") from None
    return TrustedKey(key, None if end is None else int(end.timestamp() * 1000))


def _refuse_shared(owners: Mapping[str, Keys]) -> None:
    """Raise FileUnusable where one key is listed twice: with one key, a person would be two."""
    seen: dict[str, str] = {}
    for owner, keys in owners.items():
        for kid, trusted in keys.items():
            entry = f"key {kid} of {owner}" if kid else f"that of {owner}"
            other = seen.setdefault(trusted.key.to_text(), entry)
            if other != entry:
                raise FileUnusable(f"{other} and {entry} are the same key, which may be listed only once")


def _name(name: str, where: str) -> str:
    if not re.fullmatch(NAME, name):
        raise FileUnusable(f"{where}: {printable(name, 64)} is not 1 to 64 lower-case letters, digits, - and _")
    return name


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FileUnusable(f"{where} is not a table")
    return value


def _refuse_unknown(table: Mapping[str, Any], known: set[str], where: str) -> None:
    for name in table:
        if name not in known:
            names = " and ".join(sorted(known))
            raise FileUnusable(f"{where}: there is no {printable(name, 64)}, but only {names}")


class KeysFile(WatchedFile[PublicKeys]):
    """A file of public keys, read again when it changes. Threads may share it."""

    def __init__(self, path: Path, now: Callable[[], float] = monotonic) -> None:
        super().__init__(path, parse, PublicKeys(), "the file of public keys", now)
