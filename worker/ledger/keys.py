"""The ledger's keys at the server."""

RECORD_KEY = "orders:command:{}"


JOURNAL_KEY = "orders:journal"


UNKNOWN_KEY = "orders:unknown"


HALTS_KEY = "orders:halts"


ABSENCES_KEY = "orders:looks"
