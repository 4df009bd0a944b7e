"""Where settings come from: environment variables, a secrets folder and a TOML file, with the same names in all three.

Precedence, highest first: environment variables; files, one for each setting, in the folder that ``ORDERS_SECRETS_DIR``
names; the TOML file that ``ORDERS_CONFIG_FILE`` names, with flat names (``ORDERS_REDIS_URL = "…"``) or tables
(``[accounts.main]``): first the profile that ``ORDERS_PROFILE`` names (``[profiles.NAME]``), then the rest of the file.
The case of names does not matter; ``__`` separates levels.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = "ORDERS_"
CONFIG_FILE, SECRETS_DIR, PROFILE = "ORDERS_CONFIG_FILE", "ORDERS_SECRETS_DIR", "ORDERS_PROFILE"
"""What names the sources; these three are read from the environment alone."""
_PROFILES = "profiles"


class SettingsError(Exception):
    """The settings are invalid; each of ``problems`` names a setting and what is wrong with it, never its value."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "; ".join(self.problems)


@dataclass(frozen=True, slots=True)
class FoundSetting:
    """A setting's value, and the place that it comes from."""

    value: str
    source: str
    """``environment``, ``secrets folder``, ``profile NAME`` or ``file``."""


def external_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """All settings by environment-variable name, merged from the sources.

    Raises:
        SettingsError: the TOML file or the secrets folder cannot be read, or there is no such profile.
    """
    return {name: found.value for name, found in found_settings(environ).items()}


def found_settings(environ: Mapping[str, str]) -> dict[str, FoundSetting]:
    """As :func:`external_settings`, each with its source."""
    found: dict[str, FoundSetting] = {}
    secrets_dir, chosen = environ.get(SECRETS_DIR), environ.get(PROFILE)
    tables = _tables(environ)
    profiles = tables.pop(_PROFILES, {})
    found |= _from(f"file {environ.get(CONFIG_FILE)}", dict(_flat(tables, ())))
    if chosen:
        found |= _from(f"profile {chosen}", _profile(chosen, profiles, environ))
    if secrets_dir:
        found |= _from(f"secrets folder {secrets_dir}", _from_folder(Path(secrets_dir)))
    given = {name.upper(): value for name, value in environ.items() if name.upper().startswith(PREFIX)}
    return found | _from("environment", given)


def profile_names(environ: Mapping[str, str]) -> list[str]:
    """The names of the profiles in the TOML file."""
    profiles = _tables(environ).get(_PROFILES, {})
    return sorted(profiles) if isinstance(profiles, dict) else []


def check_profile(name: str, environ: Mapping[str, str]) -> None:
    """Check a profile that a person has chosen for one run: nothing else may have the last word on its settings.

    Raises:
        SettingsError: there is no such profile, or the environment or the secrets folder has another value for a
            setting of it.
    """
    tables = _tables(environ)
    wanted = _profile(name, tables.get(_PROFILES, {}), environ)
    found = found_settings({**environ, PROFILE: name})
    others = [f"{each} ({found[each].source})" for each, value in sorted(wanted.items()) if found[each].value != value]
    if others:
        raise SettingsError(f"--profile {name} is overruled by {', '.join(others)}: unset these, or drop --profile")


def _profile(name: str, profiles: Any, environ: Mapping[str, str]) -> dict[str, str]:
    table = profiles.get(name) if isinstance(profiles, dict) else None
    if not isinstance(table, dict):
        if not environ.get(CONFIG_FILE):
            raise SettingsError(f"{PROFILE}: there are no profiles: {CONFIG_FILE} names no file")
        known = ", ".join(sorted(profiles)) if isinstance(profiles, dict) and profiles else "there are none"
        raise SettingsError(f"{PROFILE}: there is no profile {name!r} in {environ[CONFIG_FILE]}; known: {known}")
    return dict(_flat(table, ()))


def _from(source: str, values: Mapping[str, str]) -> dict[str, FoundSetting]:
    return {name: FoundSetting(value, source) for name, value in values.items()}


def _tables(environ: Mapping[str, str]) -> dict[str, Any]:
    if not (config_file := environ.get(CONFIG_FILE)):
        return {}
    path = Path(config_file)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{CONFIG_FILE}: {path} can't be read: {file_problem(error)}") from None


class UnquotedValue(str):
    """A value without quotes in the TOML file: a number, a boolean or a date. It must not become a text: an API key
    that consists of digits would lose its leading zeros."""

    __slots__ = ()


def _flat(table: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        names = (*above, key)
        if isinstance(value, Mapping):
            yield from _flat(value, names)
        else:
            name = "__".join(names).upper()
            text = value if isinstance(value, str) else UnquotedValue(str(value).lower())
            if isinstance(value, list):
                text = json.dumps(value, default=str)
            yield (name if name.startswith(PREFIX) else PREFIX + name), text


def _from_folder(path: Path) -> dict[str, str]:
    try:
        files = [entry for entry in path.iterdir() if entry.is_file() and entry.name.upper().startswith(PREFIX)]
        return {entry.name.upper(): entry.read_text(encoding="utf-8").strip() for entry in files}
    except (OSError, ValueError) as error:
        raise SettingsError(f"ORDERS_SECRETS_DIR: {path} can't be read: {file_problem(error)}") from None


def file_problem(error: Exception) -> str:
    """What is wrong with a TOML file and where, without any of its content."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    position = re.search(r"at line \d+, column \d+|at end of document", str(error))
    return f"it is not TOML{', ' + position[0] if position else ''}"
