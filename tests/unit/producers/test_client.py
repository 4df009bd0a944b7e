"""What a client says of a server that refuses."""

import redis

from producers.redaction import client_error_text


def test_a_refusal_is_told_without_the_command() -> None:
    """redis-py quotes what it sent, which may be a whole withdrawal, and leaves no room for what the server said."""
    quoted = (
        'Command # 1 (HSETNX orders:outbox:withdraw 1 {"address": "0x1"}) of pipeline caused error: NOREPLICAS Few.'
    )
    assert client_error_text(redis.ResponseError(quoted)) == "NOREPLICAS Few."
    assert client_error_text(redis.ConnectionError("Error 111 connecting to h:1. Connection refused.")).startswith(
        "Error 111"
    )
