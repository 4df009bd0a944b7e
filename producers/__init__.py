"""What a service installs to enqueue commands and read their reports.

>>> from producers import Close, OrderClient

``import producers`` alone imports nothing else: a name is imported when it is first used, so a program that only
validates a command never imports Celery.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producers.async_client import AsyncOrderClient
    from producers.client import OrderClient
    from producers.commands import Cancel, Close, Command, Positions, Submit, Withdraw
    from producers.enqueued import EnqueuedCommand
    from producers.errors import (
        BrokerUnavailable,
        ChainBroken,
        IdReused,
        InvalidCommand,
        OrderError,
        OrderNotSent,
        OrderRejected,
        OrderUnknown,
        ProducersError,
        ReportPending,
        ReportUnverified,
    )
    from producers.report import Direction, Outcome, Position, Reason, Report
    from producers.report_stream import ReportStream
    from producers.settings import QueueSettings, SettingsError

__version__ = "0.1.0"

__all__ = [
    "AsyncOrderClient",
    "BrokerUnavailable",
    "Cancel",
    "ChainBroken",
    "Close",
    "Command",
    "Direction",
    "EnqueuedCommand",
    "IdReused",
    "InvalidCommand",
    "OrderClient",
    "OrderError",
    "OrderNotSent",
    "OrderRejected",
    "OrderUnknown",
    "Outcome",
    "Position",
    "Positions",
    "ProducersError",
    "QueueSettings",
    "Reason",
    "Report",
    "ReportPending",
    "ReportStream",
    "ReportUnverified",
    "SettingsError",
    "Submit",
    "Withdraw",
]

_MODULES = {
    "async_client": {"AsyncOrderClient"},
    "client": {"OrderClient"},
    "enqueued": {"EnqueuedCommand"},
    "commands": {"Cancel", "Close", "Command", "Positions", "Submit", "Withdraw"},
    "report": {"Direction", "Outcome", "Position", "Reason", "Report"},
    "report_stream": {"ReportStream"},
    "settings": {"QueueSettings", "SettingsError"},
}
"""Public names by the module that defines them; every other public name is an exception of
:mod:`producers.errors`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = next((module for module, names in _MODULES.items() if name in names), "errors")
    return getattr(import_module(f"{__name__}.{module}"), name)
