"""Fixtures for the tests of the command line."""

from tests.unit.producers.cli.program import dead, orders, server, shared_server, start

__all__ = ["dead", "orders", "server", "shared_server", "start"]
