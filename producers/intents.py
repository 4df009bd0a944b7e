"""Intents: what a client was told is enqueued, written down before it is published.

A broker can lose a message, or be emptied. The intent stays in the ledger's database until the command has a record
there; a sweeper in every worker publishes again what has not begun in time. Duplicates that this makes are stopped by
the ledger.
"""

INTENTS_KEY = "orders:intents"
"""Sorted set: command id by the time of enqueueing, UNIX ms."""
MESSAGES_KEY = "orders:intent_messages"
"""Hash: command id to the JSON object ``{"task", "kwargs", "enqueued_at"}``."""
