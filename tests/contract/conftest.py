"""What contract tests share."""

from tests.support.servers import server

__all__ = ["server"]
