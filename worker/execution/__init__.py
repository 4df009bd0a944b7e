"""Executing a command: claim, permit, send, judge, settle."""
