"""Every metric with its name, unit, labels and help text. ``docs/metrics.md`` lists them for people.

No label has a value that a sender chooses: an alias that is not configured here becomes ``other``, and no label holds a
command id, pair or address. Names and units follow Prometheus' conventions: seconds, bytes, ``_total`` for counters,
times as UNIX seconds.
"""

from dataclasses import dataclass

FAST = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Buckets in seconds, for what takes milliseconds when all is well and is bounded by a timeout."""
SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0, 300.0)
"""Buckets in seconds, for waiting at a venue or in a queue. 15 is how long Everstrike accepts a signed order
(``docs/venues.md``), 7.5 half of that."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str
    kind: str
    """``counter``, ``histogram`` or ``gauge``."""
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, in seconds."""


def _counter(name: str, labels: str, text: str) -> Metric:
    return Metric(name, "counter", tuple(labels.split()), text)


def _gauge(name: str, labels: str, text: str) -> Metric:
    return Metric(name, "gauge", tuple(labels.split()), text)


def _histogram(name: str, labels: str, text: str, buckets: tuple[float, ...]) -> Metric:
    return Metric(name, "histogram", tuple(labels.split()), text, buckets)


# -- commands, counted where they are executed ---------------------------------------------------------------------

COMMANDS = _counter(
    "orders_commands_total",
    "command account venue outcome reason",
    "Commands that ended here, by outcome and reason. A stored report that is sent again is not counted.",
)
ATTEMPTS = _counter(
    "orders_attempts_total",
    "command account venue proof decision",
    "Attempts, by what they proved and what followed from that. An attempt that sent nothing counts.",
)
ANSWERS = _counter(
    "orders_answers_total",
    "command venue status",
    "Attempts by the HTTP status of the answer; lost: sent without an answer; unsent: nothing was sent.",
)
LOOKS = _counter(
    "orders_looks_total", "command account venue sight", "Looks for commands in doubt, by what they showed."
)
RETRIES = _counter("orders_retries_total", "command account venue", "Waits before one more attempt.")
PARKINGS = _counter(
    "orders_parkings_total",
    "command account waits_for",
    "Commands that gave their thread and their message back, because they had to wait.",
)
THROTTLED = _counter(
    "orders_throttled_total",
    "command account brake",
    "Attempts that could not begin yet, by what stopped them: a rate limit, a cool-down, or the probe after one.",
)
COOL_DOWNS = _counter(
    "orders_cool_downs_total",
    "account venue",
    "Responses of a venue that asked for no further requests: 429, 418, Retry-After, a listed overload.",
)
REPLAYS = _counter("orders_replays_total", "command account", "Ids sent again and answered with their stored report.")
IDS_REUSED = _counter(
    "orders_ids_reused_total", "command account", "Ids sent again with other arguments, and refused for that."
)
REDELIVERED = _counter(
    "orders_redelivered_total",
    "command",
    "Messages that the broker delivered again, because a worker died or lost its connection.",
)
TAKEN_OVER = _counter(
    "orders_taken_over_total", "command account", "Commands continued by this worker after the death of another."
)
ORPHANED = _counter(
    "orders_orphaned_total",
    "command account outcome",
    "Commands of dead workers for which this worker declared the outcome.",
)
REPUBLISHED = _counter(
    "orders_republished_total",
    "command",
    "Commands lost on their way to the queue or in it, and published again from their intents.",
)
BADLY_SEALED = _counter(
    "orders_seal_problems_total",
    "command problem mode",
    "Commands without a valid seal: executed (mode warn), or refused and kept as dead letters (require).",
)
FAULTS = _counter(
    "orders_worker_faults_total", "command", "Bugs of the worker that showed while it executed a command."
)
POLICY_RULINGS = _counter(
    "orders_policy_rulings_total",
    "account ruling",
    "Withdrawals that the withdrawal policy denied, and those of which it only warned that it would deny or hold them.",
)
LEDGER_FAILURES = _counter(
    "orders_ledger_failures_total", "move", "Calls of the ledger that it did not answer, or refused."
)
TAKE_FALLBACK = _counter(
    "orders_take_fallback_total",
    "",
    "Messages that a worker found by its regular take, without a notification of the broker. Should stay 0.",
)

# -- times -----------------------------------------------------------------------------------------------------------

QUEUE_WAIT = _histogram(
    "orders_queue_wait_seconds",
    "command",
    "From enqueueing, by the sender's clock, to the begin of the first attempt; not of commands taken over.",
    SLOW,
)
SIGNATURE_AGE = _histogram(
    "orders_signature_age_seconds", "venue", "From reading the clock for a signature to the request's first byte.", FAST
)
VENUE_LATENCY = _histogram(
    "orders_venue_latency_seconds",
    "command venue",
    "From a request's first byte to its whole answer, or to giving up on it.",
    SLOW,
)
REPORT_TIME = _histogram(
    "orders_report_seconds", "command outcome", "From enqueueing, by the sender's clock, to the report.", SLOW
)
LEDGER_TIME = _histogram(
    "orders_ledger_round_trip_seconds",
    "move",
    "One call of the ledger; a withdrawal's begin, which waits for the disk, is begin_on_disk.",
    FAST,
)

# -- this worker -----------------------------------------------------------------------------------------------------

BUILD = _gauge(
    "orders_build_info",
    "version python celery kombu redis",
    "Always 1; the labels are the versions of this worker and of its libraries.",
)
READY = _gauge("orders_worker_ready", "", "1 while this worker is connected to its broker and takes commands, else 0.")
CONSUMES = _gauge("orders_worker_consumes", "queue", "1 for each queue that this worker consumes; absent for others.")
BUSY = _gauge("orders_worker_busy", "", "Commands that this worker has taken and not ended.")
SLOTS = _gauge("orders_worker_slots", "", "How many commands this worker executes at once.")
ACCOUNT_BUSY = _gauge("orders_worker_account_busy", "account", "Commands of an account that this worker has taken.")
POLICY_FILE_USABLE = _gauge(
    "orders_policy_file_usable",
    "",
    "1 when this worker's withdrawal policy file is valid, else 0: then its last valid content counts.",
)
POLICY_FILE_APPLIED = _gauge(
    "orders_policy_file_applied", "", "1 when this worker's withdrawal policy file is the applied policy, else 0."
)
VENUE_OFFSET = _gauge(
    "orders_venue_clock_offset_seconds",
    "account venue",
    "This machine's clock minus the venue's; above 0 it is ahead. From the Date header of answers: true to 1 s.",
)
KEYS_FILE_USABLE = _gauge(
    "orders_keys_file_usable",
    "",
    "1 when this worker's file of public keys is valid, else 0: then its last valid content counts.",
)

# -- state that all workers share, which each of them reads from the servers at a scrape ---------------------------

UNKNOWN = _gauge("orders_unknown_open", "account", "Commands that are unknown and not settled.")
UNKNOWN_SINCE = _gauge(
    "orders_unknown_oldest_timestamp_seconds", "account", "Since when the oldest open unknown is unknown."
)
HALTED = _gauge(
    "orders_halted",
    "account command",
    "1 for each halt in force; * is any account, and every command but cancels and closes.",
)
HALTED_SINCE = _gauge("orders_halted_timestamp_seconds", "account command", "Since when the halt is in force.")
HELD = _gauge("orders_held", "", "Commands that are held until persons have approved them.")
HELD_SINCE = _gauge(
    "orders_held_oldest_timestamp_seconds", "", "Since when the oldest of them is held, of those that end first."
)
INTENTS = _gauge("orders_intents_open", "", "Commands written down by senders that have not begun.")
QUEUED = _gauge("orders_queue_messages", "queue", "Messages that wait in a queue, those of its waiting lists included.")
QUEUED_SINCE = _gauge(
    "orders_queue_oldest_timestamp_seconds", "queue", "When the oldest message of a queue was enqueued, if it says so."
)
PARKED = _gauge(
    "orders_parked_messages", "queue waits_for", "Commands that wait at the server until they are due, by what for."
)
PARKED_OVERDUE = _gauge(
    "orders_parked_overdue_seconds",
    "queue",
    "How long the parked command that is due for longest has not been taken; 0 when none is overdue.",
)
LANES = _gauge("orders_lanes_held", "", "Lanes of which a command is out, so that those behind it wait.")
COOL_DOWN = _gauge(
    "orders_cool_down_seconds", "account", "Until the account's cool-down ends, or its host's; 0 when there is none."
)
DEAD = _gauge(
    "orders_queue_dead_messages",
    "queue",
    "Messages kept on the list of dead letters, because no worker could execute them.",
)
UNACKED = _gauge("orders_unacked_messages", "", "Messages taken by any worker and not acknowledged.")
SERVER_UP = _gauge("orders_server_up", "server", "1 when the server answers, else 0.")
SERVER_WRITES = _gauge(
    "orders_server_writable", "server", "1 when it is a primary whose last write to its append-only file went well."
)
MEMORY_USED = _gauge("orders_server_memory_used_bytes", "server", "Memory that the server uses.")
MEMORY_MAX = _gauge(
    "orders_server_memory_max_bytes", "server", "Its maxmemory; the machine's memory where none is set."
)
SERVER_OFFSET = _gauge(
    "orders_server_clock_offset_seconds",
    "server",
    "This machine's clock minus the server's, by TIME at the middle of its round trip; above 0 it is ahead.",
)

EVENTS = (
    COMMANDS,
    ATTEMPTS,
    ANSWERS,
    LOOKS,
    RETRIES,
    PARKINGS,
    THROTTLED,
    COOL_DOWNS,
    REPLAYS,
    IDS_REUSED,
    REDELIVERED,
    TAKEN_OVER,
    ORPHANED,
    REPUBLISHED,
    BADLY_SEALED,
    FAULTS,
    POLICY_RULINGS,
    LEDGER_FAILURES,
    TAKE_FALLBACK,
    QUEUE_WAIT,
    SIGNATURE_AGE,
    VENUE_LATENCY,
    REPORT_TIME,
    LEDGER_TIME,
    VENUE_OFFSET,
)
"""Metrics that the executing process counts."""
STATE = (
    BUILD,
    READY,
    CONSUMES,
    BUSY,
    SLOTS,
    ACCOUNT_BUSY,
    KEYS_FILE_USABLE,
    POLICY_FILE_USABLE,
    POLICY_FILE_APPLIED,
    UNKNOWN,
    UNKNOWN_SINCE,
    HALTED,
    HALTED_SINCE,
    HELD,
    HELD_SINCE,
    INTENTS,
    QUEUED,
    QUEUED_SINCE,
    PARKED,
    PARKED_OVERDUE,
    LANES,
    COOL_DOWN,
    DEAD,
    UNACKED,
    SERVER_UP,
    SERVER_WRITES,
    MEMORY_USED,
    MEMORY_MAX,
    SERVER_OFFSET,
)
"""Metrics that are read at each scrape."""

ARCHIVE = (
    _gauge("orders_archive_follows", "", "Whether the archive reads the journal and writes it to its disk."),
    _counter("orders_archive_tampered_total", "", "Signs of tampering with the journal that the archive saw."),
    _gauge("orders_archive_checkpoint_timestamp_seconds", "", "When the last checkpoint was on disk; 0 for never."),
)
"""Metrics of `orders archive`."""
