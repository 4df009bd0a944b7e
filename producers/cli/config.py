"""`orders config`: the settings in force, and where each comes from."""

import os
import re
from typing import Any, get_args

from pydantic import BaseModel, SecretStr

from producers.cli.forms import JsonOption, emit
from producers.cli.output import exit_on_error, note
from producers.cli.plugins import load
from producers.cli.tables import print_table
from producers.redaction import REDACTED, redacted_url
from producers.setting_sources import CONFIG_FILE, PREFIX, PROFILE, SECRETS_DIR, FoundSetting, found_settings
from producers.settings import QueueSettings

_SOURCES = (CONFIG_FILE, SECRETS_DIR, PROFILE)


def config(as_json: JsonOption = False) -> None:
    """Show the settings in force, and where each comes from: the environment, the secrets folder, a profile, the file,
    or the default. Secrets and passwords are masked, and values of settings that nobody knows are too.

    The values are not checked: `orders doctor` does that.
    """
    with exit_on_error("orders config", as_json=as_json):
        found = found_settings(os.environ)
    model = _model()
    rows = [(name, _shown(name, each.value, model), each.source) for name, each in sorted(found.items())]
    rows = [row for row in rows if row[0] not in _SOURCES] + list(_defaults(found))
    if as_json:
        named = {name.removeprefix(PREFIX).lower(): os.environ.get(name) for name in _SOURCES}
        emit({**named, "settings": [{"name": name, "value": value, "from": source} for name, value, source in rows]})
        return
    for name in _SOURCES:
        if value := os.environ.get(name):
            note(f"{name}={value}")
    print_table(("setting", "from", "value"), [(name, source, value) for name, value, source in rows])


def _model() -> type[BaseModel]:
    """The model of a worker's settings, or where the worker is not installed, of a producer's."""
    try:
        found: type[BaseModel] = load("orders.settings", "worker", "worker.settings:WorkerSettings")
    except ModuleNotFoundError:
        return QueueSettings
    return found


def _defaults(found: dict[str, FoundSetting]) -> list[tuple[str, str, str]]:
    """The settings of producers that are not set."""
    missing = {f"{PREFIX}{name.upper()}": field for name, field in QueueSettings.model_fields.items()}
    derived = {f"{PREFIX}{name.upper()}": number for name, number in QueueSettings.DATABASES.items()}
    return [
        (name, f"database {derived[name]} of ORDERS_REDIS_URL" if name in derived else str(field.default), "default")
        for name, field in missing.items()
        if name not in found
    ]


def _shown(name: str, value: str, model: type[BaseModel]) -> str:
    leaf = _leaf(name, model)
    if leaf is None or leaf is SecretStr or SecretStr in get_args(leaf) or _is_group(leaf):
        return REDACTED
    if name in (f"{PREFIX}REDIS_URL", *(f"{PREFIX}{each.upper()}" for each in QueueSettings.DATABASES)):
        return redacted_url(value)
    # No other setting is a URL with a password, except by mistake.
    return re.sub(r"\?.*", f"?{REDACTED}", re.sub(r"//[^/]*@", f"//{REDACTED}@", value)) if "://" in value else value


def _is_group(leaf: Any) -> bool:
    """Whether a setting is a group, which may be given as JSON in one variable, with the secrets in it."""
    return any(isinstance(each, type) and issubclass(each, BaseModel) for each in (leaf, *get_args(leaf)))


def _leaf(name: str, model: type[BaseModel]) -> Any:
    """The type of a setting; None if there is none of that name."""
    here: Any = model
    parts = name.removeprefix(PREFIX).lower().split("__")
    while parts:
        if not (isinstance(here, type) and issubclass(here, BaseModel)):
            return None
        field = here.model_fields.get(parts.pop(0))
        if field is None:
            return None
        here = field.annotation
        inner = [each for each in get_args(here) if isinstance(each, type) and issubclass(each, BaseModel)]
        if inner and parts:
            # A group by alias: the next part is the alias.
            here, parts = inner[0], parts[1:] if getattr(field.annotation, "__origin__", None) is dict else parts
    return here
