"""Rules that forbid an execution whatever the command says."""
