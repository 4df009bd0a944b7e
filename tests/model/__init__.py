"""The ledger and its workers as a model: every interleaving of a small one, and many random ones of the real code."""
