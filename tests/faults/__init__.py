"""Faults on purpose: real workers and servers are killed, frozen and cut off while commands run.

What is injected where, and how the result is judged, is told in ``docs/faults.md``. The short form runs with the other
tests; the long one is ``python -m tests.faults.long``.
"""
