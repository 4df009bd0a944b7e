"""Flower's configuration in containers: a login that must be there, and nothing that does anything."""

from pathlib import Path

basic_auth = Path("/run/secrets/flower_login").read_text(encoding="utf-8").split()
"""`name:password`, one or more. Without one Flower would let everybody in."""
if not basic_auth or not all(":" in login for login in basic_auth):
    raise SystemExit("flower: /run/secrets/flower_login must hold name:password")

read_only = True
"""No revoking, terminating or retrying, no rate limits, no tasks started from its API."""
port = 5555
max_tasks = 10_000
"""Kept in memory; its container's limit holds about ten times as many."""
persistent = False
