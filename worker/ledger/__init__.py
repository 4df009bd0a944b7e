"""The ledger: the durable record of what has begun and how it ended."""
