"""The plugin of pytest: the fixture ``orders``. It imports nothing else before a test asks for the fixture."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producers.testing.clients import InMemoryOrders


@pytest.fixture
def orders() -> "Iterator[InMemoryOrders]":
    """Clients in memory (``orders.client``, ``orders.async_client``) and what becomes of their commands."""
    from producers.testing.clients import InMemoryOrders

    made = InMemoryOrders()
    yield made
    made.client.close()
