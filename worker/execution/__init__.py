"""Executing a command: admit, acquire, attempt, settle."""
