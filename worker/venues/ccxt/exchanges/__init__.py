"""The exchanges whose traits someone has read: a module each, named as ccxt names the exchange, with ``TRAITS``. It is
imported when an account names the exchange."""

import importlib
import pkgutil
from functools import cache
from typing import cast

from worker.venues.ccxt.traits import Traits

IDS = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))
"""ccxt's ids of the exchanges that have a module here."""


@cache
def traits_of(ccxt_id: str) -> Traits | None:
    """The traits of an exchange; None for one that nobody has read."""
    if ccxt_id not in IDS:
        return None
    return cast("Traits", importlib.import_module(f"{__name__}.{ccxt_id}").TRAITS)
