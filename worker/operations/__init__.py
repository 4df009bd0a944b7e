"""Work of an operator: checks, unknown commands, halts and the journal. Nothing here prints or needs a terminal."""
