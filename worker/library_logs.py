"""What the libraries of a worker may log: nothing of a request, of a response, or of a message.

The worker's own log lines quote none of these. Libraries do: urllib3 logs the query of each request, and any header
that it can't parse (a venue may echo a key there); Celery's pool logs a command's arguments; redis-py logs what the
server pushes, which includes reports. The loggers below are therefore limited, whatever level a worker runs at.
"""

import logging

SILENT = ("urllib3", "requests", "charset_normalizer", "chardet", "http.client", "push_response")
"""These loggers and all loggers below them log nothing: a failed request is described by its ``NoResponse``. The last
is redis-py's, for messages that the server pushes."""
NO_DEBUG = ("celery.pool", "amqp", "kombu", "redis")
"""These log from INFO on: their debug messages quote arguments and messages."""


def limit_library_logs() -> None:
    """Apply these limits. Call it again to limit loggers that were created meanwhile."""
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    for name in NO_DEBUG:
        logging.getLogger(name).setLevel(logging.INFO)
    # A logger below them may have a level of its own; disabled, it logs nothing at any level.
    for name in list(logging.root.manager.loggerDict):
        if any(name == silent or name.startswith(f"{silent}.") for silent in SILENT):
            logging.getLogger(name).disabled = True
