"""Every metric with its name, unit, labels and help text. ``docs/metrics.md`` lists them for people.

No label has a value that a sender chooses: an alias that is not configured here becomes ``other``, and no label holds a
command id, pair or address. Names and units follow Prometheus' conventions: seconds, bytes, ``_total`` for counters,
times as UNIX seconds.
"""

from worker.observability.metric import FAST, SLOW, counter, gauge, histogram

# -- commands, counted where they are executed ---------------------------------------------------------------------

COMMANDS = counter(
    "orders_commands_total",
    "command account venue outcome reason",
    "Commands that ended here, by outcome and reason. A stored report that is sent again is not counted.",
)
ATTEMPTS = counter(
    "orders_attempts_total",
    "command account venue proof decision",
    "Attempts, by what they proved and what followed from that. An attempt that sent nothing counts.",
)
ANSWERS = counter(
    "orders_answers_total",
    "command venue status",
    "Attempts by the HTTP status of the answer; lost: sent without an answer; unsent: nothing was sent.",
)
LOOKS = counter(
    "orders_looks_total", "command account venue sight", "Looks for commands in doubt, by what they showed."
)
RETRIES = counter("orders_retries_total", "command account venue", "Waits before one more attempt.")
PARKINGS = counter(
    "orders_parkings_total",
    "command account waits_for",
    "Commands that gave their thread and their message back, because they had to wait.",
)
THROTTLED = counter(
    "orders_throttled_total",
    "command account brake",
    "Attempts that could not begin yet, by what stopped them: a rate limit, a cool-down, or the probe after one.",
)
COOL_DOWNS = counter(
    "orders_cool_downs_total",
    "account venue",
    "Responses of a venue that asked for no further requests: 429, 418, Retry-After, a listed overload.",
)
REPLAYS = counter("orders_replays_total", "command account", "Ids sent again and answered with their stored report.")
IDS_REUSED = counter(
    "orders_ids_reused_total", "command account", "Ids sent again with other arguments, and refused for that."
)
REDELIVERED = counter(
    "orders_redelivered_total",
    "command",
    "Messages that the broker delivered again, because a worker died or lost its connection.",
)
TAKEN_OVER = counter(
    "orders_taken_over_total", "command account", "Commands continued by this worker after the death of another."
)
ORPHANED = counter(
    "orders_orphaned_total",
    "command account outcome",
    "Commands of dead workers for which this worker declared the outcome.",
)
REPUBLISHED = counter(
    "orders_republished_total",
    "command",
    "Commands lost on their way to the queue or in it, and published again from their intents.",
)
BADLY_SEALED = counter(
    "orders_seal_problems_total",
    "command problem mode",
    "Commands without a valid seal: executed (mode warn), or refused and kept as dead letters (require).",
)
FAULTS = counter("orders_worker_faults_total", "command", "Bugs of the worker that showed while it executed a command.")
POLICY_RULINGS = counter(
    "orders_policy_rulings_total",
    "account ruling",
    "Withdrawals that the withdrawal policy denied, and those of which it only warned that it would deny or hold them.",
)
LEDGER_FAILURES = counter(
    "orders_ledger_failures_total", "move", "Calls of the ledger that it did not answer, or refused."
)
TAKE_FALLBACK = counter(
    "orders_take_fallback_total",
    "",
    "Messages that a worker found by its regular take, without a notification of the broker. Should stay 0.",
)

WEBHOOK_ATTEMPTS = counter(
    "orders_webhook_attempts_total",
    "webhook result",
    "Attempts to send a report: delivered, failed (another follows), gave_up, superseded (a later one is sent).",
)

# -- times -----------------------------------------------------------------------------------------------------------

QUEUE_WAIT = histogram(
    "orders_queue_wait_seconds",
    "command",
    "From enqueueing, by the sender's clock, to the begin of the first attempt; not of commands taken over.",
    SLOW,
)
SIGNATURE_AGE = histogram(
    "orders_signature_age_seconds", "venue", "From reading the clock for a signature to the request's first byte.", FAST
)
VENUE_LATENCY = histogram(
    "orders_venue_latency_seconds",
    "command venue",
    "From a request's first byte to its whole answer, or to giving up on it.",
    SLOW,
)
REPORT_TIME = histogram(
    "orders_report_seconds", "command outcome", "From enqueueing, by the sender's clock, to the report.", SLOW
)
LEDGER_TIME = histogram(
    "orders_ledger_round_trip_seconds",
    "move",
    "One call of the ledger; a withdrawal's begin, which waits for the disk, is begin_on_disk.",
    FAST,
)

# -- this worker -----------------------------------------------------------------------------------------------------

