"""What property tests share."""

from tests.servers import server

__all__ = ["server"]
