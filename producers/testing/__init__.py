"""For the tests of services that send commands: clients in memory, and a fixture of pytest.

>>> def test_a_close_of_unknown_fate_is_shown_as_that(orders):  # doctest: +SKIP
...     orders.answers(Close, outcome="unknown")
...     assert my_service(orders.client).close("P") == "ask the desk"

The clients are the real ones, whose commands stay in this process: ids, validation, reports and errors are the same,
and nothing here opens a connection.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producers.testing.clients import InMemoryAsyncOrderClient, InMemoryOrderClient, InMemoryOrders

__all__ = ["InMemoryAsyncOrderClient", "InMemoryOrderClient", "InMemoryOrders"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.clients"), name)
