"""Faults on purpose: real workers and servers are killed, frozen and cut off while commands run (docs/faults.md)."""
