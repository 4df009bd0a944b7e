"""The ledger's keys at the server, all in the ledger's database."""

from producers.results import RECORD_KEY as RECORD_KEY  # a hash: one command's record; senders look it up, too

JOURNAL_KEY = "orders:journal"
"""Stream: an entry for each move, and for each halt and its end."""
UNKNOWN_KEY = "orders:unknown"
"""Sorted set: ids of open unknowns by when they became unknown, UNIX ms."""
HALTS_KEY = "orders:halts"
"""Hash: scope of a halt to who, why and when as JSON."""
ABSENCES_KEY = "orders:looks"
"""Hash: id of an unknown to when a reconcile found nothing at the venue for the first time, UNIX ms."""
POLICIES_KEY = "orders:policies"
"""Hash: when a withdrawal policy was applied (UNIX ms) to that policy, who applied it and why, as JSON."""
