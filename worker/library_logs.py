"""What the libraries under a worker may log: nothing of a request, of an answer, or of a message.

A worker's own lines say what happened, in words that are its own. Libraries quote: urllib3 the query of each request,
and whatever header it can't read (a venue can echo a key there), Celery's pool a command's arguments, redis-py what the
server pushes, which is reports. One table says which of them are not heard, whatever level a worker runs at.
"""

import logging

SILENT = ("urllib3", "requests", "charset_normalizer", "chardet", "http.client", "push_response")
"""Not heard at all, nor any logger below them: what they could tell of an exchange, its ``NoResponse`` tells. The last
is redis-py's, for what the server pushes."""
NOT_IN_DETAIL = ("celery.pool", "amqp", "kombu", "redis")
"""Heard from INFO on: in their details they quote arguments and messages."""


def bound_library_logs() -> None:
    """Apply the table. Safe to call again: a library that was imported meanwhile is met as well."""
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    for name in NOT_IN_DETAIL:
        logging.getLogger(name).setLevel(logging.INFO)
    # By their own level, too, they might be made to speak again; a logger that is disabled says nothing at any.
    for name in list(logging.root.manager.loggerDict):
        if any(name == silent or name.startswith(f"{silent}.") for silent in SILENT):
            logging.getLogger(name).disabled = True
