"""What can be seen of a worker from outside: log lines, metrics, traces.

The executor tells :class:`worker.execution.events.Observer` what happens; what is made of it is here, and is put
together in :mod:`worker.bootstrap`.
"""
