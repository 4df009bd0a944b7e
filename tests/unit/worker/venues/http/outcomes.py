"""What a test expects of a request that got no response."""

from worker.venues.http.base import NoResponse, Response


def assert_lost(result: Response | NoResponse, message: str = "") -> None:
    """Bytes of the request were sent, and there is no response; the message begins with ``message``."""
    assert isinstance(result, NoResponse)
    assert result.bytes_left
    assert result.message.startswith(message)


def assert_not_sent(result: Response | NoResponse, message: str = "") -> None:
    """No byte of the request was sent; the message begins with ``message``."""
    assert isinstance(result, NoResponse)
    assert not result.bytes_left
    assert result.message.startswith(message)


def assert_received(*results: Response | NoResponse, body: bytes = b"{}") -> None:
    """Each result is a response with this body."""
    assert [result.body if isinstance(result, Response) else result for result in results] == [body] * len(results)
