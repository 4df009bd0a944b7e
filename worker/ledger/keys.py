"""The ledger's keys at the server, all in the ledger's database."""

from producers.intents import ALL_OUTBOXES
from producers.results import RECORD_KEY as RECORD_KEY  # a hash: one command's record; senders look it up, too

JOURNAL_KEY = "orders:journal"
"""Stream: an entry for each move, and for each halt and its end."""
JOURNAL_HEAD_KEY = "orders:journal:head"
"""Text: ``seq``, ``sha`` and position of the journal's last entry, from which the next one is chained."""
UNKNOWN_KEY = "orders:unknown"
"""Sorted set: ids of open unknowns by when they became unknown, UNIX ms."""
HALTS_KEY = "orders:halts"
"""Hash: scope of a halt to who, why and when as JSON."""
ABSENCES_KEY = "orders:looks"
"""Hash: id of an unknown to when a reconcile found nothing at the venue for the first time, UNIX ms."""
HELD_KEY = "orders:held"
"""Sorted set: ids of commands that are held for approval by when their messages are published again, UNIX ms."""
WITHDRAWN_KEY = "orders:withdrawn"
"""Hash: a limit's key to the sum of what its counter holds; each counter is a sorted set, ``orders:withdrawn:<key>``
(``counters.lua``)."""
DUE_KEYS = {outbox: outbox.replace("orders:", "orders:due:") for outbox in ALL_OUTBOXES}
"""By outbox (:mod:`producers.intents`), a sorted set: the ids in it by the time from which the absence of each command
counts, UNIX ms. Workers alone write it; an intent that is not in it yet has not been seen by any of them."""
POLICIES_KEY = "orders:policies"
"""Hash: number of an applied withdrawal policy to that policy, when and by whom it was applied and why, as JSON."""
COOL_DOWNS_KEY = "orders:venue_cool_downs"
"""Hash: bucket or host (:class:`~worker.ledger.pacing.Pace`) to its cool-down as JSON (``pacing.lua``)."""
BEGINS_KEY = "orders:begins:{}"
"""List: when the latest attempts of a bucket were begun, UNIX ms, as many as its largest rate limit counts."""
WEBHOOKS_KEY = "orders:webhooks"
"""Hash: name of a webhook to how far it has read the journal (``webhooks.lua``)."""
WEBHOOK_KEY = "orders:webhook:{}:{}"
"""What a webhook has to send, by its name: the sorted sets ``due``, ``open`` and ``dead``, and the hash ``items``."""