BUILD = gauge(
    "orders_build_info",
    "version python celery kombu redis",
    "Always 1; the labels are the versions of this worker and of its libraries.",
)
READY = gauge("orders_worker_ready", "", "1 while this worker is connected to its broker and takes commands, else 0.")
CONSUMES = gauge("orders_worker_consumes", "queue", "1 for each queue that this worker consumes; absent for others.")
BUSY = gauge("orders_worker_busy", "", "Commands that this worker has taken and not ended.")
SLOTS = gauge("orders_worker_slots", "", "How many commands this worker executes at once.")
ACCOUNT_BUSY = gauge("orders_worker_account_busy", "account", "Commands of an account that this worker has taken.")
POLICY_FILE_USABLE = gauge(
    "orders_policy_file_usable",
    "",
    "1 when this worker's withdrawal policy file is valid, else 0: then its last valid content counts.",
)
POLICY_FILE_APPLIED = gauge(
    "orders_policy_file_applied", "", "1 when this worker's withdrawal policy file is the applied policy, else 0."
)
VENUE_OFFSET = gauge(
    "orders_venue_clock_offset_seconds",
    "account venue",
    "This machine's clock minus the venue's; above 0 it is ahead. From the Date header of answers: true to 1 s.",
)
KEYS_FILE_USABLE = gauge(
    "orders_keys_file_usable",
    "",
    "1 when this worker's file of public keys is valid, else 0: then its last valid content counts.",
)

# -- state that all workers share, which each of them reads from the servers at a scrape ---------------------------

UNKNOWN = gauge("orders_unknown_open", "account", "Commands that are unknown and not settled.")
UNKNOWN_SINCE = gauge(
    "orders_unknown_oldest_timestamp_seconds", "account", "Since when the oldest open unknown is unknown."
)
HALTED = gauge(
    "orders_halted",
    "account command",
    "1 for each halt in force; * is any account, and every command but cancels and closes.",
)
HALTED_SINCE = gauge("orders_halted_timestamp_seconds", "account command", "Since when the halt is in force.")
HELD = gauge("orders_held", "", "Commands that are held until persons have approved them.")
HELD_SINCE = gauge(
    "orders_held_oldest_timestamp_seconds", "", "Since when the oldest of them is held, of those that end first."
)
INTENTS = gauge("orders_intents_open", "", "Commands written down by senders that have not begun.")
QUEUED = gauge("orders_queue_messages", "queue", "Messages that wait in a queue, those of its waiting lists included.")
QUEUED_SINCE = gauge(
    "orders_queue_oldest_timestamp_seconds", "queue", "When the oldest message of a queue was enqueued, if it says so."
)
PARKED = gauge(
    "orders_parked_messages", "queue waits_for", "Commands that wait at the server until they are due, by what for."
)
PARKED_OVERDUE = gauge(
    "orders_parked_overdue_seconds",
    "queue",
    "How long the parked command that is due for longest has not been taken; 0 when none is overdue.",
)
LANES = gauge("orders_lanes_held", "", "Lanes of which a command is out, so that those behind it wait.")
COOL_DOWN = gauge(
    "orders_cool_down_seconds", "account", "Until the account's cool-down ends, or its host's; 0 when there is none."
)
DEAD = gauge(
    "orders_queue_dead_messages",
    "queue",
    "Messages kept on the list of dead letters, because no worker could execute them.",
)
UNACKED = gauge("orders_unacked_messages", "", "Messages taken by any worker and not acknowledged.")
SERVER_UP = gauge("orders_server_up", "server", "1 when the server answers, else 0.")
SERVER_WRITES = gauge(
    "orders_server_writable", "server", "1 when it is a primary whose last write to its append-only file went well."
)
WEBHOOK_WAITING = gauge("orders_webhook_waiting", "webhook", "Reports that a webhook has not got yet.")
WEBHOOK_OLDEST = gauge(
    "orders_webhook_oldest_timestamp_seconds",
    "webhook",
    "When the oldest command ended whose report waits; absent for none.",
)
WEBHOOK_DEAD = gauge("orders_webhook_dead", "webhook", "Reports that were given up, and can be sent again by hand.")
WEBHOOK_MISSED = gauge(
    "orders_webhook_missed_entries",
    "webhook",
    "Entries of the journal that were trimmed before they were read. Should be 0.",
)
MEMORY_USED = gauge("orders_server_memory_used_bytes", "server", "Memory that the server uses.")
MEMORY_MAX = gauge("orders_server_memory_max_bytes", "server", "Its maxmemory; the machine's memory where none is set.")
SERVER_OFFSET = gauge(
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
    WEBHOOK_ATTEMPTS,
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
    WEBHOOK_WAITING,
    WEBHOOK_OLDEST,
    WEBHOOK_DEAD,
    WEBHOOK_MISSED,
    SERVER_UP,
    SERVER_WRITES,
    MEMORY_USED,
    MEMORY_MAX,
    SERVER_OFFSET,
)
"""Metrics that are read at each scrape."""

ARCHIVE = (
    gauge("orders_archive_follows", "", "Whether the archive reads the journal and writes it to its disk."),
    counter("orders_archive_tampered_total", "", "Signs of tampering with the journal that the archive saw."),
    gauge("orders_archive_checkpoint_timestamp_seconds", "", "When the last checkpoint was on disk; 0 for never."),
)
"""Metrics of `orders archive`."""
